"""The dark channel prior: in a clear outdoor picture, some channel is dark near every pixel.

Kaiming He, Jian Sun, Xiaoou Tang: "Single Image Haze Removal Using Dark Channel Prior", CVPR 2009
and TPAMI 2011. The sky is not dark in any channel, and its transmission is underestimated: noise
and banding become visible there and colours shift. This is a limitation of the prior itself (their
section 5).
"""

from dataclasses import dataclass

import numpy as np

from unhaze.image import grey, guided_filter, window_minimum
from unhaze.restore.priors.airlight import brightest_of
from unhaze.restore.priors.estimate import Estimate, check_settings, scaled, scaled_patch
from unhaze.restore.priors.matting import soft_matting
from unhaze.validation import one_of

REFINEMENTS = ("guided", "soft-matting", "none")


@dataclass(frozen=True)
class DarkChannelPrior:
    """t = 1 - omega * dark(hazy / A), refined.

    patch: side in pixels of the window of the dark channel. omega: share of the haze to remove.
    smallest: lower bound of t. airlight: A is the "brightest" pixel of the hazy picture among the
    `share` of pixels with the largest dark channel, as in the paper, or their "mean", as in common
    ports. refine: "guided" (with a "grey" or "colour" guide, its radius and epsilon),
    "soft-matting" (CVPR 2009, eq. 14) or "none". reference: long side in pixels of the pictures for
    which patch and radius are defined; they scale with the picture; 0 keeps them.
    """

    patch: int = 15
    omega: float = 0.95
    smallest: float = 0.1
    airlight: str = "brightest"
    share: float = 0.001
    refine: str = "guided"
    guide: str = "grey"
    radius: int = 60
    epsilon: float = 1e-4
    reference: int = 620

    def __post_init__(self) -> None:
        check_settings("dcp", self, omega=(0, 1))
        one_of("prior 'dcp': airlight", self.airlight, ("brightest", "mean"))
        one_of("prior 'dcp': refine", self.refine, REFINEMENTS)
        one_of("prior 'dcp': guide", self.guide, ("grey", "colour"))

    def estimate(self, hazy: np.ndarray) -> Estimate:
        """hazy: (3,H,W) float32 in [0,1]."""
        patch = scaled_patch(self.patch, hazy.shape, self.reference)
        airlight = brightest_of(hazy, dark_channel(hazy, patch), self.share, choice=self.airlight)
        return Estimate(self.transmission(hazy, airlight), airlight)

    def transmission(self, hazy: np.ndarray, airlight: np.ndarray) -> np.ndarray:
        """Returns (H,W) float32 for `hazy` (3,H,W) and the airlight (3,) (eq. 12)."""
        patch = scaled_patch(self.patch, hazy.shape, self.reference)
        # The airlight of a black picture is black, by which nothing can be divided.
        normalized = hazy / np.maximum(airlight, 1e-3)[:, None, None]
        transmission = 1 - np.float32(self.omega) * dark_channel(normalized, patch)
        if self.refine == "soft-matting":
            transmission = soft_matting(hazy, transmission)
        elif self.refine == "guided":
            radius = scaled(self.radius, hazy.shape, self.reference)
            guide = hazy if self.guide == "colour" else grey(hazy)
            transmission = guided_filter(guide, transmission, radius=radius, epsilon=self.epsilon)
        return np.clip(transmission, self.smallest, 1)


def dark_channel(picture: np.ndarray, patch: int) -> np.ndarray:
    """Returns (H,W): the minimum of the three channels in the patch around each pixel of (3,H,W)
    (eq. 5).
    """
    return window_minimum(picture.min(0), patch)
