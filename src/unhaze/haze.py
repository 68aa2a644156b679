"""The physics of haze, on NumPy arrays and PyTorch tensors alike (only operators are used).

Koschmieder's law as RESIDE uses it: hazy = clear * t + A * (1 - t), t = exp(-beta * depth).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from unhaze.errors import UnhazeError

if TYPE_CHECKING:
    import numpy as np
    import torch

Array = TypeVar("Array", "np.ndarray", "torch.Tensor")


def transmission(depth: Array, beta: float | Array) -> Array:
    """t = exp(-beta * depth) in (0, 1]; RESIDE indoor divides depth by its maximum per image."""
    return math.e ** (-beta * depth)


def add_haze(clear: Array, transmission: Array, airlight: float | Array) -> Array:
    """hazy = clear * t + A * (1 - t); all broadcast, all in [0, 1]."""
    return clear * transmission + airlight * (1 - transmission)


def remove_haze(hazy: Array, transmission: Array, airlight: float | Array) -> Array:
    """The inverse: (hazy - A) / t + A; not clamped. `transmission` must be positive."""
    return (hazy - airlight) / transmission + airlight


def tint(largest: float, warm: Array, green: Array) -> tuple[Array, Array, Array]:
    """Returns what to add to red, green and blue of a grey airlight; `warm`, `green` in [-1,1].

    Dust and smoke take away blue, up to `largest` less than red; clear air far away scatters blue,
    up to a third of that more than red. Green lies between, give or take 0.3 of the difference.
    So lie the airlights of 61 real hazy photos: red less blue from -0.2 to 0.6, and for four in
    five within 0.1 of zero, for which `warm` is cubed.
    """
    difference = largest * warm**3
    difference = difference * (warm > 0) + difference / 3 * (warm <= 0)
    return difference / 2, 0.3 * green * abs(difference), -difference / 2


@dataclass(frozen=True)
class HazeLaw:
    """Distribution of the haze of synthetic pictures, as RESIDE indoor; ranges are [low, high].

    beta: scattering coefficient for depth divided by its maximum in the picture. airlight: A, in
    [0,1]; the share `airlight_at_one` of all draws is exactly 1. airlight_tint: by how much
    red may exceed blue in A (`tint`); most draws are far from it.
    clear_share: share of pictures that get no haze at all. uneven: by how much (0.3: 30 %) density
    and, half as much, airlight vary smoothly across the picture. camera: a camera that meets haze
    exposes shorter and balances its colour away; up to this share of what would give the picture
    the mean colour of the clear one. dusty: dust colours the light on the scene too; up to this
    share of the airlight's colour. patchy: share of pictures with smoke in patches as well.
    veiled: share of pictures behind a cloud, equally dense everywhere, from thin to nearly opaque.
    dust: share of pictures in dust from yellow to orange, whose colour the airlight alone has.
    """

    beta: tuple[float, float] = (0.6, 1.8)
    airlight: tuple[float, float] = (0.7, 1.0)
    airlight_at_one: float = 0.0
    airlight_tint: float = 0.0
    clear_share: float = 0.0
    uneven: float = 0.0
    camera: float = 0.0
    dusty: float = 0.0
    patchy: float = 0.0
    veiled: float = 0.0
    dust: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            low, high = value if isinstance(value, tuple) else (value, value)
            largest = 100 if name == "beta" else 1
            if not 0 <= low <= high <= largest:
                given = low if low == high else f"{low} {high}"
                raise UnhazeError(f"{name} is {given}; expected low <= high, in [0, {largest}]")
