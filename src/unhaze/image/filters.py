"""Minimum and mean over square windows, and the guided filter that is made of them."""

import numpy as np

LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # Rec. 709


def window_minimum(planes: np.ndarray, size: int) -> np.ndarray:
    """The least value in the `size` x `size` window (odd) around each pixel of (...,H,W).

    What lies outside the picture does not count.
    """
    radius = size // 2
    margin = [(0, 0)] * (planes.ndim - 2) + [(radius, radius)] * 2
    least = np.pad(planes, margin, constant_values=np.inf)
    # Two windows that overlap make a longer one, so the number of passes is the logarithm of size.
    covered = 1
    while covered < size:
        step = min(covered, size - covered)
        least = np.minimum(least[..., :-step, :], least[..., step:, :])
        least = np.minimum(least[..., :-step], least[..., step:])
        covered += step
    return least


def window_mean(planes: np.ndarray, radius: int, *, repeat: bool = False) -> np.ndarray:
    """The mean over the (2 * radius + 1)^2 window around each pixel of (...,H,W), in its type.

    Windows are cut off at the border and divided by the number of pixels that are left, or, with
    `repeat`, filled up with the pixels of the border.
    """
    for axis in (-2, -1):
        planes = _mean_along(planes, radius, axis, repeat)
    return planes


def window_sum(planes: np.ndarray, radius: int) -> np.ndarray:
    """(...,H,W) -> (...,H - 2 radius,W - 2 radius): the sums over all windows that lie wholly
    inside, none in a smaller picture. Quicker than `window_mean` for small windows."""
    height, width = (max(0, side - 2 * radius) for side in planes.shape[-2:])
    columns = planes[..., :height, :].copy()
    for shift in range(1, 2 * radius + 1):
        columns += planes[..., shift : shift + height, :]
    windows = columns[..., :width].copy()
    for shift in range(1, 2 * radius + 1):
        windows += columns[..., shift : shift + width]
    return windows


def guided_filter(
    guide: np.ndarray, plane: np.ndarray, *, radius: int, epsilon: float
) -> np.ndarray:
    """`plane` (H,W), smoothed along the edges of `guide`: (H,W), or (3,H,W) for a colour guide.

    In each window the answer is linear in the guide (He, Sun and Tang, "Guided Image Filtering",
    TPAMI 2013, eq. 5 to 8, and 14 to 16 for colour). All are in [0,1]; `epsilon` is a variance.
    """
    if guide.ndim == 2:
        mean_guide, mean_plane = window_mean(guide, radius), window_mean(plane, radius)
        variance = np.maximum(window_mean(guide * guide, radius) - mean_guide**2, 0)
        covariance = window_mean(guide * plane, radius) - mean_guide * mean_plane
        slope = covariance / (variance + np.float32(epsilon))
        offset = mean_plane - slope * mean_guide
        return window_mean(slope, radius) * guide + window_mean(offset, radius)
    mean_guide, mean_plane = window_mean(guide, radius), window_mean(plane, radius)
    pairs = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    variance = np.stack(
        [window_mean(guide[i] * guide[j], radius) - mean_guide[i] * mean_guide[j] for i, j in pairs]
    )
    covariance = window_mean(guide * plane, radius) - mean_guide * mean_plane
    inverse = symmetric_inverse(variance[:3] + np.float32(epsilon), *variance[3:])
    slope = (inverse * covariance).sum(1)
    offset = mean_plane - (slope * mean_guide).sum(0)
    return (window_mean(slope, radius) * guide).sum(0) + window_mean(offset, radius)


def symmetric_inverse(
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


def grey(hazy: np.ndarray) -> np.ndarray:
    """(3,H,W) -> (H,W), the luma."""
    return np.tensordot(LUMA, hazy, 1)


def _mean_along(planes: np.ndarray, radius: int, axis: int, repeat: bool) -> np.ndarray:
    """By running sums in float64: float32 would lose the small variances."""
    if repeat:
        margin = [(0, 0)] * planes.ndim
        margin[axis] = (radius, radius)
        wide = slice(radius, radius + planes.shape[axis])
        means = _mean_along(np.pad(planes, margin, "edge"), radius, axis, False)
        return means[..., wide, :] if axis == -2 else means[..., wide]
    length = planes.shape[axis]
    sums = np.cumsum(planes, axis=axis, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(np.take(sums, [0], axis)), sums], axis)
    first = np.clip(np.arange(length) - radius, 0, length)
    last = np.clip(np.arange(length) + radius + 1, 0, length)
    count = last - first if axis == -1 else (last - first)[:, None]
    return ((np.take(sums, last, axis) - np.take(sums, first, axis)) / count).astype(planes.dtype)
