"""Dehazing without training: the table of priors, and models built from them.

A prior estimates transmission and airlight from properties of clear pictures; the haze law does the
rest. Priors can be used wherever a network can: `unhaze run --model dcp`, `unhaze eval dcp`.
"""

from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.haze import remove_haze
from unhaze.restore.priors.color_attenuation import ColorAttenuationPrior
from unhaze.restore.priors.contrast import ContrastPrior
from unhaze.restore.priors.dark_channel import DarkChannelPrior
from unhaze.restore.priors.estimate import Estimate
from unhaze.restore.priors.haze_lines import HazeLinesPrior
from unhaze.validation import check_arguments, lookup


class Estimator(Protocol):
    """Estimates the haze of hazy (3,H,W) float32 in [0,1], any size from 1x1."""

    # A dataclass, whose fields are its settings.
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def estimate(self, hazy: np.ndarray) -> Estimate: ...


@dataclass(frozen=True)
class Prior:
    """One entry of `PRIORS`.

    build: dataclass whose fields are the arguments; `arguments`: those that this entry changes.
    reproduces: the published numbers of the prior. bytes_per_pixel: memory at run time. licence: of
    the code, which is written here from the paper.
    """

    build: Callable[..., Estimator]
    title: str
    paper: str
    reproduces: str
    bytes_per_pixel: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "Apache-2.0, written from the paper"


PRIORS = {
    "dcp": Prior(
        DarkChannelPrior,
        title="Dark channel prior, guided filter",
        paper="He, Sun and Tang, TPAMI 2011, doi:10.1109/TPAMI.2010.168",
        reproduces="SOTS indoor 15.09 dB / 0.7649 (AECR-Net), 16.62 dB / 0.8179 (FFA-Net);"
        " 0 parameters",
        bytes_per_pixel=250,
    ),
    "dcp-soft-matting": Prior(
        DarkChannelPrior,
        title="Dark channel prior, soft matting",
        paper="He, Sun and Tang, CVPR 2009, doi:10.1109/CVPR.2009.5206515",
        reproduces="as dcp, with the refinement of the paper, ten times slower; 0 parameters",
        bytes_per_pixel=550,
        arguments={"refine": "soft-matting"},
    ),
    "cap": Prior(
        ColorAttenuationPrior,
        title="Colour attenuation prior",
        paper="Zhu, Mai and Shao, TIP 2015, doi:10.1109/TIP.2015.2446191",
        reproduces="none in AECR-Net's tables; published coefficients; 0 parameters",
        bytes_per_pixel=120,
    ),
    "haze-lines": Prior(
        HazeLinesPrior,
        title="Non-local dehazing by haze-lines",
        paper="Berman, Treibitz and Avidan, CVPR 2016, doi:10.1109/CVPR.2016.185",
        reproduces="none in AECR-Net's tables; published settings; 0 parameters",
        bytes_per_pixel=300,
    ),
    "contrast": Prior(
        ContrastPrior,
        title="Optimized contrast enhancement",
        paper="Kim, Jang, Sim and Kim, JVCI 2013, doi:10.1016/j.jvcir.2013.02.004",
        reproduces="none in AECR-Net's tables; published cost; 0 parameters",
        bytes_per_pixel=120,
    ),
}


class PriorModel:
    """A prior in the role of a loaded network.

    `card`: net, title, paper, arguments, params (0), ...; `device`: "cpu"; `path`: None.
    """

    def __init__(self, estimator: Estimator, card: dict[str, Any]) -> None:
        """Wraps `estimator` with the facts of `card`."""
        self.estimator = estimator
        self.card = card
        self.device = "cpu"
        self.path = None

    def __call__(self, hazy: np.ndarray) -> np.ndarray:
        """Maps hazy (1,3,H,W) float32 in [0,1] to restored of the same shape, finite, not clamped.

        UnhazeError: wrong shape or type, NaN or infinity.
        """
        if hazy.dtype != np.float32 or hazy.ndim != 4 or hazy.shape[:2] != (1, 3) or not hazy.size:
            raise UnhazeError(
                f"the prior's input is {hazy.dtype} {hazy.shape}; expected float32 (1, 3, H, W)"
            )
        if not np.isfinite(hazy).all():
            raise UnhazeError("some values of the picture are NaN or infinite; expected [0, 1]")
        found = self.estimator.estimate(hazy[0])
        return remove_haze(hazy, found.transmission, found.airlight[:, None, None])


def is_prior(name: object) -> bool:
    """Returns whether it names a prior: "dcp", or "dcp:omega=0.8,patch=9"."""
    return isinstance(name, str) and name.partition(":")[0] in PRIORS


def open_prior(name: str) -> PriorModel:
    """Returns the prior `name`, with settings after a colon: NAME:KEY=VALUE,KEY=VALUE.

    UnhazeError: as for `create_prior`, and for malformed settings.
    """
    prior, _, given = name.partition(":")
    settings: dict[str, Any] = {}
    for each in filter(None, given.split(",")):
        key, equals, value = each.partition("=")
        if not equals or key in settings:
            raise UnhazeError(f"'{name}': '{each}'; expected each setting once, such as omega=0.8")
        settings[key] = number_or_word(value)
    return create_prior(prior, **settings)


def number_or_word(text: str) -> int | float | str:
    """ "15" -> 15, "0.8" -> 0.8, "guided" -> "guided"."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def create_prior(name: str, **arguments: Any) -> PriorModel:
    """Returns the model of prior `name`; `arguments` are the fields of its class.

    UnhazeError: an unknown name, an unknown argument or an invalid value.
    """
    prior = lookup(PRIORS, name, "prior")
    check_arguments(prior.build, arguments, f"prior '{name}'")
    estimator = prior.build(**{**prior.arguments, **arguments})
    card = {
        "net": name,
        "title": prior.title,
        "paper": prior.paper,
        "params": 0,
        "arguments": asdict(estimator),
        "context": None,  # the airlight is that of the whole picture: never tiles
        "bytes_per_pixel": prior.bytes_per_pixel,
    }
    return PriorModel(estimator, card)
