"""MixDehazeNet: Mix Structure Block for Image Dehazing Network (Lu et al., IJCNN 2024).

arXiv:2305.17654. Reproduces: 1,622,950 (T), 3,164,944 (S), 6,248,932 (B), 12,416,908 (L)
parameters; published on SOTS indoor: S 39.47 dB, B 41.90, L 42.62.
"""

import torch
from torch import Tensor, nn

from unhaze.nets.softunet import SoftUNet, depthwise, squeeze_and_excite


def mixdehazenet(
    *, width: int = 24, depths: tuple[int, int, int, int, int] = (1, 1, 2, 1, 1)
) -> SoftUNet:
    """The network; depths: blocks of each stage. See `SoftUNet`."""
    return SoftUNet(
        lambda stage, index, channels: MixBlock(channels), width=width, depths=depths, merge=3
    )


class MixBlock(nn.Module):
    """Parallel large kernels (depthwise, dilation 3), then three kinds of attention."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.conv2 = nn.Conv2d(channels, channels, 5, padding=2, padding_mode="reflect")
        self.conv3_19 = depthwise(channels, 7, dilation=3)
        self.conv3_13 = depthwise(channels, 5, dilation=3)
        self.conv3_7 = depthwise(channels, 3, dilation=3)
        self.Wv = nn.Sequential(nn.Conv2d(channels, channels, 1), depthwise(channels, 3))
        self.Wg = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Sigmoid()
        )
        self.ca = squeeze_and_excite(channels, channels, nn.GELU())
        self.pa = nn.Sequential(
            nn.Conv2d(channels, max(1, channels // 8), 1),
            nn.GELU(),
            nn.Conv2d(max(1, channels // 8), 1, 1),
            nn.Sigmoid(),
        )
        self.mlp, self.mlp2 = merging(channels), merging(channels)

    def forward(self, features: Tensor) -> Tensor:
        inner = self.conv2(self.conv1(self.norm1(features)))
        kernels = [self.conv3_19(inner), self.conv3_13(inner), self.conv3_7(inner)]
        features = features + self.mlp(torch.cat(kernels, 1))
        inner = self.norm2(features)
        attended = [self.Wv(inner) * self.Wg(inner), self.ca(inner) * inner, self.pa(inner) * inner]
        return features + self.mlp2(torch.cat(attended, 1))


def merging(channels: int) -> nn.Sequential:
    """Merges three concatenated feature maps into one."""
    return nn.Sequential(
        nn.Conv2d(3 * channels, 4 * channels, 1), nn.GELU(), nn.Conv2d(4 * channels, channels, 1)
    )
