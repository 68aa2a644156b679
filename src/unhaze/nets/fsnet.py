"""FSNet: image restoration via frequency selection (Cui et al., IEEE TPAMI 2024).

Reproduces: SOTS indoor 42.45 dB / 0.997, outdoor 40.40 / 0.997, 13,275,689 parameters. Names and
shapes of the state dict are those of the authors' checkpoints (c-yn/FSNet).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.nets.blocks import is_exporting, sized
from unhaze.nets.multiscale import Conv, MultiScaleUNet, Stage, filter_groups, reflect


def fsnet(*, width: int = 32, blocks: int = 16, pool: str = "global") -> MultiScaleUNet:
    """hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape, unbounded.

    width: channels at full size, a multiple of 16. blocks: residual blocks per stage, the last
    of each with dynamic filters. pool: "global", or "local" as for the published outdoor
    model: means over windows of 210/256 of the sides instead of the image (TLC, arXiv:2112.04491),
    in evaluation mode only; the state dict is the same.

    `restore_scales` of the network also returns its smaller outputs, which the paper trains.
    """
    if width < 16 or width % 16 or blocks < 2:
        raise ValueError(f"width is {width}, blocks {blocks}; expected 16, 32, ... and 2 or more")
    if pool not in ("global", "local"):
        raise ValueError(f"pool is {pool!r}; it must be one of global, local")

    def stage(level: int, channels: int) -> nn.Module:
        layers: list[nn.Module] = [
            FrequencyBlock(channels, dynamic=index == blocks - 1, local=pool == "local")
            for index in range(blocks)
        ]
        return Stage(SmallUNet(channels, layers) if level == 0 else nn.Sequential(*layers))

    # 5x5 filters mirror two pixels at a quarter of the size.
    return MultiScaleUNet(stage, width, multiple=8, smallest=16)


class SmallUNet(nn.Module):
    """Blocks with a skip connection; the middle half works at half the size."""

    def __init__(self, channels: int, blocks: list[nn.Module]):
        super().__init__()
        self.layers = nn.ModuleList(blocks)
        self.down = nn.Conv2d(channels, channels, 2, stride=2, groups=channels)
        self.conv = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        quarter = max(1, len(self.layers) // 4)
        current = features
        for block in self.layers[:quarter]:
            current = block(current)
        height, width = features.shape[-2:]
        skip, current = current, sized(self.down(current), height // 2, width // 2)
        for block in self.layers[quarter:-quarter]:
            current = block(current)
        current = functional.interpolate(current, size=(height, width), mode="bilinear")
        current = self.conv(torch.cat([current, skip], dim=1))
        for block in self.layers[-quarter:]:
            current = block(current)
        return current + features


class FrequencyBlock(nn.Module):
    """Residual block that splits the channels in two halves with different frequency weighting."""

    def __init__(self, channels: int, *, dynamic: bool, local: bool):
        super().__init__()
        half = channels // 2
        self.conv1 = Conv(channels, channels, 3)
        self.conv2 = Conv(channels, channels, 3, bend=False)
        self.dyna = DynamicFilter(half, 3, local=local) if dynamic else nn.Identity()
        self.dyna_2 = DynamicFilter(half, 5, local=local) if dynamic else nn.Identity()
        self.localap = QuarterFrequencies(half, local=local)
        self.global_ap = GlobalFrequencies(half, local=local)

    def forward(self, features: Tensor) -> Tensor:
        first, second = self.conv1(features).chunk(2, dim=1)
        first, second = self.dyna(first), self.dyna_2(second)
        second = sized(self.localap(second), *features.shape[-2:])
        inner = torch.cat([self.global_ap(first), second], dim=1)
        return features + self.conv2(inner)


class GlobalFrequencies(nn.Module):
    """Scales the mean of each channel and the difference from it."""

    def __init__(self, channels: int, *, local: bool):
        super().__init__()
        self.local = local
        self.fscale_d = nn.Parameter(torch.zeros(channels))
        self.fscale_h = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        low = mean(features, self.local and not self.training)
        return by_channel(self.fscale_d) * low + (1 + by_channel(self.fscale_h)) * (features - low)


class QuarterFrequencies(nn.Module):
    """The same in each quarter of the image, with separate scales."""

    def __init__(self, channels: int, *, local: bool):
        super().__init__()
        self.local = local
        self.h = nn.Parameter(torch.zeros(4 * channels))
        self.l = nn.Parameter(torch.zeros(4 * channels))

    def forward(self, features: Tensor) -> Tensor:
        # Per channel: scales of the upper and lower, left and right quarters.
        highs, lows = (each.view(-1, 2, 2) for each in (self.h, self.l))
        rows = []
        for i, row in enumerate(halves(features, -2)):
            scaled = []
            for j, quarter in enumerate(halves(row, -1)):
                low = mean(quarter, self.local and not self.training)
                high = by_channel(highs[:, i, j]) * (quarter - low)
                scaled.append(high + by_channel(lows[:, i, j]) * low)
            rows.append(torch.cat(scaled, dim=-1))
        return torch.cat(rows, dim=-2)


class DynamicFilter(nn.Module):
    """A low-pass filter predicted from the image, and attention over low and high frequencies.

    lamb_l and lamb_h are in the published checkpoints but unused.
    """

    groups = 8

    def __init__(self, channels: int, kernel: int, *, local: bool):
        super().__init__()
        self.kernel = kernel
        self.lamb_l = nn.Parameter(torch.zeros(channels))
        self.lamb_h = nn.Parameter(torch.zeros(channels))
        self.conv = nn.Conv2d(channels, self.groups * kernel**2, 1, bias=False)
        self.bn = nn.BatchNorm2d(self.groups * kernel**2)
        self.modulate = FrequencyAttention(channels, local=local)

    def forward(self, features: Tensor) -> Tensor:
        taps = self.bn(self.conv(features.mean((-2, -1), keepdim=True)))
        taps = taps.reshape(-1, self.groups, self.kernel**2).softmax(dim=-1)
        padded = reflect(features, self.kernel // 2, self.kernel // 2)
        low = filter_groups(padded, taps, kernel=(self.kernel, self.kernel))
        return self.modulate(low, features - low)


class FrequencyAttention(nn.Module):
    """Weights low and high part, (B,C,h,w) each, by their means; all weights sum to one."""

    def __init__(self, channels: int, *, local: bool):
        super().__init__()
        self.local = local
        inner = max(channels // 2, 32)
        self.fc = nn.Conv2d(channels, inner, 1)
        self.fcs = nn.ModuleList(nn.Conv2d(inner, channels, 1) for _ in range(2))
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        inner = self.fc(mean(low + high, self.local and not self.training))
        scores = torch.cat([branch(inner) for branch in self.fcs], dim=1)
        high_weight, low_weight = scores.softmax(dim=1).chunk(2, dim=1)
        return self.out(high * high_weight + low * low_weight)


def halves(features: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Both halves along `dim`, which must be even."""
    half = features.shape[dim] // 2
    return features.narrow(dim, 0, half), features.narrow(dim, half, half)


