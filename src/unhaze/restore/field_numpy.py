"""The affine field of `field.py` in NumPy, for computers without a C compiler."""

from collections.abc import Sequence

import numpy as np

from unhaze.image import window_sum

RADIUS = 2  # window of 5 x 5: 49 dB on SOTS-indoor pictures at 1x where 8 gives 41
EPSILON = 1e-4  # variance (contrast of 2.5/255) below which a window is too flat to be reliable
TILE = 4096  # pixels of a row restored at once


def padded(picture_hwc: np.ndarray) -> np.ndarray:
    """Returns planes (3,h+4r,w+4r) of a picture (h,w,3), for `fit_rows`."""
    margin = ((2 * RADIUS, 2 * RADIUS), (2 * RADIUS, 2 * RADIUS), (0, 0))
    return np.pad(picture_hwc, margin, "symmetric").transpose(2, 0, 1)


def fit_rows(
    hazy: np.ndarray, restored: np.ndarray, maps: np.ndarray, rows: tuple[int, int]
) -> None:
    """Fills `rows` (first, last) of maps (3,2,h,w). Planes as from `padded`."""
    first, last = rows
    band = slice(first, last + 4 * RADIUS)
    maps[:, :, first:last] = _fit_band(hazy[:, band], restored[:, band])


def apply_rows(
    maps: np.ndarray, strip: np.ndarray, start: int, height: int, *, bounded: bool
) -> np.ndarray:
    """Restores rows `start`... of a picture of `height` rows: (n,W,channels) -> same type.

    maps (h,2,w,colours).
    """
    colours, width = maps.shape[3], strip.shape[1]
    restored = np.empty_like(strip)
    restored[..., colours:] = strip[..., colours:]
    rows = [each[start : start + len(strip)] for each in _lerp(maps.shape[0], height)]
    columns = _lerp(maps.shape[2], width)
    for left in range(0, width, TILE):
        tile = slice(left, left + TILE)
        inside = [each[tile] for each in columns]
        hazy, target = strip[:, tile, :colours], restored[:, tile, :colours]
        _apply_to_tile(maps, hazy, rows, inside, target, bounded)
    return restored


def _apply_to_tile(
    maps: np.ndarray,
    hazy_hwc: np.ndarray,
    rows: Sequence[np.ndarray],
    columns: Sequence[np.ndarray],
    restored_hwc: np.ndarray,
    bounded: bool,
) -> None:
    """Fills `restored_hwc`; `rows`, `columns`: positions of its pixels in the maps (see `_lerp`).

    The maps (h,2,w,colours) are interpolated bilinearly: along the rows once for all pixels between
    two map rows, then down the columns. All arrays fit into the processor's cache.
    """
    row_shape = hazy_hwc.shape[1:]
    is_float = hazy_hwc.dtype == np.float32
    top = np.float32(1 if is_float else np.iinfo(hazy_hwc.dtype).max)
    half = np.float32(0 if is_float else 0.5)  # conversion to integers truncates
    highest = top + half if bounded or not is_float else None
    upper, lower, slope, mixed = np.empty((4, 2, *row_shape), np.float32)
    hazy = np.empty(row_shape, np.float32)
    left, right, share = columns
    shares = np.broadcast_to(share[:, None], row_shape).copy()
    gain, value = mixed

    def widen(map_row: int, wide: np.ndarray) -> None:
        line = maps[map_row].copy()
        line[1] *= top
        line[1] += half
        np.take(line, left, 1, wide, "clip")
        np.take(line, right, 1, mixed, "clip")
        np.subtract(mixed, wide, out=mixed)
        np.multiply(mixed, shares, out=mixed)
        np.add(wide, mixed, out=wide)

    current = -2
    for row, (above, below, share) in enumerate(zip(*rows)):
        if above != current:
            if above == current + 1:
                upper, lower = lower, upper
            else:
                widen(above, upper)
            widen(below, lower)
            np.subtract(lower, upper, out=slope)
            current = above
        np.multiply(slope, share, out=mixed)
        np.add(mixed, upper, out=mixed)
        np.copyto(hazy, hazy_hwc[row], casting="unsafe")
        np.multiply(hazy, gain, out=hazy)
        np.add(hazy, value, out=hazy)
        np.clip(hazy, 0, highest, out=hazy)
        np.copyto(restored_hwc[row], hazy, casting="unsafe")


def _fit_band(hazy: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Returns maps (3,2,n,w) from planes (3,n+4r,w+4r), whose margins of 2r two windows consume."""
    mean_hazy, mean_restored = _window_mean(hazy), _window_mean(restored)
    variance = _window_mean(hazy * hazy) - mean_hazy * mean_hazy
    covariance = _window_mean(hazy * restored) - mean_hazy * mean_restored
    shared = (covariance.sum(0) + EPSILON) / (variance.sum(0) + EPSILON)
    gain = (covariance + EPSILON * shared) / (variance + EPSILON)
    return _window_mean(np.stack([gain, mean_restored - gain * mean_hazy], axis=1))


def _window_mean(planes: np.ndarray) -> np.ndarray:
    """Returns means over (2r+1) x (2r+1) windows fully inside: the last two axes lose 2r each."""
    windows = window_sum(planes, RADIUS)
    windows /= (2 * RADIUS + 1) ** 2
    return windows


def _lerp(count: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns, for each of `size` pixels over `count` map pixels: the one before, the one after, a
    share.
    """
    centre = np.clip((np.arange(size) + 0.5) * (count / size) - 0.5, 0, count - 1)
    before = np.floor(centre).astype(np.intp)
    return before, np.minimum(before + 1, count - 1), (centre - before).astype(np.float32)
