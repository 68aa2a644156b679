"""Reads tensors from files of other projects without executing anything in them."""

import json
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor

from unhaze.errors import UnhazeError
from unhaze.published.matlab import read_arrays
from unhaze.zoo.kinds import LARGEST, kind_of

# Where training programs store the weights among other data.
WRAPPERS = ("model", "state_dict", "model_state_dict", "params_ema", "params", "net", "network")

# Names for averages of the weights over training; they restore better than the last weights.
AVERAGED = r"(^|[_.])(ema|averaged?|swa)($|[_.])"
# A part of a network in a file of its own, as of DMPHN and DMSHN.
PART = r"(encoder|decoder)_lv\d$"
DEEPEST = 3  # dictionaries around the weights

# Prefixes that module wrappers add to every name.
PREFIXES = ("module.", "_orig_mod.")

# Errors of readers for damaged files. PyTorch's reader assumes a well-formed pickle.
DAMAGE = (OSError, ValueError, EOFError, RuntimeError, zlib.error)
DAMAGE += (zipfile.BadZipFile, SafetensorError)
PICKLE_DAMAGE = (ValueError, EOFError, pickle.UnpicklingError, RuntimeError, LookupError)
PICKLE_DAMAGE += (TypeError, AttributeError, AssertionError, OverflowError, struct.error)


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """Returns name -> tensor of a PyTorch, .npz, .mat (version 5) or .safetensors file of any
    suffix.

    Opens nested state dicts, removes the `module.` of parallel training, and ignores everything
    that is not a tensor. UnhazeError: missing, larger than 1 GiB, damaged, of another kind, without
    tensors, or would execute code.
    """
    found = state_of(read_any(Path(path)))
    if not found:
        raise UnhazeError(f"'{path}' contains no named tensors; expected a state dictionary")
    return without_prefixes(found)


def read_any(path: Path) -> Any:
    """Returns everything in a file: nested dicts for PyTorch, name -> tensor for other formats.

    UnhazeError: as for `read_tensors`.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise UnhazeError(f"'{path}' has {size} bytes; weights of at most {LARGEST} are read")
        kind = kind_of(path)
        if kind is not None:
            raise ValueError(kind.reason)
        with path.open("rb") as file:
            start = file.read(10)
        if start == b"MATLAB 5.0":
            arrays = read_arrays(path.read_bytes(), LARGEST)
            return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        if start[8:9] == b"{":
            return dict(sorted(load(path.read_bytes()).items()))  # which come in any order
        if start[:2] == b"PK" and is_npz(path):
            return read_npz(path)
        return read_pytorch(path)
    except DAMAGE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UnhazeError(
            f"cannot read '{path}': {reason}; expected weights as a PyTorch, .npz, .safetensors or"
            " MATLAB 5 file"
        ) from error


def read_parts(folder: Path) -> dict[str, Tensor]:
    """Returns name -> tensor of a network saved in one file per part.

    The name of a part is the end of the file name, as in ep130_encoder_lv1.pkl. UnhazeError: as for
    `read_tensors`, and if two files have the same name.
    """
    tensors: dict[str, Tensor] = {}
    for path in sorted(each for each in folder.iterdir() if each.is_file()):
        part = re.search(PART, path.stem)
        prefix = part[0] if part else path.stem
        found = {f"{prefix}.{name}": each for name, each in read_tensors(path).items()}
        if found.keys() & tensors.keys():
            raise UnhazeError(f"'{folder}' holds two files of part '{prefix}'; leave one there")
        tensors |= found
    return tensors


@dataclass(frozen=True)
class State:
    """Tensors by name, and their place in the file: "" or keys joined by dots."""

    where: str
    tensors: dict[str, Tensor]

    @property
    def averaged(self) -> bool:
        """Returns whether its place indicates an average over training."""
        return re.search(AVERAGED, self.where, re.IGNORECASE) is not None


def states_in(loaded: Any) -> list[State]:
    """Returns all state dicts in what `read_any` returned, averages first, then from the outermost
    inwards.

    Also returns parts of a dict with a common first word, for programs that save the network with
    its losses, and all names without a first word that they share.
    """
    found: list[State] = []
    waiting = [("", loaded, 0)]
    while waiting:
        where, level, depth = waiting.pop(0)
        if not isinstance(level, Mapping) or depth > DEEPEST:
            continue
        named = {name: each for name, each in level.items() if isinstance(name, str)}
        tensors = {name: each for name, each in named.items() if isinstance(each, Tensor)}
        if tensors:
            found.append(State(where, tensors))
            groups: dict[str, dict[str, Tensor]] = {}
            for name, tensor in tensors.items():
                first, dot, rest = name.partition(".")
                if dot:
                    groups.setdefault(first, {})[rest] = tensor
            waiting += [(joined(where, key), part, depth + 1) for key, part in groups.items()]
        inner = [(name, each) for name, each in named.items() if isinstance(each, Mapping)]
        waiting += [(joined(where, name), each, depth + 1) for name, each in inner]
    return sorted(found, key=lambda state: not state.averaged)


def joined(where: str, name: str) -> str:
    """Returns `where` extended by one more key."""
    return f"{where}.{name}" if where else name


def is_npz(path: Path) -> bool:
    """Distinguishes .npz from PyTorch's zip files; raises an error if the unpacked size is too
    large.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    if unpacked > LARGEST:
        raise UnhazeError(f"'{path}' unpacks to {unpacked} bytes; at most {LARGEST} are read")
    return any(member.filename.endswith(".npy") for member in members)


