"""The table of networks and the one way to build them."""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unhaze import plugins
from unhaze.errors import UnhazeError
from unhaze.names import check_arguments, lookup

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Net:
    """One entry of `NETS`.

    location: "module:class", or a function that makes one, so that one line adds a network and
        listing them needs no PyTorch. Its keyword arguments are the recipe's `[net]` keys; forward
        (B,3,H,W) in [0,1] -> same shape, any size from 1x1.
    presets: named sets of arguments; "slim" is what a CPU can train in minutes (0.1 to 0.4 M
        parameters). tiny: arguments laid over any preset, so that a test takes moments.
    idle: regular expressions of the parameters that forward does not depend on (of published
        checkpoints, or of smaller outputs that only `restore_scales` returns): no gradient there.
    zoo: preset -> name of the published variant that it equals, state-dict names included.
    reproduces: the published numbers that the network stands for. licence: the terms of the
        published code and weights; what is here was written anew and is under this package's own.
    analysis: long side in pixels of the pictures that published weights were trained for; indoor
        RESIDE, which most are, has 620 x 460.
    """

    location: str
    title: str
    paper: str = "ours"
    reproduces: str = "nothing published"
    licence: str = "Apache-2.0"
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    tiny: dict[str, Any] = field(default_factory=dict)
    idle: tuple[str, ...] = ()
    analysis: int = 640
    zoo: dict[str, str] = field(default_factory=dict)

    @property
    def build(self) -> Callable[..., "nn.Module"]:
        """The class itself."""
        return pkgutil.resolve_name(self.location)


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
        presets={"slim": {"width": 16}, "fast": {"width": 16, "blocks": (2, 3, 8), "fold": 8}},
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
    "fsnet": Net(
        "unhaze.nets.fsnet:fsnet",
        title="FSNet",
        paper="Cui et al., IEEE TPAMI 2024",
        reproduces="SOTS indoor 42.45 dB / 0.997, 13,275,689 parameters",
        licence="official code: MIT",
        presets={"its": {}, "ots": {"pool": "local"}, "slim": {"width": 16, "blocks": 4}},
        tiny={"width": 16, "blocks": 4},
        idle=(r"\.lamb_[lh]$", r"^ConvsOut\.", r"^SCM[12]\.main\.3\.main\.0\.bias$"),
    ),
    "convir": Net(
        "unhaze.nets.convir:convir",
        title="ConvIR",
        paper="Cui et al., IEEE TPAMI 2024",
        reproduces="SOTS indoor 42.72 dB / 0.997, 8,630,665 parameters (small: 41.53, 5,530,505)",
        licence="official code: MIT",
        presets={"small": {}, "base": {"blocks": 8}, "slim": {"width": 8, "blocks": 2}},
        tiny={"width": 8, "blocks": 1},
        idle=(r"^ConvsOut\.", r"^SCM[12]\.main\.3\.main\.0\.bias$"),
    ),
    "oknet": Net(
        "unhaze.nets.oknet:oknet",
        title="OKNet",
        paper="Cui, Ren and Knoll, AAAI 2024",
        reproduces="SOTS indoor 40.79 dB / 0.996, 4,722,857 parameters",
        licence="official code: MIT",
        presets={"paper": {}, "slim": {"width": 8, "blocks": 2, "kernel": 31}},
        tiny={"width": 8, "blocks": 1, "kernel": 7},
        idle=(r"^bottelneck\.fgm\.conv\.", r"^ConvsOut\.", r"^SCM[12]\.main\.3\.main\.0\.bias$"),
    ),
    "dmphn": Net(
        "unhaze.nets.dmphn:DMPHN",
        title="DMPHN",
        paper="arXiv:2005.05999",
        reproduces="NH-HAZE (validation) 16.94 dB / 0.6177, 5,424,393 parameters",
        licence="official code and weights: MIT",
        presets={"paper": {}, "slim": {"width": 8}},
        tiny={"width": 4},
        analysis=1024,
    ),
    "dmshn": Net(
        "unhaze.nets.dmphn:DMSHN",
        title="DMSHN",
        paper="arXiv:2005.05999",
        reproduces="NH-HAZE (validation) 16.42 dB / 0.5991, 5,424,393 parameters",
        licence="official code and weights: MIT",
        presets={
            "published": {},
            "paper": {"own_level1": True},
            "slim": {"width": 8, "own_level1": True},
        },
        tiny={"width": 4},
        idle=(r"^(encoder|decoder)_lv1\.",),
        analysis=1024,
    ),
    "4kdehazing": Net(
        "unhaze.nets.uhd:UHDDehazing",
        title="4KDehazing",
        paper="Zheng et al., CVPR 2021",
        reproduces="no score known here, 34,547,655 parameters",
        licence="official code and weights: none stated",
        presets={"paper": {}, "slim": {"width": 6}},
        tiny={"width": 4},
        idle=(r"^smooth\.weight$",),
        analysis=1024,
    ),
    "light-dehazenet": Net(
        "unhaze.nets.light_dehazenet:LightDehazeNet",
        title="Light-DehazeNet",
        paper="Ullah et al., IEEE TIP 30, 2021",
        reproduces="no number in its repository, 30,187 parameters",
        licence="official code and weights: none stated",
        presets={"paper": {}},
        zoo={"paper": "light-dehazenet"},
    ),
    "gcanet": Net(
        "unhaze.nets.gcanet:GCANet",
        title="GCANet",
        paper="arXiv:1811.08747",
        reproduces="SOTS indoor 30.23 dB / 0.9800, 702,818 parameters",
        licence="official code and weights: none stated; for research by its README",
        presets={"paper": {}, "slim": {"width": 24}},
        tiny={"width": 4},
        zoo={"paper": "gcanet"},
    ),
    "c2pnet": Net(
        "unhaze.nets.c2pnet:C2PNet",
        title="C2PNet",
        paper="arXiv:2303.14218",
        reproduces="SOTS indoor 42.56 dB / 0.9954, 7,169,327 parameters",
        licence="official code and weights: none stated",
        presets={"paper": {}, "slim": {"width": 24, "blocks": 2}},
        tiny={"width": 32, "blocks": 1},
        zoo={"paper": "c2pnet"},
    ),
    "gunet": Net(
        "unhaze.nets.gunet:GUNet",
        title="gUNet",
        paper="arXiv:2209.11448",
        reproduces="T: SOTS indoor 37.99 dB / 0.993, 844,899 parameters",
        licence="official code: MIT",
        presets={
            "t": {},
            "s": {"depths": (4, 4, 4, 8, 4, 4, 4)},
            "b": {"depths": (8, 8, 8, 16, 8, 8, 8)},
            "d": {"depths": (16, 16, 16, 32, 16, 16, 16)},
            "slim": {"width": 12},
        },
        tiny={"width": 4, "depths": (1, 1, 1, 1, 1, 1, 1)},
        zoo={"t": "gunet-t", "s": "gunet-s", "b": "gunet-b", "d": "gunet-d"},
    ),
    "lkdnet": Net(
        "unhaze.nets.lkdnet:lkdnet",
        title="LKD-Net",
        paper="arXiv:2209.01788",
        reproduces="T: 344,182 parameters, SOTS indoor part 34.4 dB with its published weights",
        licence="official code: MIT",
        presets={
            "t": {},
            "s": {"depths": (2, 2, 4, 2, 2)},
            "b": {"depths": (4, 4, 8, 4, 4)},
            "l": {"depths": (8, 8, 16, 8, 8)},
            "slim": {"width": 16},
        },
        tiny={"width": 32, "depths": (1, 1, 1, 1, 1)},
        zoo={"t": "lkdnet-t", "s": "lkdnet-s", "b": "lkdnet-b", "l": "lkdnet-l"},
    ),
    "mixdehazenet": Net(
        "unhaze.nets.mixdehazenet:mixdehazenet",
        title="MixDehazeNet",
        paper="arXiv:2305.17654",
        reproduces="T: 1,622,950 parameters",
        licence="official code: MIT",
        presets={
            "t": {},
            "s": {"depths": (2, 2, 4, 2, 2)},
            "b": {"depths": (4, 4, 8, 4, 4)},
            "l": {"depths": (8, 8, 16, 8, 8)},
            "slim": {"width": 8},
        },
        tiny={"width": 8, "depths": (1, 1, 1, 1, 1)},
        zoo={each: f"mixdehazenet-{each}" for each in "tsbl"},
    ),
    "dehazeformer": Net(
        "unhaze.nets.dehazeformer:dehazeformer",
        title="DehazeFormer",
        paper="arXiv:2204.03883",
        reproduces="T: SOTS indoor 35.15 dB / 0.989, 687,404 parameters",
        licence="official code: MIT",
        presets={
            "t": {},
            "s": {"depths": (8, 8, 8, 4, 4), "attention": (0.25, 0.5, 0.75, 0, 0)},
            "b": {"depths": (16, 16, 16, 8, 8), "attention": (0.25, 0.5, 0.75, 0, 0)},
            "d": {"depths": (32, 32, 32, 16, 16), "attention": (0.25, 0.5, 0.75, 0, 0)},
            "w": {
                "width": 48,
                "depths": (16, 16, 16, 8, 8),
                "attention": (0.25, 0.5, 0.75, 0, 0),
            },
            "m": {
                "depths": (12, 12, 12, 6, 6),
                "attention": (0.25, 0.5, 0.75, 0, 0),
                "convolutions": "plain",
            },
            "l": {
                "width": 48,
                "depths": (16, 16, 16, 12, 12),
                "attention": (0.25, 0.5, 0.75, 0, 0),
                "convolutions": "plain",
            },
            "slim": {"width": 12},
        },
        tiny={"width": 12, "depths": (2, 2, 2, 1, 1), "attention": (0, 0.5, 1, 0, 0)},
        # A bias that is the same for all positions that a pixel attends to.
        idle=(r"attn\.attn\.meta\.2\.bias$",),
        zoo={each: f"dehazeformer-{each}" for each in "tsbmldw"},
    ),
    "deanet": Net(
        "unhaze.nets.deanet:DEANet",
        title="DEA-Net",
        paper="arXiv:2301.04805",
        reproduces="SOTS indoor 40.20 dB / 0.9934 (CR: 41.31 / 0.9945), 3,653,377 parameters",
        licence="official code and weights: none stated",
        presets={"paper": {}, "train": {"difference": True}, "slim": {"width": 8}},
        tiny={"width": 8},
        zoo={"paper": "deanet", "train": "deanet-train"},
    ),
}


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
