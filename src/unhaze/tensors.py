"""Named tensors to and from safetensors files of bounded size; no pickle anywhere."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from unhaze.errors import UnhazeError

# What a run leaves must travel between machines that take files of at most 16 MiB.
LARGEST_FILE = 15 * 2**20


def save_tensors(
    folder: Path, stem: str, tensors: dict[str, Tensor], facts: dict[str, Any] | None = None
) -> list[Path]:
    """Writes STEM.safetensors, or STEM-1.safetensors, STEM-2 ... if it is over 15 MiB.

    `facts` (plain JSON values) go into every header. Not atomic: write into a fresh folder.
    """
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        bytes_needed = tensor.numel() * tensor.element_size()
        if shards[-1] and size + bytes_needed > LARGEST_FILE:
            shards.append({})
            size = 0
        shards[-1][name] = tensor.detach().cpu().contiguous()
        size += bytes_needed
    names = [stem] if len(shards) == 1 else [f"{stem}-{i}" for i in range(1, len(shards) + 1)]
    paths = [folder / f"{name}.safetensors" for name in names]
    for path, shard in zip(paths, shards):
        # Not save_file, which makes files that only their owner can read.
        path.write_bytes(save(shard, {"unhaze": json.dumps(facts or {})}))
    return paths


def load_tensors(folder: Path, stem: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and facts that `save_tensors` wrote; UnhazeError if missing or broken."""
    single = folder / f"{stem}.safetensors"
    paths = [single] if single.exists() else sorted(folder.glob(f"{stem}-[0-9]*.safetensors"))
    if not paths:
        raise UnhazeError(f"no file '{single}'")
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Any] = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {}).get("unhaze", "{}"))
                tensors |= {name: file.get_tensor(name) for name in list(file.keys())}
        except (SafetensorError, OSError, ValueError) as error:
            raise UnhazeError(f"'{path}' is not a readable safetensors file: {error}") from error
    return tensors, facts
