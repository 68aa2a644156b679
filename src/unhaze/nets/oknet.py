"""OKNet: omni-kernel network for image restoration (Cui, Ren, Knoll, AAAI 2024).

Reproduces: SOTS indoor 40.79 dB / 0.996, outdoor 37.68 / 0.995, 4,722,857 parameters. Names and
shapes of the state dict are those of the authors' checkpoints (c-yn/OKNet).
"""

import torch
from torch import Tensor, nn

from unhaze.nets.multiscale import Conv, MultiScaleUNet, Stage


def oknet(*, width: int = 32, blocks: int = 4, kernel: int = 63) -> MultiScaleUNet:
    """hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape, unbounded.

    width: channels at full size. blocks: residual blocks per stage. kernel: side of the largest
    kernel, odd; it works at a quarter of the size.

    `restore_scales` of the network also returns its smaller outputs, which the paper trains.
    """
    if width < 4 or width % 4 or blocks < 1 or kernel < 1 or kernel % 2 == 0:
        raise ValueError(
            f"width is {width}, blocks {blocks}, kernel {kernel}; expected 4, 8, ..., "
            "1 or more, and an odd number"
        )

    def stage(_: int, channels: int) -> nn.Module:
        return Stage(nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks))))

    # "bottelneck" is the spelling of the checkpoints.
    middle = ("bottelneck", OmniKernel(4 * width, kernel))
    return MultiScaleUNet(stage, width, multiple=8, middle=middle)


class ResidualBlock(nn.Module):
    """Two convolutions with a skip connection; keeps (B,C,h,w)."""

    def __init__(self, channels: int):
        super().__init__()
        self.main = nn.Sequential(
            Conv(channels, channels, 3), Conv(channels, channels, 3, bend=False)
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.main(features)


class OmniKernel(nn.Module):
    """The sum of a large kernel, strips, 1x1 convolutions and a filter on the spectrum."""

    def __init__(self, channels: int, kernel: int):
        super().__init__()

        def depthwise(rows: int, columns: int) -> nn.Conv2d:
            padding = (rows // 2, columns // 2)
            return nn.Conv2d(channels, channels, (rows, columns), 1, padding, groups=channels)

        self.in_conv = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU())
        self.out_conv = nn.Conv2d(channels, channels, 1)
        self.dw_13 = depthwise(1, kernel)
        self.dw_31 = depthwise(kernel, 1)
        self.dw_33 = depthwise(kernel, kernel)
        self.dw_11 = depthwise(1, 1)
        self.conv = nn.Conv2d(channels, channels, 1)
        self.fac_conv = nn.Conv2d(channels, channels, 1)
        self.fgm = FrequencyGate(channels)

    def forward(self, features: Tensor) -> Tensor:
        entered = self.in_conv(features)
        # The paper weights the spectrum by one number per channel, which equals weighting features.
        weighed = (self.fac_conv(entered.mean((-2, -1), keepdim=True)) * entered).abs()
        weighed = self.conv(weighed.mean((-2, -1), keepdim=True)) * weighed
        spatial = self.dw_13(entered) + self.dw_31(entered) + self.dw_33(entered)
        total = features + spatial + self.dw_11(entered) + self.fgm(weighed)
        return self.out_conv(torch.relu(total))


class FrequencyGate(nn.Module):
    """One branch weights the spectrum of the other; keeps (B,C,h,w).

    `conv` is in the published checkpoints but unused.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels, 1, 1))
        self.beta = nn.Parameter(torch.ones(channels, 1, 1))
        self.conv = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.dwconv1 = nn.Conv2d(channels, channels, 1)
        self.dwconv2 = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        gate = self.dwconv1(features).float()
        spectrum = torch.fft.fft2(self.dwconv2(features).float())
        gated = torch.fft.ifft2(gate * spectrum).abs()
        return gated * self.alpha + features * self.beta
