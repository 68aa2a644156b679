"""The two batch types of datasets; a loss against another scene is a type error."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from unhaze.config import Augment


@dataclass(frozen=True)
class PairedBatch:
    """hazy and clear (B,3,H,W) in [0,1], showing the same scene at the same index."""

    hazy: "Tensor"
    clear: "Tensor"


@dataclass(frozen=True)
class UnpairedBatch:
    """hazy and clear (B,3,H,W) in [0,1], of different scenes."""

    hazy: "Tensor"
    clear: "Tensor"


Batch = PairedBatch | UnpairedBatch


@dataclass(frozen=True)
class Pair:
    """One whole picture: hazy and clear (3,H,W) float32 in [0,1]."""

    name: str
    hazy: "Tensor"
    clear: "Tensor"


@runtime_checkable
class PairedData(Protocol):
    """A dataset that supervised methods train and validate on."""

    def __len__(self) -> int: ...

    def pair(self, index: int) -> Pair: ...

    def draw(
        self, seed: int, step: int, *, size: int, augment: "Augment", device: "torch.device"
    ) -> PairedBatch:
        """Returns the `size` pairs of this seed and step: a pure function of its arguments."""
        ...


class UnpairedData(Protocol):
    """A dataset that unpaired methods train on."""

    def __len__(self) -> int: ...

    def draw(
        self, seed: int, step: int, *, size: int, augment: "Augment", device: "torch.device"
    ) -> UnpairedBatch:
        """Returns `size` hazy and `size` clear pictures of this seed and step: a pure function."""
        ...
