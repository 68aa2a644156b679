"""ConvIR: revitalizing convolutional network for image restoration (Cui et al., IEEE TPAMI 2024).

Reproduces: SOTS indoor 41.53 dB / 0.996 with 5,530,505 parameters (small), 42.72 / 0.997 with
8,630,665 (base). Names and shapes of the state dict are those of the authors' checkpoints
(c-yn/ConvIR).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.nets.blocks import sized
from unhaze.nets.multiscale import Conv, MultiScaleUNet, Stage, filter_groups, reflect

# Side of the pooling, and dilation of the following filters.
BRANCHES = ((8, 7), (4, 9), (2, 11))


def convir(*, width: int = 32, blocks: int = 4) -> MultiScaleUNet:
    """hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape, unbounded.

    width: channels at full size, a multiple of 8. blocks: residual blocks per stage, the
    last of each with pooled dynamic filters: 4 (small), 8 (base), 16 (large).

    `restore_scales` of the network also returns its smaller outputs, which the paper trains.

    Sides are padded to at least 256: the filters mirror 7 pixels at 1/32 of the size.
    """
    if width < 8 or width % 8 or blocks < 1:
        raise ValueError(f"width is {width}, blocks {blocks}; expected 8, 16, ... and 1 or more")

    def stage(_: int, channels: int) -> nn.Module:
        layers = [ResidualBlock(channels, pooled=index == blocks - 1) for index in range(blocks)]
        return Stage(nn.Sequential(*layers))

    return MultiScaleUNet(stage, width, multiple=32, smallest=256)


class ResidualBlock(nn.Module):
    """Two convolutions, with `pooled` filters between them in the last one; keeps (B,C,h,w)."""

    def __init__(self, channels: int, *, pooled: bool):
        super().__init__()
        self.main = nn.Sequential(
            Conv(channels, channels, 3),
            PooledFilters(channels) if pooled else nn.Identity(),
            Conv(channels, channels, 3, bend=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.main(features)


class PooledFilters(nn.Module):
    """Filters at an eighth, a quarter and half of the size, each fed by the previous one."""

    def __init__(self, channels: int):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in BRANCHES
        )
        self.dynas = nn.ModuleList(ShapedFilters(channels, dilation) for _, dilation in BRANCHES)
        self.conv_sum = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        total = features
        coarser = None
        for (pool, _), conv, filters in zip(BRANCHES, self.convs, self.dynas):
            height, width = features.shape[-2:]
            pooled = functional.avg_pool2d(features, pool)
            pooled = sized(pooled, height // pool, width // pool)
            if coarser is not None:
                pooled = pooled + enlarge(coarser, pooled)
            coarser = filters(conv(pooled))
            total = total + enlarge(coarser, features)
        return self.conv_sum(functional.gelu(total))


def enlarge(features: Tensor, like: Tensor) -> Tensor:
    """Resizes `features` to the height and width of `like`, with aligned corners."""
    return functional.interpolate(
        features, size=like.shape[-2:], mode="bilinear", align_corners=True
    )


class ShapedFilters(nn.Module):
    """The sum of a square filter and of two strip filters in series."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.square_att = SquareFilter(channels, dilation)
        self.strip_att = StripFilters(channels, dilation)

    def forward(self, features: Tensor) -> Tensor:
        return self.strip_att(features) + self.square_att(features)


class StripFilters(nn.Module):
    """A horizontal, then a vertical strip; gamma and beta mix their output with the input."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels, 1, 1))
        self.beta = nn.Parameter(torch.ones(channels, 1, 1))
        self.H_spatial_att = StripFilter(channels, dilation, along=-1)
        self.W_spatial_att = StripFilter(channels, dilation, along=-2)

    def forward(self, features: Tensor) -> Tensor:
        filtered = self.W_spatial_att(self.H_spatial_att(features))
        return self.gamma * filtered + self.beta * features


class SquareFilter(nn.Module):
    """A dilated 3x3 filter that the image predicts, one for each of 8 groups of channels."""

    groups = 8

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.dilation = dilation
        self.lamb_l = nn.Parameter(torch.zeros(channels))
        self.lamb_h = nn.Parameter(torch.zeros(channels))
        self.inside_all = nn.Parameter(torch.zeros(channels, 1, 1))
        self.conv = nn.Conv2d(channels, self.groups * 9, 1, bias=False)
        self.bn = nn.BatchNorm2d(self.groups * 9)

    def forward(self, features: Tensor) -> Tensor:
        mean = features.mean((-2, -1), keepdim=True)
        taps = torch.tanh(self.bn(self.conv(mean)).reshape(-1, self.groups, 9))
        padded = reflect(features, self.dilation, self.dilation)
        filtered = filter_groups(padded, taps, kernel=(3, 3), dilation=self.dilation)
        return balance(self, features, filtered, mean)


class StripFilter(nn.Module):
    """The same with a strip of three taps along dimension `along` (-1: horizontal)."""

    groups = 8

    def __init__(self, channels: int, dilation: int, *, along: int):
        super().__init__()
        self.dilation, self.along = dilation, along
        self.inside_all = nn.Parameter(torch.zeros(channels, 1, 1))
        self.lamb_l = nn.Parameter(torch.zeros(channels))
        self.lamb_h = nn.Parameter(torch.zeros(channels))
        self.conv = nn.Conv2d(channels, self.groups * 3, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        mean = features.mean((-2, -1), keepdim=True)
        taps = torch.tanh(self.conv(mean).reshape(-1, self.groups, 3))
        if self.along == -1:
            padded, kernel = reflect(features, 0, self.dilation), (1, 3)
        else:
            padded, kernel = reflect(features, self.dilation, 0), (3, 1)
        filtered = filter_groups(padded, taps, kernel=kernel, dilation=self.dilation)
        return balance(self, features, filtered, features.mean(self.along, keepdim=True))


def balance(
    scales: SquareFilter | StripFilter, features: Tensor, filtered: Tensor, mean: Tensor
) -> Tensor:
    """Low frequencies (filtered, minus their mean) and all of them, scaled per channel."""
    low = filtered * (scales.inside_all + 1) - scales.inside_all * mean
    return low * scales.lamb_l.view(-1, 1, 1) + features * (scales.lamb_h.view(-1, 1, 1) + 1)
