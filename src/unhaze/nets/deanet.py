"""DEA-Net: Single Image Dehazing Based on Detail-Enhanced Convolution and Content-Guided Attention.

Chen, He and Lu, TIP 2024, arXiv:2301.04805. Reproduces: SOTS indoor 40.20 dB / 0.9934 (DEA-Net),
41.31 dB / 0.9945 (DEA-Net-CR); 3,653,377 parameters as published, 7,789,313 in training.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.nets.blocks import bias_of, pad_to_multiple

# Where each entry of a 3x3 kernel, row by row, is subtracted in the angular difference.
TURNED = (3, 0, 1, 6, 4, 2, 7, 8, 5)


class DEANet(nn.Module):
    """hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape.

    difference: the first convolution of each block is a detail-enhanced one of five kernels, as in
    training; otherwise it is the equivalent 3x3 convolution (`merge_differences`).
    """

    def __init__(self, *, width: int = 32, difference: bool = False):
        super().__init__()
        wide, widest = 2 * width, 4 * width
        self.down1 = nn.Sequential(nn.Conv2d(3, width, 3, padding=1))
        self.down2 = nn.Sequential(nn.Conv2d(width, wide, 3, 2, padding=1), nn.ReLU())
        self.down3 = nn.Sequential(nn.Conv2d(wide, widest, 3, 2, padding=1), nn.ReLU())
        for level, channels in (("level1", width), ("level2", wide)):
            for number in range(1, 5):
                for side in ("down", "up"):
                    block = EnhancedBlock(channels, difference)
                    self.add_module(f"{side}_{level}_block{number}", block)
        for number in range(1, 9):
            self.add_module(f"level3_block{number}", AttentiveBlock(widest, difference))
        self.fe_level_2 = nn.Conv2d(wide, wide, 3, padding=1)
        self.fe_level_3 = nn.Conv2d(widest, widest, 3, padding=1)
        self.up1 = nn.Sequential(upward(widest, wide), nn.ReLU())
        self.up2 = nn.Sequential(upward(wide, width), nn.ReLU())
        self.up3 = nn.Sequential(nn.Conv2d(width, 3, 3, padding=1))
        self.mix1, self.mix2 = ContentFusion(widest, 8), ContentFusion(wide, 4)

    def forward(self, hazy: Tensor) -> Tensor:
        height, width = hazy.shape[-2:]
        padded = pad_to_multiple(hazy, 4, smallest=16)
        full = self.through("down_level1", self.down1(padded))
        entering = self.down2(full)
        half = self.through("down_level2", self.fe_level_2(entering))
        deepest = self.down3(half)
        features = self.through("level3", self.fe_level_3(deepest), count=8)
        features = self.through("up_level2", self.up1(self.mix1(deepest, features)))
        features = self.through("up_level1", self.up2(self.mix2(entering, features)))
        return self.up3(features)[..., :height, :width]

    def deployed(self) -> tuple["DEANet", dict[str, bool]]:
        """Returns the network to export instead, and the arguments that differ."""
        return merge_differences(self), {"difference": False}

    def through(self, stage: str, features: Tensor, *, count: int = 4) -> Tensor:
        """Runs the blocks of a stage."""
        for number in range(1, count + 1):
            features = self.get_submodule(f"{stage}_block{number}")(features)
        return features


def upward(channels: int, width: int) -> nn.ConvTranspose2d:
    """Doubles the size."""
    return nn.ConvTranspose2d(channels, width, 3, 2, padding=1, output_padding=1)


class EnhancedBlock(nn.Module):
    """DEB: a detail-enhanced convolution, ReLU, a convolution; each with a skip connection."""

    def __init__(self, channels: int, difference: bool):
        super().__init__()
        self.conv1 = first_convolution(channels, difference)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv2(torch.relu(self.conv1(features)) + features)


class AttentiveBlock(nn.Module):
    """DEAB: as DEB, with content-guided attention on the output."""

    def __init__(self, channels: int, difference: bool):
        super().__init__()
        self.conv1 = first_convolution(channels, difference)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.sa, self.ca = SpatialAttention(), ChannelAttention(channels, 8)
        self.pa = PixelAttention(channels)

    def forward(self, features: Tensor) -> Tensor:
        inner = self.conv2(torch.relu(self.conv1(features)) + features)
        return features + inner * self.pa(inner, self.sa(inner) + self.ca(inner))


class ContentFusion(nn.Module):
    """CGAFusion: mixes encoder and decoder features by attention computed from their sum."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.sa, self.ca = SpatialAttention(), ChannelAttention(channels, reduction)
        self.pa = PixelAttention(channels)
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        total = shallow + deep
        # The attention is already a sigmoid; the published network applies another one.
        share = torch.sigmoid(self.pa(total, self.sa(total) + self.ca(total)))
        return self.conv(total + share * shallow + (1 - share) * deep)


