"""The table of networks and the one way to build them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unhaze import plugins
from unhaze.errors import UnhazeError
from unhaze.nets.entry import Net
from unhaze.tables import read_tables
from unhaze.validation import check_arguments, lookup

if TYPE_CHECKING:
    from torch import nn


NETS = {
    "aecr": Net(
        "unhaze.nets.aecr:AECRNet",
        title="AECR-Net",
        paper="arXiv:2104.09367",
        reproduces="SOTS indoor 37.17 dB / 0.9901, 2.61 M parameters",
        licence="official code and weights: none stated",
        presets={
            "code": {"whitening": True},
            "paper": {"whitening": False},
            "slim": {"width": 16, "whitening": False, "head": "haze"},
        },
        tiny={"width": 8},
    ),
    "quarter": Net(
        "unhaze.nets.quarter:QuarterNet",
        title="QuarterNet",
        paper="ours",
        reproduces="nothing published; the fast model of this package",
        licence="Apache-2.0",
        presets={
            "slim": {"width": 16},
            "fast": {"width": 16, "blocks": (2, 3, 8), "fold": 8},
            "looks": {"guided": 6, "one_airlight": True, "toe": 12 / 255},
            "fast-looks": {
                "width": 16,
                "blocks": (2, 3, 8),
                "fold": 8,
                "guided": 3,
                "one_airlight": True,
                "toe": 12 / 255,
            },
        },
        tiny={"width": 4},
    ),
    "dehazenet": Net(
        "unhaze.nets.dehazenet:DehazeNet",
        title="DehazeNet",
        paper="arXiv:1601.07661",
        reproduces="SOTS indoor 21.14 dB / 0.8472, 8,305 parameters",
        licence="official code and weights: none stated",
        presets={
            "official": {},
            "paired": {
                "padding": "reflect",
                "last_kernel": 7,
                "bound": "sigmoid",
                "airlight": "white",
                "refine_radius": 0,
            },
        },
    ),
    "aodnet": Net(
        "unhaze.nets.aodnet:AODNet",
        title="AOD-Net",
        paper="arXiv:1707.06543",
        reproduces="SOTS indoor 19.06 dB / 0.8504, 1,761 parameters",
        licence="official code and weights: none stated; PyTorch port: a licence file",
    ),
    "griddehazenet": Net(
        "unhaze.nets.griddehazenet:GridDehazeNet",
        title="GridDehazeNet",
        paper="arXiv:1908.03245",
        reproduces="SOTS indoor 32.16 dB / 0.9836, 958,051 parameters",
        licence="official code: MIT by its README",
        presets={"paper": {}, "slim": {"width": 8, "growth": 8}},
        tiny={"width": 4, "growth": 4},
    ),
    "ffanet": Net(
        "unhaze.nets.ffanet:FFANet",
        title="FFA-Net",
        paper="arXiv:1911.07559",
        reproduces="SOTS indoor 36.39 dB / 0.9886, 4,455,913 parameters (20 blocks: 4,682,356)",
        licence="official code and weights: none stated",
        presets={
            "19-blocks": {"blocks": 19},
            "20-blocks": {"blocks": 20},
            "slim": {"width": 32, "blocks": 3},
        },
        tiny={"width": 32, "blocks": 1},
    ),
    "msbdn": Net(
        "unhaze.nets.msbdn:MSBDN",
        title="MSBDN-DFF",
        paper="arXiv:2004.13388",
        reproduces="SOTS indoor 33.79 dB / 0.9840, 31,353,061 parameters",
        licence="official code and weights: none stated",
        presets={
            "paper": {},
            "slim": {"width": 6, "levels": 3, "blocks": 2, "bottleneck_blocks": 2},
        },
        tiny={"width": 4, "levels": 2, "blocks": 1, "bottleneck_blocks": 1},
    ),
    "kddn": Net(
        "unhaze.nets.kddn:KDDN",
        title="KDDN, student",
        paper="Hong et al., CVPR 2020",
        reproduces="SOTS indoor 34.72 dB / 0.9845, 5,853,187 parameters (published: 5.99 M)",
        licence="no official code known",
        presets={"8-blocks": {}, "3-blocks": {"blocks": 3}, "slim": {"width": 24, "blocks": 3}},
        tiny={"width": 8, "groups": 2, "blocks": 1},
    ),
    "kddn-teacher": Net(
        "unhaze.nets.kddn:KDDNTeacher",
        title="KDDN, teacher",
        paper="Hong et al., CVPR 2020",
        reproduces="no published number of its own, 557,443 parameters",
        licence="no official code known",
        presets={"paper": {}, "slim": {"width": 24}},
        tiny={"width": 8, "blocks": 2},
    ),
    "pfdn": Net(
        "unhaze.nets.pfdn:PFDN",
        title="PFDN (FDU)",
        paper="Dong and Pan, ECCV 2020",
        reproduces="SOTS indoor 32.68 dB / 0.9760, 11,268,611 parameters (of gUNet's version)",
        licence="no official code known; gUNet's version: MIT",
        presets={"gunet": {}, "slim": {"width": 16, "blocks": 4}},
        tiny={"width": 8, "blocks": 2},
    ),
    "cddgan": Net(
        "unhaze.nets.cddgan:CDDGenerator",
        title="CDD-GAN, reconstructed: hazy-to-clear generator",
        paper="arXiv:2203.07677",
        reproduces="no published number; 11,378,179 parameters",
        licence="no official code known",
        presets={
            "paper": {},
            "slim": {"width": 16, "blocks": 4, "norm": "none", "head": "haze", "shrink": 2},
        },
        tiny={"width": 4},
    ),
} | {name: Net(**facts) for name, facts in read_tables("unhaze.nets", "zoo.toml").items()}


def list_nets() -> list[str]:
    """The names that `create_net` takes: those of `NETS` and of the entry points `unhaze.nets`."""
    return [*NETS, *plugins.installed("net")]


def find_net(name: str) -> Net:
    """The entry `name` of `NETS`, of an entry point, or at "package.module:Class"."""
    return plugins.find(NETS, name, "net", net_of)


def net_of(name: str, build: Callable[..., "nn.Module"]) -> Net:
    """The entry of a class from elsewhere, by its import path."""
    location = f"{build.__module__}:{build.__qualname__}"
    paper, licence = f"from {build.__module__}", "its own"
    return Net(location, title=name.rpartition(":")[2], paper=paper, licence=licence)


def create_net(name: str, *, preset: str | None = None, **arguments: Any) -> "nn.Module":
    """Builds network `name` with random weights; `arguments` override those of `preset`.

    name: as for `find_net`. UnhazeError for an unknown name, preset, argument or value.
    """
    net = find_net(name)
    if preset is not None:
        arguments = lookup(net.presets, preset, f"preset of {name}") | arguments
    check_arguments(net.build, arguments, f"net '{name}'")
    try:
        return net.build(**arguments)
    except (ValueError, TypeError) as error:
        raise UnhazeError(f"net '{name}': {error}") from error
