"""Layouts: names and shapes of tensors in published checkpoints that differ from those here."""

import re
from dataclasses import dataclass

from torch import Tensor

from unhaze.tables import read_tables


@dataclass(frozen=True)
class Layout:
    """One layout of the published weights of a network.

    renames: (pattern, replacement), applied in order to a name here, give the published one.
    aliases: the same from other published names to those. matlab: kernels (O,I,k,k) are stored as
    (I,k*k,O), or (I,k*k) for one output, in MATLAB's column order, and biases (O,) as (O,1).
    """

    title: str
    renames: tuple[tuple[str, str], ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    matlab: bool = False

    def stored_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the published shape of a tensor that has `shape` here."""
        if not self.matlab:
            return shape or (1,)  # a single number is () here and (1,) in all published files
        if len(shape) == 1:
            return (*shape, 1)
        outputs, inputs, height, width = shape
        return (inputs, height * width) if outputs == 1 else (inputs, height * width, outputs)

    def arrange(self, stored: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Returns a published tensor in its `shape` here."""
        if not self.matlab or len(shape) == 1:
            return stored.reshape(shape)
        outputs, inputs, height, width = shape
        return stored.reshape(inputs, width, height, outputs).permute(3, 0, 2, 1)


def replaced(name: str, patterns: tuple[tuple[str, str], ...]) -> str:
    """Returns `name` after all replacements, applied in order."""
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name


OWN = Layout("its own names")
LAYOUTS: dict[str, tuple[Layout, ...]] = {
    net: tuple(Layout(**facts) for facts in layouts)
    for net, layouts in read_tables("unhaze.published", "layouts.toml").items()
}

# Entries that belong to no layer: counters of batch norms and of a common profiler.
UNUSED = r"(^|\.)(num_batches_tracked|total_ops|total_params)$"
