"""Losses of restored real photos without ground truth.

Priors: weak alone, as each is met by wrong pictures too. Beside training by pairs they tell what
pairs leave open: how light a picture is to be, whose colours it is to have, and how much contrast.
The last is for networks that clear by windows (nets/clearing.py): one that tells every pixel its
own transmission can put patterns into the fog. So it did for the dark channel, which is not here.
"""

import torch
from torch import Tensor
from torch.nn import functional

from unhaze.image import LUMA

PATCH = 15  # pixels, in which a sky is flat
# Of 119 clear photos, means over each: luminance is over 0.29 for nine in ten; red less blue, and
# green less the mean of both, as parts of the luminance, lie within these for seven in ten.
LEAST_LIGHT = 0.32
CONTRAST = 0.3  # standard deviation over mean; 0.25 in clear photos, 0.13 in hazy ones
FLAT = 0.01  # standard deviation under which there is hardly anything to see
WARM = (-0.2, 0.4)
GREEN = (-0.05, 0.12)


def tone(restored: Tensor) -> Tensor:
    """Scalar: by how much the mean colours of (B,3,H,W) leave those that clear photos have.

    Darkness counts twice. After exposure control and colour constancy of Zero-DCE (Guo et al.,
    CVPR 2020), but with ranges, so that a night may be dark and an evening red.
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
    """Scalar: how green or violet the skies of (B,3,H,W) are; blue and red ones exist."""
    return (differences(restored.clamp(0, 1))[1].abs() * sky(hazy)).mean()


def sky(hazy: Tensor) -> Tensor:
    """(B,1,H,W) in [0,1] of (B,3,H,W): 1 where it is bright and flat, as sky and fog are."""
    grey = hazy.mean(1, keepdim=True)
    mean = window_mean(grey)
    deviation = (window_mean(grey**2) - mean**2).clamp(min=1e-8).sqrt()
    return torch.sigmoid((mean - 0.6) / 0.05) * torch.sigmoid((0.02 - deviation) / 0.005)


def contrast_lacking(restored: Tensor, hazy: Tensor) -> Tensor:
    """Scalar: by how much local contrast in (B,3,H,W) falls short of CONTRAST, where there is any.

    The standard deviation of luma over its mean, in windows: neither darker nor lighter pictures
    have more of it, clearer ones do. Skies and what is flat in `hazy` do not count.
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
    """Means over PATCH x PATCH pixels, at the border over those that are there."""
    return functional.avg_pool2d(planes, PATCH, 1, PATCH // 2, count_include_pad=False)


def differences(colours: Tensor) -> tuple[Tensor, Tensor]:
    """Returns, of (B,3,H,W), red less blue and green less the mean of both; (B,1,H,W) each."""
    red, green, blue = colours.split(1, dim=1)
    return red - blue, green - (red + blue) / 2


def beyond(values: Tensor, limits: tuple[float, float]) -> Tensor:
    """By how much each value leaves [low, high]."""
    low, high = limits
    return torch.relu(values - high) + torch.relu(low - values)
