"""Supervised training: any network, any weighted sum of losses."""

from collections.abc import Sequence

from torch import Tensor

from unhaze.data import PairedBatch
from unhaze.methods.alarms import Alarm
from unhaze.methods.memories import Memory
from unhaze.methods.steps import Pairs, Setup
from unhaze.validation import one_of


class Supervised:
    """total = sum of weight * loss(restored, clear, hazy); one network, one optimizer.

    input: what the network restores from, "hazy", or "clear" for an autoencoder such as KDDN's
        teacher.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        input: str = "hazy",
    ):
        self.pairs = Pairs(setup)
        one_of("method 'supervised': input", input, ("hazy", "clear"))
        self.input = input
        self.facts: dict[str, str] = {}
        self.networks, self.optimizers = self.pairs.networks, self.pairs.optimizers
        self.memories: dict[str, Memory] = {}
        self.alarms: tuple[Alarm, ...] = ()

    def step(self, batches: Sequence[PairedBatch], lr: float) -> dict[str, Tensor]:
        """One optimizer step over `batches` (more than one: accumulated). Returns mean terms."""
        return self.pairs.step(batches, lr, self.measure)

    def measure(self, batch: PairedBatch) -> dict[str, Tensor]:
        """The losses of one batch and their weighted sum, "total"."""
        restored = self.pairs.restorer(batch.clear if self.input == "clear" else batch.hazy)
        with self.pairs.setup.fabric.autocast():
            return self.pairs.weigh(restored, batch)
