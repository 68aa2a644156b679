"""Samples of pictures between their types, and channels between last and first."""

import numpy as np


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
