"""The table of losses, and the function that builds one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from unhaze import plugins
from unhaze.errors import UnhazeError
from unhaze.losses.contrastive import Contrastive
from unhaze.losses.perceptual import Perceptual
from unhaze.losses.pixel import L1, L2, Gradient, Pinball, SmoothL1
from unhaze.losses.structural import SSIM, Frequency
from unhaze.validation import check_arguments


@dataclass(frozen=True)
class Loss:
    """One entry of `LOSSES`.

    build: class whose keyword arguments are the keys of the recipe's `[losses.NAME]`. Its
        forward(restored, clear, hazy) takes (B,3,H,W), not normalised, clear and hazy in [0,1]
        (restored may exceed that range), and returns a scalar.
    """

    build: Callable[..., nn.Module]
    title: str
    source: str = ""


LOSSES = {
    "l1": Loss(L1, title="mean absolute difference"),
    "l2": Loss(L2, title="mean squared difference"),
    "smooth_l1": Loss(SmoothL1, title="squared near zero, absolute beyond beta"),
    "pinball": Loss(
        Pinball, title="absolute difference, dark errors weighing more", source="Koenker 1978"
    ),
    "gradient": Loss(
        Gradient, title="mean absolute difference of gradients", source="CVPR 2018, DCPDN"
    ),
    "ssim": Loss(SSIM, title="1 - structural similarity", source="arXiv:1511.08861"),
    "frequency": Loss(
        Frequency, title="mean absolute difference of spectra", source="arXiv:2108.05054"
    ),
    "contrastive": Loss(
        Contrastive, title="contrastive regularization (CR)", source="arXiv:2104.09367"
    ),
    "perceptual": Loss(Perceptual, title="distance of VGG features", source="arXiv:1603.08155"),
}


def find_loss(name: str) -> Loss:
    """Returns the loss `name`: from `LOSSES`, an entry point, or "package.module:Class"."""
    return plugins.find(LOSSES, name, "loss", loss_of)


def loss_of(name: str, build: Callable[..., nn.Module]) -> Loss:
    """Wraps a class of another package."""
    return Loss(build, title=name.rpartition(":")[2], source=build.__module__)


def create_loss(name: str, **arguments: Any) -> nn.Module:
    """Builds loss `name`; UnhazeError for an unknown name, argument, value or weight file.

    A loss has no parameters and an empty state dict: nothing in it is trained or saved.
    """
    loss = find_loss(name)
    check_arguments(loss.build, arguments, f"loss '{name}'")
    try:
        return loss.build(**arguments)
    except ValueError as error:
        raise UnhazeError(f"loss '{name}': {error}") from error
