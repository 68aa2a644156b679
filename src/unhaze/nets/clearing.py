"""The parameter-free layers of QuarterNet: input filling, a prior, guided upsampling, bounds of t.

They are part of the exported graph, so that photos, videos, tiles and browsers get the same result.
Cells are the squares of pixels for which a network predicts one transmission t.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unhaze.image import LUMA

BORDER = "replicate"  # zeros draw a frame around flat skies
EPSILON = 3e-3  # variance of luma (contrast of 14/255) under which t is the same on both sides
LEAST = 0.04  # transmission
OMEGA, PATCH = 0.95, 8  # of the dark channel: share of haze that it finds, radius in cells
LEAST_BY_PRIOR = 0.15  # transmission
CLEAREST, FARTHEST = 8, 16  # powers that give means the weights of the clearest and haziest places
CLOSE, DENSEST = 3, 8  # radius in cells of its windows, and power: the densest haze of a picture
DISTANT = (0.12, 0.2), (1.5, 2.1)  # densest haze, and that over the mean, of haze far away
TOO_LIGHT = (0.04, 0.12)  # luma of airlight less that of the haziest places
# Of dust and brown smoke: luma of the veil, its red over green and over blue, mean of 1 - t. Warm
# rooms have darker shadows or a white airlight, fields less red, warm clear scenes less haze.
VEILED, RED, NOT_BLUE, SEEN = (0.28, 0.35), (0.92, 1.02), (1.2, 1.36), (0.05, 0.12)
DETAIL = 4  # radius in cells of the windows of `fine`
# Least channel: from the first on it says less about haze, from the second nothing.
BURNT = 0.97, 0.985
BLACK = 6 / 255  # of the largest channel: a row or column that is nowhere lighter is a bar
DENSE = 0.55  # mean of 1 - t at which `far` holds
# Means of 1 - t: up to the first of each, a picture stays as it is, keeps its light, is clear; from
# the second on, it is restored in full, loses light as haze does, is surely hazy.
UNCHANGED, KEEPING_LIGHT, HAZY = (0.0075, 0.015), (0.03, 0.05), (0.045, 0.33)
LARGEST_LIFT = 0.96  # with more, 254 of 255 becomes 255
LIFTINGS = 3  # approximations; the result is within 2 % of what it should be
INDOORS = (0.94, 0.98)  # luma of airlight from which on, and from which on fully, it is indoors
AROUND = (4, 1)  # radii, in groups of 4 x 4 cells, of the windows from which gaps are filled
NEXT = 1


@dataclass(frozen=True)
class Clearing:
    """Computes the transmission of pixels from that predicted for cells.

    guided: upsamples by the fast guided filter (He and Sun, arXiv:1505.00996) in windows of
    2 guided + 1 cells a side, in which t is linear in luma, so that its edges are those of the
    picture. far: factor of 1 / t - 1 where t is 0, in a picture whose mean haze is DENSE; where t
    is 1 it is 1, in between it follows (1 - t) ** ease, and far - 1 is proportional to the mean
    haze. It corrects a bias: a network that minimises its expected error underestimates dense haze,
    and finds some in clear distance. bound: t is at least this multiple of the lower bound for
    J >= 0, 1 - min I / A (Meng et al., ICCV 2013), over 3 x 3 cells; 0: no bound; above 1, shadows
    keep some light. keep: minimum of the mean luma of a window after restoration, as a share of
    that before. flat: contrast (standard deviation) within the windows at which the effect is
    halved, because clear skies and completely hidden scenes have nothing to restore; 0: full effect
    everywhere. indoors: factor of far - 1, instead of the mean haze, and of keep and prior where
    the airlight is as white as in synthetic indoor haze, because there t is estimated well and the
    scene is much darker than its haze. brighten: share of the lost luminance that `lifted` gives
    back in hazy pictures; all of it in clear ones, none in between, where the loss is the haze, and
    indoors. prior: weight of the dark channel prior in surely hazy pictures (`with_dark_channel`):
    the network is cautious in the distance; the prior takes what is white for haze; 0: never. fine:
    contrast of cells at which the gain of details is halved, so that the noise of skies and fog
    does not grow as the contrast of what is seen through them; 0: it does. cast: uncertainty of the
    airlight's colour, relative to the colours of scenes. Where 1 / t - 1 is 1 / cast, the mean
    colour of surroundings changes half as much as their light: in dense haze, the change is an
    error of the airlight rather than the scene; 0: as much.
    """

    guided: int
    far: float = 1.0
    bound: float = 0.0
    keep: float = 0.0
    flat: float = 0.0
    ease: float = 1.0
    indoors: float = 1.0
    brighten: float = 0.0
    prior: float = 0.0
    fine: float = 0.0
    cast: float = 0.0

    def __post_init__(self) -> None:
        far, bound, keep, flat = self.far, self.bound, self.keep, self.flat
        if not (far >= 1 and 0 <= bound <= 2 and 0 <= keep < 1 and 0 <= flat <= 1):
            given = f"far is {far}, bound {bound}, keep {keep}, flat {flat}"
            raise ValueError(f"{given}; expected 1 or more, 0 to 2, 0 to below 1, 0 to 1")
        if not (1 <= self.ease <= 4 and 0 < self.indoors <= 1 and 0 <= self.brighten <= 1):
            given = f"ease is {self.ease}, indoors {self.indoors}, brighten {self.brighten}"
            raise ValueError(f"{given}; expected 1 to 4, over 0 to 1, 0 to 1")
        if not (0 <= self.prior <= 1 and 0 <= self.fine <= 1 and 0 <= self.cast <= 1):
            given = f"prior is {self.prior}, fine {self.fine}, cast {self.cast}"
            raise ValueError(f"{given}; expected 0 to 1")
        if self.cast and not self.fine:
            raise ValueError("cast needs fine")

    def __call__(
        self,
        told: Tensor,
        cells: Tensor,
        picture: Tensor,
        airlight: Tensor,
        unfilled: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Returns gain (B,1,H,W) in [1,1/LEAST] and offset (B,3,H,W), of which the clear picture is
        gain * picture + offset; the mean effect (see `flat`); and the lift of `lifted`, None
        without `brighten`. Both are (B,1,1,1) in [0,1].

        told: t of cells (B,1,h,w); cells: their mean colours (B,3,h,w); picture (B,3,H,W) in
        [0,1], H and W multiples of h and w; airlight (B,3,1,1). unfilled: the means before
        `without_blind_spots`, if it filled any.
        """
        told = 1 - (1 - told) * ramp(mean_of(1 - told), *UNCHANGED)
        indoors = ramp(luma_of(airlight), *INDOORS)
        less = 1 - (1 - self.indoors) * indoors
        dusty = torch.zeros_like(indoors)
        if self.prior:
            told, airlight, dusty = with_dark_channel(told, cells, airlight, self.prior, less)
        haze = mean_of(1 - told)
        outdoors = (1 - indoors) * haze / DENSE
        further = (outdoors + self.indoors * indoors) * (self.far - 1) * (1 - told) ** self.ease
        told = 1 / (1 + (1 / told - 1) * (1 + further))
        if self.bound:
            least = self.bound * largest_around(1 - (cells / airlight).amin(1, keepdim=True))
            told = torch.maximum(told, least).clamp(max=1.0)
        luma = luma_of(cells)
        luma_mean = window_means(luma, self.guided)
        if self.keep:  # A + (mean - A) / t = keep x mean, solved for t
            keep, light = self.keep * less, luma_of(airlight)
            least = (light - luma_mean) / (light - keep * luma_mean).clamp(min=0.01)
            told = torch.maximum(told, least).clamp(max=1.0)
        lines, done = self.lines(told, luma, luma_mean)
        fold = picture.shape[-1] // told.shape[-1]
        more, effect = gain_of(enlarged(lines, fold), picture) - 1, mean_of(done)
        of_cells = gain_of(lines, cells) - 1
        lift = None
        if self.brighten:
            share = torch.maximum(self.brighten * ramp(haze, *HAZY), 1 - ramp(haze, *KEEPING_LIGHT))
            lift = lift_to(cells, cells + of_cells * (cells - airlight), (1 - indoors) * share)
        if not self.fine:
            return 1 + more, -more * airlight, effect, lift
        around, shares = details(cells if unfilled is None else unfilled, self.fine)
        base = (1 - shares) * around - airlight
        if self.cast:
            doubt = (1 - dusty) * self.cast * of_cells
            base = base - (1 - 1 / (1 + doubt**2)) * colour_of(around - airlight)
        offset, shares = enlarged(torch.cat((base, shares), 1), fold).split((3, 1), dim=1)
        return 1 + shares * more, offset * more, effect, lift

    def lines(self, told: Tensor, luma: Tensor, luma_mean: Tensor) -> tuple[Tensor, Tensor]:
        """Returns slope and offset of t over luma (B,2,h,w) and the effect that `flat` leaves
        (B,1,h,w), both for cells; luma_mean: the means of the windows of `luma`."""
        means = window_means(torch.cat((told, luma**2, luma * told), 1), self.guided)
        told_mean, squares, products = means.split(1, dim=1)
        variance = (squares - luma_mean**2).clamp(min=0.0)
        slope = (products - luma_mean * told_mean) / (variance + EPSILON)
        offset = told_mean - slope * luma_mean
        done = variance / (variance + self.flat**2) if self.flat else torch.ones_like(variance)
        lines = torch.cat((done * slope, 1 - done * (1 - offset)), 1)
        return window_means(lines, self.guided), done


