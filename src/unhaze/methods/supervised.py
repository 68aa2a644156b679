"""Supervised training: any network, any weighted sum of losses."""

from collections.abc import Sequence

from lightning_fabric import Fabric
from torch import Tensor, nn

from unhaze.config import Optimizer
from unhaze.data import PairedBatch
from unhaze.methods.alarms import Alarm
from unhaze.methods.memories import Memory
from unhaze.methods.steps import (
    build_optimizer,
    require_losses,
    step_by_pairs,
    weigh,
)
from unhaze.validation import one_of


class Supervised:
    """total = sum of weight * loss(restored, clear, hazy); one network, one optimizer.

    `net` is trained where it lies (the caller moves it to the device); compiling and wrapping for
    several processes happen on the way in, so that `networks` holds the plain module.

    input: what the network restores from, "hazy", or "clear" for an autoencoder such as KDDN's
        teacher.
    """

    def __init__(
        self,
        *,
        fabric: Fabric,
        net: nn.Module,
        forward: nn.Module,
        losses: dict[str, nn.Module],
        weights: dict[str, float],
        optimizer: Optimizer,
        clip: float,
        input: str = "hazy",
    ):
        one_of("method 'supervised': input", input, ("hazy", "clear"))
        require_losses(losses)
        self.fabric, self.losses, self.weights, self.clip = fabric, losses, weights, clip
        self.input = input
        self.facts: dict[str, str] = {}
        self.networks = {"restorer": net}
        self.memories: dict[str, Memory] = {}
        self.alarms: tuple[Alarm, ...] = ()
        self.restorer, wrapped = fabric.setup(forward, build_optimizer(net, optimizer))
        self.optimizers = {"restorer": wrapped}

    def step(self, batches: Sequence[PairedBatch], lr: float) -> dict[str, Tensor]:
        """One optimizer step over `batches` (more than one: accumulated). Returns mean terms."""
        return step_by_pairs(self, batches, lr)

    def measure(self, batch: PairedBatch) -> dict[str, Tensor]:
        """The losses of one batch and their weighted sum, "total"."""
        restored = self.restorer(batch.clear if self.input == "clear" else batch.hazy)
        with self.fabric.autocast():
            return weigh(self.losses, self.weights, restored, batch)
