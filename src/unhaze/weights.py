"""Networks with their weights: a safetensors file whose header rebuilds the network."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from unhaze.atomic import check_replaceable, made_aside
from unhaze.config import Part
from unhaze.errors import UnhazeError
from unhaze.nets import create_net, find_net
from unhaze.plugins import check_trusted
from unhaze.tensors import load_tensors, save_tensors


@dataclass(frozen=True)
class Weights:
    """A network in evaluation mode, the recipe part that builds it, what its file says of it."""

    net: nn.Module
    part: Part
    facts: dict[str, Any]


def load_weights(source: Path | str) -> Weights:
    """Loads what `save_weights` wrote: a .safetensors file, or a run folder's newest averaged
    weights. `published.open_weights` also loads the checkpoints of others.

    UnhazeError: neither of these, or the file is missing, damaged or not written by unhaze.
    """
    path = Path(source)
    if path.is_dir():
        path = newest_state(path) / "ema.safetensors"
    if path.suffix != ".safetensors":
        raise UnhazeError(f"'{path}' is neither a .safetensors file nor a run folder")
    tensors, facts = load_tensors(path.parent, path.stem)
    if "net" not in facts:
        raise UnhazeError(f"'{path}' does not say which network it is for; unhaze did not write it")
    part = Part(facts["net"], facts["arguments"])
    check_trusted(part.name, str(path))
    if ":" in part.name:
        build = find_net(part.name).build
        if not (inspect.isclass(build) and issubclass(build, nn.Module)):
            raise UnhazeError(f"'{path}' is for '{part.name}', which is no network")
    net = create_net(part.name, **part.arguments)
    load_into(net, tensors, str(path))
    return Weights(net.eval(), part, facts)


def newest_state(run: Path) -> Path:
    """The newest complete `state-STEP` folder of a run; unfinished ones carry another name."""
    states = sorted(run.glob("state-" + "[0-9]" * 9))
    if not states:
        raise UnhazeError(f"'{run}' is not a run folder: it contains no state-* folder")
    return states[-1]


def load_into(net: nn.Module, tensors: dict[str, Tensor], origin: str) -> None:
    """Fills `net` with `tensors`; every name and shape must match, or an UnhazeError says which."""
    own = net.state_dict()
    for name in sorted(own.keys() ^ tensors.keys()):
        where = "the file has" if name in own else "the net has"
        raise UnhazeError(f"{origin}: {where} no tensor '{name}'")
    for name, tensor in tensors.items():
        if own[name].shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)}, the net needs {tuple(own[name].shape)}"
            raise UnhazeError(f"{origin}: tensor '{name}' is {shapes}")
    net.load_state_dict(tensors)


def average(
    first: Path | str, second: Path | str, share: float, arguments: dict[str, Any] | None = None
) -> Weights:
    """`share` of the first's weights and what is left of 1 of the second's, in one network.

    arguments: of the network, in place of what the two have; such as change no weights.

    Between a network and the one that it was fine-tuned from lie networks that keep strengths of
    both (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022). Sources are as for
    `load_weights`. UnhazeError: different networks, or a share outside [0,1].
    """
    if not 0 <= share <= 1:
        raise UnhazeError(f"share is {share}; expected 0 to 1")
    mixed, other = load_weights(first), load_weights(second)
    if mixed.part != other.part:
        raise UnhazeError(
            f"'{first}' is {mixed.part.name} {mixed.part.arguments}, '{second}' is "
            f"{other.part.name} {other.part.arguments}; only equal networks can be averaged"
        )
    part = Part(mixed.part.name, mixed.part.arguments | (arguments or {}))
    net = create_net(part.name, **part.arguments)
    load_into(net, mixed.net.state_dict(), str(first))
    others = other.net.state_dict()
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            tensor.mul_(share).add_(others[name], alpha=1 - share)
    parts = [{"share": share} | mixed.facts, {"share": 1 - share} | other.facts]
    recipe = mixed.facts.get("recipe", "")
    return Weights(net.eval(), part, {"recipe": recipe, "average": parts})


def save_weights(path: Path | str, net: nn.Module, part: Part, **facts: Any) -> None:
    """Writes `path`, atomically, making its folder; `facts` are plain JSON values."""
    path = Path(path)
    header = {"net": part.name, "arguments": part.arguments} | facts
    with made_aside(path, parents=True) as aside:
        save_tensors(aside.parent, aside.stem, net.state_dict(), header)


def check_weights_target(out: Path, overwrite: bool) -> None:
    """UnhazeError if weights cannot be called `out`, or it exists and not `overwrite`."""
    if out.suffix != ".safetensors":
        raise UnhazeError(f"'{out}' must end in .safetensors")
    check_replaceable(out, overwrite)
