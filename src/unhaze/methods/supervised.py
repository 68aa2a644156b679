"""Supervised training: any network, any weighted sum of losses."""

from collections.abc import Sequence

from lightning_fabric import Fabric
from torch import Tensor, nn

from unhaze.config import Optimizer
from unhaze.data import PairedBatch
from unhaze.methods.steps import apply_gradients, build_optimizer, require_finite


class Supervised:
    """total = sum of weight * loss(restored, clear, hazy); one network, one optimizer.

    `net` is trained where it lies (the caller moves it to the device); compiling and wrapping for
    several processes happen on the way in, so that `networks` holds the plain module.
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
    ):
        self.fabric, self.losses, self.weights, self.clip = fabric, losses, weights, clip
        self.networks = {"restorer": net}
        self.restorer, wrapped = fabric.setup(forward, build_optimizer(net, optimizer))
        self.optimizers = {"restorer": wrapped}

    def step(self, batches: Sequence[PairedBatch], lr: float) -> dict[str, Tensor]:
        """One optimizer step over `batches` (more than one: accumulated). Answers mean terms."""
        sums: dict[str, Tensor] = {}
        for index, batch in enumerate(batches):
            last = index == len(batches) - 1
            with self.fabric.no_backward_sync(self.restorer, enabled=not last):
                restored = self.restorer(batch.hazy)
                with self.fabric.autocast():
                    terms = {
                        name: loss(restored, batch.clear, batch.hazy)
                        for name, loss in self.losses.items()
                    }
                total = sum(self.weights[name] * value for name, value in terms.items())
                terms["total"] = total
                require_finite(terms)
                self.fabric.backward(total / len(batches))
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value.detach() / len(batches)
        optimizer = self.optimizers["restorer"]
        apply_gradients(self.fabric, self.restorer, optimizer, lr=lr, clip=self.clip)
        return sums
