"""gUNet: Rethinking Performance Gains in Image Dehazing Networks (Song et al., 2022).

arXiv:2209.11448. Reproduces: 844,899 (T), 1,477,059 (S), 2,741,379 (B), 5,270,019 (D) parameters;
published on SOTS indoor: T 37.99 dB, S 38.60, B 38.84, D 39.08.
"""

from torch import Tensor, nn

from unhaze.nets.blocks import pad_to_multiple
from unhaze.nets.softunet import SKFusion, Stage, depthwise, embedding, unembedding


class GUNet(nn.Module):
    """hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape.

    depths: blocks of each of the seven stages; the middle one is at the lowest resolution.
    """

    def __init__(
        self,
        *,
        width: int = 24,
        depths: tuple[int, int, int, int, int, int, int] = (2, 2, 2, 4, 2, 2, 2),
    ):
        super().__init__()
        levels = len(depths) // 2
        widths = [width * 2**level for level in (*range(levels + 1), *reversed(range(levels)))]
        self.inconv = embedding(3, width)
        self.layers = nn.ModuleList(
            Stage([GatedBlock(channels) for _ in range(depth)])
            for channels, depth in zip(widths, depths)
        )
        ways = list(zip(widths[:levels], widths[1 : levels + 1]))
        self.downs = nn.ModuleList(embedding(top, low, kernel=2, stride=2) for top, low in ways)
        self.ups = nn.ModuleList(unembedding(low, top, factor=2) for top, low in ways)
        self.skips = nn.ModuleList(nn.Conv2d(top, top, 1) for top, _ in ways)
        self.fusions = nn.ModuleList(SKFusion(top, pooled_inside=True) for top, _ in ways)
        self.outconv = unembedding(width, 3, kernel=3)

    def forward(self, hazy: Tensor) -> Tensor:
        height, width = hazy.shape[-2:]
        levels = len(self.downs)
        image = 2 * pad_to_multiple(hazy, 2**levels, smallest=2 ** (levels + 2)) - 1
        features, kept = self.inconv(image), []
        for level in range(levels):
            features = self.layers[level](features)
            kept.append(self.skips[level](features))
            features = self.downs[level](features)
        features = self.layers[levels](features)
        for level in reversed(range(levels)):
            features = self.fusions[level](self.ups[level](features), kept[level])
            features = self.layers[2 * levels - level](features)
        restored = self.outconv(features) + image
        return (0.5 * restored + 0.5)[..., :height, :width]


class GatedBlock(nn.Module):
    """Batch norm, then a gated depthwise convolution, with a skip connection."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = GatedConv(channels)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv(self.norm(features))


class GatedConv(nn.Module):
    """Values (1x1, depthwise 5x5) times gates (1x1, sigmoid), projected."""

    def __init__(self, channels: int):
        super().__init__()
        self.Wv = nn.Sequential(nn.Conv2d(channels, channels, 1), depthwise(channels, 5))
        self.Wg = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.Sigmoid())
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.proj(self.Wv(features) * self.Wg(features))