class SpatialAttention(nn.Module):
    """(B,C,H,W) -> (B,1,H,W), from mean and maximum over the channels."""

    def __init__(self):
        super().__init__()
        self.sa = nn.Conv2d(2, 1, 7, padding=3, padding_mode="reflect")

    def forward(self, features: Tensor) -> Tensor:
        mean, most = features.mean(1, keepdim=True), features.amax(1, keepdim=True)
        return self.sa(torch.cat((mean, most), 1))


class ChannelAttention(nn.Module):
    """(B,C,H,W) -> (B,C,1,1), through channels / reduction, at least eight."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        squeezed = max(8, channels // reduction)
        self.ca = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, channels, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.ca(features.mean((2, 3), keepdim=True))


class PixelAttention(nn.Module):
    """(B,C,H,W) features and a coarse map -> a map in [0,1] per channel and pixel."""

    def __init__(self, channels: int):
        super().__init__()
        self.pa2 = nn.Conv2d(
            2 * channels, channels, 7, padding=3, padding_mode="reflect", groups=channels
        )

    def forward(self, features: Tensor, coarse: Tensor) -> Tensor:
        pairs = torch.stack((features, coarse), 2).flatten(1, 2)
        return torch.sigmoid(self.pa2(pairs))


def first_convolution(channels: int, difference: bool) -> nn.Module:
    """The first convolution of a block: in training form, or merged."""
    if difference:
        return DetailEnhancedConv(channels)
    return nn.Conv2d(channels, channels, 3, padding=1)


class Kernel(nn.Module):
    """Weight and bias of a convolution under the name `conv`, without forward."""

    def __init__(self, channels: int, *, flat: bool):
        super().__init__()
        build = nn.Conv1d if flat else nn.Conv2d
        self.conv = build(channels, channels, 3, padding=1)


class DetailEnhancedConv(nn.Module):
    """DEConv: central, horizontal, vertical, angular difference and a plain kernel, added up."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1_1, self.conv1_4 = (Kernel(channels, flat=False) for _ in range(2))
        self.conv1_2, self.conv1_3 = (Kernel(channels, flat=True) for _ in range(2))
        self.conv1_5 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return functional.conv2d(features, *self.merged(), padding=1)

    def merged(self) -> tuple[Tensor, Tensor]:
        """Returns weight (C,C,3,3) and bias (C,) of the equivalent convolution."""
        central, angular = (each.conv.weight.flatten(2) for each in (self.conv1_1, self.conv1_4))
        across, down = self.conv1_2.conv.weight, self.conv1_3.conv.weight
        middle = torch.zeros(9, device=central.device, dtype=central.dtype)
        middle[4] = 1
        central = central - central.sum(2, keepdim=True) * middle
        angular = angular - angular[..., list(TURNED)]
        none = torch.zeros_like(across)
        horizontal = torch.stack((across, none, -across), 3).flatten(2)
        vertical = torch.cat((down, none, -down), 2)
        weight = central + horizontal + vertical + angular
        bias = bias_of(self.conv1_5)
        for part in (self.conv1_1, self.conv1_2, self.conv1_3, self.conv1_4):
            bias = bias + bias_of(part.conv)
        return weight.view_as(self.conv1_5.weight) + self.conv1_5.weight, bias


def merge_differences(trained: DEANet) -> DEANet:
    """Returns the published form of a network with `difference`: the same function, half the
    parameters."""
    state = {}
    for name, value in trained.state_dict().items():
        if ".conv1.conv1_" not in name:
            state[name] = value
    for name, module in trained.named_modules():
        if isinstance(module, DetailEnhancedConv):
            state[f"{name}.weight"], state[f"{name}.bias"] = module.merged()
    merged = DEANet(width=len(trained.get_parameter("down1.0.weight")))
    merged.load_state_dict(state)
    return merged.train(trained.training)
