"""The table of training methods: batches -> one optimisation step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unhaze.methods.supervised import Supervised


@dataclass(frozen=True)
class Method:
    """One entry of `METHODS`.

    build: called with `fabric`, `net`, `forward` (the net, perhaps compiled), `losses`, `weights`,
        `optimizer`, `clip` and the method's own arguments. The result holds `networks` and
        `optimizers`, what a checkpoint holds, and has `step(batches, lr)`; the network that is
        evaluated and exported is `networks["restorer"]`.
    """

    build: Callable[..., Any]
    title: str
    source: str


METHODS = {
    "supervised": Method(
        Supervised, title="Supervised by pairs", source="AECR-Net, arXiv:2104.09367, equation 5"
    ),
}
