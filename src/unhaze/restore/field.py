"""The local affine field: what a network did to a small picture, applied to the full-size one.

Haze is locally affine, J = I/t + A(1 - 1/t), so where restored = matrix @ hazy + offset holds in a
window of the small picture, it holds there at any size. The maps are those of a guided filter of
restored on hazy with colour guide (He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, eq. 19).

Differs: the ridge draws the matrix towards the window's scalar gain (1/t, if all channels agree)
and that towards 1, not towards 0: detail that is too fine for the small picture is kept.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from unhaze.errors import UnhazeError

RADIUS = 2  # window of 5 x 5: 51 dB on SOTS-indoor pictures at 1x where 8 gives 46
EPSILON = 1e-4  # variance (contrast of 2.5/255) below which a window is too flat to trust
BAND = 64  # rows that are fitted at once
STRIP = 1 << 15  # pixels that are restored at once; small enough for the processor's cache
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # Rec. 709


def fit_field(
    hazy_hwc: np.ndarray, restored_hwc: np.ndarray, *, grey: bool = False, threads: int = 0
) -> np.ndarray:
    """Maps (3,4,h,w) float32: restored[i] ~ sum_j maps[i,j] * hazy[j] + maps[i,3].

    hazy, restored: (h,w,3) float32, hazy in [0,1], restored not bounded. `grey`: the three restored
    channels become equal (their luma). `threads`: 0 for one per core.
    """
    height, width = hazy_hwc.shape[:2]
    margin = ((2 * RADIUS, 2 * RADIUS), (2 * RADIUS, 2 * RADIUS), (0, 0))
    hazy = np.pad(hazy_hwc, margin, "symmetric").transpose(2, 0, 1)
    restored = np.pad(restored_hwc, margin, "symmetric").transpose(2, 0, 1)
    maps = np.empty((3, 4, height, width), np.float32)

    def fit(start: int) -> None:
        stop = min(start + BAND, height)
        rows = slice(start, stop + 4 * RADIUS)
        maps[:, :, start:stop] = _fit_band(hazy[:, rows], restored[:, rows])

    _in_parallel(fit, range(0, height, BAND), threads)
    if grey:
        maps[:] = np.tensordot(LUMA, maps, 1)
    return maps


def apply_field(
    maps: np.ndarray, pixels: np.ndarray, *, strength: float = 1.0, threads: int = 0
) -> np.ndarray:
    """The restored picture: a new (H,W,3) array of the type of `pixels` (uint8, uint16 or float32).

    `maps` (3,4,h,w) as from `fit_field`, of any size. `strength` in [0,1] blends with the identity.
    Float pixels are in [0,1], and so is their answer. Memory beyond the answer is small and fixed.
    """
    check_strength(strength)
    if strength == 0:
        return pixels.copy()
    height = len(pixels)
    blended = _identity() + np.float32(strength) * (maps - _identity())
    restored = np.empty_like(pixels)
    rows = max(1, STRIP // pixels.shape[1])

    def restore(start: int) -> None:
        strip = pixels[start : start + rows]
        restored[start : start + rows] = apply_to_rows(blended, strip, start, height)

    _in_parallel(restore, range(0, height, rows), threads)
    return restored


def apply_to_rows(maps: np.ndarray, strip: np.ndarray, start: int, height: int) -> np.ndarray:
    """Rows `start`... of a picture with `height` rows, restored: (n,W,3) -> same, type kept.

    The maps are interpolated bilinearly, first along the rows, then down the columns.
    """
    above, below, down = (each[start : start + len(strip)] for each in _lerp(maps, -2, height))
    left, right, along = _lerp(maps, -1, strip.shape[1])
    block = maps[:, :, above[0] : below[-1] + 1]
    wide = np.take(block, left, -1)
    wide += along * (np.take(block, right, -1) - wide)
    above, below, down = above - above[0], below - above[0], down[:, None]
    top = 1.0 if strip.dtype == np.float32 else float(np.iinfo(strip.dtype).max)
    rounding = np.float32(0 if strip.dtype == np.float32 else 0.5)
    channels = [strip[..., channel].astype(np.float32) for channel in range(3)]
    restored = np.empty_like(strip)
    for i in range(3):
        parts = np.take(wide[i], above, 1)
        parts += down * (np.take(wide[i], below, 1) - parts)
        value = parts[3]
        value *= np.float32(top)
        for part, channel in zip(parts, channels):
            part *= channel
            value += part
        np.clip(value, 0, top, out=value)
        value += rounding
        restored[..., i] = value
    return restored


def check_strength(strength: float) -> None:
    """UnhazeError unless `strength` is in [0,1]."""
    if not 0 <= strength <= 1:
        raise UnhazeError(f"strength is {strength:g}; expected 0 (no change) to 1 (full)")


def _fit_band(hazy: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Maps (3,4,n,w) from planes (3,n+4r,w+4r) whose margins of 2r are used up by two windows."""
    mean_hazy, mean_restored = _window_mean(hazy), _window_mean(restored)
    pairs = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    products = np.stack([hazy[i] * hazy[j] for i, j in pairs])
    means = np.stack([mean_hazy[i] * mean_hazy[j] for i, j in pairs])
    variance = _window_mean(products) - means
    covariance = _window_mean(restored[:, None] * hazy) - mean_restored[:, None] * mean_hazy
    trace = covariance[0, 0] + covariance[1, 1] + covariance[2, 2]
    gain = (trace + EPSILON) / (variance[:3].sum(0) + EPSILON)
    full = variance[[[0, 3, 4], [3, 1, 5], [4, 5, 2]]]  # (3,3,...) symmetric
    inverse = _inverse(variance[:3] + EPSILON, *variance[3:])
    maps = np.empty((3, 4, *gain.shape), np.float32)
    for i in range(3):
        rest = covariance[i] - gain * full[i]
        for j in range(3):
            maps[i, j] = (rest * inverse[j]).sum(0)
        maps[i, i] += gain
        maps[i, 3] = mean_restored[i] - (maps[i, :3] * mean_hazy).sum(0)
    return _window_mean(maps)


