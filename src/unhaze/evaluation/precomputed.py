"""A folder of pictures restored by another program, measured like the results of a model."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from unhaze import photo
from unhaze.data.pairing import PairFiles, list_pictures
from unhaze.errors import UnhazeError
from unhaze.image import fitted, to_float

ENDING = ".unhazed"  # suffix of the results that `unhaze` writes beside its inputs


def precomputed_in(folder: Path) -> dict[str, Path]:
    """Returns the pictures directly in a folder, by the names of their inputs; {} for run folders.

    UnhazeError: two of them have the same name.
    """
    if not folder.is_dir() or any(folder.glob("state-*")) or (folder / "recipe.toml").exists():
        return {}
    found: dict[str, Path] = {}
    for path in (each for each in list_pictures(folder) if each.parent == folder):
        name = path.stem.removesuffix(ENDING)
        if name in found:
            raise UnhazeError(f"'{found[name]}' and '{path}' are both '{name}'; keep one of them")
        found[name] = path
    return found


def read_precomputed(
    precomputed: Mapping[str, Path], pair: PairFiles, hazy: np.ndarray
) -> np.ndarray:
    """Returns the restored picture of `pair`, float32 (H,W,3), at the size of `hazy`.

    UnhazeError: there is none, or its aspect ratio differs.
    """
    path = precomputed.get(pair.name) or precomputed.get(pair.hazy.stem)
    if path is None:
        raise UnhazeError(f"there is no restored picture named '{pair.name}'")
    restored = to_float(photo.read_rgb(path))
    if restored.shape == hazy.shape:
        return restored
    brought = fitted(restored, max(hazy.shape[:2]))
    if brought.shape != hazy.shape:
        sizes = [f"{each.shape[1]}x{each.shape[0]}" for each in (restored, hazy)]
        raise UnhazeError(
            f"'{path}' is {sizes[0]}, whose aspect ratio differs from {sizes[1]}, the input's"
        )
    return brought
