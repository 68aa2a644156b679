"""Antialiased bicubic resizing, for the protocols that compare at a fixed size. NumPy only."""

import numpy as np


def bicubic(picture_hwc: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H,W,C) in [0,1] -> float64 (height,width,C), clamped, for `size` = (height, width).

    Keys' kernel (IEEE TASSP 29(6), 1981) with a = -0.5, widened where it shrinks, its weights
    normalised at the edges: that of Pillow, and but for the edges that of MATLAB's imresize.
    """
    for axis, target in enumerate(size):
        length = picture_hwc.shape[axis]
        if length != target:
            moved = np.tensordot(weights(length, target), picture_hwc, axes=(1, axis))
            picture_hwc = np.moveaxis(moved, 0, axis)
    return np.clip(picture_hwc, 0, 1, dtype=np.float64)


def weights(length: int, target: int) -> np.ndarray:
    """(target, length): the share of each old sample in each new one."""
    scale = length / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distance = np.abs(centres[:, None] - np.arange(length)) / max(scale, 1)
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    shares = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    return shares / shares.sum(axis=1, keepdims=True)