def read_npz(path: Path) -> dict[str, Tensor]:
    """Returns numeric arrays; NumPy raises ValueError for pickled ones."""
    with np.load(path, allow_pickle=False) as arrays:
        numeric = {name: arrays[name] for name in arrays.files if name}
    return {
        name: torch.from_numpy(np.ascontiguousarray(array))
        for name, array in numeric.items()
        if array.dtype.kind in "fiu" and array.dtype.isnative
    }


class Skipped:
    """Replaces NumPy numbers and arrays, such as scores that checkpoints store beside the
    weights.
    """

    def __init__(self, *parts: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# FFA-Net's checkpoints store PSNR and SSIM as NumPy scalars, whose code is not executed either.
SKIPPED = ("numpy.dtype", "numpy.ndarray")
SKIPPED += ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
SKIPPED += ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
# Settings and paths of the training beside the weights; their substitutes do nothing.
SKIPPED += ("argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePath")
SKIPPED += ("easydict.EasyDict", "datetime.datetime", "datetime.timedelta", "types.SimpleNamespace")
SKIPPED += ("numpy.float64", "numpy.float32", "numpy.int64", "numpy.bool_", "builtins.complex")


def read_pytorch(path: Path) -> Any:
    """Returns what `torch.save` wrote, if it consists of tensors and plain values."""
    skipped = [Skipped, *((Skipped, name) for name in SKIPPED)]
    try:
        with torch.serialization.safe_globals(skipped), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except PICKLE_DAMAGE as error:
        needed = re.search(r"GLOBAL ([\w.]+)", str(error))
        if needed is None:
            raise ValueError(
                "it is damaged, incomplete (as by a download that stopped) or of another kind"
            ) from error
        raise UnhazeError(
            f"'{path}' would run code when loaded ('{needed[1]}'), so it was not; with the program"
            " that made it, save only the network's state_dict()"
        ) from error


def state_of(loaded: Any) -> dict[str, Tensor]:
    """Returns the tensors by name, from inside at most three nested dicts."""
    for _ in range(3):
        if not isinstance(loaded, Mapping):
            return {}
        inner = [loaded[name] for name in WRAPPERS if isinstance(loaded.get(name), Mapping)]
        if not inner:
            break
        loaded = inner[0]
    return {
        name: tensor
        for name, tensor in loaded.items()
        if isinstance(name, str) and isinstance(tensor, Tensor)
    }


def without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Removes, repeatedly, a prefix that all names share."""
    for _ in range(3):
        for prefix in PREFIXES:
            if all(name.startswith(prefix) for name in tensors):
                tensors = {name.removeprefix(prefix): each for name, each in tensors.items()}
    return tensors


def read_safetensors_facts(path: Path) -> dict[str, Any]:
    """Returns the facts stored in a .safetensors file of this project; {} for all other files."""
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {}).get("unhaze", "{}"))
    except (SafetensorError, OSError, ValueError):
        return {}
