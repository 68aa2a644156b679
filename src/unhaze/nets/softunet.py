"""The five-stage U shape with soft reconstruction that DehazeFormer, LKD-Net, MixDehazeNet share.

Song et al., Vision Transformers for Single Image Dehazing, arXiv:2204.03883, section 3.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from unhaze.nets.blocks import pad_to_multiple

REFLECTED = 40  # smallest side in pixels for reflect padding of 9 at a quarter of the size


class Projected(nn.Module):
    """A module under the name `proj`, as in published checkpoints."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.proj = module

    def forward(self, features: Tensor) -> Tensor:
        return self.proj(features)


def embedding(channels: int, width: int, *, kernel: int = 3, stride: int = 1) -> Projected:
    """A convolution that keeps the size or divides it by `stride`; borders are mirrored."""
    padding = (kernel - stride + 1) // 2
    return Projected(
        nn.Conv2d(channels, width, kernel, stride, padding=padding, padding_mode="reflect")
    )


def unembedding(width: int, channels: int, *, kernel: int = 1, factor: int = 1) -> Projected:
    """A convolution followed by pixel shuffle of `factor`."""
    padding = kernel // 2
    convolution = nn.Conv2d(
        width, channels * factor**2, kernel, padding=padding, padding_mode="reflect"
    )
    return Projected(nn.Sequential(convolution, nn.PixelShuffle(factor)))


class SKFusion(nn.Module):
    """Two feature maps, weighted per channel by the means of both (SK, 2019).

    pooled_inside: pooling is the first part of `mlp`, which shifts the names of the others by one.
    """

    def __init__(self, channels: int, *, pooled_inside: bool = False):
        super().__init__()
        squeezed = max(channels // 8, 4)
        pool = [nn.AdaptiveAvgPool2d(1)] if pooled_inside else []
        self.mlp = nn.Sequential(
            *pool,
            nn.Conv2d(channels, squeezed, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(squeezed, 2 * channels, 1, bias=False),
        )
        self.pooled_inside = pooled_inside

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        total = first + second
        if not self.pooled_inside:
            total = total.mean((2, 3), keepdim=True)
        shares = self.mlp(total).unflatten(1, (2, -1)).softmax(1)
        return shares[:, 0] * first + shares[:, 1] * second


class Stage(nn.Module):
    """Blocks in series, under the name `blocks`."""

    def __init__(self, blocks: Sequence[nn.Module]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, features: Tensor) -> Tensor:
        for block in self.blocks:
            features = block(features)
        return features


class SoftUNet(nn.Module):
    """hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape.

    J = K x - B + x in [-1,1] ("soft reconstruction"), K of one channel and B of three predicted.

    make_block: stage (0 to 4), index in it, channels -> one block. depths: blocks of each stage.
    merge: side of the strided convolutions between stages.
    """

    def __init__(
        self,
        make_block: Callable[[int, int, int], nn.Module],
        *,
        width: int,
        depths: Sequence[int],
        merge: int = 2,
    ):
        super().__init__()
        widths = (width, 2 * width, 4 * width, 2 * width, width)
        stages = [
            Stage([make_block(stage, index, widths[stage]) for index in range(depth)])
            for stage, depth in enumerate(depths)
        ]
        self.patch_embed = embedding(3, width)
        self.layer1, self.layer2, self.layer3, self.layer4, self.layer5 = stages
        self.patch_merge1 = embedding(width, 2 * width, kernel=merge, stride=2)
        self.skip1 = nn.Conv2d(width, width, 1)
        self.patch_merge2 = embedding(2 * width, 4 * width, kernel=merge, stride=2)
        self.skip2 = nn.Conv2d(2 * width, 2 * width, 1)
        self.patch_split1 = unembedding(4 * width, 2 * width, factor=2)
        self.fusion1 = SKFusion(2 * width)
        self.patch_split2 = unembedding(2 * width, width, factor=2)
        self.fusion2 = SKFusion(width)
        self.patch_unembed = unembedding(width, 4, kernel=3)

    def forward(self, hazy: Tensor) -> Tensor:
        height, width = hazy.shape[-2:]
        image = 2 * pad_to_multiple(hazy, 4, smallest=REFLECTED) - 1
        full = self.layer1(self.patch_embed(image))
        half = self.layer2(self.patch_merge1(full))
        features = self.layer3(self.patch_merge2(half))
        features = self.patch_split1(features)
        features = self.layer4(self.fusion1(features, self.skip2(half)) + features)
        features = self.patch_split2(features)
        features = self.layer5(self.fusion2(features, self.skip1(full)) + features)
        gain, offset = self.patch_unembed(features).split((1, 3), dim=1)
        restored = gain * image - offset + image
        return (0.5 * restored + 0.5)[..., :height, :width]


def depthwise(
    channels: int,
    kernel: int,
    *,
    dilation: int = 1,
    mode: Literal["zeros", "reflect"] = "reflect",
) -> nn.Conv2d:
    """A depthwise convolution that keeps the size."""
    return nn.Conv2d(
        channels,
        channels,
        kernel,
        padding=dilation * (kernel - 1) // 2,
        dilation=dilation,
        groups=channels,
        padding_mode=mode,
    )


def squeeze_and_excite(channels: int, squeezed: int, activation: nn.Module) -> nn.Sequential:
    """(B,C,H,W) -> (B,C,1,1) in [0,1]: channel weights."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(channels, squeezed, 1),
        activation,
        nn.Conv2d(squeezed, channels, 1),
        nn.Sigmoid(),
    )


def joint_statistics(features: Tensor, epsilon: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each sample over channels and space together, (B,1,1,1)."""
    mean = features.mean((1, 2, 3), keepdim=True)
    variance = (features - mean).square().mean((1, 2, 3), keepdim=True)
    return mean, torch.sqrt(variance + epsilon)
