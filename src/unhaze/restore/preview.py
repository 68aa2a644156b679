"""Pictures for display: before and after side by side, and transmission and airlight of the
field.
"""

from dataclasses import dataclass

import numpy as np

from unhaze.image import LUMA, to_u8, window_mean
from unhaze.restore.analysis import Colours

DIVIDER = 0.004  # width of the line between before and after, as a share of the longer side

STRUCTURE = 1e-4  # variance of brightness (contrast of 2.5/255) above which a window counts
WIDE = 0.1  # radius of the surroundings used instead, as a share of the longer side
LIGHT_RIDGE = 0.05  # weight of the airlight of the whole picture relative to a place's own
DARKER = 3 * 0.05**2  # how much darker than airlight a place must be to determine transmission
SMOOTH = 0.01  # radius over which transmission is averaged, as a share of the longer side
EDGE = 1e-3  # variance of brightness above which an edge of the picture is an edge of the haze


@dataclass(frozen=True)
class Preview:
    """A small, upright version of a photo: `hazy`, `restored` (h,w,3) float32 in [0,1], sRGB, and
    the field between them in the photo's own `colours`, `maps` (3,2,h,w).
    """

    hazy: np.ndarray
    restored: np.ndarray
    maps: np.ndarray
    colours: Colours = Colours()


def comparison(hazy_hwc_u8: np.ndarray, restored_hwc_u8: np.ndarray) -> np.ndarray:
    """Joins two (H,W,3) uint8 pictures: side by side, or wide ones (over 2:1) one above the other.

    A white line divides them; before is left or on top.
    """
    height, width = hazy_hwc_u8.shape[:2]
    line = max(2, round(DIVIDER * max(height, width)))
    stacked = width > 2 * height
    shape = (line, width, 3) if stacked else (height, line, 3)
    parts = [hazy_hwc_u8, np.full(shape, 255, np.uint8), restored_hwc_u8]
    return np.concatenate(parts, axis=0 if stacked else 1)


def field_pictures(maps: np.ndarray, hazy_hwc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns pictures of transmission and airlight, (h,w,3) uint8, from maps (3,2,h,w).

    hazy_hwc: (h,w,3) float32 in [0,1] at the size of the maps. By the haze law, hazy = t clear + (1
    - t) A, a perfect restoration is clear = g hazy + (1 - g) A with the gain g = 1/t. The field,
    restored = m hazy + o in each channel, is interpreted accordingly:

    * The gain is the amplification of changes in brightness: the mean of m over the channels.
    * restored - g hazy = (1 - g) A then gives A by least squares over wide windows. Windows without
    structure and places with g near 1 do not determine A and have no weight; where there are no
    others nearby, the airlight of the whole picture is used. Airlight brighter than white is scaled
    to white and keeps its hue.
    * A - hazy = t (A - restored) gives t in [0,1], also without structure. Where the picture is as
    bright as A (a sky), any t would do; there it is that of the surroundings. It is smoothed, but
    not across the edges of the picture.

    In the first picture bright is clear; the second one shows the colour of the haze, and grey if
    nothing was changed anywhere.
    """
    side = max(hazy_hwc.shape[:2])
    hazy = hazy_hwc.transpose(2, 0, 1)
    restored = maps[:, 0] * hazy + maps[:, 1]
    brightness = np.tensordot(LUMA, hazy, 1)
    airlight = _airlight(maps, hazy, restored, brightness, side)
    transmission = _transmission(airlight, hazy, restored, brightness, side)
    shown = np.repeat(transmission[..., None], 3, 2), airlight.transpose(1, 2, 0)
    return to_u8(shown[0]), to_u8(shown[1])


def _airlight(
    maps: np.ndarray, hazy: np.ndarray, restored: np.ndarray, brightness: np.ndarray, side: int
) -> np.ndarray:
    """Returns (3,h,w) in [0,1], 0.5 if the field changes nothing."""
    variance = np.maximum(_mean(brightness**2, 2) - _mean(brightness, 2) ** 2, 0)
    weight = variance / (variance + STRUCTURE)
    veil = 1 - np.clip(maps[:, 0].mean(0), 1, 50)
    products = weight * veil * (restored - (1 - veil) * hazy)
    squares = weight * veil**2
    known = squares.mean()
    if known < 1e-6:
        return np.full_like(hazy, 0.5)
    everywhere = products.mean((1, 2)) / known
    both = _gathered(np.concatenate([products, squares[None]]), side)
    pull = LIGHT_RIDGE * known
    light = np.maximum((both[:3] + pull * everywhere[:, None, None]) / (both[3] + pull), 0)
    return light / np.maximum(light.max(0), 1)


def _transmission(
    airlight: np.ndarray,
    hazy: np.ndarray,
    restored: np.ndarray,
    brightness: np.ndarray,
    side: int,
) -> np.ndarray:
    """Returns (h,w) in [0,1]: |A - hazy| / |A - restored| through a weighted guided filter."""
    away = np.maximum(airlight - restored, 0)
    products, squares = (away * np.maximum(airlight - hazy, 0)).sum(0), (away**2).sum(0)
    coarse, around = _gathered(np.stack([products, squares]), side) + 1e-9
    raw = np.clip((products + DARKER * coarse / around) / (squares + DARKER), 0, 1)
    weight = squares + DARKER
    radius = max(2, round(SMOOTH * side))
    total = _mean(weight, radius)
    mean_light = _mean(weight * brightness, radius) / total
    mean_raw = _mean(weight * raw, radius) / total
    spread = _mean(weight * brightness**2, radius) / total - mean_light**2
    together = _mean(weight * brightness * raw, radius) / total - mean_light * mean_raw
    slope = together / (np.maximum(spread, 0) + EDGE)
    offset = mean_raw - slope * mean_light
    return np.clip(_mean(slope, radius) * brightness + _mean(offset, radius), 0, 1)


def _gathered(planes: np.ndarray, side: int) -> np.ndarray:
    """Returns means over wide surroundings; three in a row approximate a Gaussian and hide the
    window.
    """
    for _ in range(3):
        planes = _mean(planes, max(2, round(WIDE * side)))
    return planes


def _mean(planes: np.ndarray, radius: int) -> np.ndarray:
    """Mean over (2 radius + 1)^2 windows of the last two axes; the border is repeated."""
    return window_mean(planes.astype(np.float64), radius, repeat=True).astype(np.float32)
