"""Samples of pictures between their types, and channels between last and first."""

from typing import Any

import numpy as np

from unhaze.errors import UnhazeError


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
