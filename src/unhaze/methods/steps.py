"""What every method's step ends with: a checked, clipped, scheduled update."""

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from unhaze.config import Optimizer
from unhaze.names import lookup

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class NonFiniteLoss(ArithmeticError):
    """A loss was NaN or infinite; the weights are as they were before the step."""


def build_optimizer(net: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """Adam or AdamW over all parameters that train."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    fused = all(parameter.is_cuda for parameter in parameters)
    return lookup(OPTIMIZERS, settings.name, "optimizer")(
        parameters,
        lr=settings.lr,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=fused or None,
    )


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
