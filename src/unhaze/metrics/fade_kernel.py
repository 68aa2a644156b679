"""The compiled convolutions of FADE, if there is a compiler; `fog_density.py` has them in NumPy."""

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from unhaze.compiled import load_kernel

# Sums keep their order and products their rounding: in flat patches both influence FADE.
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
FLAGS += ("-ffp-contract=off",)


@functools.cache
def kernel() -> ctypes.CDLL | None:
    """Returns the library, or None."""
    library = load_kernel(Path(__file__).with_suffix(".c"), FLAGS)
    if library is not None:
        plane, whole = ctypes.c_void_p, ctypes.c_int64
        for function in (library.blur, library.energy):
            function.argtypes = [plane, plane, whole, whole, plane]
    return library


def convolved(function: Callable[..., int], plane: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """`function`, the library's `blur` or `energy`, of (H,W) float64 by taps, both contiguous."""
    found = np.empty_like(plane)
    pointers = (each.ctypes.data for each in (plane, found))
    if function(*pointers, *plane.shape, taps.ctypes.data):
        raise MemoryError
    return found
