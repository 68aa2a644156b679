"""MSBDN-DFF: multi-scale boosting and dense feature fusion (Dong et al., CVPR 2020).

arXiv:2004.13388. Reproduces: SOTS indoor 33.79 dB / 0.9840, 31.35 M parameters. Layers as in the
authors' code (BookerDeWitt/MSBDN-DFF).
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from unhaze.nets.blocks import pad_to_multiple


class MSBDN(nn.Module):
    """U-shaped network whose decoder boosts its estimate level by level.

    hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape, unbounded.

    width: channels at full size, doubled at each of the `levels` halvings: 16, 32, 64, 128, 256.
    blocks: residual blocks per level, in encoder and decoder.
    bottleneck_blocks: residual blocks at the coarsest level.
    """

    def __init__(
        self, *, width: int = 16, levels: int = 4, blocks: int = 3, bottleneck_blocks: int = 18
    ):
        super().__init__()
        if min(width, levels, blocks, bottleneck_blocks) < 1:
            raise ValueError("width, levels, blocks and bottleneck_blocks must be at least 1")
        self.multiple = 2**levels
        widths = [width * 2**level for level in range(levels + 1)]
        self.first = reflected_conv(3, width, 11)
        self.first_blocks = residual_blocks(width, blocks)
        self.encoder = nn.ModuleList(
            EncoderLevel(widths[:level], widths[level], blocks if level < levels else 0)
            for level in range(1, levels + 1)
        )
        self.bottleneck = residual_blocks(widths[-1], bottleneck_blocks)
        self.decoder = nn.ModuleList(
            DecoderLevel(widths[:level:-1], widths[level], blocks)
            for level in reversed(range(levels))
        )
        self.last = reflected_conv(width, 3, 3)

    def forward(self, hazy: Tensor) -> Tensor:
        height, width = hazy.shape[-2:]
        # At least two pixels at the coarsest level, because a single one cannot be mirrored.
        padded = pad_to_multiple(hazy, self.multiple, smallest=2 * self.multiple)
        fused = self.first(padded)
        features = self.first_blocks(fused) + fused
        finer, skips = [fused], [features]
        for level in self.encoder:
            fused, features = level(features, finer)
            finer.append(fused)
            skips.append(features)
        doubled = 2 * features
        features = self.bottleneck(doubled) + doubled - features
        coarser = [features]
        for level, skip in zip(self.decoder, reversed(skips[:-1])):
            features = level(features, skip, coarser)
            coarser.append(features)
        return self.last(features)[..., :height, :width]


class EncoderLevel(nn.Module):
    """Halves the size, fuses with all finer levels, then refines by `blocks` residual blocks.

    Returns the fused and the refined features, (B,channels,h/2,w/2) each.
    """

    def __init__(self, finer: Sequence[int], channels: int, blocks: int):
        super().__init__()
        self.down = reflected_conv(finer[-1], channels, 3, stride=2)
        self.fusion = DenseFeatureFusion(finer, channels)
        self.blocks = residual_blocks(channels, blocks)

    def forward(self, features: Tensor, finer: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        fused = self.fusion(self.down(features), finer)
        return fused, self.blocks(fused) + fused if len(self.blocks) else fused


class DecoderLevel(nn.Module):
    """Strengthen, operate, subtract: a boosted estimate; then fuse with all coarser levels."""

    def __init__(self, coarser: Sequence[int], channels: int, blocks: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(coarser[-1], channels, 3, stride=2)
        self.blocks = residual_blocks(channels, blocks)
        self.fusion = DenseFeatureFusion(coarser, channels)

    def forward(self, features: Tensor, skip: Tensor, coarser: Sequence[Tensor]) -> Tensor:
        # The transposed convolution returns one row and column too many.
        enlarged = functional.interpolate(
            self.up(features), size=skip.shape[-2:], mode="bilinear", align_corners=False
        )
        strengthened = enlarged + skip
        boosted = self.blocks(strengthened) + strengthened - enlarged
        return self.fusion(boosted, coarser)


class DenseFeatureFusion(nn.Module):
    """Back-projects the difference to every earlier level, the farthest first.

    forward(features, others): `others` are maps of the earlier levels, the farthest first, with
    `widths` channels; each is a factor 2 nearer in size. Returns features of the same shape.
    """

    def __init__(self, widths: Sequence[int], channels: int):
        super().__init__()
        path = [channels, *reversed(widths)]
        steps = list(zip(path, path[1:]))
        self.away = nn.ModuleList(scaled_conv(near, far) for near, far in steps)
        self.back = nn.ModuleList(scaled_conv(far, near) for near, far in steps)

    def forward(self, features: Tensor, others: Sequence[Tensor]) -> Tensor:
        for index, other in enumerate(others):
            distance = len(others) - index
            projected = features
            for convolution in self.away[:distance]:
                projected = convolution(projected)
            error = projected - other
            for step in reversed(range(distance)):
                error = self.back[step](error)
            features = features + error
        return features


class ResidualBlock(nn.Module):
    """features + 0.1 * convolutions of them; (B,C,H,W) -> (B,C,H,W)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = reflected_conv(channels, channels, 3)
        self.activation = nn.PReLU()
        self.conv2 = reflected_conv(channels, channels, 3)

    def forward(self, features: Tensor) -> Tensor:
        return features + 0.1 * self.conv2(self.activation(self.conv1(features)))


def residual_blocks(channels: int, count: int) -> nn.Sequential:
    """`count` residual blocks in a row."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


def reflected_conv(inputs: int, outputs: int, size: int, *, stride: int = 1) -> nn.Conv2d:
    """A convolution that mirrors at the border."""
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, padding_mode="reflect")


def scaled_conv(inputs: int, outputs: int) -> nn.Sequential:
    """4x4 convolution and PReLU: halves the size if the channels grow, else doubles it."""
    kind = nn.Conv2d if outputs > inputs else nn.ConvTranspose2d
    return nn.Sequential(kind(inputs, outputs, 4, stride=2, padding=1), nn.PReLU())