def by_channel(values: Tensor) -> Tensor:
    """(C,) -> (1,C,1,1)."""
    return values.view(1, -1, 1, 1)


def mean(features: Tensor, local: bool) -> Tensor:
    """Mean per channel: (B,C,1,1) or, if `local`, per pixel over a window, (B,C,h,w)."""
    if not local:
        return features.mean((-2, -1), keepdim=True)
    operator = OPERATOR if is_exporting() else sliding_mean
    return operator(operator(features, -2), -1)


def sliding_mean(features: Tensor, dim: int) -> Tensor:
    """Mean along `dim` over windows of 210/256 of it inside the image, repeated at its ends."""
    size = features.shape[dim]
    window = torch.sym_max(size * 210 // 256, 1)
    places = size - window + 1
    start = torch.arange(size, device=features.device) - (size - places) // 2
    start = start.clamp(min=0).clamp(max=places - 1)
    # Cumulative float32 sums: windows are most of the image, so there is little cancellation.
    sums = functional.pad(features.transpose(dim, -1).cumsum(-1, dtype=torch.float32), (1, 0))
    windows = (sums.index_select(-1, start + window) - sums.index_select(-1, start)) / window
    return windows.transpose(dim, -1).to(features.dtype)


@torch.library.custom_op("unhaze::sliding_mean", mutates_args=())
def _sliding_mean_operator(features: Tensor, dim: int) -> Tensor:
    """The same as one graph node, which exporting/operators.py translates: its formulas of sizes
    would take torch.export a minute."""
    return sliding_mean(features, dim).contiguous()


@_sliding_mean_operator.register_fake
def _(features: Tensor, dim: int) -> Tensor:
    return torch.empty_like(features, memory_format=torch.contiguous_format)


OPERATOR = torch.ops.unhaze.sliding_mean.default
