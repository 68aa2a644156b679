"""PFDN, "FDU" in AECR-Net's tables: Physics-Based Feature Dehazing Networks (Dong, Pan, ECCV 2020).

Reproduces: SOTS indoor 32.68 dB / 0.9760. No code of the authors is known; the paper states only
that feature dehazing units inside residual blocks apply the haze model to features; layers and
widths are those of the re-implementation that gUNet's authors trained (IDKiro/gUNet), with
11,268,611 parameters.
"""

import torch
from torch import Tensor, nn

from unhaze.nets.blocks import pad_to_multiple


class PFDN(nn.Module):
    """Encoder, residual blocks with feature dehazing units at a quarter of the size, decoder.

    hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape, in [0,1]. Internally,
    images range from -1 to 1.

    width: channels at full size, four times as many in the blocks. blocks: number of blocks.
    """

    def __init__(self, *, width: int = 64, blocks: int = 9):
        super().__init__()
        if width < 4 or blocks < 1:
            raise ValueError(f"width is {width}, blocks {blocks}; expected at least 4 and 1")
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(*(DehazingBlock(4 * width) for _ in range(blocks)))
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 2, stride=2),
            nn.ReLU(),
            nn.Conv2d(width, 3, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, hazy: Tensor) -> Tensor:
        height, width = hazy.shape[-2:]
        features = self.encoder(2 * pad_to_multiple(hazy, 4) - 1)
        restored = (self.decoder(self.blocks(features)) + 1) / 2
        return restored[..., :height, :width]


class DehazingBlock(nn.Module):
    """PFDB: two convolutions and a dehazing unit with a skip connection; keeps (B,C,h,w)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.unit = FeatureDehazingUnit(channels)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.unit(self.conv2(torch.relu(self.conv1(features))))


class FeatureDehazingUnit(nn.Module):
    """J = I * scale + shift, both in [0,1] and per channel, from the mean of the features.

    The haze model solved for J is I / t + A (1 - 1 / t); scale and shift represent its two terms.
    Differs: the paper's own form is unknown.
    """

    def __init__(self, channels: int, *, reduction: int = 16):
        super().__init__()
        self.estimate = nn.Sequential(
            nn.Linear(channels, channels // reduction, bias=False),
            nn.ReLU(),
            nn.Linear(channels // reduction, 2 * channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        estimate = self.estimate(features.mean((-2, -1)))[..., None, None]
        scale, shift = estimate.chunk(2, dim=1)
        return features * scale + shift
