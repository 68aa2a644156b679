"""The compiled affine field, if a compiler is available; `field.py` has the NumPy
implementation.
"""

import ctypes
import functools
import math
from pathlib import Path

import numpy as np

from unhaze.compiled import load_kernel

KINDS = {np.dtype(np.uint8): 0, np.dtype(np.uint16): 1, np.dtype(np.float32): 2}
WHOLE, FLOAT, POINTER = ctypes.c_int64, ctypes.c_float, ctypes.c_void_p


class Apply(ctypes.Structure):
    """The struct of the same name in the C file."""

    _fields_ = [
        ("maps", POINTER),
        *((name, WHOLE) for name in ("map_height", "map_width", "colours")),
        *((name, WHOLE) for name in ("width", "height", "channels", "kind")),
        *((name, FLOAT) for name in ("top", "high")),
    ]


class Yuv(ctypes.Structure):
    """The struct of the same name in the C file."""

    _fields_ = [
        ("maps", POINTER),
        *((name, WHOLE) for name in ("map_height", "map_width")),
        *((name, WHOLE) for name in ("width", "height", "across", "down", "deep", "top")),
        ("given", POINTER * 3),
        ("out", POINTER * 3),
        ("in_step", WHOLE * 3),
        ("out_step", WHOLE * 3),
        *((name, FLOAT) for name in ("black", "luma", "chroma", "red", "blue")),
    ]


@functools.cache
def kernel() -> ctypes.CDLL | None:
    """Returns the library, None if there is none."""
    library = load_kernel(Path(__file__).with_suffix(".c"))
    if library is not None:
        apply, fit, yuv = library.apply_rows, library.fit_rows, library.apply_yuv
        apply.argtypes = [ctypes.POINTER(Apply), POINTER, POINTER, WHOLE, WHOLE]
        fit.argtypes = [POINTER, POINTER, POINTER, WHOLE, WHOLE, FLOAT, WHOLE, WHOLE]
        yuv.argtypes = [ctypes.POINTER(Yuv), WHOLE, WHOLE]
        library.shrink_rows.argtypes = [POINTER, POINTER, *[WHOLE] * 6]
    return library


def built_kernel() -> ctypes.CDLL:
    """Returns the library, for callers that have checked that there is one."""
    library = kernel()
    assert library is not None
    return library


def shrink_rows(strip: np.ndarray, cell: int, means: np.ndarray) -> None:
    """Fills `means` (h,w,channels), float32, contiguous, by cells of a strip (n,W,channels) uint8.

    Cells that reach beyond the strip repeat its last row and column. MemoryError: for a row.
    """
    strip = np.ascontiguousarray(strip)
    pointers = (each.ctypes.data for each in (strip, means))
    _check(built_kernel().shrink_rows(*pointers, *strip.shape, cell, *means.shape[:2]))


def apply_rows(
    maps: np.ndarray,
    strip: np.ndarray,
    start: int,
    height: int,
    *,
    bounded: bool,
    restored: np.ndarray | None = None,
) -> np.ndarray:
    """Restores rows `start`... of a picture of `height` rows: (n,W,channels) -> same type.

    maps (colours,2,h,w) float32, contiguous, of samples in [0,1]. `bounded`: clamp floats to 1.
    `restored`: target, contiguous, else a new array. MemoryError: for a few hundred kilobytes.
    """
    strip = np.ascontiguousarray(strip)
    restored = np.empty_like(strip) if restored is None else restored
    top = 1.0 if strip.dtype == np.float32 else float(np.iinfo(strip.dtype).max)
    told = Apply(
        maps.ctypes.data,
        *(*maps.shape[2:], maps.shape[0]),
        *(strip.shape[1], height, strip.shape[2], KINDS[strip.dtype]),
        *(top, top if bounded or top > 1 else math.inf),
    )
    apply = built_kernel().apply_rows
    _check(apply(told, strip.ctypes.data, restored.ctypes.data, start, len(strip)))
    return restored


def fit_rows(
    hazy_hwc: np.ndarray,
    restored_hwc: np.ndarray,
    maps: np.ndarray,
    rows: tuple[int, int],
    *,
    epsilon: float,
) -> None:
    """Fills `rows` (first, last) of maps (3,2,h,w). Pictures (h,w,3), float32, contiguous."""
    pointers = (each.ctypes.data for each in (hazy_hwc, restored_hwc, maps))
    _check(built_kernel().fit_rows(*pointers, *hazy_hwc.shape[:2], epsilon, *rows))


def _check(status: int) -> None:
    if status:
        raise MemoryError
