"""C2PNet: Curricular Contrastive Regularization for Physics-aware Dehazing (CVPR 2023).

arXiv:2303.14218. Reproduces: SOTS indoor 42.56 dB / 0.9954, 7,169,327 parameters.
"""

import torch
from torch import Tensor, nn

from unhaze.nets.blocks import fuse, joint_shares


class C2PNet(nn.Module):
    """Three groups of physics-aware blocks at full size, fused channel by channel.

    hazy (B,3,H,W) in [0,1] -> restored, same shape, unbounded.

    width: channels, divisible by 8. blocks: in each of the three groups.
    """

    def __init__(self, *, width: int = 64, blocks: int = 19):
        super().__init__()
        if width < 8 or width % 8:
            raise ValueError(f"width is {width}; C2PNet needs a multiple of 8")
        if blocks < 1:
            raise ValueError(f"blocks is {blocks}; it must be at least 1")
        self.g1 = Group(width, blocks)
        self.g2 = Group(width, blocks)
        self.g3 = Group(width, blocks)
        self.ca = joint_shares(3 * width, max(1, width // 16))
        self.pdu = PhysicsUnit(width)
        self.pre = nn.Sequential(nn.Conv2d(3, width, 3, padding=1))
        self.post = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, hazy: Tensor) -> Tensor:
        features1 = self.g1(self.pre(hazy))
        features2 = self.g2(features1)
        features3 = self.g3(features2)
        fused = fuse(self.ca, [features1, features2, features3])
        return self.post(self.pdu(fused)) + hazy


class Group(nn.Module):
    """Blocks, one convolution, and the sum with their input."""

    def __init__(self, width: int, blocks: int):
        super().__init__()
        self.gp = nn.Sequential(
            *(Block(width) for _ in range(blocks)), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.gp(features) + features


class Block(nn.Module):
    """Two convolutions, channel attention, the physics unit, and the sum with their input."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.calayer = ChannelAttention(width)
        self.pdu = PhysicsUnit(width)

    def forward(self, features: Tensor) -> Tensor:
        inner = torch.relu(self.conv1(features)) + features
        return self.pdu(self.calayer(self.conv2(inner))) + features


class ChannelAttention(nn.Module):
    """Scales each channel by a share computed from the means of all channels."""

    def __init__(self, width: int):
        super().__init__()
        self.ca = shares_of_channels(width)

    def forward(self, features: Tensor) -> Tensor:
        return features * self.ca(features.mean((2, 3), keepdim=True))


class PhysicsUnit(nn.Module):
    """Physics-aware dual-branch unit: (1 - t) * a + t * features, with one a per channel."""

    def __init__(self, width: int):
        super().__init__()
        self.ka = shares_of_channels(width)
        self.td = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.Conv2d(width, width // 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 8, width, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        airlight = self.ka(features.mean((2, 3), keepdim=True))
        transmission = self.td(features)
        return (1 - transmission) * airlight + transmission * features


def shares_of_channels(width: int) -> nn.Sequential:
    """(B,C,1,1) means of channels -> (B,C,1,1) in [0,1]."""
    return nn.Sequential(
        nn.Conv2d(width, width // 8, 1), nn.ReLU(), nn.Conv2d(width // 8, width, 1), nn.Sigmoid()
    )
