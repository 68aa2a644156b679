"""FFA-Net: Feature Fusion Attention Network for Single Image Dehazing (Qin et al., AAAI 2020).

arXiv:1911.07559. Reproduces: Table 1 of AECR-Net (SOTS indoor 36.39 dB / 0.9886), 4,455,913
parameters with 19 blocks in a group and 4,682,356 with 20.
"""

import torch
from torch import Tensor, nn

from unhaze.nets.blocks import FABlock, fuse, joint_shares

# Mean and deviation of the authors' normalisation.
MEAN = (0.64, 0.60, 0.58)
DEVIATION = (0.14, 0.15, 0.152)


class FFANet(nn.Module):
    """Three groups of attention blocks at full size, fused channel by channel.

    hazy (B,3,H,W) in [0,1] -> restored, same shape; the output is added to the normalised input.

    width: channels, divisible by 8. blocks: feature attention blocks in each of the three groups;
        19 in the authors' published command, 20 by default in their code.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, *, width: int = 64, blocks: int = 19):
        super().__init__()
        if width < 8 or width % 8:
            raise ValueError(f"width is {width}; FFA-Net needs a multiple of 8")
        if blocks < 1:
            raise ValueError(f"blocks is {blocks}; it must be at least 1")
        # Not in the state: constants that the published checkpoints do not contain.
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.group1 = group(width, blocks)
        self.group2 = group(width, blocks)
        self.group3 = group(width, blocks)
        self.fusion_attention = joint_shares(3 * width, max(1, width // 16))
        self.pixel_attention = nn.Sequential(
            nn.Conv2d(width, width // 8, 1), nn.ReLU(), nn.Conv2d(width // 8, 1, 1), nn.Sigmoid()
        )
        self.last = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, hazy: Tensor) -> Tensor:
        normalised = (hazy - self.mean) / self.deviation
        features = self.first(normalised)
        features1 = features + self.group1(features)
        features2 = features1 + self.group2(features1)
        features3 = features2 + self.group3(features2)
        fused = fuse(self.fusion_attention, [features1, features2, features3])
        fused = fused * self.pixel_attention(fused)
        return self.last(fused) + normalised


def group(width: int, blocks: int) -> nn.Sequential:
    """Attention blocks and one convolution; the caller adds their input."""
    return nn.Sequential(
        *(FABlock(width) for _ in range(blocks)), nn.Conv2d(width, width, 3, padding=1)
    )