def with_dark_channel(
    told: Tensor, cells: Tensor, airlight: Tensor, share: float, less: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns t (B,1,h,w), moved towards that of the dark channel prior (He, Sun and Tang, CVPR
    2009) where it finds more haze than `told`, airlight (B,3,1,1), and how surely the haze is dust.

    t moves by `share` in surely hazy and in dusty pictures, fully in pictures that are hazy in the
    distance only, whose airlight becomes the colour of the distance, and by `less` (B,1,1,1) of
    that. told, cells, airlight: as in `Clearing`.

    Differs from He et al. in two things. Of the windows that contain a place, the one with the
    largest minimum counts (a morphological opening), so that edges need no matting. And no scene is
    without a least channel of its own: what the prior finds beyond `told` where it finds least haze
    is subtracted everywhere.
    """
    haze = mean_of(1 - told)
    around = least_around(cells)
    airlight, dusty = with_colour_of_dust(airlight, around, haze)
    weight = largest_around(around.amin(1, keepdim=True), PATCH) ** FARTHEST
    farthest = mean_of(weight * cells) / mean_of(weight).clamp(min=1e-30)
    densest = mean_of(window_means(1 - told, CLOSE).clamp(min=1e-3) ** DENSEST) ** (1 / DENSEST)
    distant = ramp(densest, *DISTANT[0]) * ramp(densest / haze.clamp(min=1e-3), *DISTANT[1])
    distant = distant * (1 - ramp(luma_of(airlight) - luma_of(farthest), *TOO_LIGHT))
    airlight = airlight + less * distant * (farthest - airlight)
    dark = least_around((cells / airlight).amin(1, keepdim=True))
    least = 1 - OMEGA * largest_around(dark, PATCH).clamp(max=1.0)
    weight = least**CLEAREST
    scene = mean_of(weight * (least / told).clamp(max=1.0)) / mean_of(weight)
    by_prior = (least / scene).clamp(min=LEAST_BY_PRIOR)
    move = less * torch.maximum(distant, share * torch.maximum(ramp(haze, *HAZY), dusty))
    return told - move * (told - by_prior).clamp(min=0.0), airlight, dusty


def with_colour_of_dust(airlight: Tensor, around: Tensor, haze: Tensor) -> tuple[Tensor, Tensor]:
    """Returns airlight (B,3,1,1) with the colour of the veil, as far as that is dust or smoke, and
    how surely it is (B,1,1,1) in [0,1]. around: `least_around` of the cells; haze (B,1,1,1): mean
    of 1 - t.

    A network that sees dust as rare predicts an airlight that is too grey; what it then removes is
    grey, and the cast grows. The veil is what haze adds everywhere: the least value of each channel
    around each place, averaged with more weight where it is light. Its largest channel becomes that
    of the airlight.
    """
    weight = around.amin(1, keepdim=True).clamp(min=0.0) ** 0.5
    veil = (mean_of(weight * around) / mean_of(weight).clamp(min=1e-6)).clamp(min=1e-3)
    red, green, blue = veil.chunk(3, 1)
    dusty = ramp(luma_of(veil), *VEILED) * ramp(haze, *SEEN)
    dusty = dusty * ramp(red / green, *RED) * ramp(red / blue, *NOT_BLUE)
    dusty = dusty * (1 - ramp(luma_of(airlight), *INDOORS))
    coloured = veil * (airlight.amax(1, keepdim=True) / veil.amax(1, keepdim=True))
    return airlight + dusty * (coloured - airlight), dusty


def details(cells: Tensor, fine: float) -> tuple[Tensor, Tensor]:
    """Returns the mean colours around each cell (B,3,h,w), and how much of a gain its details,
    which differ from that, may have (B,1,h,w): half where the contrast of the cells is `fine`.
    """
    means = window_means(torch.cat((cells, luma_of(cells) ** 2), 1), DETAIL)
    around, squares = means.split((3, 1), dim=1)
    variance = (squares - luma_of(around) ** 2).clamp(min=0.0)
    return around, window_means(variance / (variance + fine**2), DETAIL)


def without_blind_spots(picture: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Returns `picture` (B,3,H,W) in [0,1] and the means of its cells (B,3,h,w), in which areas
    without information on haze take the colours around them: clipped highlights such as white
    frames, black bars along whole rows or columns, and the cells across their edges.

    h, w: multiples of 4.
    """
    burnt, white = BURNT
    kept = 1 - ramp(cells.amin(1, keepdim=True), burnt, white)
    light = cells.amax(1, keepdim=True)
    lit = torch.minimum(light.amax(3, keepdim=True), light.amax(2, keepdim=True)) > BLACK
    kept = -largest_around(-kept * lit.to(kept.dtype))
    known = torch.cat((cells * kept, kept), 1)
    groups = functional.avg_pool2d(known, 4)
    colour = normalized(mean_of(groups), 0.5)
    for radius in AROUND:
        colour = normalized(window_means(groups, radius), colour)
    colour = normalized(window_means(known, NEXT), enlarged(colour, 4))
    hidden = torch.cat((kept, (1 - kept) * colour), 1)
    fold = picture.shape[-1] // cells.shape[-1]
    wide = functional.interpolate(hidden, scale_factor=float(fold), mode="nearest")
    return wide[:, :1] * picture + wide[:, 1:], kept * cells + hidden[:, 1:]


def normalized(sums: Tensor, otherwise: Tensor | float) -> Tensor:
    """Returns colours (B,3,h,w) of (B,4,h,w), sums and their weight; `otherwise` if that is 0."""
    colours, weight = sums.split((3, 1), dim=1)
    return (colours + 0.02 * otherwise) / (weight + 0.02)


def where_hazy(airlight: Tensor, gain: Tensor) -> Tensor:
    """Returns the mean colour (B,3,1,1) of an airlight (B,3,h,w), weighted by 1 - t.

    gain: 1 / t, (B,C,4h,4w).
    """
    haze = 1.02 - (1 / gain).mean(1, keepdim=True)
    wide = functional.interpolate(airlight, scale_factor=4.0, mode="nearest")
    return mean_of(haze * wide) / mean_of(haze)


def ramp(values: Tensor, start: float, end: float) -> Tensor:
    """Returns 0 up to `start`, 1 from `end` on, linear in between."""
    return ((values - start) / (end - start)).clamp(0.0, 1.0)


def bent(restored: Tensor, hazy: Tensor, toe: float, least: float = -1.0) -> Tensor:
    """Returns `restored`, of any shape, with values below `toe` on a hyperbola that approaches 0.

    Value and slope are continuous at `toe`; no value becomes larger than in `hazy`. With a toe of
    12/255, values of 1/255 or more do not become 0 in 8 bits. Values below `least` become as this.
    """
    above = toe**2 / (2 * toe - restored.clamp(least, toe))
    return torch.maximum(restored, torch.minimum(hazy, above))


def lifted(picture: Tensor, lift: Tensor) -> Tensor:
    """Returns (1 + a) J / (1 + a J) of `picture` J (B,3,H,W) in [0,1]: shadows become up to 1 + a
    times as light, and black and white stay. `lift` a (B,1,1,1), 0 or more."""
    return (1 + lift) * picture / (1 + lift * picture)


def lift_to(hazy: Tensor, restored: Tensor, share: Tensor) -> Tensor:
    """Returns the lift (B,1,1,1) in [0,LARGEST_LIFT] that gives `restored` back a `share` of the
    mean luma that it has less than `hazy`, as a camera that measures the light would; 0 if it is
    lighter. Both (B,3,h,w); share (B,1,1,1) in [0,1]."""
    restored = restored.clamp(0.0, 1.0)
    lacking = (share * luma_of(mean_of(hazy - restored))).clamp(min=0.0)
    lift = torch.zeros_like(lacking)
    for _ in range(LIFTINGS):
        added = restored * (1 - restored) / (1 + lift * restored)  # by `lifted`, for each of lift
        lift = (lacking / luma_of(mean_of(added)).clamp(min=1e-3)).clamp(max=LARGEST_LIFT)
    return lift


def gain_of(lines: Tensor, picture: Tensor) -> Tensor:
    """Returns 1 / t (B,1,H,W) of a picture; lines (B,2,H,W): slope, offset of t over its luma."""
    slope, offset = lines.split(1, dim=1)
    return 1 / (slope * luma_of(picture) + offset).clamp(LEAST, 1.0)


def colour_of(picture: Tensor) -> Tensor:
    """Returns what differs from grey of the same luma, (B,3,H,W)."""
    return picture - luma_of(picture)


def luma_of(picture: Tensor) -> Tensor:
    """(B,3,H,W) -> (B,1,H,W)."""
    red, green, blue = (float(share) for share in LUMA)
    return red * picture[:, :1] + green * picture[:, 1:2] + blue * picture[:, 2:]


def means_of_cells(picture: Tensor, fold: int) -> Tensor:
    """(B,3,H,W) -> (B,3,H/fold,W/fold). A convolution: ONNX Runtime's pools take ten times that."""
    weights = torch.eye(3, dtype=picture.dtype, device=picture.device) / fold**2
    weights = weights[:, :, None, None].expand(3, 3, fold, fold)
    return functional.conv2d(picture, weights, stride=fold)


def least_around(planes: Tensor) -> Tensor:
    """Returns the least values of (B,C,h,w) in the windows of the dark channel."""
    return -largest_around(-planes, PATCH)


def largest_around(planes: Tensor, radius: int = 1) -> Tensor:
    """Returns the largest values of (B,C,h,w) in windows of 2 radius + 1 a side."""
    side = 2 * radius + 1
    wide = functional.pad(planes, (radius, radius, radius, radius), mode=BORDER)
    return functional.max_pool2d(functional.max_pool2d(wide, (side, 1), 1), (1, side), 1)


def mean_of(planes: Tensor) -> Tensor:
    """(B,C,h,w) -> (B,C,1,1)."""
    return planes.mean((-2, -1), keepdim=True)


def window_means(planes: Tensor, radius: int) -> Tensor:
    """Returns means of (B,C,h,w) over windows of 2 radius + 1 a side; the border is repeated."""
    side = 2 * radius + 1
    wide = functional.pad(planes, (radius, radius, radius, radius), mode=BORDER)
    return functional.avg_pool2d(functional.avg_pool2d(wide, (side, 1), 1), (1, side), 1)


def enlarged(planes: Tensor, times: int) -> Tensor:
    """(B,C,h,w) -> (B,C,times h,times w), bilinear."""
    return functional.interpolate(
        planes, scale_factor=float(times), mode="bilinear", align_corners=False
    )
