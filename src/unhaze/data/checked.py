"""Data sets of other packages: checks that they are built, and draw, as those of this one."""

import torch
from torch import Tensor

from unhaze.config import Augment
from unhaze.data import Batch, PairedBatch, PairedData, UnpairedBatch, UnpairedData
from unhaze.errors import UnhazeError
from unhaze.validation import check_callable


def check_data(data: object, owner: str) -> None:
    """Raises an UnhazeError unless `data` has the functions of a data set."""
    check_callable(owner, data, "__len__")
    check_callable(owner, data, "draw", "seed", "step", named=("size", "augment", "device"))
    if hasattr(data, "pair"):
        check_callable(owner, data, "pair", "index")


def draw(
    data: PairedData | UnpairedData,
    seed: int,
    step: int,
    *,
    size: int,
    augment: Augment,
    device: torch.device,
) -> Batch:
    """Returns what `data` draws. UnhazeError: it is no batch of `size` pictures a side."""
    batch = data.draw(seed, step, size=size, augment=augment, device=device)
    owner = f"data '{type(data).__module__}:{type(data).__qualname__}'"
    if not isinstance(batch, PairedBatch | UnpairedBatch):
        expected = "expected a PairedBatch or an UnpairedBatch"
        raise UnhazeError(f"{owner}: draw returns a {type(batch).__name__}; {expected}")
    for side, pictures in (("hazy", batch.hazy), ("clear", batch.clear)):
        if not isinstance(pictures, Tensor) or pictures.shape[:1] != (size,):
            expected = f"expected a Tensor of shape ({size},3,H,W)"
            raise UnhazeError(f"{owner}: draw returns as {side} a {kind_of(pictures)}; {expected}")
    return batch


def check_pair(pair: object, owner: str) -> None:
    """Raises an UnhazeError unless `pair` has two pictures of one size."""
    sides = getattr(pair, "hazy", None), getattr(pair, "clear", None)
    shapes = {side.shape if isinstance(side, Tensor) else None for side in sides}
    if len(shapes) > 1 or any(shape is None or len(shape) != 3 for shape in shapes):
        given = kind_of(pair) if None in sides else " and a ".join(map(kind_of, sides))
        expected = "expected Pair(name, hazy, clear) with Tensors (3,H,W) of one size"
        raise UnhazeError(f"{owner}: pair returns a {given}; {expected}")


def kind_of(value: object) -> str:
    """Returns the type of a value, with the shape if it is a tensor."""
    shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
    return f"{type(value).__name__}{shape}"
