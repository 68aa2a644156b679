"""Names and shapes of the tensors of each network, by which files are identified."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from unhaze.nets import NETS, create_net
from unhaze.published.layouts import LAYOUTS, OWN, UNUSED, Layout, replaced

Shapes = dict[str, tuple[int, ...]]

# `Variant.key` -> number of its tensors, so that few networks have to be built to recognise a file.
# One that is not listed is built; tests/published/test_counts.py writes the file.
COUNTS = Path(__file__).parent / "counts.json"


@dataclass(frozen=True)
class Variant:
    """A network with one of its presets, as stored in files of one layout."""

    net: str
    preset: str | None
    layout: Layout

    @property
    def name(self) -> str:
        """Returns the name for `--net`: "net/preset", or "net" if there are no presets."""
        return self.net if self.preset is None else f"{self.net}/{self.preset}"

    @property
    def key(self) -> str:
        """Returns network, class and arguments, which any layout has in common."""
        return " ".join(_built_by(self.net, self.preset))

    def count(self) -> int:
        """Returns the number of its tensors in a file."""
        known = _known_counts().get(self.key)
        return len(self.expected()) if known is None else known

    def expected(self) -> Shapes:
        """Returns the names and shapes of its tensors in a file."""
        return _expected(self.layout, *_built_by(self.net, self.preset))

    def signature(self) -> frozenset[tuple]:
        """Returns the `signature` of what is expected."""
        return _signature(self.layout, *_built_by(self.net, self.preset))

    def renamed(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Renames the tensors to the preferred names of the layout."""
        return {replaced(name, self.layout.aliases): each for name, each in tensors.items()}


def list_variants() -> list[Variant]:
    """Returns all variants; for each network, published layouts come first."""
    return [variant for net in NETS for variant in variants_of(net)]


def variants_of(net: str) -> list[Variant]:
    """Returns the variants of one network: each preset in each layout."""
    layouts = [*LAYOUTS.get(net, ()), OWN]
    return [
        Variant(net, preset, layout)
        for preset in (*NETS[net].presets,) or (None,)
        for layout in layouts
    ]


def _built_by(net: str, preset: str | None) -> tuple[str, str, str]:
    """Returns name, class and arguments, by which shapes are kept: building takes time."""
    arguments = {} if preset is None else NETS[net].presets[preset]
    return net, NETS[net].location, json.dumps(arguments, sort_keys=True, default=str)


@cache
def _known_counts() -> dict[str, int]:
    return json.loads(COUNTS.read_text(encoding="utf-8"))


@cache
def _expected(layout: Layout, *built_by: str) -> Shapes:
    return {
        replaced(name, layout.renames): layout.stored_shape(shape)
        for name, shape in _shapes(*built_by).items()
    }


@cache
def _signature(layout: Layout, *built_by: str) -> frozenset[tuple]:
    return signature(_expected(layout, *built_by).items())


@cache
def _shapes(net: str, location: str, arguments: str) -> Shapes:
    # On the "meta" device networks have shapes but no numbers: all of NETS takes a second or two.
    with torch.device("meta"):
        built = create_net(net, **json.loads(arguments))
    return {
        name: tuple(tensor.shape)
        for name, tensor in built.state_dict().items()
        if not re.search(UNUSED, name)
    }


def signature(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> frozenset[tuple]:
    """Returns what two files of one variant share. A single number may be stored as () or as
    (1,).
    """
    return frozenset((name, tuple(shape) or (1,)) for name, shape in shapes)
