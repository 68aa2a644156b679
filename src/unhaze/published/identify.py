"""Identifies weights files: the network, its variant, the place in the file, and the certainty."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unhaze.errors import UnhazeError, counted
from unhaze.nets import NETS
from unhaze.published.files import State, read_any, read_parts, states_in
from unhaze.published.layouts import UNUSED
from unhaze.published.signatures import (
    Variant,
    list_variants,
    signature,
    variants_of,
)
from unhaze.validation import lookup
from unhaze.weights import load_weights
from unhaze.zoo.kinds import kind_of

# Below this share of tensors in common with a network, a file does not belong to any
# network here.
ALIKE = 0.3


@dataclass(frozen=True)
class Found:
    """Tensors of a network found in a file: its `variant`, and `others` that fit as well.

    state: the tensors, without `unused` ones (counters of programs).
    """

    variant: Variant
    others: tuple[Variant, ...]
    state: State
    unused: tuple[str, ...]

    def sentence(self) -> str:
        """Returns network, certainty and place in the file as a sentence."""
        sure = "certain" if not self.others else "its tensors fit others, too"
        text = f"{self.variant.name} ({sure}: all {len(self.state.tensors)} tensors have their"
        text += f" name and shape; layout: {self.variant.layout.title}"
        if self.state.where:
            kind = ", an average over training" if self.state.averaged else ""
            text += f"; under '{self.state.where}'{kind}"
        if self.others:
            text += f"; or {', '.join(each.name for each in self.others)}: choose with --net"
        return text + ")"


def find_network(source: Path, net: str | None = None) -> Found:
    """Identifies the network in `source`, a file or a folder of its parts.

    `net`: "name" or "name/preset", which it must then be. Averages over training are preferred to
    the last weights, other states are tried from the outermost inwards. Nothing in the file is
    executed. UnhazeError: not readable (see `read_tensors`), or no network here; names the nearest
    one and the differences.
    """
    loaded = read_parts(source) if source.is_dir() else read_any(source)
    states = [without_unused(state) for state in states_in(loaded)]
    if not states:
        raise UnhazeError(no_tensors(source, loaded))
    variants = asked(net)
    for state, unused in states:
        fitting = [variant for variant in variants if fits(variant, state.tensors)]
        if fitting:
            chosen, *others = by_hints(fitting, source)
            found = Found(chosen, tuple(others), state, unused)
            for fault in faults(chosen, state.tensors):
                raise UnhazeError(f"'{source}' does not fit {spelled(chosen)}: {fault}")
            return found
    raise UnhazeError(no_network(source, [state for state, _ in states], variants, net))


def asked(net: str | None) -> list[Variant]:
    """Returns the variants that `--net` allows; all of them without it."""
    if net is None:
        return list_variants()
    name, _, preset = net.partition("/")
    lookup(NETS, name, "net")
    if preset:
        lookup(NETS[name].presets, preset, f"preset of {name}")
    return [each for each in variants_of(name) if not preset or each.preset == preset]


def without_unused(state: State) -> tuple[State, tuple[str, ...]]:
    """Returns the state without counters that no network needs, and their names."""
    unused = tuple(name for name in state.tensors if re.search(UNUSED, name))
    kept = {name: each for name, each in state.tensors.items() if name not in unused}
    return replace(state, tensors=kept), unused


def fits(variant: Variant, tensors: dict[str, Tensor]) -> bool:
    """Returns whether names and shapes are exactly those of the variant."""
    if variant.count() != len(tensors):
        return False
    return variant.signature() == signature_in(variant, tensors)


def by_hints(fitting: Sequence[Variant], source: Path) -> list[Variant]:
    """Returns one variant per network and preset; those whose net and preset are in the path come
    first.
    """
    unique = list({variant.name: variant for variant in reversed(fitting)}.values())[::-1]
    words = set(re.split(r"[^a-z0-9]+", "/".join(source.parts[-3:]).lower()))
    return sorted(unique, key=lambda each: (each.net not in words, each.preset not in words))


def faults(variant: Variant, tensors: dict[str, Tensor]) -> Iterator[str]:
    """Returns a short sentence for each tensor that is missing, of another shape, or left over."""
    expected, found = variant.expected(), variant.renamed(tensors)
    for name, shape in expected.items():
        if name not in found:
            yield f"it has no tensor '{name}', expected {shape}"
            continue
        tensor = found[name]
        if (tuple(tensor.shape) or (1,)) != (shape or (1,)):
            yield f"tensor '{name}' is {tuple(tensor.shape)}, expected {shape}"
        elif tensor.layout != torch.strided or not tensor.dtype.is_floating_point:
            yield f"tensor '{name}' is of type {tensor.dtype}, expected plain floating point"
        elif not tensor.isfinite().all():
            yield f"tensor '{name}' holds numbers that are not finite"
    for name in found:
        if name not in expected:
            yield f"its tensor '{name}' has no place in the net"


def spelled(variant: Variant) -> str:
    """Returns the name of a variant for messages."""
    return f"net '{variant.net}'" + (f" (preset '{variant.preset}')" if variant.preset else "")


def no_tensors(source: Path, loaded: Any) -> str:
    """Returns the message for a file without named tensors."""
    if isinstance(loaded, dict) and "param_groups" in loaded:
        return f"'{source}' holds the state of an optimizer and no weights; give the network's file"
    return f"'{source}' contains no named tensors; expected a state dictionary"


def no_network(source: Path, states: list[State], variants: list[Variant], net: str | None) -> str:
    """Returns the message for unknown tensors: the nearest variant, and the differences."""
    rated: list[tuple[float, Variant, State]] = []
    for each in states:
        alike = {one.layout.aliases: one for one in variants}
        found = {names: signature_in(one, each.tensors) for names, one in alike.items()}
        rated += [(likeness(one, found[one.layout.aliases]), one, each) for one in variants]
    share, variant, state = max(rated, key=lambda each: each[0])
    if net is None and share < ALIKE:
        largest = max(states, key=lambda each: len(each.tensors))
        first = next(iter(largest.tensors))
        return (
            f"'{source}' is of no network here:"
            f" {counted(len(largest.tensors), 'tensor')} from '{first}' on,"
            f" of which {spelled(variant)}, the nearest, shares {share:.0%};"
            " see `unhaze zoo` for what is known"
        )
    first, *more = faults(variant, state.tensors)
    rest = f", and {len(more)} more" if more else ""
    message = f"'{source}' does not fit {spelled(variant)}: {first}{rest}"
    if net is None:
        return f"{message}; it is the nearest: {int(100 * share)} % of the tensors agree"
    others = [each for each in list_variants() if any(fits(each, one.tensors) for one in states)]
    same = next((each.preset for each in others if each.net == variant.net), None)
    if same:
        return f"{message}; it fits preset '{same}'"
    return f"{message}; it fits {spelled(others[0])}" if others else message


def signature_in(variant: Variant, tensors: dict[str, Tensor]) -> frozenset[tuple]:
    """Returns the signature of the tensors of a file, renamed as in the layout of the variant."""
    return signature((name, tuple(each.shape)) for name, each in variant.renamed(tensors).items())


def likeness(variant: Variant, found: frozenset[tuple]) -> float:
    """Returns the share of tensors with a name and shape in common, of the larger number. found:
    as `signature_in` returns it.
    """
    expected = variant.signature()
    if common := len(expected & found):
        return common / max(len(expected), len(found), 1)
    # All names differ: shapes count, but less.
    shapes = Counter(shape for _, shape in expected) & Counter(shape for _, shape in found)
    return 0.2 * shapes.total() / max(len(expected), len(found), 1)


@dataclass(frozen=True)
class Identity:
    """What a file is. kind: "checkpoint", "ONNX", or what it is instead, such as "web page".

    net, preset, layout, where: of a recognised checkpoint; certain: nothing else fits. told: all of
    it in one sentence.
    """

    path: str
    kind: str
    told: str
    net: str | None = None
    preset: str | None = None
    layout: str | None = None
    where: str = ""
    certain: bool = False


def identify(path: Path | str, net: str | None = None) -> Identity:
    """Identifies a file without executing anything in it; does not raise errors for its content."""
    path = Path(path)
    try:
        kind = kind_of(path)
    except OSError as error:
        return Identity(str(path), "unreadable", error.strerror or str(error))
    if kind is not None:
        return Identity(str(path), kind.name, kind.reason)
    if path.suffix == ".onnx":
        return Identity(str(path), "ONNX", "an ONNX file: unhaze photo.jpg --model runs it")
    if net is None and (own := written_here(path)) is not None:
        return own
    try:
        found = find_network(path, net)
    except UnhazeError as error:
        told = str(error).replace(f"'{path}' ", "", 1).removeprefix(f"cannot read '{path}': ")
        return Identity(str(path), kind_of_failure(str(error)), told)
    variant = found.variant
    return Identity(
        str(path),
        "checkpoint",
        found.sentence(),
        variant.net,
        variant.preset,
        variant.layout.title,
        found.state.where,
        not found.others,
    )


def written_here(path: Path) -> Identity | None:
    """Returns what the header of unhaze's own weights states, if the tensors fit it."""
    if path.suffix != ".safetensors":
        return None
    try:
        part = load_weights(path).part
    except UnhazeError:
        return None
    given = "".join(f", {key} {value}" for key, value in part.arguments.items())
    told = f"{part.name}{given} (certain: unhaze wrote it, and all tensors fit its header)"
    preset = part.arguments.get("preset")
    return Identity(str(path), "checkpoint", told, part.name, preset, certain=True)


def kind_of_failure(message: str) -> str:
    """Returns one or two words for the messages of `read_any` and `find_network`."""
    kinds = {
        "would run code": "code",
        "cannot read": "damaged",
        "optimizer": "optimizer state",
        "no tensors": "no weights",
    }
    return next((kind for words, kind in kinds.items() if words in message), "foreign checkpoint")
