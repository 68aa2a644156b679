"""Supervised training, and the update step of every method: checked, clipped, scheduled."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from unhaze.config import Optimizer
from unhaze.data import PairedBatch
from unhaze.errors import UnhazeError
from unhaze.methods.muon import Muon
from unhaze.processes import share_of
from unhaze.validation import lookup, one_of

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "muon": Muon}


class NonFiniteLoss(ArithmeticError):
    """A loss was NaN or infinite; the weights have not been updated."""


def build_optimizer(net: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """The optimizer of `OPTIMIZERS` that `settings` names, over all parameters that train."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    build = lookup(OPTIMIZERS, settings.name, "optimizer")
    on_gpu = all(parameter.is_cuda for parameter in parameters)
    fused: dict[str, Any] = {} if build is Muon else {"fused": on_gpu or None}
    return build(
        parameters,
        lr=settings.lr,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        **fused,
    )


def set_up_optimizer(fabric: Fabric, net: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """`build_optimizer`, with Fabric's precision and gradient averaging."""
    optimizer = fabric.setup_optimizers(build_optimizer(net, settings))
    assert isinstance(optimizer, torch.optim.Optimizer)  # the wrapper takes on its class
    return optimizer


def accumulate(
    fabric: Fabric,
    module: nn.Module,
    batches: Sequence[PairedBatch],
    measure: Callable[[PairedBatch], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """Computes gradients of the mean `measure(batch)["total"]`; returns the mean terms.

    `measure` must call `module`, whose gradients are synchronised after the last batch.
    """
    sums: dict[str, Tensor] = {}
    for index, batch in enumerate(batches):
        last = index == len(batches) - 1
        # Fabric's type for this is private.
        with fabric.no_backward_sync(module, enabled=not last):  # pyright: ignore[reportArgumentType]
            terms = measure(batch)
            require_finite(terms)
            # Uneven parts of processes are weighted by their number of samples.
            fabric.backward(terms["total"] * (share_of(len(batch.hazy)) / len(batches)))
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value.detach() / len(batches)
    return sums


@dataclass(frozen=True)
class Setup:
    """Arguments of every method, in addition to its own.

    net: trained in place; already on the device. forward: the net, possibly compiled; a method
    wraps it for several processes, so that its `networks` contains plain modules.
    losses, weights: by name. clip: norm to which gradients are clipped; 0: no clipping.
    """

    fabric: Fabric
    net: nn.Module
    forward: nn.Module
    losses: dict[str, nn.Module]
    weights: dict[str, float]
    optimizer: Optimizer
    clip: float


class Pairs:
    """One network that learns from pairs: `restorer` is called, `networks` and `optimizers` saved.

    UnhazeError: the recipe has no loss.
    """

    def __init__(self, setup: Setup):
        require_losses(setup.losses)
        optimizer = build_optimizer(setup.net, setup.optimizer)
        self.setup = setup
        self.restorer, wrapped = setup.fabric.setup(setup.forward, optimizer)
        self.networks = {"restorer": setup.net}
        self.optimizers = {"restorer": wrapped}

    def step(
        self,
        batches: Sequence[PairedBatch],
        lr: float,
        measure: Callable[[PairedBatch], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """One optimizer step over `batches` (more than one: accumulated). Returns mean terms.

        measure: returns the terms of one batch; "total" is minimised.
        """
        fabric, optimizer = self.setup.fabric, self.optimizers["restorer"]
        terms = accumulate(fabric, self.restorer, batches, measure)
        apply_gradients(fabric, self.restorer, optimizer, lr=lr, clip=self.setup.clip)
        return terms

    def weigh(self, restored: Tensor, batch: PairedBatch) -> dict[str, Tensor]:
        """Returns each loss and, as "total", the sum of weight * loss. UnhazeError unless
        `restored` has the shape of the clear pictures: losses might repeat it to that shape."""
        given = tuple(restored.shape) if isinstance(restored, Tensor) else type(restored).__name__
        if given != (expected := tuple(batch.clear.shape)):
            net = type(self.setup.net).__name__
            raise UnhazeError(f"net {net} returns {given}; expected a Tensor of shape {expected}")
        losses, weights = self.setup.losses, self.setup.weights
        terms = {name: loss(restored, batch.clear, batch.hazy) for name, loss in losses.items()}
        require_scalars(terms)
        return terms | {"total": added(weights[name] * value for name, value in terms.items())}


class Supervised:
    """total = sum of weight * loss(restored, clear, hazy); one network, one optimizer.

    input: what the network restores from, "hazy", or "clear" for an autoencoder such as KDDN's
        teacher.
    """

    def __init__(self, setup: Setup, *, input: str = "hazy"):
        self.pairs = Pairs(setup)
        one_of("method 'supervised': input", input, ("hazy", "clear"))
        self.input = input
        self.networks, self.optimizers = self.pairs.networks, self.pairs.optimizers

    def step(self, batches: Sequence[PairedBatch], lr: float) -> dict[str, Tensor]:
        """One optimizer step over `batches` (more than one: accumulated). Returns mean terms."""
        return self.pairs.step(batches, lr, self.measure)

    def measure(self, batch: PairedBatch) -> dict[str, Tensor]:
        """Returns the losses of one batch and their weighted sum, "total"."""
        restored = self.pairs.restorer(batch.clear if self.input == "clear" else batch.hazy)
        with self.pairs.setup.fabric.autocast():
            return self.pairs.weigh(restored, batch)


def added(terms: Iterable[Tensor]) -> Tensor:
    """Returns the sum of at least one term, from the first to the last."""
    return reduce(torch.add, terms)


def require_losses(losses: dict[str, nn.Module]) -> None:
    """Raises UnhazeError if there are none."""
    if not losses:
        raise UnhazeError("the recipe has no loss; add for example [losses.l1]")


def require_scalars(losses: Mapping[str, Any]) -> None:
    """Raises UnhazeError unless every loss is one number in a tensor."""
    for name, value in losses.items():
        if not isinstance(value, Tensor) or value.shape != ():
            shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
            found = f"{type(value).__name__}{shape}"
            raise UnhazeError(f"loss '{name}' is a {found}; expected a scalar Tensor, as of mean()")


def require_finite(terms: dict[str, Tensor]) -> None:
    """Raises NonFiniteLoss with the values, before the weights are updated; UnhazeError as
    `require_scalars`.
    """
    require_scalars(terms)
    if not all(torch.isfinite(value) for value in terms.values()):
        values = ", ".join(f"{name} {float(value.detach()):.4g}" for name, value in terms.items())
        raise NonFiniteLoss(values)


def apply_gradients(
    fabric: Fabric, net: nn.Module, optimizer: torch.optim.Optimizer, *, lr: float, clip: float
) -> None:
    """One optimizer step at learning rate `lr`, gradients clipped to norm `clip` (0: off)."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    if clip:
        fabric.clip_gradients(net, optimizer, max_norm=clip)
    optimizer.step()
    optimizer.zero_grad()


def gather(fabric: Fabric, tensor: Tensor) -> Tensor:
    """Concatenates (B,...) of all processes; in one process returns `tensor` itself."""
    if fabric.world_size == 1:
        return tensor
    gathered = fabric.all_gather(tensor)
    assert isinstance(gathered, Tensor)  # as what was given; of a dict it makes a dict
    return gathered.flatten(0, 1)


def average_gradients(fabric: Fabric, net: nn.Module) -> None:
    """Makes each gradient the mean over all processes.

    For methods with several networks and passes per step, without a wrapper.
    """
    if fabric.world_size > 1:
        for parameter in net.parameters():
            if parameter.grad is not None:
                mean = fabric.all_reduce(parameter.grad, reduce_op="mean")
                assert isinstance(mean, Tensor)  # as what was given; of a dict it makes a dict
                parameter.grad = mean


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, share: float) -> None:
    """Moves each parameter of `slow` by `share` of the way to that of `fast`."""
    # torch.optim's own averages use it; it has no public name.
    lerp = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]
    lerp(list(slow.parameters()), list(fast.parameters()), share)


@contextmanager
def frozen(*parts: nn.Module) -> Iterator[None]:
    """A context in which gradients pass through `parts` without reaching their parameters."""
    for part in parts:
        part.requires_grad_(False)
    try:
        yield
    finally:
        for part in parts:
            part.requires_grad_(True)
