"""The physics of haze, on NumPy arrays and PyTorch tensors alike (only operators are used).

Koschmieder's law as RESIDE uses it: hazy = clear * t + A * (1 - t), t = exp(-beta * depth).
"""

import math
from typing import TypeVar

Array = TypeVar("Array")


def transmission(depth: Array, beta: float | Array) -> Array:
    """t = exp(-beta * depth) in (0, 1]; RESIDE indoor divides depth by its maximum per image."""
    return math.e ** (-beta * depth)


def add_haze(clear: Array, transmission: Array, airlight: float | Array) -> Array:
    """hazy = clear * t + A * (1 - t); all broadcast, all in [0, 1]."""
    return clear * transmission + airlight * (1 - transmission)


def remove_haze(hazy: Array, transmission: Array, airlight: float | Array) -> Array:
    """The inverse: (hazy - A) / t + A; not clamped. `transmission` must be positive."""
    return (hazy - airlight) / transmission + airlight
