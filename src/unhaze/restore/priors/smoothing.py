"""Weighted least squares on the pixel grid: smooth inside regions of the picture, free at edges."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from unhaze.restore.priors.solver import conjugate_gradient

FLAT = 1e-5  # squared colour difference below which neighbours count as equal
SMALLEST = 8  # pixels of the short side of the coarsest grid
DAMPING = 0.7  # of a Jacobi step
ITERATIONS = 30  # t then deviates by less than 0.002 on average


def smooth(
    rough: np.ndarray, reliability: np.ndarray, hazy: np.ndarray, smoothness: float
) -> np.ndarray:
    """Returns (H,W) float32, the t that minimises the sum over pixels i and neighbours j of

    reliability_i * (t_i - rough_i)^2 + smoothness * (t_i - t_j)^2 / |hazy_i - hazy_j|^2.

    All are float32; rough, reliability > 0: (H,W), hazy: (3,H,W) in [0,1].
    """
    down, along = (
        np.float32(smoothness) / ((np.diff(hazy, axis=axis) ** 2).sum(0) + np.float32(FLAT))
        for axis in (1, 2)
    )
    grids = [Grid(reliability, down, along)]
    while min(grids[-1].data.shape) > SMALLEST:
        grids.append(grids[-1].coarser())
    return conjugate_gradient(
        grids[0].times,
        reliability * rough,
        rough,
        precondition=lambda residual: _cycle(grids, residual),
        iterations=ITERATIONS,
    )


@dataclass(frozen=True)
class Grid:
    """data: (H,W) weights of the pixels. down: (H-1,W) and along: (H,W-1) weights of the links."""

    data: np.ndarray
    down: np.ndarray
    along: np.ndarray

    def times(self, plane: np.ndarray) -> np.ndarray:
        """Applies the matrix of the least squares to a plane (H,W)."""
        image = self.data * plane
        # By differences: a large weight of a link must not swamp a small one of a pixel.
        down, along = self.down * np.diff(plane, axis=0), self.along * np.diff(plane, axis=1)
        image[:-1] -= down
        image[1:] += down
        image[:, :-1] -= along
        image[:, 1:] += along
        return image

    @cached_property
    def diagonal(self) -> np.ndarray:
        """Returns (H,W): a pixel's own weight and those of its links."""
        total = self.data.copy()
        total[:-1] += self.down
        total[1:] += self.down
        total[:, :-1] += self.along
        total[:, 1:] += self.along
        return total

    def coarser(self) -> "Grid":
        """Returns the grid with 2 x 2 pixels merged: links inside vanish, the others are summed."""
        down, along = self.down[1::2], self.along[:, 1::2]
        return Grid(_pair(_pair(self.data, 0), 1), _pair(down, 1), _pair(along, 0))


def _cycle(grids: list[Grid], residual: np.ndarray) -> np.ndarray:
    """Runs one symmetric multigrid V-cycle: approximates the plane whose image is `residual`."""
    grid, *rest = grids
    step = np.float32(DAMPING) / grid.diagonal
    plane = step * residual
    if rest:
        left = residual - grid.times(plane)
        coarse = _cycle(rest, _pair(_pair(left, 0), 1))
        height, width = residual.shape
        plane += np.repeat(np.repeat(coarse, 2, 0), 2, 1)[:height, :width]
    else:
        for _ in range(4 * SMALLEST):
            plane += step * (residual - grid.times(plane))
    return plane + step * (residual - grid.times(plane))


def _pair(plane: np.ndarray, axis: int) -> np.ndarray:
    """Returns sums of two neighbours along `axis`; an odd last one is kept."""
    even, odd = (plane[::2], plane[1::2]) if axis == 0 else (plane[:, ::2], plane[:, 1::2])
    total = even.copy()
    total[: odd.shape[0], : odd.shape[1]] += odd
    return total
