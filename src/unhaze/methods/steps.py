"""What every method's step ends with: a checked, clipped, scheduled update."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from unhaze.config import Optimizer
from unhaze.data import PairedBatch
from unhaze.errors import UnhazeError
from unhaze.methods.muon import Muon
from unhaze.names import lookup
from unhaze.processes import share_of

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "muon": Muon}


class NonFiniteLoss(ArithmeticError):
    """A loss was NaN or infinite; the weights are as they were before the update."""


def build_optimizer(net: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """The optimizer of `OPTIMIZERS` that `settings` names, over all parameters that train."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    build = lookup(OPTIMIZERS, settings.name, "optimizer")
    on_gpu = all(parameter.is_cuda for parameter in parameters)
    fused = {} if build is Muon else {"fused": on_gpu or None}
    return build(
        parameters,
        lr=settings.lr,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        **fused,
    )


def accumulate(
    fabric: Fabric,
    module: nn.Module,
    batches: Sequence[PairedBatch],
    measure: Callable[[PairedBatch], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """Gradients of the mean over `batches` of `measure(batch)["total"]`; answers the mean terms.

    `measure` is to call `module`, which is in step with other processes' after the last batch.
    """
    sums: dict[str, Tensor] = {}
    for index, batch in enumerate(batches):
        last = index == len(batches) - 1
        with fabric.no_backward_sync(module, enabled=not last):
            terms = measure(batch)
            require_finite(terms)
            # Processes of uneven parts count by their samples.
            fabric.backward(terms["total"] * (share_of(len(batch.hazy)) / len(batches)))
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value.detach() / len(batches)
    return sums


def step_by_pairs(method: Any, batches: Sequence[PairedBatch], lr: float) -> dict[str, Tensor]:
    """One optimizer step of a method with one network, "restorer", and its `measure`; mean terms.

    More than one of `batches`: accumulated.
    """
    terms = accumulate(method.fabric, method.restorer, batches, method.measure)
    optimizer = method.optimizers["restorer"]
    apply_gradients(method.fabric, method.restorer, optimizer, lr=lr, clip=method.clip)
    return terms


def weigh(
    losses: dict[str, nn.Module], weights: dict[str, float], restored: Tensor, batch: PairedBatch
) -> dict[str, Tensor]:
    """Each loss and, as "total", the sum of weight * loss."""
    terms = {name: loss(restored, batch.clear, batch.hazy) for name, loss in losses.items()}
    return terms | {"total": sum(weights[name] * value for name, value in terms.items())}


def require_losses(losses: dict[str, nn.Module]) -> None:
    """UnhazeError if there is none."""
    if not losses:
        raise UnhazeError("the recipe has no loss; add for example [losses.l1]")


def require_finite(terms: dict[str, Tensor]) -> None:
    """Raises NonFiniteLoss, naming the values, before anything has touched the weights."""
    if not all(torch.isfinite(value).all() for value in terms.values()):
        values = ", ".join(f"{name} {float(value.detach()):.4g}" for name, value in terms.items())
        raise NonFiniteLoss(values)


def apply_gradients(
    fabric: Fabric, net: nn.Module, optimizer: torch.optim.Optimizer, *, lr: float, clip: float
) -> None:
    """One optimizer step at learning rate `lr`, gradients clipped to the norm `clip` (0: not)."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    if clip:
        fabric.clip_gradients(net, optimizer, max_norm=clip)
    optimizer.step()
    optimizer.zero_grad()


def gather(fabric: Fabric, tensor: Tensor) -> Tensor:
    """(B,...) of all processes in order, (processes * B,...); in one process `tensor` itself."""
    return fabric.all_gather(tensor).flatten(0, 1) if fabric.world_size > 1 else tensor


def average_gradients(fabric: Fabric, net: nn.Module) -> None:
    """Makes each gradient the mean over all processes.

    For methods with several networks and passes a step, whose order no wrapper has to guess.
    """
    if fabric.world_size > 1:
        for parameter in net.parameters():
            if parameter.grad is not None:
                parameter.grad = fabric.all_reduce(parameter.grad, reduce_op="mean")
