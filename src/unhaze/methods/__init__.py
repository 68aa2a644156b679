"""The table of training methods: batches -> one optimisation step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unhaze import plugins
from unhaze.data import PairedBatch, UnpairedBatch
from unhaze.methods.adapted import Adapted
from unhaze.methods.cddgan import CDDGAN
from unhaze.methods.distilled import Distilled
from unhaze.methods.exposure import Exposure
from unhaze.methods.steps import Supervised


@dataclass(frozen=True)
class Method:
    """One entry of `METHODS`.

    build: called with a `steps.Setup` and the method's own arguments. The result has
        `step(batches, lr)` and the attributes `networks`, `optimizers` and optionally `memories`,
        which a checkpoint saves. The network that is evaluated and exported is
        `networks["restorer"]`. Optional: `facts`, plain values that must be the same when a run is
        resumed; `alarms`, the terms to watch (alarms.py); `smallest`, the least side of crops in
        pixels; and `columns(restorer, batch)`, the pictures of a strip by name, with averaged
        weights, if more than hazy, restored and clear.
    batch: the type of its batches. accumulates: whether a step takes several batches.
    """

    build: Callable[..., Any]
    title: str
    source: str
    batch: type = PairedBatch
    accumulates: bool = True


METHODS = {
    "supervised": Method(
        Supervised, title="Supervised by pairs", source="AECR-Net, arXiv:2104.09367, equation 4"
    ),
    "distilled": Method(
        Distilled, title="By pairs and a teacher", source="KDDN, Hong et al., CVPR 2020"
    ),
    "adapted": Method(
        Adapted,
        title="By pairs, and by priors on real hazy photos",
        source="ours; after Zero-DCE, Guo et al., CVPR 2020",
    ),
    "cddgan": Method(
        CDDGAN,
        title="CDD-GAN, reconstructed: unpaired, by cycles, critics and adversarial contrast",
        source="arXiv:2203.07677, not read; docs/cddgan.md",
        batch=UnpairedBatch,
        accumulates=False,
    ),
    "exposure": Method(
        Exposure,
        title="The exposure of CDD-GAN's generator, from real photos and drawn haze",
        source="ours",
        accumulates=False,
    ),
}


def find_method(name: str) -> Method:
    """Returns the method `name`: from `METHODS`, an entry point, or "package.module:Class"."""
    return plugins.find(METHODS, name, "method", method_of)


def method_of(name: str, build: Callable[..., Any]) -> Method:
    """Wraps a class of another package that learns from pairs; other methods pass a `Method`."""
    return Method(build, title=name.rpartition(":")[2], source=build.__module__)
