"""Tensors out of other people's files, without running anything that is in them."""

import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from unhaze.errors import UnhazeError
from unhaze.published.matlab import read_arrays

# Bytes of a file, also when unpacked. The largest network here has 31 M parameters, 125 MB.
LARGEST = 2**30

# Where training programs put the weights among the other things they save.
WRAPPERS = ("model", "state_dict", "model_state_dict", "params_ema", "params", "net", "network")

# What wrappers of modules put before every name.
PREFIXES = ("module.", "_orig_mod.")

# What damaged files raise while they are read. PyTorch's reader trusts a pickle to be well formed.
DAMAGE = (OSError, ValueError, EOFError, RuntimeError, zlib.error)
DAMAGE += (zipfile.BadZipFile, SafetensorError)
PICKLE_DAMAGE = (ValueError, EOFError, pickle.UnpicklingError, RuntimeError, LookupError)
PICKLE_DAMAGE += (TypeError, AttributeError, AssertionError, OverflowError, struct.error)


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """Name -> tensor of a PyTorch, .npz, .mat (version 5) or .safetensors file, suffix ignored.

    Nested state dictionaries are opened and the `module.` of parallel training is taken off; what
    is no tensor is left out. UnhazeError for files that are missing, larger than 1 GiB, damaged, of
    another kind, without tensors, or that would run code.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise UnhazeError(f"'{path}' has {size} bytes; weights of at most {LARGEST} are read")
        with path.open("rb") as file:
            start = file.read(10)
        if start == b"MATLAB 5.0":
            arrays = read_arrays(path.read_bytes(), LARGEST)
            found = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        elif start[8:9] == b"{":
            found = load(path.read_bytes())
        elif start[:2] == b"PK" and is_npz(path):
            found = read_npz(path)
        else:
            found = state_of(read_pytorch(path))
    except DAMAGE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UnhazeError(
            f"cannot read '{path}': {reason}; expected weights as a PyTorch, .npz, .safetensors or"
            " MATLAB 5 file"
        ) from error
    if not found:
        raise UnhazeError(f"'{path}' holds no tensors by name; expected a state dictionary")
    return without_prefixes(found)


def is_npz(path: Path) -> bool:
    """Arrays, or the other kind of zip file, a PyTorch checkpoint? Refuses what unpacks too big."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    if unpacked > LARGEST:
        raise UnhazeError(f"'{path}' unpacks to {unpacked} bytes; at most {LARGEST} are read")
    return any(member.filename.endswith(".npy") for member in members)


def read_npz(path: Path) -> dict[str, Tensor]:
    """Numeric arrays; NumPy refuses pickled ones, which is a ValueError."""
    with np.load(path, allow_pickle=False) as arrays:
        numeric = {name: arrays[name] for name in arrays.files if name}
    return {
        name: torch.from_numpy(np.ascontiguousarray(array))
        for name, array in numeric.items()
        if array.dtype.kind in "fiu" and array.dtype.isnative
    }


class Skipped:
    """Stands in for NumPy numbers and arrays: checkpoints hold scores beside the weights."""

    def __init__(self, *parts: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# FFA-Net's checkpoints keep PSNR and SSIM as NumPy scalars, whose code is not let run either.
SKIPPED = ("numpy.dtype", "numpy.ndarray")
SKIPPED += ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
SKIPPED += ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")


def read_pytorch(path: Path) -> Any:
    """What `torch.save` wrote, if it consists of tensors and plain values."""
    skipped = [Skipped, *((Skipped, name) for name in SKIPPED)]
    try:
        with torch.serialization.safe_globals(skipped), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except PICKLE_DAMAGE as error:
        needed = re.search(r"GLOBAL ([\w.]+)", str(error))
        if needed is None:
            raise ValueError("it is damaged or of another kind") from error
        raise UnhazeError(
            f"'{path}' would run code when loaded ('{needed[1]}'), so it was not; with the program"
            " that made it, save only the network's state_dict()"
        ) from error


def state_of(loaded: Any) -> dict[str, Tensor]:
    """The tensors by name, out of at most three dictionaries around them."""
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
    """Takes off, as often as needed, a prefix that all names share."""
    for _ in range(3):
        for prefix in PREFIXES:
            if all(name.startswith(prefix) for name in tensors):
                tensors = {name.removeprefix(prefix): each for name, each in tensors.items()}
    return tensors
