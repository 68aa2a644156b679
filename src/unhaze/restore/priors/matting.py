"""Soft matting: a transmission that follows the colours of the picture like an alpha matte.

The Laplacian is that of Levin, Lischinski and Weiss, "A Closed Form Solution to Natural Image
Matting", CVPR 2006; its use for transmissions is eq. 14 and 15 of He, Sun and Tang, CVPR 2009.
"""

import numpy as np

from unhaze.image import cell_means, symmetric_inverse, window_sum
from unhaze.restore.priors.solver import conjugate_gradient, double

EPSILON = 1e-6  # over the 9 pixels of a window: keeps flat windows solvable
WEIGHT = 1e-4  # weight of the rough transmission (lambda)
COARSEST = 32  # pixels of the short side below which a picture is not halved further
ITERATIONS = 60  # iterations at full size; twice as many each time the picture is halved
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def soft_matting(hazy: np.ndarray, rough: np.ndarray) -> np.ndarray:
    """Returns (H,W) float32, the solution t of (L + lambda) t = lambda * rough.

    hazy: (3,H,W) in [0,1], rough: (H,W).

    Differs: not solved completely, which takes thousands of iterations, but starting from the
    solution for the halved picture, enlarged by its own local linear maps of the colours.
    """
    solved, _ = _solve(hazy.astype(np.float64), rough.astype(np.float64), WEIGHT, ITERATIONS)
    return solved.astype(np.float32)


def _solve(
    hazy: np.ndarray, rough: np.ndarray, weight: float, iterations: int
) -> tuple[np.ndarray, "MattingLaplacian"]:
    laplacian = MattingLaplacian(hazy)
    start = rough
    if min(rough.shape) > COARSEST:
        # A pixel of the halved picture stands for four, so it weighs as much as they do.
        halved = cell_means(hazy, 2), cell_means(rough, 2)
        small, of_small = _solve(*halved, 4 * weight, 2 * iterations)
        slope, offset = of_small.linear_maps(small)
        start = (double(slope, rough.shape) * hazy).sum(0) + double(offset, rough.shape)
    diagonal = laplacian.diagonal() + weight
    solved = conjugate_gradient(
        lambda plane: laplacian.times(plane) + weight * plane,
        weight * rough,
        start,
        precondition=lambda residual: residual / diagonal,
        iterations=iterations,
    )
    return solved, laplacian


class MattingLaplacian:
    """The matrix L of a picture (3,H,W) float64 in [0,1], stored as sums over 3 x 3 windows.

    L_ij = sum over the windows with i and j of [i = j] - (1 + (I_i - m)^T S^-1 (I_j - m)) / 9, m
    the mean colour of the window, S its covariance plus EPSILON / 9. Windows lie inside the
    picture, so one of less than 3 pixels a side has none, and its L is 0.
    """

    def __init__(self, hazy: np.ndarray) -> None:
        """Fits the windows of `hazy`."""
        self.hazy = hazy
        self.mean = window_sum(hazy, 1) / 9
        products = np.stack([hazy[i] * hazy[j] for i, j in PAIRS])
        means = np.stack([self.mean[i] * self.mean[j] for i, j in PAIRS])
        covariance = window_sum(products, 1) / 9 - means
        self.inverse = symmetric_inverse(covariance[:3] + EPSILON / 9, *covariance[3:])
        self.windows = _spread(np.ones_like(self.mean[0]))

    def times(self, plane: np.ndarray) -> np.ndarray:
        """Returns L p for a plane (H,W): in each window, the residual of p as a linear function of
        colour.
        """
        slope, offset = self._fit(plane)
        explained = (_spread(slope) * self.hazy).sum(0) + _spread(offset)
        return self.windows * plane - explained

    def linear_maps(self, plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(3,H,W), (H,W): mean slope and offset of p as a function of colour near each pixel."""
        slope, offset = self._fit(plane)
        count = np.maximum(self.windows, 1)
        return _spread(slope) / count, _spread(offset) / count

    def diagonal(self) -> np.ndarray:
        """(H,W): the entries L_ii."""
        linear = np.einsum("ijhw,jhw->ihw", self.inverse, self.mean)
        constant = _spread((self.mean * linear).sum(0) + 1)
        squared = np.einsum("ihw,ijhw,jhw->hw", self.hazy, _spread(self.inverse), self.hazy)
        explained = squared - 2 * (_spread(linear) * self.hazy).sum(0) + constant
        return self.windows - explained / 9

    def _fit(self, plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean_plane = window_sum(plane, 1) / 9
        covariance = window_sum(self.hazy * plane, 1) / 9 - self.mean * mean_plane
        slope = np.einsum("ijhw,jhw->ihw", self.inverse, covariance)
        return slope, mean_plane - (slope * self.mean).sum(0)


def _spread(windows: np.ndarray) -> np.ndarray:
    """(...,H-2,W-2) -> (...,H,W): each pixel's sum over the windows that it lies in."""
    return window_sum(np.pad(windows, [(0, 0)] * (windows.ndim - 2) + [(2, 2)] * 2), 1)
