"""gUNet: Rethinking Performance Gains in Image Dehazing Networks (Song et al., 2022).

arXiv:2209.11448. Reproduces: SOTS indoor 37.99 dB / 0.993 with 844,899 parameters (T).
"""

import torch
from torch import Tensor, nn

from unhaze.nets.blocks import pad_to_multiple


class GUNet(nn.Module):
    """A U-Net of gated convolution blocks; channel attention selects between the skip and below.

    hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape, unbounded.

    width: channels at full size, doubled on each of three levels below. depths: blocks of the seven
    stages. kernel: of the depthwise convolutions.
    """

    def __init__(
        self,
        *,
        width: int = 24,
        depths: tuple[int, int, int, int, int, int, int] = (2, 2, 2, 4, 2, 2, 2),
        kernel: int = 5,
    ):
        super().__init__()
        if width < 1 or len(depths) != 7 or min(depths) < 1 or kernel % 2 != 1:
            raise ValueError(
                f"width {width}, depths {depths}, kernel {kernel}; needed: width from 1, "
                "seven depths from 1, an odd kernel"
            )
        widths = [width * 2**level for level in (0, 1, 2, 3, 2, 1, 0)]
        self.inconv = Projection(nn.Conv2d(3, width, 3, padding=1, padding_mode="reflect"))
        self.layers = nn.ModuleList(
            Stage(each, depth, kernel) for each, depth in zip(widths, depths, strict=True)
        )
        upper = widths[:3]
        self.downs = nn.ModuleList(Projection(nn.Conv2d(c, 2 * c, 2, stride=2)) for c in upper)
        self.ups = nn.ModuleList(
            Projection(nn.Sequential(nn.Conv2d(2 * c, 4 * c, 1), nn.PixelShuffle(2))) for c in upper
        )
        self.skips = nn.ModuleList(nn.Conv2d(c, c, 1) for c in upper)
        self.fusions = nn.ModuleList(SelectiveFusion(c) for c in upper)
        self.outconv = Projection(
            nn.Sequential(nn.Conv2d(width, 3, 3, padding=1, padding_mode="reflect"))
        )

    def forward(self, hazy: Tensor) -> Tensor:
        height, width = hazy.shape[-2:]
        padded = 2 * pad_to_multiple(hazy, 8, smallest=32) - 1
        features = self.inconv(padded)
        kept = []
        for layer, down, skip in zip(self.layers[:3], self.downs, self.skips, strict=True):
            features = layer(features)
            kept.append(skip(features))
            features = down(features)
        features = self.layers[3](features)
        for level in (2, 1, 0):
            features = self.fusions[level](self.ups[level](features), kept[level])
            features = self.layers[6 - level](features)
        restored = self.outconv(features) + padded
        return (0.5 * restored + 0.5)[..., :height, :width]


class Projection(nn.Module):
    """A convolution under the published name `proj`."""

    def __init__(self, proj: nn.Module):
        super().__init__()
        self.proj = proj

    def forward(self, features: Tensor) -> Tensor:
        return self.proj(features)


class Stage(nn.Module):
    """Gated blocks of one size."""

    def __init__(self, channels: int, depth: int, kernel: int):
        super().__init__()
        self.blocks = nn.Sequential(*(Block(channels, kernel) for _ in range(depth)))

    def forward(self, features: Tensor) -> Tensor:
        return self.blocks(features)


class Block(nn.Module):
    """BatchNorm, gated convolution, and the sum with the input."""

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = GatedConv(channels, kernel)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv(self.norm(features))


class GatedConv(nn.Module):
    """A depthwise convolution's values, each times a gate in [0,1] that its pixel tells."""

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.Wv = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.Conv2d(
                channels,
                channels,
                kernel,
                padding=kernel // 2,
                groups=channels,
                padding_mode="reflect",
            ),
        )
        self.Wg = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.Sigmoid())
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.proj(self.Wv(features) * self.Wg(features))


class SelectiveFusion(nn.Module):
    """SK fusion: each channel is shared out between two inputs by a softmax."""

    def __init__(self, channels: int):
        super().__init__()
        squeezed = max(channels // 8, 4)
        self.mlp = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(squeezed, 2 * channels, 1, bias=False),
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        shares = self.mlp(first + second)
        shares = torch.stack(shares.chunk(2, 1)).softmax(0)
        return shares[0] * first + shares[1] * second
