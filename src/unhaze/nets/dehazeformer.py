"""DehazeFormer: Vision Transformers for Single Image Dehazing (Song et al., TIP 2023).

arXiv:2204.03883. Reproduces: 687,404 (T), 1,284,884 (S), 2,517,612 (B), 4,635,952 (M), 25,451,652
(L), 4,983,068 (D), 9,686,724 (W) parameters; published on SOTS indoor: T 35.15 dB, S 36.82,
B 37.84, M 38.46, L 40.05.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.nets.blocks import bias_of
from unhaze.nets.softunet import SoftUNet, depthwise, joint_statistics
from unhaze.validation import one_of

WINDOW = 8
HIDDEN = 256  # of the network that computes the position bias


def dehazeformer(
    *,
    width: int = 24,
    depths: tuple[int, int, int, int, int] = (4, 4, 4, 2, 2),
    heads: tuple[int, int, int, int, int] = (2, 4, 6, 1, 1),
    ratios: tuple[float, float, float, float, float] = (2, 4, 4, 2, 2),
    attention: tuple[float, float, float, float, float] = (0, 0.5, 1, 0, 0),
    convolutions: str = "depthwise",
) -> SoftUNet:
    """The network; see `SoftUNet`.

    depths, heads, ratios: for each stage the blocks, attention heads, and ratio of hidden channels
    in the feed-forward part. attention: share of a stage's blocks, the last ones, that have
    attention. convolutions: "depthwise" 5x5 beside the attention, or "plain", two of 3x3.
    """
    one_of("net 'dehazeformer': convolutions", convolutions, ("depthwise", "plain"))

    def make_block(stage: int, index: int, channels: int) -> nn.Module:
        attends = index >= depths[stage] - attention[stage] * depths[stage]
        return Block(
            channels,
            heads=heads[stage] if attends and attention[stage] else 0,
            hidden=int(channels * ratios[stage]),
            shift=WINDOW // 2 if index % 2 else 0,
            convolutions=convolutions,
        )

    return SoftUNet(make_block, width=width, depths=depths)


class Block(nn.Module):
    """Window attention beside a convolution, then a feed-forward part, with skip connections.

    heads: 0 for a block with the convolution only, which has no norm.
    """

    def __init__(self, channels: int, *, heads: int, hidden: int, shift: int, convolutions: str):
        super().__init__()
        self.norm1 = RescaledNorm(channels) if heads else None
        self.attn = Attention(channels, heads=heads, shift=shift, convolutions=convolutions)
        self.mlp = FeedForward(channels, hidden)

    def forward(self, features: Tensor) -> Tensor:
        if self.norm1 is None:
            features = features + self.attn(features)
        else:
            normal, rescale, rebias = self.norm1(features)
            features = features + self.attn(normal) * rescale + rebias
        return features + self.mlp(features)


class RescaledNorm(nn.Module):
    """RLN: normalises each sample by its joint mean and deviation, and returns how to undo it."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.meta1, self.meta2 = nn.Conv2d(1, channels, 1), nn.Conv2d(1, channels, 1)
        nn.init.trunc_normal_(self.meta1.weight, std=0.02)
        nn.init.constant_(bias_of(self.meta1), 1)
        nn.init.trunc_normal_(self.meta2.weight, std=0.02)
        nn.init.constant_(bias_of(self.meta2), 0)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, deviation = joint_statistics(features)
        normal = (features - mean) / deviation * self.weight + self.bias
        return normal, self.meta1(deviation), self.meta2(mean)


class FeedForward(nn.Module):
    """1x1, ReLU, 1x1."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.mlp(features)


class Attention(nn.Module):
    """Windows of 8 x 8 attend to themselves; values also go through a convolution.

    A shifted block mirrors 4 pixels on every side, and nothing is masked.
    """

    def __init__(self, channels: int, *, heads: int, shift: int, convolutions: str):
        super().__init__()
        self.heads, self.shift, plain = heads, shift, convolutions == "plain"
        if plain:
            self.conv = nn.Sequential(mirrored(channels), nn.ReLU(), mirrored(channels))
        else:
            self.conv = depthwise(channels, 5)
        if heads or not plain:
            self.V = nn.Conv2d(channels, channels, 1)
            self.proj = nn.Conv2d(channels, channels, 1)
        if heads:
            self.QK = nn.Conv2d(channels, 2 * channels, 1)
            self.attn = WindowAttention(channels, heads)
        self.direct = plain and not heads

    def forward(self, features: Tensor) -> Tensor:
        if self.direct:
            return self.conv(features)
        values = self.V(features)
        if not self.heads:
            return self.proj(self.conv(values))
        attended = self.attend(torch.cat((self.QK(features), values), 1))
        return self.proj(self.conv(values) + attended)

    def attend(self, stacked: Tensor) -> Tensor:
        """(B,3C,H,W) of queries, keys, values -> (B,C,H,W)."""
        height, width = stacked.shape[-2:]
        # Sizes by one division each: torch.export takes minutes for remainders of remainders.
        rows, columns = ((side + self.shift + WINDOW - 1) // WINDOW for side in (height, width))
        right = columns * WINDOW - self.shift - width
        below = rows * WINDOW - self.shift - height
        sides = (self.shift, right, self.shift, below)
        padded = functional.pad(stacked, sides, mode="reflect")
        windows = padded.unflatten(-1, (columns, WINDOW)).unflatten(-3, (rows, WINDOW))
        windows = windows.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(0, 2)
        attended = self.attn(windows).view(-1, rows, columns, WINDOW, WINDOW, stacked.shape[1] // 3)
        whole = attended.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        return whole[..., self.shift : self.shift + height, self.shift : self.shift + width]


def mirrored(channels: int) -> nn.Conv2d:
    """3x3, borders mirrored."""
    return nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")


class WindowAttention(nn.Module):
    """(windows, 64, 3C) -> (windows, 64, C), with a learned bias of relative positions."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads, self.scale = heads, (channels // heads) ** -0.5
        self.register_buffer("relative_positions", relative_positions())
        self.meta = nn.Sequential(nn.Linear(2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, heads))

    def forward(self, windows: Tensor) -> Tensor:
        queries, keys, values = windows.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.meta(self.relative_positions).permute(2, 0, 1)
        weights = (queries * self.scale @ keys.transpose(-2, -1) + bias).softmax(-1)
        return (weights @ values).transpose(1, 2).flatten(2)


def relative_positions() -> Tensor:
    """(64,64,2): sign(d) log(1 + |d|) of the differences of coordinates in a window."""
    sides = torch.arange(WINDOW)
    places = torch.stack(torch.meshgrid(sides, sides, indexing="ij")).flatten(1)
    differences = (places[:, :, None] - places[:, None, :]).permute(1, 2, 0).float()
    return torch.sign(differences) * torch.log(1 + differences.abs())
