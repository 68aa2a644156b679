"""Muon: momentum with orthogonalised updates of convolutions and matrices; Adam elsewhere."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

# Layers at the picture and depthwise layers have too few input channels to orthogonalise.
FEWEST_CHANNELS = 5
# Newton-Schulz: the quintic of Jordan et al., whose slope at zero is steep.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024), with Adam for parameters that are not wide matrices.

    A weight of two or more dimensions with at least five rows and five input channels is flattened
    to (out, in * k * k); its update is Nesterov momentum 0.95, orthogonalised by five
    Newton-Schulz steps in bfloat16 and scaled by lr * 0.2 * sqrt(max(out, in * k * k)), so
    that its root mean square equals that of Adam (Liu et al., arXiv:2502.16982). All others,
    including the first and last layer of a restoring network, are updated by Adam at the same lr.

    betas: of Adam. weight_decay: decoupled, in both. torch.optim.Muon supports two dimensions only.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        eps: float = 1e-8,
    ):
        matrices: list[Tensor] = []
        others: list[Tensor] = []
        for parameter in params:
            (matrices if is_wide_matrix(parameter) else others).append(parameter)
        groups = [
            {"params": matrices, "orthogonal": True},
            {"params": others, "orthogonal": False},
        ]
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "weight_decay": weight_decay,
            "momentum": momentum,
            "eps": eps,
        }
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters that have a gradient; returns what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            update = orthogonal_update if group["orthogonal"] else adam_update
            for parameter in group["params"]:
                if parameter.grad is not None:
                    change = update(parameter.grad, self.state[parameter], group)
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(change, alpha=group["lr"])
        return loss


def is_wide_matrix(parameter: Tensor) -> bool:
    """Returns whether Muon orthogonalises updates of this parameter."""
    return parameter.ndim >= 2 and min(parameter.shape[:2]) >= FEWEST_CHANNELS


def orthogonal_update(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """Returns the update of one matrix, without learning rate; stores its momentum in `state`."""
    if not state:
        state["momentum"] = torch.zeros_like(gradient)
    state["momentum"].lerp_(gradient, 1 - group["momentum"])
    ahead = gradient.lerp(state["momentum"], group["momentum"])
    matrix = ahead.flatten(1)
    scale = 0.2 * max(matrix.shape) ** 0.5
    return scale * orthogonalise(matrix).to(gradient.dtype).view(gradient.shape)


def orthogonalise(matrix: Tensor, *, steps: int = 5) -> Tensor:
    """(n,m) -> (n,m) bfloat16 with the same singular vectors and singular values near 1."""
    a, b, c = COEFFICIENTS
    wide = matrix.shape[0] <= matrix.shape[1]
    result = (matrix if wide else matrix.T).bfloat16()
    result = result / (result.norm() + 1e-7)
    for _ in range(steps):
        square = result @ result.T
        result = a * result + (b * square + c * square @ square) @ result
    return result if wide else result.T


def adam_update(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """Returns the update of Adam, without learning rate; stores its two moments in `state`."""
    if not state:
        state["steps"] = torch.zeros(())
        state["mean"] = torch.zeros_like(gradient)
        state["square"] = torch.zeros_like(gradient)
    first, second = group["betas"]
    state["steps"] += 1
    state["mean"].lerp_(gradient, 1 - first)
    state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
    steps = float(state["steps"])
    mean = state["mean"] / (1 - first**steps)
    root = (state["square"] / (1 - second**steps)).sqrt()
    return mean / (root + group["eps"])
