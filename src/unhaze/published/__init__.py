"""Turns a checkpoint that others published into weights that `unhaze eval` and `export` take."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from unhaze.config import Part
from unhaze.errors import UnhazeError
from unhaze.names import lookup
from unhaze.nets import NETS, create_net
from unhaze.published.files import read_tensors
from unhaze.published.layouts import LAYOUTS, UNUSED, Layout, replaced
from unhaze.weights import check_target, replace_weights


@dataclass(frozen=True)
class ImportReport:
    """What was imported: for which preset, in which layout; `unused` names of the file."""

    path: Path
    preset: str | None
    layout: str
    params: int
    unused: tuple[str, ...]


@dataclass(frozen=True)
class Fit:
    """A network to fill, a layout to read the file by, and what stands against it."""

    preset: str | None
    net: nn.Module
    layout: Layout
    faults: tuple[str, ...]


def import_weights(
    source: Path | str,
    out: Path | str,
    *,
    net: str,
    preset: str | None = None,
    overwrite: bool = False,
) -> ImportReport:
    """Writes the published weights in `source` as `out`, a .safetensors file for network `net`.

    preset: by default the first one that fits. Nothing in `source` is run. UnhazeError, and nothing
    is written, if `out` exists without `overwrite` or is not named .safetensors, if `source` cannot
    be read, or if a tensor is missing, left over, of another shape, or not finite.
    """
    source, out = Path(source), Path(out)
    presets = list(lookup(NETS, net, "net").presets) or [None]
    layouts = lookup(LAYOUTS, net, "published layout of net")
    if preset is not None:
        lookup(NETS[net].presets, preset, f"preset of {net}")
    existing = check_target(out, overwrite)
    tensors = read_tensors(source)
    unused = tuple(name for name in tensors if re.search(UNUSED, name))
    tensors = {name: each for name, each in tensors.items() if name not in unused}
    fits = [try_fit(net, each, layout, tensors) for each in presets for layout in layouts]
    fit = chosen(fits, preset, source, net)
    fill(fit, tensors)
    arguments = {} if fit.preset is None else {"preset": fit.preset}
    facts = {
        "recipe": f"{NETS[net].title}, published weights",
        "published": fit.layout.title,
        "published_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "licence": NETS[net].licence,
    }
    replace_weights(existing, out, fit.net, Part(net, arguments), **facts)
    params = sum(parameter.numel() for parameter in fit.net.parameters())
    return ImportReport(out, fit.preset, fit.layout.title, params, unused)


def try_fit(net: str, preset: str | None, layout: Layout, tensors: dict[str, Tensor]) -> Fit:
    """`preset` of `net`, and all in which `tensors` differ from what `layout` says it needs."""
    built = create_net(net, preset=preset)
    expected = {
        replaced(name, layout.renames): layout.stored_shape(tuple(tensor.shape))
        for name, tensor in built.state_dict().items()
    }
    return Fit(preset, built, layout, tuple(faults(expected, renamed(layout, tensors))))


def renamed(layout: Layout, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names that `layout` prefers."""
    return {replaced(name, layout.aliases): tensor for name, tensor in tensors.items()}


def faults(expected: dict[str, tuple[int, ...]], found: dict[str, Tensor]) -> Iterator[str]:
    """One short sentence for each tensor that is missing, unfit or left over."""
    for name, shape in expected.items():
        if name not in found:
            yield f"it has no tensor '{name}', expected {shape}"
            continue
        tensor = found[name]
        if tuple(tensor.shape) != shape:
            yield f"tensor '{name}' is {tuple(tensor.shape)}, expected {shape}"
        elif tensor.layout != torch.strided or not tensor.dtype.is_floating_point:
            yield f"tensor '{name}' is of type {tensor.dtype}, expected plain floating point"
        elif not tensor.isfinite().all():
            yield f"tensor '{name}' holds numbers that are not finite"
    for name in found:
        if name not in expected:
            yield f"its tensor '{name}' has no place in the net"


def chosen(fits: list[Fit], preset: str | None, source: Path, net: str) -> Fit:
    """The first that fits, among those of `preset` if it is given, or an UnhazeError."""
    wanted = [fit for fit in fits if preset in (None, fit.preset)]
    fitting = next((fit for fit in wanted if not fit.faults), None)
    if fitting is not None:
        return fitting
    nearest = min(wanted, key=lambda fit: len(fit.faults))
    named = f"net '{net}'" + (f" (preset '{nearest.preset}')" if nearest.preset else "")
    more = f", and {len(nearest.faults) - 1} more" if len(nearest.faults) > 1 else ""
    other = next((fit.preset for fit in fits if not fit.faults), None)
    advice = f"; it fits preset '{other}'" if other else ""
    raise UnhazeError(f"'{source}' does not fit {named}: {nearest.faults[0]}{more}{advice}")


def fill(fit: Fit, tensors: dict[str, Tensor]) -> None:
    """Copies the published tensors, in our order of numbers, into the network."""
    tensors = renamed(fit.layout, tensors)
    own = fit.net.state_dict()
    for name, tensor in own.items():
        stored = tensors[replaced(name, fit.layout.renames)]
        tensor.copy_(fit.layout.arrange(stored, tuple(tensor.shape)))
