"""Optimized contrast enhancement: maximise contrast without clipping.

Jin-Hwan Kim, Won-Dong Jang, Jae-Young Sim, Chang-Su Kim: "Optimized contrast enhancement for
real-time image and video dehazing", Journal of Visual Communication and Image Representation 2013.
"""

from dataclasses import dataclass

import numpy as np

from unhaze.image import grey, guided_filter
from unhaze.restore.priors.airlight import quad_tree
from unhaze.restore.priors.estimate import Estimate, check_settings, scaled


@dataclass(frozen=True)
class ContrastPrior:
    """The t of each block with the best balance of contrast and loss of information, then smoothed.

    block: side in pixels. loss: weight of values outside [0,1] against the gain in contrast
    (lambda_L of eq. 10). smallest: smallest t that is tried. step: between those tried. region:
    number of pixels at which the search for the airlight ends. radius, epsilon: of the guided
    filter. reference: long side in pixels of the pictures for which block, radius and region are
    defined; they scale with the picture; 0 keeps them.
    """

    block: int = 32
    loss: float = 5.0
    smallest: float = 0.1
    step: float = 0.05
    region: int = 200
    radius: int = 30
    epsilon: float = 1e-3
    reference: int = 620

    def __post_init__(self) -> None:
        check_settings("contrast", self, loss=(0, 1000), step=(0.001, 1), region=(1, 10**9))

    def estimate(self, hazy: np.ndarray) -> Estimate:
        """hazy: (3,H,W) float32 in [0,1]."""
        block = scaled(self.block, hazy.shape, self.reference)
        radius = scaled(self.radius, hazy.shape, self.reference)
        side = scaled(1000, hazy.shape, self.reference) / 1000
        airlight = quad_tree(hazy, round(self.region * side**2))
        # Starts without change, so that of equal costs the unchanged one is chosen.
        tried = np.arange(1, self.smallest - 1e-6, -self.step, dtype=np.float32)
        costs = [block_cost(hazy, airlight, float(t), block, self.loss) for t in tried]
        chosen = tried[np.argmin(costs, 0)]
        rows, columns = (np.arange(length) // block for length in hazy.shape[1:])
        transmission = chosen[rows][:, columns]
        transmission = guided_filter(grey(hazy), transmission, radius=radius, epsilon=self.epsilon)
        return Estimate(np.clip(transmission, self.smallest, 1), airlight)


def block_cost(
    hazy: np.ndarray, airlight: np.ndarray, transmission: float, block: int, loss: float
) -> np.ndarray:
    """Returns (rows, columns) of blocks: loss * E_loss - variance of the result with
    `transmission`.

    Eq. 5, 8 and 10, for values in [0,1]; the last blocks may be cut off by the border.
    """
    airlight = airlight[:, None, None]
    restored = (hazy - airlight) / transmission + airlight
    outside = restored - np.clip(restored, 0, 1)
    lost = _block_sum((outside**2).sum(0), block)
    count = _block_sum(np.ones(hazy.shape[1:], np.float32), block)
    means = np.stack([_block_sum(plane, block) for plane in restored]) / count
    rows, columns = (np.arange(length) // block for length in hazy.shape[1:])
    deviation = restored - means[:, rows][:, :, columns]
    return (loss * lost - _block_sum((deviation**2).sum(0), block)) / count


def _block_sum(plane: np.ndarray, block: int) -> np.ndarray:
    """(H,W) -> (ceil(H/block), ceil(W/block))."""
    height, width = plane.shape
    rows = np.add.reduceat(plane, np.arange(0, height, block), 0)
    return np.add.reduceat(rows, np.arange(0, width, block), 1)
