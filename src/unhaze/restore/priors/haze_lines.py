"""Haze-lines: pixels of one colour at different distances lie on a line that ends in the airlight.

Dana Berman, Tali Treibitz, Shai Avidan: "Non-Local Image Dehazing", CVPR 2016, and for the airlight
"Air-light Estimation Using Haze-Lines", ICCP 2017.
"""

from dataclasses import dataclass

import numpy as np

from unhaze.restore.priors.airlight_votes import vote_for_airlight
from unhaze.restore.priors.estimate import Estimate, check_settings
from unhaze.restore.priors.smoothing import smooth

FEW = 50  # pixels of a line below which its weight is reduced in proportion
CHUNK = 1 << 14  # pixels compared with all lines at once


@dataclass(frozen=True)
class HazeLinesPrior:
    """t = distance to the airlight / largest distance on the pixel's haze-line, then smoothed.

    lines: number of directions in colour space. smallest: lower bound of t. smoothness: weight of
    the differences of t between neighbours of similar colour (lambda of eq. 15).

    Differs: the directions are a Fibonacci lattice, as uniform as the paper's subdivided
    icosahedron; unlike the authors' release after eq. 16, no haze is kept on purpose and contrast
    is not stretched.
    """

    lines: int = 1000
    smallest: float = 0.1
    smoothness: float = 0.1

    def __post_init__(self) -> None:
        check_settings("haze-lines", self, lines=(6, 100_000), smoothness=(0, 1000))

    def estimate(self, hazy: np.ndarray) -> Estimate:
        """hazy: (3,H,W) float32 in [0,1]."""
        airlight = vote_for_airlight(hazy)
        rough, reliability = line_transmission(hazy, airlight, self.lines)
        # t below this would make some channel of the restored picture negative (eq. 13).
        bound = 1 - (hazy / np.maximum(airlight, 1e-3)[:, None, None]).min(0)
        rough = np.clip(np.maximum(rough, bound), self.smallest, 1)
        transmission = smooth(rough, reliability, hazy, self.smoothness)
        return Estimate(np.clip(transmission, self.smallest, 1), airlight)


def line_transmission(
    hazy: np.ndarray, airlight: np.ndarray, lines: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (H,W) each: t by eq. 11 and 12, and its reliability in (0,1].

    A line is reliable if it has many pixels that are spread along it: the shorter it is, the less
    certain is its haze-free end.
    """
    offsets = (hazy - airlight[:, None, None]).reshape(3, -1)
    radius = np.sqrt((offsets**2).sum(0))
    line = nearest_direction(offsets, fibonacci_lattice(lines))
    count = np.bincount(line, minlength=lines)
    longest = np.zeros(lines, np.float32)
    np.maximum.at(longest, line, radius)
    filled = np.maximum(count, 1)
    mean = np.bincount(line, radius, lines) / filled
    variance = np.maximum(np.bincount(line, radius.astype(float) ** 2, lines) / filled - mean**2, 0)
    spread = np.sqrt(variance / max(variance.max(), 1e-12))
    trust = np.minimum(1, 3 * np.maximum(0.001, spread - 0.1)) * np.minimum(1, count / FEW)
    transmission = radius / np.maximum(longest, 1e-6)[line]
    shape = hazy.shape[1:]
    return transmission.reshape(shape), trust.astype(np.float32)[line].reshape(shape)


def fibonacci_lattice(count: int) -> np.ndarray:
    """Returns (count,3) float32 unit vectors, evenly spread over the sphere: a golden-angle
    spiral.
    """
    number = np.arange(count)
    height = 1 - (2 * number + 1) / count
    turn = np.pi * (3 - np.sqrt(5)) * number
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), height], 1).astype(np.float32)


def nearest_direction(offsets: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Returns (N,): for each column of `offsets` (3,N) the row of `directions` (K,3) next in
    direction.
    """
    found = np.empty(offsets.shape[1], np.intp)
    for start in range(0, len(found), CHUNK):
        part = slice(start, start + CHUNK)
        found[part] = (offsets[:, part].T @ directions.T).argmax(1)
    return found
