"""Arithmetic on pictures that know no file: types of samples, other sizes, window filters.

Sizes change by libvips' Lanczos-3, by bicubic interpolation, or by means of cells.
"""

import os
from functools import reduce
from typing import Any, Literal

import numpy as np
import pyvips

from unhaze.errors import UnhazeError

LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # Rec. 709
Border = Literal["edge", "constant"]
processes: set[int] = set()  # in which libvips was used: this one, and any that it was forked from


def check_process() -> None:
    """Raises UnhazeError in a process forked from one that has called this, which opens pictures.

    A fork has no copies of libvips' threads, and would wait for them without end.
    """
    processes.add(os.getpid())
    if len(processes) > 1:
        raise UnhazeError(
            "this process was forked from one that has read or restored pictures, whose threads it"
            " lacks; start it with multiprocessing.get_context('spawn')"
        )


def to_float(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 of any shape -> float32 in [0, 1]; floats as they are."""
    if pixels.dtype == np.float32:
        return pixels
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def to_u8(values: np.ndarray) -> np.ndarray:
    """Floats of any shape, in [0, 1] or clipped to it -> uint8, rounded."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def narrowed(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 of any shape -> uint8: of 16 bits the upper 8."""
    return pixels if pixels.dtype == np.uint8 else (pixels // 257).astype(np.uint8)


def channels_first(samples_hwc: np.ndarray) -> np.ndarray:
    """(H,W,C) -> contiguous (C,H,W) of the same type."""
    return np.ascontiguousarray(samples_hwc.transpose(2, 0, 1))


def check_pixels(pixels: Any, named: str) -> None:
    """UnhazeError, begun with `named`, unless they are (H,W,3) uint8, uint16 or float32."""
    kinds = (np.uint8, np.uint16, np.float32)
    shape = getattr(pixels, "shape", ())
    if len(shape) != 3 or shape[2] != 3 or 0 in shape or pixels.dtype not in kinds:
        given = f"{pixels.dtype} {shape}" if shape else type(pixels).__name__
        raise UnhazeError(
            f"{named} {given}; expected (H,W,3) of uint8, uint16, or float32 in [0,1]"
        )


def size_within(shape: tuple[int, ...], long_side: float) -> tuple[int, int]:
    """(height, width) of a picture (H,W,...) whose longer side becomes `long_side`; at least 1."""
    factor = long_side / max(shape[:2])
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def fitted(picture_hwc: np.ndarray, long_side: int) -> np.ndarray:
    """(H,W,3) float32 in [0,1], shrunk or enlarged to `long_side`, rounded to 8 bits as in a file.

    Means of many pixels are finer than any file of this size: a prior would find less noise.
    """
    result = resized(picture_hwc, *size_within(picture_hwc.shape, long_side))
    return np.rint(255 * result) / np.float32(255)


def scaled(picture_hwc: np.ndarray, factor: float) -> np.ndarray:
    """(H,W,3) float32 in [0,1] -> sides times `factor`, rounded, at least 1."""
    height, width = (max(1, round(side * factor)) for side in picture_hwc.shape[:2])
    return resized(picture_hwc, height, width)


def resized(picture_hwc: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H,W,3) float32 in [0,1] -> (height,width,3), clamped; the outer edges stay where they are.

    libvips' Lanczos-3 to shrink. To enlarge, bicubic by its affine transform: its resize would move
    the picture by up to half a pixel, which costs more PSNR than the resizing itself.
    """
    if picture_hwc.shape[:2] == (height, width):
        return picture_hwc
    across, down = width / picture_hwc.shape[1], height / picture_hwc.shape[0]
    if max(across, down) <= 1:
        return np.clip(lanczos(picture_hwc, across, down), 0, 1)
    enlarged = as_image(picture_hwc).affine(
        [across, 0, 0, down],
        interpolate=pyvips.Interpolate.new("bicubic"),
        odx=(across - 1) / 2,
        ody=(down - 1) / 2,
        oarea=[0, 0, width, height],
        extend="copy",
    )
    return np.clip(enlarged.numpy(), 0, 1)


def lanczos(picture_hwc: np.ndarray, across: float, down: float) -> np.ndarray:
    """(H,W,C) of any type of libvips -> the same type, its sides times the factors, rounded.

    libvips' Lanczos-3, not clamped; bicubic where it enlarges.
    """
    return as_image(picture_hwc).resize(across, vscale=down).numpy()


def as_image(samples_hwc: np.ndarray) -> pyvips.Image:
    """(H,W,C) as a picture of libvips, of the same type."""
    return pyvips.Image.new_from_array(np.ascontiguousarray(samples_hwc))


def cell_means(planes: np.ndarray, size: int, *, border: Border = "edge") -> np.ndarray:
    """(...,H,W) -> (...,ceil(H/size),ceil(W/size)): the means of size x size pixels, in their type.

    The last cells are filled up from the border: "edge" repeats it, "constant" has zeros.
    """
    margin = [(0, 0)] * (planes.ndim - 2) + [(0, -side % size) for side in planes.shape[-2:]]
    whole = np.pad(planes, margin, border) if any(map(any, margin)) else planes
    rows = reduce(np.add, (whole[..., start::size, :] for start in range(size)))
    sums = reduce(np.add, (rows[..., start::size] for start in range(size)))
    return sums / sums.dtype.type(size * size)


def bicubic(picture_hwc: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H,W,C) in [0,1] -> float64 (height,width,C), clamped, for `size` = (height, width).

    Keys' kernel (IEEE TASSP 29(6), 1981) with a = -0.5, widened where it shrinks, its weights
    normalised at the edges: that of Pillow, and but for the edges that of MATLAB's imresize.
    """
    for axis, target in enumerate(size):
        length = picture_hwc.shape[axis]
        if length != target:
            moved = np.tensordot(_weights(length, target), picture_hwc, axes=(1, axis))
            picture_hwc = np.moveaxis(moved, 0, axis)
    return np.clip(picture_hwc, 0, 1, dtype=np.float64)


def _weights(length: int, target: int) -> np.ndarray:
    """(target, length): the share of each old sample in each new one."""
    scale = length / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distance = np.abs(centres[:, None] - np.arange(length)) / max(scale, 1)
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    shares = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    return shares / shares.sum(axis=1, keepdims=True)


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

    In each window the result is linear in the guide (He, Sun and Tang, "Guided Image Filtering",
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
