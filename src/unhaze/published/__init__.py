"""Turns a published checkpoint into a network, or into a weights file for all commands."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unhaze.config import Part
from unhaze.errors import UnhazeError
from unhaze.nets import NETS, create_net
from unhaze.published.files import read_safetensors_facts
from unhaze.published.identify import Found, find_network
from unhaze.published.layouts import replaced
from unhaze.validation import lookup
from unhaze.weights import Weights, check_weights_target, load_weights, save_weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportReport:
    """The result of an import: `net` and its preset, the layout; `unused` names of the file.

    told: what the file was recognised as, and how certain that is.
    """

    path: Path
    net: str
    preset: str | None
    layout: str
    params: int
    unused: tuple[str, ...]
    told: str


def open_weights(source: Path | str, *, net: str | None = None) -> Weights:
    """Returns the network of any source: the one entry point for training, evaluation and export.

    The source is a run folder, a .safetensors file of this project, or a published checkpoint,
    which is recognised by its tensors (`find_network`) and named on stderr. `net`: "name" or
    "name/preset", overrides the recognition. UnhazeError: as for `load_weights` and `find_network`.
    """
    source = Path(source)
    parts = sorted(source.parent.glob(f"{source.stem}-[0-9]*.safetensors"))
    ours = source.suffix == ".safetensors" and (not source.exists() and parts)
    run = any(source.glob("state-*")) or (source / "recipe.toml").exists()
    if run or ours or "net" in read_safetensors_facts(source):
        if net is not None:
            raise UnhazeError(f"'{source}' already states its network; leave out --net")
        return load_weights(source)
    if not source.exists():
        raise UnhazeError(f"no file '{source}'")
    if source.is_dir() and not any(each.is_file() for each in source.iterdir()):
        return load_weights(source)  # raises an error that it is not a run folder
    found = find_network(source, net)
    logger.warning("'%s' is %s", source, found.sentence())
    return filled(source, found)


def import_weights(
    source: Path | str,
    out: Path | str,
    *,
    net: str | None = None,
    preset: str | None = None,
    overwrite: bool = False,
) -> ImportReport:
    """Writes the published weights in `source` to `out`, a .safetensors file.

    net, preset: by default those that the tensors identify, the first that fits. Nothing in
    `source` is executed. UnhazeError, with nothing written, if `out` exists without `overwrite` or
    is not named .safetensors, if `source` cannot be read, or if a tensor is missing, left over, of
    another shape, or not finite.
    """
    source, out = Path(source), Path(out)
    if preset is not None:
        if net is None:
            raise UnhazeError(f"preset '{preset}' needs the net that it belongs to")
        lookup(lookup(NETS, net, "net").presets, preset, f"preset of {net}")
        net = f"{net}/{preset}"
    elif net is not None:
        lookup(NETS, net.partition("/")[0], "net")
    check_weights_target(out, overwrite)
    if "net" in read_safetensors_facts(source):
        raise UnhazeError(f"'{source}' was written by unhaze, which reads it as it is")
    found = find_network(source, net)
    weights = filled(source, found)
    save_weights(out, weights.net, weights.part, **weights.facts)
    params = sum(parameter.numel() for parameter in weights.net.parameters())
    variant = found.variant
    told = found.sentence()
    return ImportReport(
        out, variant.net, variant.preset, variant.layout.title, params, found.unused, told
    )


def filled(source: Path, found: Found) -> Weights:
    """Returns the network with these tensors, and the facts known about it."""
    variant = found.variant
    arguments = {} if variant.preset is None else {"preset": variant.preset}
    net = create_net(variant.net, **arguments)
    fill(net, found)
    facts: dict[str, Any] = {
        "recipe": f"{NETS[variant.net].title}, published weights",
        "published": variant.layout.title,
        "published_sha256": sha256_of(source),
        "licence": NETS[variant.net].licence,
        "settings": {"net": variant.net},
    }
    return Weights(net.eval(), Part(variant.net, arguments), facts)


def sha256_of(source: Path) -> str:
    """Returns the hash of a file, or of the files in a folder one after the other."""
    files = sorted(each for each in source.iterdir() if each.is_file()) if source.is_dir() else []
    digest = hashlib.sha256()
    for file in files or [source]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def fill(net: nn.Module, found: Found) -> None:
    """Copies the published tensors into the network, in its layout."""
    variant = found.variant
    tensors = variant.renamed(found.state.tensors)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            stored = tensors.get(replaced(name, variant.layout.renames))
            if stored is not None:  # Counters of batch norms may be missing.
                tensor.copy_(variant.layout.arrange(stored, tuple(tensor.shape)))
