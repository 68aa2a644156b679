"""The names and shapes that checkpoints of each network have, so that a file tells what it is."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from unhaze.nets import NETS, create_net
from unhaze.published.layouts import LAYOUTS, OWN, UNUSED, Layout, replaced

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Variant:
    """A network with one of its presets, as files of one layout hold it."""

    net: str
    preset: str | None
    layout: Layout

    @property
    def name(self) -> str:
        """As `--net` takes it: "net/preset", or "net" where there are no presets."""
        return self.net if self.preset is None else f"{self.net}/{self.preset}"

    def expected(self) -> Shapes:
        """The names and shapes of its tensors in a file."""
        return {
            replaced(name, self.layout.renames): self.layout.stored_shape(shape)
            for name, shape in shapes_of(self.net, self.preset).items()
        }

    def renamed(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors under the names that the layout prefers."""
        return {replaced(name, self.layout.aliases): each for name, each in tensors.items()}


def list_variants() -> list[Variant]:
    """All that can be told apart, of each network the published layouts first."""
    return [variant for net in NETS for variant in variants_of(net)]


def variants_of(net: str) -> list[Variant]:
    """Of one network: each preset in each layout."""
    layouts = [*LAYOUTS.get(net, ()), OWN]
    return [
        Variant(net, preset, layout)
        for preset in (*NETS[net].presets,) or (None,)
        for layout in layouts
    ]


def shapes_of(net: str, preset: str | None) -> Shapes:
    """Name -> shape of all that a state dictionary of the network holds, counters left out."""
    arguments = {} if preset is None else NETS[net].presets[preset]
    return _shapes(net, NETS[net].location, json.dumps(arguments, sort_keys=True, default=str))


@cache
def _shapes(net: str, location: str, arguments: str) -> Shapes:
    # On the "meta" device a network has shapes and no numbers: all of NETS takes a second or two.
    with torch.device("meta"):
        built = create_net(net, **json.loads(arguments))
    return {
        name: tuple(tensor.shape)
        for name, tensor in built.state_dict().items()
        if not re.search(UNUSED, name)
    }


def signature(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> frozenset[tuple]:
    """What two files of one variant share. A single number may be stored as () or as (1,)."""
    return frozenset((name, tuple(shape) or (1,)) for name, shape in shapes)
