"""Losses and methods of other packages: checks that they can be used as those of this one."""

from typing import Any

from torch import Tensor, nn

from unhaze.config import LossPart
from unhaze.errors import UnhazeError
from unhaze.losses import create_loss
from unhaze.validation import check_callable


def build_loss(key: str, part: LossPart) -> nn.Module:
    """Builds the loss of [losses.KEY]. UnhazeError also unless it is a module with the right
    `forward`."""
    name = part.name or key
    loss = create_loss(name, **part.arguments)
    owner = f"losses.{key}.name = '{name}'"
    if not isinstance(loss, nn.Module):
        raise UnhazeError(f"{owner} is a {type(loss).__name__}; expected an nn.Module")
    if type(loss).forward is nn.Module.forward:
        raise UnhazeError(f"{owner} has no forward(restored, clear, hazy)")
    check_callable(owner, loss, "forward", "restored", "clear", "hazy")
    return loss


def check_method(method: Any, owner: str) -> None:
    """Raises an UnhazeError unless `method` has what the loop uses and a checkpoint saves."""
    check_callable(owner, method, "step", "batches", "lr")
    for kind in ("networks", "optimizers"):
        if not isinstance(getattr(method, kind, None), dict):
            raise UnhazeError(f"{owner} has no `{kind}`; expected a dict of them by name")
    if not isinstance(method.networks.get("restorer"), nn.Module):
        raise UnhazeError(f"{owner} has no networks['restorer']; expected the net that restores")


def check_terms(terms: Any, owner: str) -> None:
    """Raises an UnhazeError unless a step returned scalars by name."""
    if not isinstance(terms, dict):
        given = f"a {type(terms).__name__}"
        raise UnhazeError(f"{owner}: step returns {given}; expected a dict of scalars by name")
    for name, value in terms.items():
        if not (isinstance(value, int | float) or (isinstance(value, Tensor) and value.ndim == 0)):
            shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
            given = f"a {type(value).__name__}{shape}"
            raise UnhazeError(f"{owner}: step returns as '{name}' {given}; expected a scalar")
