"""Pictures at other sizes: by libvips' Lanczos-3, by bicubic interpolation, by means of cells."""

from functools import reduce
from typing import Literal

import numpy as np
import pyvips

Border = Literal["edge", "constant"]


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
