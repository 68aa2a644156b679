"""Published dehazing datasets: their layout on disk, the pairing and the number of files."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from unhaze import plugins
from unhaze.data.layouts import (
    Dataset,
    find_cities,
    find_folders,
    find_halves,
    find_hazy_only,
    find_published,
    find_split,
)
from unhaze.data.pairing import Found, PairFiles
from unhaze.errors import UnhazeError
from unhaze.tables import read_tables
from unhaze.validation import check_arguments

if TYPE_CHECKING:
    import numpy as np
    import torch

Array = TypeVar("Array", "np.ndarray", "torch.Tensor")


def find_pairs(name: str, root: Path | str = ".", **arguments: Any) -> list[PairFiles]:
    """Returns the pairs of dataset `name` under `root`, in natural order of their names.

    UnhazeError for an unknown name or argument, a missing folder, or any file without a partner:
    nothing is dropped silently. If the dataset has no clear pictures, `clear` is None.
    """
    found = find_files(name, root, **arguments)
    alone = found.hazy_alone or ([] if arguments.get("partial") else found.clear_alone)
    if alone:
        kind = "clear" if found.hazy_alone else "hazy"
        more = f" and {len(alone) - 1} more have" if len(alone) > 1 else " has"
        advice = "" if found.hazy_alone else ", or set partial = true to leave them out"
        raise UnhazeError(
            f"{name}: '{alone[0]}'{more} no {kind} partner; "
            f"`unhaze data check {name}` lists all of them{advice}"
        )
    if not found.pairs:
        raise UnhazeError(f"{name}: no pairs in '{root}'; {DATASETS[name].pairing}")
    return found.pairs


def find_files(name: str, root: Path | str = ".", **arguments: Any) -> Found:
    """Like `find_pairs`, but also returns files without a partner instead of raising."""
    dataset = find_dataset(name)
    if dataset.find is None:
        raise UnhazeError(f"'{name}' has no pairs of files: its batches are drawn in training")
    check_arguments(dataset.find, arguments, f"dataset '{name}'", reserved=("dataset", "root"))
    root = Path(root)
    if not root.is_dir():
        raise UnhazeError(
            f"{name}: there is no folder '{root}'; pass the folder of {dataset.title}"
        )
    return dataset.find(dataset, root, **arguments)


def find_dataset(name: str) -> Dataset:
    """Returns dataset `name`: from `DATASETS`, an entry point, or "package.module:Class"."""
    return plugins.find(DATASETS, name, "dataset", dataset_of)


def dataset_of(name: str, build: Callable[..., Any]) -> Dataset:
    """Wraps a class of another package."""
    title, where = name.rpartition(":")[2], f"from {build.__module__}"
    return Dataset(title, paper="", source=where, terms="its own", pairing=where, build=build)


def fit_clear(pair: PairFiles, clear: Array, hazy: Array) -> Array:
    """Crops `clear` (H,W,C) to the size of `hazy`: only by the declared border, never resized."""
    rows, columns = (clear.shape[side] - hazy.shape[side] for side in (0, 1))
    if rows == columns == 0:
        return clear
    border = pair.border
    if rows == columns == 2 * border:
        return clear[border:-border, border:-border]
    sizes = f"hazy {hazy.shape[1]}x{hazy.shape[0]}, clear {clear.shape[1]}x{clear.shape[0]}"
    advice = (
        f"if the clear pictures have a frame of {rows // 2} px, set border = {rows // 2}"
        if rows == columns > 0 and rows % 2 == 0
        else "pictures of a pair must have one size; they are never resized"
    )
    raise UnhazeError(f"'{pair.hazy}' and '{pair.clear}' differ in size ({sizes}); {advice}")


FINDERS = {
    "published": find_published,
    "hazy-only": find_hazy_only,
    "halves": find_halves,
    "cities": find_cities,
    "split": find_split,
    "folders": find_folders,
}
TERMS = {
    "unknown": "Published for research, no licence known to us. Cite the paper, pass no copy on.",
    "page": "Published for research; its page says on what terms. Cite the paper, pass no copy on.",
}


def entry(facts: dict[str, Any]) -> Dataset:
    """Turns a table of catalog.toml into an entry of `DATASETS`."""
    find = FINDERS[facts["find"]] if "find" in facts else None
    terms = TERMS.get(facts["terms"], facts["terms"])
    if mark := facts.get("clear_mark"):
        facts = facts | {"clear_mark": re.compile(mark, re.IGNORECASE)}
    return Dataset(**facts | {"find": find, "terms": terms})


DATASETS = {
    name: entry(facts) for name, facts in read_tables("unhaze.data", "catalog.toml").items()
}
