"""The result of a reader: samples and metadata."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

# (width, height, bytes per pixel), from a header, before anything is decoded.
Check = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Decoded:
    """A whole, upright picture.

    samples: (H,W,C) uint8, uint16 or float32, grey or RGB, then alpha if there is one. metadata: by
    the keys of `photo.picture`. linear: floats are proportional to light, with the primaries of
    sRGB. lost: names of what no result holds; held: of what only JPEG holds. notes: what was
    converted, one line each.
    """

    samples: np.ndarray
    metadata: dict[str, bytes] = field(default_factory=dict)
    linear: bool = False
    lost: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def with_channels(samples: np.ndarray) -> np.ndarray:
    """Converts (H,W) or (H,W,C) to (H,W,C), contiguous, in the machine's byte order."""
    shaped = samples[..., None] if samples.ndim == 2 else samples
    return np.ascontiguousarray(shaped, shaped.dtype.newbyteorder("="))
