"""Named tensors to and from safetensors files; no pickle anywhere."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from unhaze.errors import UnhazeError


def save_tensors(
    folder: Path, stem: str, tensors: dict[str, Tensor], facts: dict[str, Any] | None = None
) -> Path:
    """Writes FOLDER/STEM.safetensors and returns its path.

    `facts` (plain JSON values) go into its header. Not atomic: write into a fresh folder.
    """
    path = folder / f"{stem}.safetensors"
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Not save_file, which makes files that only their owner can read.
    path.write_bytes(save(stored, {"unhaze": json.dumps(facts or {})}))
    return path


def load_tensors(folder: Path, stem: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and facts that `save_tensors` wrote; UnhazeError if missing or broken."""
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Any] = {}
    for path in files_of(folder, stem):
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {}).get("unhaze", "{}"))
                tensors |= {name: file.get_tensor(name) for name in list(file.keys())}
        except (SafetensorError, OSError, ValueError) as error:
            raise UnhazeError(f"'{path}' is not a readable safetensors file: {error}") from error
    return tensors, facts


def files_of(folder: Path, stem: str) -> list[Path]:
    """STEM.safetensors, or the parts STEM-1, STEM-2 ... that version 0.1 made of large ones."""
    single = folder / f"{stem}.safetensors"
    paths = [single] if single.exists() else sorted(folder.glob(f"{stem}-[0-9]*.safetensors"))
    if not paths:
        raise UnhazeError(f"no file '{single}'")
    return paths
