"""GCANet: Gated Context Aggregation Network for Image Dehazing and Deraining (WACV 2019).

arXiv:1811.08747. Reproduces: SOTS indoor 30.23 dB / 0.9800, 702,818 parameters.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.nets.blocks import fuse, pad_to_multiple


class GCANet(nn.Module):
    """Smoothed dilated residual blocks at half size; a gate fuses three depths.

    hazy (B,3,H,W) in [0,1], any H and W from 1 -> hazy plus a residual, same shape, unbounded.

    width: channels. Differs: a side that is not a multiple of 4 is mirrored; the authors' script
    resizes the picture.
    """

    def __init__(self, *, width: int = 64):
        super().__init__()
        if width < 1:
            raise ValueError(f"width is {width}; it must be at least 1")
        self.conv1 = nn.Conv2d(4, width, 3, padding=1, bias=False)
        self.norm1 = nn.InstanceNorm2d(width, affine=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.InstanceNorm2d(width, affine=True)
        self.conv3 = nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)
        self.norm3 = nn.InstanceNorm2d(width, affine=True)
        self.res1 = SmoothDilatedBlock(width, 2)
        self.res2 = SmoothDilatedBlock(width, 2)
        self.res3 = SmoothDilatedBlock(width, 2)
        self.res4 = SmoothDilatedBlock(width, 4)
        self.res5 = SmoothDilatedBlock(width, 4)
        self.res6 = SmoothDilatedBlock(width, 4)
        self.res7 = SmoothDilatedBlock(width, 1)
        self.gate = nn.Conv2d(3 * width, 3, 3, padding=1)
        self.deconv3 = nn.ConvTranspose2d(width, width, 4, stride=2, padding=1)
        self.norm4 = nn.InstanceNorm2d(width, affine=True)
        self.deconv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm5 = nn.InstanceNorm2d(width, affine=True)
        self.deconv1 = nn.Conv2d(width, 3, 1)

    def forward(self, hazy: Tensor) -> Tensor:
        height, width = hazy.shape[-2:]
        padded = 255 * pad_to_multiple(hazy, 4)
        features = torch.cat([padded, edges(padded)], 1) - 128
        features = torch.relu(self.norm1(self.conv1(features)))
        features = torch.relu(self.norm2(self.conv2(features)))
        low = torch.relu(self.norm3(self.conv3(features)))
        middle = self.res4(self.res3(self.res2(self.res1(low))))
        high = self.res7(self.res6(self.res5(middle)))
        fused = fuse(self.gate, [low, middle, high])
        fused = torch.relu(self.norm4(self.deconv3(fused)))
        fused = torch.relu(self.norm5(self.deconv2(fused)))
        return ((padded + self.deconv1(fused)) / 255)[..., :height, :width]


def edges(image: Tensor) -> Tensor:
    """(B,3,H,W) -> (B,1,H,W): mean over channels and the four neighbours of the differences."""
    across = (image[..., 1:] - image[..., :-1]).abs()
    down = (image[..., 1:, :] - image[..., :-1, :]).abs()
    total = functional.pad(across, (1, 0)) + functional.pad(across, (0, 1))
    total = total + functional.pad(down, (0, 0, 1, 0)) + functional.pad(down, (0, 0, 0, 1))
    return total.sum(1, keepdim=True) / 12


class SharedConv(nn.Module):
    """One kernel of side `side` for every channel; initially the identity."""

    def __init__(self, side: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1, side, side))
        nn.init.constant_(self.weight[..., side // 2, side // 2], 1.0)

    def forward(self, features: Tensor) -> Tensor:
        channels, side = features.shape[1], self.weight.shape[-1]
        kernel = self.weight.expand(channels, 1, side, side)
        return functional.conv2d(features, kernel, padding=side // 2, groups=channels)


class SmoothDilatedBlock(nn.Module):
    """(B,C,H,W) -> same: two dilated convolutions, each smoothed first, and a sum.

    Without dilation (1) there is no smoothing, and the state dict has no smoothing kernels.
    """

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        spread = {"padding": dilation, "dilation": dilation, "bias": False}
        self.pre_conv1 = SharedConv(2 * dilation - 1) if dilation > 1 else nn.Identity()
        self.conv1 = nn.Conv2d(channels, channels, 3, **spread)
        self.norm1 = nn.InstanceNorm2d(channels, affine=True)
        self.pre_conv2 = SharedConv(2 * dilation - 1) if dilation > 1 else nn.Identity()
        self.conv2 = nn.Conv2d(channels, channels, 3, **spread)
        self.norm2 = nn.InstanceNorm2d(channels, affine=True)

    def forward(self, features: Tensor) -> Tensor:
        inner = torch.relu(self.norm1(self.conv1(self.pre_conv1(features))))
        return torch.relu(features + self.norm2(self.conv2(self.pre_conv2(inner))))