def _inverse(
    diagonal: np.ndarray, red_green: np.ndarray, red_blue: np.ndarray, green_blue: np.ndarray
) -> np.ndarray:
    """(3,3,...): the inverses of symmetric positive definite 3x3 matrices, by cofactors."""
    red, green, blue = diagonal
    first = green * blue - green_blue**2
    second = red_blue * green_blue - red_green * blue
    third = red_green * green_blue - red_blue * green
    determinant = red * first + red_green * second + red_blue * third
    mixed = red_green * red_blue - red * green_blue
    rows = (
        (first, second, third),
        (second, red * blue - red_blue**2, mixed),
        (third, mixed, red * green - red_green**2),
    )
    return np.stack([np.stack(row) for row in rows]) / determinant


def _window_mean(planes: np.ndarray) -> np.ndarray:
    """Mean over (2r+1) x (2r+1) windows that lie wholly inside: the last two axes lose 2r each."""
    size = 2 * RADIUS + 1
    height, width = planes.shape[-2] - 2 * RADIUS, planes.shape[-1] - 2 * RADIUS
    columns = planes[..., :height, :].copy()
    for shift in range(1, size):
        columns += planes[..., shift : shift + height, :]
    windows = columns[..., :width].copy()
    for shift in range(1, size):
        windows += columns[..., shift : shift + width]
    windows /= size * size
    return windows


def _lerp(maps: np.ndarray, axis: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For `size` pixels along `axis`: the map pixel before, the one after, and its share."""
    count = maps.shape[axis]
    centre = np.clip((np.arange(size) + 0.5) * (count / size) - 0.5, 0, count - 1)
    before = np.floor(centre).astype(np.intp)
    return before, np.minimum(before + 1, count - 1), (centre - before).astype(np.float32)


def _identity() -> np.ndarray:
    return np.eye(3, 4, dtype=np.float32)[:, :, None, None]


def _in_parallel(work: Callable[[int], None], starts: Iterable[int], threads: int) -> None:
    """NumPy lets go of the interpreter lock inside its loops, so threads do share the work."""
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for _ in pool.map(work, starts):
            pass
