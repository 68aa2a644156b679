"""KDDN: Distilling Image Dehazing with Heterogeneous Task Imitation (Hong et al., CVPR 2020).

Reproduces: SOTS indoor 34.72 dB / 0.9845. No code of the authors is known; the layout follows a
third party's (FadeoN/Distilling-Image-Dehazing-With-Heterogeneous-Task-Imitation), with the
choices named below.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.nets.blocks import pad_to_multiple


class KDDN(nn.Module):
    """The student: groups of attention blocks at a quarter of the size.

    image (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape, in [0,1]; with `features`
    also the outputs of the groups, a list of (B,width,H/4,W/4).

    blocks: SWRCABs per group. Inferred: 8 give 5,853,187 parameters, which is nearest to the
        published 5.99 M; the port has 3 (2,404,867).
    Differs: the port expects images in [-1,1] and returns a tanh, to which its users attribute
        blurry teachers; here it is (tanh + 1) / 2, for images in [0,1].
    """

    def __init__(self, *, width: int = 64, groups: int = 6, blocks: int = 8):
        super().__init__()
        if min(width, groups, blocks) < 1:
            raise ValueError("width, groups and blocks must be at least 1")
        self.trunk = Trunk(width, (AttentionGroup(width, blocks) for _ in range(groups)))

    def forward(
        self, image: Tensor, *, features: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        return self.trunk(image, features)


class KDDNTeacher(nn.Module):
    """The teacher: an autoencoder of clear images with the student's first and last layers.

    image and `features` as for KDDN, with one output per block.

    Differs: no ReLU after a block's sum. The port has one and calls it a guess; without it the
    teacher's features have both signs, like those of the student that imitates them.
    """

    def __init__(self, *, width: int = 64, blocks: int = 6):
        super().__init__()
        if min(width, blocks) < 1:
            raise ValueError("width and blocks must be at least 1")
        self.trunk = Trunk(width, (ResidualBlock(width) for _ in range(blocks)))

    def forward(
        self, image: Tensor, *, features: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        return self.trunk(image, features)


class Trunk(nn.Module):
    """`stages` in series at a quarter of the size, then back to full size."""

    def __init__(self, width: int, stages: Iterable[nn.Module]):
        super().__init__()
        self.down1 = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.stages = nn.ModuleList(stages)
        self.up1 = nn.Conv2d(width, width, 3, padding=1)
        self.up2 = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, image: Tensor, features: bool) -> Tensor | tuple[Tensor, list[Tensor]]:
        height, width = image.shape[-2:]
        current = torch.relu(self.down1(pad_to_multiple(image, 4)))
        current = torch.relu(self.down2(current))
        outputs = []
        for stage in self.stages:
            current = stage(current)
            outputs.append(current)
        for convolution in (self.up1, self.up2):
            current = torch.relu(convolution(current))
            current = functional.interpolate(current, scale_factor=2, mode="bilinear")
        restored = (torch.tanh(self.last(current)) + 1) / 2
        restored = restored[..., :height, :width]
        return (restored, outputs) if features else restored


class AttentionGroup(nn.Module):
    """Residual in residual: `blocks` SWRCABs and a convolution, with a skip connection."""

    def __init__(self, width: int, blocks: int):
        super().__init__()
        inner = [SWRCAB(width) for _ in range(blocks)]
        self.inner = nn.Sequential(*inner, nn.Conv2d(width, width, 3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.inner(features)


class SWRCAB(nn.Module):
    """Spatially weighted residual channel attention block, (B,width,h,w) -> same shape.

    Channels are weighted by their mean, which is weighted over places by an attention map.
    """

    def __init__(self, width: int):
        super().__init__()
        self.enter = nn.Conv2d(width, width, 3, padding=1)
        self.attention = nn.Conv2d(width, width, 3, padding=1)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.weigh = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        entered = torch.relu(self.enter(features))
        inner = self.conv(entered)
        attended = inner * torch.sigmoid(self.attention(entered))
        weights = torch.sigmoid(self.weigh(attended.mean((-2, -1))))
        return features + inner * weights[..., None, None]


class ResidualBlock(nn.Module):
    """Convolution, ReLU, convolution, and a skip connection; (B,width,h,w) -> same shape."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv2(torch.relu(self.conv1(features)))
