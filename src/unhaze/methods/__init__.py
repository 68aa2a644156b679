"""The table of training methods: batches -> one optimisation step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unhaze.data import PairedBatch, UnpairedBatch
from unhaze.methods.adapted import Adapted
from unhaze.methods.cddgan import CDDGAN
from unhaze.methods.distilled import Distilled
from unhaze.methods.supervised import Supervised


@dataclass(frozen=True)
class Method:
    """One entry of `METHODS`.

    build: called with `fabric`, `net`, `forward` (the net, perhaps compiled), `losses`, `weights`,
        `optimizer`, `clip` and the method's own arguments. The result has `step(batches, lr)` and
        holds `networks`, `optimizers` and `memories`, what a checkpoint holds. The network that is
        evaluated and exported is `networks["restorer"]`; "hazer", if there is one, goes the other
        way. `facts` are plain values that say what else it depends on; a run goes on only if they
        are as they were. `alarms` say which terms the run is to watch (alarms.py).
    batch: the type of batch that it steps on. accumulates: whether a step takes several.
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
}
