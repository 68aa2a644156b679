"""Layouts of datasets on disk: their description, and functions that list the files."""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unhaze.data.pairing import (
    CLEAR_MARK,
    HAZY_MARK,
    Found,
    PairFiles,
    find_folder,
    list_pictures,
    match_files,
    resolve,
    scene_number,
)
from unhaze.errors import UnhazeError
from unhaze.validation import lookup

LISTS = ("pairs", "hazy_alone", "clear_alone")  # of Found


@dataclass(frozen=True)
class Dataset:
    """One entry of `DATASETS`.

    find: lists the files of a root; its keyword arguments are the recipe's `[data]` keys. build:
        for a dataset that is no list of files, builds it (data.PairedData) from them.
    inside: folders under the root that may contain it; hazy, clear: names of its two folders (in
        any case). flat: hazy and clear may share one folder, distinguished by `_hazy` and `_GT`.
    hazy_counts, clear_counts: published numbers of files, alternatives where copies differ.
    half_counts: the same, (hazy, clear), for each half of a dataset in folders `train` and `test`.
    border: frame of the clear pictures in pixels. splits: first and last scene number.
    clear_mark: suffix of the names of clear pictures that is ignored in pairing.
    """

    title: str
    paper: str
    source: str
    terms: str
    pairing: str
    find: Callable[..., Found] | None = None
    build: Callable[..., Any] | None = None
    inside: tuple[str, ...] = ("",)
    hazy: tuple[str, ...] = ("hazy", "haze")
    clear: tuple[str, ...] = ("clear", "gt")
    flat: bool = False
    hazy_counts: tuple[int, ...] = ()
    clear_counts: tuple[int, ...] = ()
    border: int = 0
    splits: dict[str, tuple[int, int]] = field(default_factory=dict)
    has_clear: bool = True
    half_counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    clear_mark: re.Pattern[str] = CLEAR_MARK


def find_published(dataset: Dataset, root: Path, *, partial: bool = False) -> Found:
    """A dataset with a hazy and a clear folder.

    partial (here and below; used by `find_pairs` and by the check): only a part of the published
    files exists, so clear pictures without a hazy one are left out and nothing is counted.
    """
    return match_files(*locate(dataset, root), dataset.border, dataset.clear_mark)


def find_halves(
    dataset: Dataset, root: Path, *, split: str = "test", partial: bool = False
) -> Found:
    """A dataset in folders `train` and `test`; split "all" has the existing ones of both.

    Names in "all" are `train-NAME` and `test-NAME`, because the halves may share names.
    """
    if split != "all":
        lookup(dataset.half_counts, split, "split (beside 'all')")
    halves = []
    for half in dataset.half_counts if split == "all" else (split,):
        inside = tuple(f"{each}/{half}".lstrip("/") for each in dataset.inside)
        if split == "all" and find_folder(root, inside, dataset.hazy) is None:
            continue
        found = match_files(*locate(replace(dataset, inside=inside), root), dataset.border)
        if split == "all":
            named = [replace(pair, name=f"{half}-{pair.name}") for pair in found.pairs]
            found = replace(found, pairs=named)
        halves.append(found)
    if not halves:
        raise UnhazeError(f"'{root}' does not look like {dataset.title}: {dataset.pairing}")
    return Found(
        *(sum((getattr(each, name) for each in halves), start=[]) for name in LISTS),
        hazy_count=sum(each.hazy_count for each in halves),
        clear_count=sum(each.clear_count for each in halves),
    )


def find_cities(dataset: Dataset, root: Path, *, partial: bool = False) -> Found:
    """A dataset with one folder per place, each with hazy pictures and one clear picture."""
    hazy: list[Path] = []
    clear: list[Path] = []
    for base in filter(None, (resolve(root, inside) for inside in dataset.inside)):
        for city in sorted(each for each in base.iterdir() if each.is_dir()):
            folders = [find_folder(city, ("",), names) for names in (dataset.hazy, dataset.clear)]
            if folders[0] and folders[1]:
                hazy += list_pictures(folders[0])
                clear += list_pictures(folders[1])
        if hazy:
            return match_files(hazy, clear, dataset.border, dataset.clear_mark)
    raise UnhazeError(f"'{root}' does not look like {dataset.title}: {dataset.pairing}")


def find_split(
    dataset: Dataset,
    root: Path,
    *,
    split: str = "test",
    train: list[int] | None = None,
    test: list[int] | None = None,
    partial: bool = False,
) -> Found:
    """A dataset split by scene numbers; `train`, `test` = [first, last] replace the ranges."""
    splits = dict(dataset.splits)
    for name, given in (("train", train), ("test", test)):
        if given is not None and (len(given) != 2 or given[0] > given[1]):
            raise UnhazeError(f"{name} = {given}: expected [first, last] scene, as in [51, 55]")
        splits[name] = (given[0], given[1]) if given is not None else splits[name]
    found = match_files(*locate(dataset, root), dataset.border)
    if split == "all":
        return found
    first, last = lookup(splits, split, "split (beside 'all')")
    pairs = [pair for pair in found.pairs if first <= scene_number(pair) <= last]
    counts = (found.hazy_count, found.clear_count)
    return Found(pairs, found.hazy_alone, found.clear_alone, *counts)


def find_folders(
    dataset: Dataset,
    root: Path,
    *,
    hazy: str = "hazy",
    clear: str = "clear",
    border: int = 0,
    partial: bool = False,
) -> Found:
    """Any two folders, absolute or under `root`. border: frame of the clear pictures."""
    folders = root / hazy, root / clear
    for folder in folders:
        if not folder.is_dir():
            raise UnhazeError(f"there is no folder '{folder}'; set root, hazy and clear")
    hazy_files, clear_files = map(list_pictures, folders)
    if not hazy_files and not clear_files:
        where = " or ".join(f"'{folder}'" for folder in dict.fromkeys(folders))
        raise UnhazeError(f"there are no pictures in {where}")
    return match_files(hazy_files, clear_files, border)


def find_hazy_only(dataset: Dataset, root: Path, *, partial: bool = False) -> Found:
    """A dataset of hazy pictures without clear ones."""
    folder = find_folder(root, dataset.inside, dataset.hazy)
    pairs = [PairFiles(path.stem, path, None) for path in list_pictures(folder)] if folder else []
    if pairs:
        return Found(pairs, hazy_count=len(pairs))
    raise UnhazeError(f"no pictures of {dataset.title} in '{root}'; {dataset.pairing}")


def locate(dataset: Dataset, root: Path) -> tuple[list[Path], list[Path]]:
    """Returns the hazy and the clear files of the first layout that `root` has."""
    for inside, hazy, clear in itertools.product(dataset.inside, dataset.hazy, dataset.clear):
        folders = resolve(root, inside, hazy), resolve(root, inside, clear)
        if folders[0] and folders[1]:
            return list_pictures(folders[0]), list_pictures(folders[1])
    for inside in dataset.inside if dataset.flat else ():
        folder = resolve(root, inside)
        pictures = (
            [path for path in list_pictures(folder) if path.parent == folder] if folder else []
        )
        hazy = [path for path in pictures if HAZY_MARK.search(path.stem)]
        clear = [path for path in pictures if CLEAR_MARK.search(path.stem)]
        if hazy and clear:
            return hazy, clear
    raise UnhazeError(f"'{root}' does not look like {dataset.title}: {dataset.pairing}")
