"""LKD-Net: Large Kernel Convolution Network for Single Image Dehazing (Luo et al., ICME 2023).

arXiv:2209.01788. Reproduces: 344,182 (T), 636,208 (S), 1,220,260 (B), 2,388,364 (L) parameters;
published weights measured here on 80 pictures of SOTS indoor: T 34.42 dB, S 36.64 dB.
"""

import torch
from torch import Tensor, nn

from unhaze.nets.softunet import SoftUNet, depthwise, joint_statistics, squeeze_and_excite


def lkdnet(
    *, width: int = 24, depths: tuple[int, int, int, int, int] = (1, 1, 2, 1, 1)
) -> SoftUNet:
    """The network; depths: blocks of each stage. See `SoftUNet`."""
    return SoftUNet(lambda stage, index, channels: LKDBlock(channels), width=width, depths=depths)


class LKDBlock(nn.Module):
    """A decomposed 21x21 convolution (5x5, then 7x7 with dilation 3, depthwise), then a channel-
    enhanced feed-forward part, each with a skip connection."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.Linear1 = nn.Conv2d(channels, channels, 1)
        self.DWConv = depthwise(channels, 5)
        self.DWDConv = depthwise(channels, 7, dilation=3)
        self.Linear2 = nn.Conv2d(channels, channels, 1)
        self.norm2 = nn.BatchNorm2d(channels)
        self.cemlp = EnhancedMLP(channels)

    def forward(self, features: Tensor) -> Tensor:
        inner = self.DWDConv(self.DWConv(self.Linear1(self.norm1(features))))
        features = features + self.Linear2(inner)
        return features + self.cemlp(self.norm2(features))


class EnhancedMLP(nn.Module):
    """CEFN: a feed-forward part over channels, normalised, weighted by the input's channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.scaler = nn.Parameter(torch.ones(channels, 1, 1))
        self.mlp = HiddenMLP(channels)
        self.norm = JointNorm(channels)
        self.ca = squeeze_and_excite(channels, max(1, channels // 8), nn.ReLU())

    def forward(self, features: Tensor) -> Tensor:
        return self.norm(self.mlp(features)) * self.scaler * self.ca(features)


class HiddenMLP(nn.Module):
    """1x1, depthwise 3x3, ReLU, 1x1."""

    def __init__(self, channels: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, 4 * channels, 1),
            depthwise(4 * channels, 3, mode="zeros"),
            nn.ReLU(),
            nn.Conv2d(4 * channels, channels, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.mlp(features)


class JointNorm(nn.Module):
    """Normalises each sample by its mean and deviation over channels and space together."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        mean, deviation = joint_statistics(features)
        return (features - mean) / deviation * self.weight + self.bias
