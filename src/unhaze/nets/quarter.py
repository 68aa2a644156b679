"""QuarterNet: haze removal at a quarter of the size, with the scattering model as its last layer.

Ours, made for CPUs and video: about 0.9 GMAC for a 256x256 picture, where AECR-Net takes 40.
The picture is folded into a quarter of its height and width (pixel unshuffle, Shi et al.,
arXiv:1609.05158); a U-Net of residual blocks works there down to a sixteenth, where the mean over
the whole picture is mixed in; out come a transmission for every pixel, a smooth airlight and an
exposure. Folded into an eighth, and slimmer, it takes a tenth of that.

What has no weights is in nets/clearing.py, for pictures that people look at: no glow beside edges,
nothing black or white that was not, and nothing cleared where there is nothing to see.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.nets.blocks import bias_of
from unhaze.nets.clearing import (
    BORDER,
    Clearing,
    bent,
    lifted,
    means_of_cells,
    where_hazy,
    without_blind_spots,
)

DARKEST = -0.5  # bent to more than a level of 255, of which `lifted` leaves half at the white end


class QuarterNet(nn.Module):
    """J = e (A + (I - A) / t): Koschmieder's law solved for J, with an exposure correction e.

    The network predicts transmission t for each pixel, airlight A at low resolution, and e as three
    numbers for each picture: a camera compensates the brightness and colour of haze, so that the
    scene without its haze would be too dark or have a cast.

    hazy (B,3,H,W) in [0,1], any size -> restored, same shape, not clamped. width: channels at 1/4;
    twice as many at 1/8, three times at 1/16. blocks: residual blocks at 1/4, 1/8 and 1/16; the
    first two numbers apply to encoder and decoder. fold: 4, or 8, which halves all these
    resolutions. strength: 1 for training; a trained network may extrapolate, hazy + strength
    (J - hazy), because minimising the expected error makes it remove too little haze.
    guided: 0 for t predicted for pixels; otherwise the radius, in cells of fold x fold pixels, with
    which `Clearing` upsamples t predicted for cells; `far`, `bound`, `keep`, `flat`, `ease`,
    `indoors`, `brighten`, `prior`, `fine` and `cast` are its as well. one_airlight: A is one
    colour, its mean weighted by haze. exposed: False sets e to 1. toe: values of J within this of
    black or white, in [0,0.2], are compressed instead of clipped (`bent`). fill: the input is
    filled by `without_blind_spots`. None of these has weights.
    """

    def __init__(
        self,
        *,
        width: int = 32,
        blocks: tuple[int, int, int] = (2, 2, 4),
        fold: int = 4,
        strength: float = 1.0,
        guided: int = 0,
        one_airlight: bool = False,
        exposed: bool = True,
        toe: float = 0.0,
        far: float = 1.0,
        bound: float = 0.0,
        keep: float = 0.0,
        flat: float = 0.0,
        ease: float = 1.0,
        indoors: float = 1.0,
        brighten: float = 0.0,
        prior: float = 0.0,
        fine: float = 0.0,
        cast: float = 0.0,
        fill: bool = False,
    ):
        super().__init__()
        if width < 1 or len(blocks) != 3 or min(blocks) < 1:
            raise ValueError(f"width is {width}, blocks {list(blocks)}; expected 1 or more of each")
        if fold not in (4, 8):
            raise ValueError(f"fold is {fold}; expected 4 or 8")
        if not 0 < strength <= 2:
            raise ValueError(f"strength is {strength}; expected more than 0, at most 2")
        if guided < 0 or not 0 <= toe <= 0.2:
            raise ValueError(f"guided is {guided}, toe {toe}; expected 0 or more, 0 to 0.2")
        layers = far - 1, bound, keep, flat, brighten, prior, fine, cast
        if any(layers) and not (guided and one_airlight):
            names = "far, bound, keep, flat, brighten, prior, fine and cast"
            raise ValueError(f"{names} need guided and one_airlight")
        self.fold, self.strength, self.fill = fold, strength, fill
        self.one_airlight, self.exposed, self.toe = one_airlight, exposed, toe
        clearing = far, bound, keep, flat, ease, indoors, brighten, prior, fine, cast
        self.clearing = Clearing(guided, *clearing) if guided else None
        half, deep = 2 * width, 3 * width
        # As a pixel unshuffle and a convolution; cells of 8x8 pixels have no need of neighbours.
        border = fold if fold == 4 else 0
        self.enter = nn.Conv2d(
            3, width, fold + 2 * border, stride=fold, padding=border, padding_mode=BORDER
        )
        self.down1 = residual_blocks(width, blocks[0])
        self.to_half = nn.Conv2d(width, half, 2, stride=2)
        self.down2 = residual_blocks(half, blocks[1])
        self.to_deep = nn.Conv2d(half, deep, 2, stride=2)
        self.bottom = nn.Sequential(WholePicture(deep), residual_blocks(deep, blocks[2]))
        self.airlight = nn.Sequential(WholePicture(deep), airlight := nn.Conv2d(deep, 3, 1))
        hidden, exposure = nn.Conv2d(deep, deep, 1), nn.Conv2d(deep, 3, 1)
        self.exposure = nn.Sequential(hidden, nn.ReLU(), exposure)
        self.from_deep = nn.Conv2d(deep, half, 1)
        self.up2 = residual_blocks(half, blocks[1])
        self.from_half = nn.Conv2d(half, width, 1)
        self.up1 = residual_blocks(width, blocks[0])
        self.leave = nn.Conv2d(width, fold**2, 3, padding=1, padding_mode=BORDER)
        start_with_little_haze(self.leave, airlight, exposure)

    def forward(self, hazy: Tensor) -> Tensor:
        height, width = hazy.shape[-2:]
        gain, offset, exposure, lift = self.haze(extended(hazy, 4 * self.fold))
        gain, offset = (each[..., :height, :width] for each in (gain, offset))
        restored = exposure * (gain * hazy + offset)
        if self.strength != 1:
            restored = hazy + self.strength * (restored - hazy)
        if self.toe:
            restored = bent(restored, hazy, self.toe, DARKEST)
            restored = 1 - bent(1 - restored, 1 - hazy, self.toe, DARKEST)
        return restored if lift is None else lifted(restored.clamp(0.0, 1.0), lift)

    def haze(self, padded: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Returns 1 / t (B,1,H,W) over 1, (1 - 1 / t) A (B,3,H,W), or both as `Clearing` changes
        them, e (B,3,1,1) in (1/2,2), and the lift of `lifted`. H, W: multiples of 4 x fold.
        """
        unfilled = cells = means_of_cells(padded, self.fold)  # a graph drops what it does not use
        if self.fill:
            padded, cells = without_blind_spots(padded, cells)
        quarter = self.down1(self.enter(padded - 0.5))
        eighth = self.down2(self.to_half(quarter))
        deep = self.bottom(self.to_deep(eighth))
        airlight = torch.sigmoid(self.airlight(deep).float())
        # Softsign and not tanh: it never loses its gradient.
        whole = self.exposure(deep.mean((-2, -1), keepdim=True)).float()
        exposure = 2 ** functional.softsign(whole) if self.exposed else torch.ones_like(whole)
        eighth = self.up2(eighth + twice(self.from_deep(deep)))
        quarter = self.up1(quarter + twice(self.from_half(eighth)))
        # As 1 + softplus: exponential towards 1, linear above 2; five times as fast on a CPU.
        gain = 2 + functional.elu(self.leave(quarter).float())
        if self.one_airlight:
            airlight = where_hazy(airlight, gain)
        else:
            # Flat and back: else ONNX Runtime enlarges it in its blocks of 16 channels, for 3.
            airlight = functional.interpolate(
                airlight.flatten(2).view_as(airlight),
                scale_factor=4.0 * self.fold,
                mode="bilinear",
                align_corners=False,
            )
        if self.clearing is not None:
            told = (1 / gain).mean(1, keepdim=True)
            gain, offset, done, lift = self.clearing(told, cells, padded, airlight, unfilled)
            return gain, offset, 1 + done * (exposure - 1), lift
        gain = functional.pixel_shuffle(gain, self.fold)
        return gain, (1 - gain) * airlight, exposure, None


def start_with_little_haze(gain: nn.Conv2d, airlight: nn.Conv2d, exposure: nn.Conv2d) -> None:
    """Sets the last layers to that, a bright airlight and no exposure, instead of the middle."""
    nn.init.constant_(bias_of(gain), -2.0)
    nn.init.constant_(bias_of(airlight), 2.0)
    nn.init.zeros_(exposure.weight)
    nn.init.zeros_(bias_of(exposure))


def extended(image: Tensor, multiple: int) -> Tensor:
    """`image` (B,C,H,W), its last row and column repeated up to the next multiple of `multiple`."""
    height, width = image.shape[-2:]
    return functional.pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")


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
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode=BORDER)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode=BORDER)
        with torch.no_grad():
            self.conv2.weight.mul_(0.1)  # A deep stack starts as nearly the identity.

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv2(torch.relu(self.conv1(features)))


class WholePicture(nn.Module):
    """Adds a function of the mean over the whole picture to each position: airlight is global."""

    def __init__(self, channels: int):
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, channels, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.inner(features.mean((-2, -1), keepdim=True))
