"""The estimate of a prior, and checks and scaling of its settings."""

from dataclasses import dataclass

import numpy as np

from unhaze.errors import UnhazeError


@dataclass(frozen=True)
class Estimate:
    """transmission: (H,W) float32 in (0,1], the prior's lower bound included. airlight: (3,)."""

    transmission: np.ndarray
    airlight: np.ndarray


# Ranges of settings with these names, the same for every prior.
LIMITS = {
    "patch": (1, 999),
    "block": (1, 999),
    "smallest": (0.001, 1),
    "share": (0, 1),
    "radius": (1, 9999),
    "epsilon": (1e-9, 1),
    "reference": (0, 99999),
}


def check_settings(owner: str, settings: object, **own: tuple[float, float]) -> None:
    """UnhazeError unless numbers of a prior's dataclass lie in `LIMITS` or its `own` (NaN does
    not)."""
    for name, (low, high) in (LIMITS | own).items():
        value = getattr(settings, name, low)
        if not low <= value <= high:
            raise UnhazeError(f"prior '{owner}': {name} is {value:g}; expected {low:g} to {high:g}")


def scaled(pixels: int, shape: tuple[int, ...], reference: int) -> int:
    """Scales a length defined for pictures whose long side is `reference` pixels to this one.

    `shape` ends in (H,W). `reference` 0: the length does not change. At least 1 (0 stays 0).
    """
    if reference == 0 or pixels == 0:
        return pixels
    return max(1, round(pixels * max(shape[-2:]) / reference))


def scaled_patch(pixels: int, shape: tuple[int, ...], reference: int) -> int:
    """Like `scaled`, for the side of a centred window: rounded down to an odd number."""
    return scaled(pixels - 1, shape, reference) // 2 * 2 + 1
