"""Losses of restored real photos without ground truth.

These are priors, which wrong pictures can satisfy as well. Together with pairs they determine what
pairs leave open: brightness, colours and contrast. The contrast term is for networks that estimate
transmission in windows (nets/clearing.py): one that estimates it per pixel can put patterns into
the fog, as happened with a loss on the dark channel, which was removed.
"""

import torch
from torch import Tensor
from torch.nn import functional

from unhaze.image import LUMA

PATCH = 15  # pixels, in which a sky is flat
# Means over each of 119 clear photos: luminance is above 0.29 for nine in ten; red minus blue, and
# green minus the mean of both, relative to luminance, are within these ranges for seven in ten.
LEAST_LIGHT = 0.32
CONTRAST = 0.3  # standard deviation over mean; 0.25 in clear photos, 0.13 in hazy ones
FLAT = 0.01  # standard deviation below which hardly anything is visible
WARM = (-0.2, 0.4)
GREEN = (-0.05, 0.12)


def tone(restored: Tensor) -> Tensor:
    """Returns how far the mean colours of (B,3,H,W) are outside those of clear photos, a scalar.

    Darkness counts twice. Based on exposure control and colour constancy of Zero-DCE (Guo et al.,
    CVPR 2020), with ranges, so that a night may be dark and an evening red.
    """
    mean = restored.clamp(0, 1).mean((2, 3))
    light = (mean * mean.new_tensor(LUMA)).sum(1)
    warm, green = differences(mean[:, :, None, None])
    parts = light.clamp(min=0.05)
    outside = [
        2 * torch.relu(LEAST_LIGHT - light),
        beyond(warm.flatten() / parts, WARM),
        beyond(green.flatten() / parts, GREEN),
    ]
    return torch.stack(outside).sum(0).mean()


def sky_tint(restored: Tensor, hazy: Tensor) -> Tensor:
    """Returns how green or violet the skies of (B,3,H,W) are, a scalar; blue and red may occur."""
    return (differences(restored.clamp(0, 1))[1].abs() * sky(hazy)).mean()


def sky(hazy: Tensor) -> Tensor:
    """(B,1,H,W) in [0,1] of (B,3,H,W): 1 where it is bright and flat, as sky and fog are."""
    grey = hazy.mean(1, keepdim=True)
    mean = window_mean(grey)
    deviation = (window_mean(grey**2) - mean**2).clamp(min=1e-8).sqrt()
    return torch.sigmoid((mean - 0.6) / 0.05) * torch.sigmoid((0.02 - deviation) / 0.005)


def contrast_lacking(restored: Tensor, hazy: Tensor) -> Tensor:
    """Returns how far local contrast in (B,3,H,W) is below CONTRAST where there is some, a scalar.

    Contrast is the standard deviation of luma over its mean, in windows: it rises with clarity,
    not with brightness. Skies and flat parts of `hazy` do not count.
    """
    mean, deviation = luma_in_windows(restored.clamp(0, 1))
    lacking = torch.relu(CONTRAST - deviation / (mean + 0.05))
    _, before = luma_in_windows(hazy)
    seen = before**2 / (before**2 + FLAT**2) * (1 - sky(hazy))
    return (lacking * seen).mean()


def luma_in_windows(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B,1,H,W) of the luma of (B,3,H,W) in PATCH x PATCH pixels."""
    luma = (pictures * pictures.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    mean = window_mean(luma)
    return mean, (window_mean(luma**2) - mean**2).clamp(min=1e-5).sqrt()


def window_mean(planes: Tensor) -> Tensor:
    """Means over PATCH x PATCH pixels, at the border over the existing ones."""
    return functional.avg_pool2d(planes, PATCH, 1, PATCH // 2, count_include_pad=False)


def differences(colours: Tensor) -> tuple[Tensor, Tensor]:
    """Returns red minus blue, and green minus the mean of both, of (B,3,H,W); (B,1,H,W) each."""
    red, green, blue = colours.split(1, dim=1)
    return red - blue, green - (red + blue) / 2


def beyond(values: Tensor, limits: tuple[float, float]) -> Tensor:
    """Returns how far each value is outside [low, high]."""
    low, high = limits
    return torch.relu(values - high) + torch.relu(low - values)
