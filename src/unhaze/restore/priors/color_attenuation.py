"""The colour attenuation prior: haze makes distant things brighter and paler.

Qingsong Zhu, Jiaming Mai, Ling Shao: "A Fast Single Image Haze Removal Algorithm Using Color
Attenuation Prior", TIP 2015. Nearby white things count as distant; the window minimum compensates
this only if they are smaller than the window.
"""

from dataclasses import dataclass

import numpy as np

from unhaze.image import grey, guided_filter, window_minimum
from unhaze.restore.priors.airlight import brightest_of
from unhaze.restore.priors.estimate import Estimate, check_settings, scaled, scaled_patch

# Depth = THETA[0] + THETA[1] * value + THETA[2] * saturation, their section IV-B. The random error
# assumed in training, of standard deviation 0.041337, has mean 0 and is left out.
THETA = (0.121779, 0.959710, -0.780245)


@dataclass(frozen=True)
class ColorAttenuationPrior:
    """t = exp(-beta * depth), with depth linear in HSV value and saturation.

    beta: scattering coefficient. patch: side in pixels of the window of the depth minimum.
    smallest, largest: bounds of t. share: of the most distant pixels, the brightest of which is A.
    radius, epsilon: of the guided filter of the depth. reference: long side in pixels of the
    pictures for which patch and radius are defined; they scale with the picture; 0 keeps them.
    """

    beta: float = 1.0
    patch: int = 15
    smallest: float = 0.1
    largest: float = 0.9
    share: float = 0.001
    radius: int = 60
    epsilon: float = 1e-3
    reference: int = 620

    def __post_init__(self) -> None:
        check_settings("cap", self, beta=(0, 100), largest=(self.smallest, 1))

    def estimate(self, hazy: np.ndarray) -> Estimate:
        """hazy: (3,H,W) float32 in [0,1]."""
        patch = scaled_patch(self.patch, hazy.shape, self.reference)
        radius = scaled(self.radius, hazy.shape, self.reference)
        depth = window_minimum(attenuation_depth(hazy), patch)
        airlight = brightest_of(hazy, depth, self.share)
        depth = guided_filter(grey(hazy), depth, radius=radius, epsilon=self.epsilon)
        transmission = np.exp(-np.float32(self.beta) * depth)
        return Estimate(np.clip(transmission, self.smallest, self.largest), airlight)


def attenuation_depth(hazy: np.ndarray) -> np.ndarray:
    """Returns (H,W) float32 for (3,H,W), their eq. 8; black has saturation 0."""
    value = hazy.max(0)
    saturation = 1 - hazy.min(0) / np.where(value > 0, value, 1)
    saturation[value == 0] = 0
    constant, of_value, of_saturation = (np.float32(theta) for theta in THETA)
    return constant + of_value * value + of_saturation * saturation
