"""Buffers that unpaired training keeps between steps and in every checkpoint."""

from typing import Protocol

import torch
from torch import Tensor


class Memory(Protocol):
    """Interface that a checkpoint needs."""

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None: ...


class ImagePool:
    """The last `size` generated pictures, so that critics also see older ones (arXiv:1612.07828).

    They are stored in half precision: exact to 1/4096, and half the size in checkpoints.
    """

    def __init__(self, size: int):
        if size < 0:
            raise ValueError(f"pool is {size}; it must be at least 0")
        self.size = size
        self.images: list[Tensor] = []

    def exchange(self, made: Tensor) -> Tensor:
        """Returns each picture of `made` (B,3,H,W) or, with probability 1/2, an older one from the
        pool, which it replaces. While the pool fills, each picture itself."""
        shown = []
        for image in made.detach():
            if len(self.images) < self.size:
                self.images.append(image.half())
            elif self.size and torch.rand(()) < 0.5:
                place = int(torch.randint(self.size, ()))
                older = self.images[place]
                self.images[place] = image.half()
                image = older.to(image.dtype)
            shown.append(image)
        return torch.stack(shown)

    def state_dict(self) -> dict[str, Tensor]:
        return {str(place): image for place, image in enumerate(self.images)}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        self.images = [tensors[str(place)] for place in range(len(tensors))]


class NegativeQueue:
    """First in, first out: the last `length` negatives of each layer, (<= length, D) each."""

    def __init__(self, layers: int, length: int):
        if length < 0:
            raise ValueError(f"queue is {length}; it must be at least 0")
        self.length = length
        self.layers: list[Tensor | None] = [None] * layers

    def extend(self, negatives: Tensor, layer: int) -> Tensor:
        """Returns `negatives` (B,M,D) and those of earlier steps, (B,M+earlier,D)."""
        earlier = self.layers[layer]
        if earlier is None:
            return negatives
        earlier = earlier.to(negatives.device).expand(len(negatives), -1, -1)
        return torch.cat((negatives, earlier), 1)

    def push(self, negatives: Tensor, layer: int) -> None:
        """Stores `negatives` (B,M,D) and drops as many of the oldest."""
        if self.length:
            earlier = self.layers[layer]
            fresh = negatives.detach().flatten(0, 1)
            every = fresh if earlier is None else torch.cat((earlier.to(fresh.device), fresh))
            self.layers[layer] = every[-self.length :]

    def state_dict(self) -> dict[str, Tensor]:
        return {str(place): kept for place, kept in enumerate(self.layers) if kept is not None}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        self.layers = [tensors.get(str(place)) for place in range(len(self.layers))]
