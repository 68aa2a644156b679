"""QuarterNet: haze removal at a quarter of the size, with the scattering model as its last layer.

Ours, made for CPUs and video: about 0.9 GMAC for a 256x256 picture, where AECR-Net takes 40.
The picture is folded into a quarter of its height and width (pixel unshuffle, Shi et al.,
arXiv:1609.05158); a U-Net of residual blocks works there down to a sixteenth, where the mean over
the whole picture is mixed in; out come a gain for every pixel and a smooth airlight. Folded into an
eighth, and slimmer, it takes a tenth of that.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.nets.blocks import pad_to_multiple


class QuarterNet(nn.Module):
    """J = k I - (k - 1) A (Koschmieder's law solved for J, k = 1/t): k >= 1 a pixel, A smooth.

    hazy (B,3,H,W) in [0,1], any size -> restored, same shape, not clamped. width: channels at 1/4;
    twice as many at 1/8, three times at 1/16. blocks: residual blocks at 1/4, 1/8 and 1/16; the
    first two numbers count on the way down and again on the way up. fold: 4, or 8 for all of it at
    half these sizes.
    """

    def __init__(self, *, width: int = 32, blocks: tuple[int, int, int] = (2, 2, 4), fold: int = 4):
        super().__init__()
        if width < 1 or len(blocks) != 3 or min(blocks) < 1:
            raise ValueError(f"width is {width}, blocks {list(blocks)}; expected 1 or more of each")
        if fold not in (4, 8):
            raise ValueError(f"fold is {fold}; expected 4 or 8")
        self.fold = fold
        half, deep = 2 * width, 3 * width
        # Of 192 channels, a fold by 8 has no need of neighbours as well.
        size = 3 if fold == 4 else 1
        self.enter = nn.Conv2d(3 * fold**2, width, size, padding=size // 2)
        self.down1 = residual_blocks(width, blocks[0])
        self.to_half = nn.Conv2d(width, half, 2, stride=2)
        self.down2 = residual_blocks(half, blocks[1])
        self.to_deep = nn.Conv2d(half, deep, 2, stride=2)
        self.bottom = nn.Sequential(WholePicture(deep), residual_blocks(deep, blocks[2]))
        self.airlight = nn.Sequential(WholePicture(deep), nn.Conv2d(deep, 3, 1))
        self.from_deep = nn.Conv2d(deep, half, 1)
        self.up2 = residual_blocks(half, blocks[1])
        self.from_half = nn.Conv2d(half, width, 1)
        self.up1 = residual_blocks(width, blocks[0])
        self.leave = nn.Conv2d(width, fold**2, 3, padding=1)
        # Start near "little haze, bright airlight" and not in the middle of everything.
        nn.init.constant_(self.leave.bias, -2.0)
        nn.init.constant_(self.airlight[1].bias, 2.0)

    def forward(self, hazy: Tensor) -> Tensor:
        height, width = hazy.shape[-2:]
        padded = pad_to_multiple(hazy, 4 * self.fold)
        gain, airlight = self.haze(padded)
        restored = gain * padded - (gain - 1) * airlight
        return restored[..., :height, :width]

    def haze(self, padded: Tensor) -> tuple[Tensor, Tensor]:
        """Gain (B,1,H,W) >= 1 and airlight (B,3,H,W) in (0,1); H, W multiples of 4 x fold."""
        quarter = self.down1(self.enter(functional.pixel_unshuffle(padded - 0.5, self.fold)))
        eighth = self.down2(self.to_half(quarter))
        deep = self.bottom(self.to_deep(eighth))
        airlight = torch.sigmoid(self.airlight(deep).float())
        eighth = self.up2(eighth + twice(self.from_deep(deep)))
        quarter = self.up1(quarter + twice(self.from_half(eighth)))
        gain = 1 + functional.softplus(
            functional.pixel_shuffle(self.leave(quarter), self.fold).float()
        )
        smooth = functional.interpolate(
            airlight, scale_factor=4.0 * self.fold, mode="bilinear", align_corners=False
        )
        return gain, smooth


def twice(features: Tensor) -> Tensor:
    """(B,C,h,w) -> (B,C,2h,2w), bilinear."""
    return functional.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)


def residual_blocks(channels: int, count: int) -> nn.Sequential:
    """`count` residual blocks in a row."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


class ResidualBlock(nn.Module):
    """features + conv(ReLU(conv(features))), no norm: batches are small and pictures differ."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight.mul_(0.1)  # A deep stack starts as nearly the identity.

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv2(torch.relu(self.conv1(features)))


class WholePicture(nn.Module):
    """Adds to every place what the mean over the whole picture says: airlight is global."""

    def __init__(self, channels: int):
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, channels, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.inner(features.mean((-2, -1), keepdim=True))
