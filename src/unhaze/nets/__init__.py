"""The table of networks and the one way to build them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from unhaze.errors import UnhazeError
from unhaze.names import check_arguments, lookup
from unhaze.nets.aecr import AECRNet


@dataclass(frozen=True)
class Net:
    """One entry of `NETS`.

    build: class whose keyword arguments are the recipe's `[net]` keys; forward (B,3,H,W) in [0,1]
        -> same shape, any size from 1x1.
    presets: named sets of arguments. reproduces: the published numbers that the network stands for.
    """

    build: Callable[..., nn.Module]
    title: str
    paper: str
    reproduces: str
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)


NETS = {
    "aecr": Net(
        AECRNet,
        title="AECR-Net",
        paper="arXiv:2104.09367",
        reproduces="SOTS indoor 37.17 dB / 0.9901, 2.61 M parameters",
        presets={
            "code": {"whitening": True},
            "paper": {"whitening": False},
            "slim": {"width": 16, "whitening": False, "head": "haze"},
        },
    ),
}


def list_nets() -> list[str]:
    """The names that `create_net` takes."""
    return list(NETS)


def create_net(name: str, *, preset: str | None = None, **arguments: Any) -> nn.Module:
    """Builds network `name` with random weights; `arguments` override those of `preset`.

    UnhazeError for an unknown name, preset, argument or value.
    """
    net = lookup(NETS, name, "net")
    if preset is not None:
        arguments = lookup(net.presets, preset, f"preset of {name}") | arguments
    check_arguments(net.build, arguments, f"net '{name}'")
    try:
        return net.build(**arguments)
    except (ValueError, TypeError) as error:
        raise UnhazeError(f"net '{name}': {error}") from error
