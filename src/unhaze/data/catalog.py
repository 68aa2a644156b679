"""The published dehazing datasets: their layout on disk, how files pair, how many there are."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

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
from unhaze.names import check_arguments, lookup

Array = TypeVar("Array")


@dataclass(frozen=True)
class Dataset:
    """One entry of `DATASETS`.

    find: lists the files of a root; its keyword arguments are the recipe's `[data]` keys.
    inside: folders under the root where the set may lie; hazy, clear: names of its two folders
        (upper and lower case are the same). flat: hazy and clear may share one folder, told apart
        by `_hazy` and `_GT`.
    hazy_counts, clear_counts: published numbers of files, alternatives where copies differ.
    border: frame of the clear pictures in pixels. splits: first and last scene number.
    """

    title: str
    paper: str
    source: str
    terms: str
    pairing: str
    find: Callable[..., Found] | None = None
    inside: tuple[str, ...] = ("",)
    hazy: tuple[str, ...] = ("hazy", "haze")
    clear: tuple[str, ...] = ("clear", "gt")
    flat: bool = False
    hazy_counts: tuple[int, ...] = ()
    clear_counts: tuple[int, ...] = ()
    border: int = 0
    splits: dict[str, tuple[int, int]] = field(default_factory=dict)
    has_clear: bool = True


def find_pairs(name: str, root: Path | str = ".", **arguments: Any) -> list[PairFiles]:
    """The pairs of dataset `name` under `root`, in natural order of their names.

    UnhazeError for an unknown name or argument, a missing folder, or any file without a partner:
    nothing is dropped silently. Where the set has no clear pictures, `clear` is None.
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
    """As `find_pairs`, but files without a partner are part of the answer and not an error."""
    dataset = lookup(DATASETS, name, "dataset")
    if dataset.find is None:
        raise UnhazeError(f"'{name}' has no pairs of files: its batches are drawn in training")
    check_arguments(dataset.find, arguments, f"dataset '{name}'", reserved=("dataset", "root"))
    root = Path(root)
    if not root.is_dir():
        raise UnhazeError(
            f"{name}: there is no folder '{root}'; pass the folder of {dataset.title}"
        )
    return dataset.find(dataset, root, **arguments)


def fit_clear(pair: PairFiles, clear: Array, hazy: Array) -> Array:
    """`clear` (H,W,C) cut to the size of `hazy`: only by the declared border, never resized."""
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


def find_published(dataset: Dataset, root: Path, *, partial: bool = False) -> Found:
    """A set with a hazy and a clear folder.

    partial (here and below, heeded by `find_pairs` and by the check): only a part of the published
    files is here, so clear pictures without a hazy one are left out and nothing is counted.
    """
    return match_files(*locate(dataset, root), dataset.border)


def find_split(
    dataset: Dataset,
    root: Path,
    *,
    split: str = "test",
    train: list[int] | None = None,
    test: list[int] | None = None,
    partial: bool = False,
) -> Found:
    """A set whose split is a range of scene numbers; `train`, `test` = [first, last] replace it."""
    splits = dict(dataset.splits)
    for name, given in (("train", train), ("test", test)):
        if given is not None and (len(given) != 2 or given[0] > given[1]):
            raise UnhazeError(f"{name} = {given}: expected [first, last] scene, as in [51, 55]")
        splits[name] = tuple(given) if given is not None else splits[name]
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
    return match_files(*map(list_pictures, folders), border)


def find_hazy_only(dataset: Dataset, root: Path, *, partial: bool = False) -> Found:
    """A set of hazy pictures that nobody has seen clear."""
    folder = find_folder(root, dataset.inside, dataset.hazy)
    pairs = [PairFiles(path.stem, path, None) for path in list_pictures(folder)] if folder else []
    if pairs:
        return Found(pairs, hazy_count=len(pairs))
    raise UnhazeError(f"no pictures of {dataset.title} in '{root}'; {dataset.pairing}")


RESIDE = "RESIDE: Li et al., TIP 2019, arXiv:1712.04143"
RESIDE_TERMS = "Published for research, no licence known to us. Cite the paper, pass no copy on."
NTIRE_TERMS = "Published for research, no licence known to us. Cite the paper, pass no copy on."

DATASETS = {
    "its": Dataset(
        title="RESIDE ITS (indoor training set, RESIDE-Standard)",
        paper=RESIDE,
        source="RESIDE-Standard; not RESIDE-v0, whose ITS of 110,000 has ghosts in its haze",
        terms=RESIDE_TERMS,
        pairing="expected hazy/SCENE_INDEX_A.png with clear/SCENE.png (ITS_haze/ is RESIDE-v0's)",
        find=find_published,
        inside=("", "ITS", "ITS/train", "train", "RESIDE/ITS", "RESIDE-IN/train"),
        hazy_counts=(13_990,),
        clear_counts=(1_399,),
        border=10,
    ),
    "ots": Dataset(
        title="RESIDE OTS (outdoor training set)",
        paper=RESIDE,
        source="RESIDE-beta: clear_images.zip and OTS.zip; its scenes overlap SOTS outdoor",
        terms=RESIDE_TERMS,
        pairing="expected hazy/SCENE_A_BETA.jpg with clear/SCENE.jpg",
        find=find_published,
        inside=("", "OTS", "OTS_ALPHA", "OTS_BETA", "OTS/train", "train", "RESIDE/OTS"),
        hazy=("hazy", "haze", "OTS"),
        clear=("clear", "clear_images", "gt"),
        hazy_counts=(313_950, 72_135),
        clear_counts=(8_970, 2_061),
    ),
    "sots-indoor": Dataset(
        title="RESIDE SOTS indoor (test)",
        paper=RESIDE,
        source="RESIDE-Standard, SOTS.zip",
        terms=RESIDE_TERMS,
        pairing="expected hazy/SCENE_K.png with clear/SCENE.png, 10 of a scene",
        find=find_published,
        inside=("SOTS/indoor", "indoor", "", "test", "ITS/test", "RESIDE-IN/test"),
        hazy_counts=(500,),
        clear_counts=(50,),
        border=10,
    ),
    "sots-outdoor": Dataset(
        title="RESIDE SOTS outdoor (test)",
        paper=RESIDE,
        source="RESIDE-Standard, SOTS.zip; its hazy pictures are JPEG: decoders differ a little",
        terms=RESIDE_TERMS,
        pairing="expected hazy/SCENE_A_BETA.jpg with clear/SCENE.png",
        find=find_published,
        inside=("SOTS/outdoor", "outdoor", "", "test", "OTS/test", "RESIDE-OUT/test"),
        hazy_counts=(500,),
        clear_counts=(492, 500),
    ),
    "hsts": Dataset(
        title="RESIDE HSTS (synthetic half of the hybrid subjective test set)",
        paper=RESIDE,
        source="RESIDE-Standard, HSTS.zip; its ten real pictures have no clear ones",
        terms=RESIDE_TERMS,
        pairing="expected synthetic/synthetic/NAME.jpg with synthetic/original/NAME.jpg",
        find=find_published,
        inside=("synthetic", "HSTS/synthetic", "", "HSTS"),
        hazy=("synthetic", "hazy"),
        clear=("original", "clear", "gt"),
        hazy_counts=(10,),
        clear_counts=(10,),
    ),
    "rtts": Dataset(
        title="RESIDE RTTS (real pictures with boxes for detection)",
        paper=RESIDE,
        source="RESIDE-beta, RTTS.zip",
        terms=RESIDE_TERMS,
        pairing="expected JPEGImages/NAME.png; there are no clear pictures",
        find=find_hazy_only,
        inside=("", "RTTS"),
        hazy=("JPEGImages", "hazy"),
        clear=(),
        hazy_counts=(4_322,),
        has_clear=False,
    ),
    "dense-haze": Dataset(
        title="Dense-Haze (NTIRE 2019)",
        paper="Ancuti et al., ICIP 2019, arXiv:1904.02904",
        source="NTIRE 2019 page, Dense_Haze_NTIRE19.zip",
        terms=NTIRE_TERMS,
        pairing="expected hazy/NN_hazy.png with GT/NN_GT.png",
        find=find_split,
        inside=("", "Dense-Haze", "Dense_Haze", "Dense_Haze_NTIRE19"),
        flat=True,
        hazy_counts=(55,),
        clear_counts=(55,),
        splits={"train": (1, 50), "test": (51, 55)},
    ),
    "nh-haze": Dataset(
        title="NH-HAZE (NTIRE 2020)",
        paper="Ancuti et al., CVPRW 2020, arXiv:2005.03560",
        source="NTIRE 2020 page, NH-HAZE.zip",
        terms=NTIRE_TERMS,
        pairing="expected NN_hazy.png with NN_GT.png, in one folder or two",
        find=find_split,
        inside=("", "NH-HAZE", "NH-HAZE/NH-HAZE", "NH_HAZE"),
        flat=True,
        hazy_counts=(55,),
        clear_counts=(55,),
        splits={"train": (1, 50), "test": (51, 55)},
    ),
    "o-haze": Dataset(
        title="O-HAZE (NTIRE 2018)",
        paper="Ancuti et al., CVPRW 2018, arXiv:1804.05101",
        source="NTIRE 2018 page, O-HAZE.zip",
        terms=NTIRE_TERMS,
        pairing="expected hazy/NN_outdoor_hazy.jpg with GT/NN_outdoor_GT.jpg",
        find=find_split,
        inside=("", "# O-HAZY NTIRE 2018", "O-HAZE/# O-HAZY NTIRE 2018", "O-HAZE"),
        flat=True,
        hazy_counts=(45,),
        clear_counts=(45,),
        splits={"train": (1, 40), "test": (41, 45)},
    ),
    "i-haze": Dataset(
        title="I-HAZE (NTIRE 2018)",
        paper="Ancuti et al., ACIVS 2018, arXiv:1804.05091",
        source="NTIRE 2018 page, I-HAZE.zip; the public copy lacks scenes 26-30",
        terms=NTIRE_TERMS,
        pairing="expected hazy/NN_indoor_hazy.jpg with GT/NN_indoor_GT.jpg",
        find=find_split,
        inside=("", "# I-HAZY NTIRE 2018", "I-HAZE/# I-HAZY NTIRE 2018", "I-HAZE"),
        flat=True,
        hazy_counts=(30, 35),
        clear_counts=(30, 35),
        splits={"train": (1, 25), "test": (31, 35)},
    ),
    "folders": Dataset(
        title="Any two folders",
        paper="",
        source="yours",
        terms="yours",
        pairing="expected hazy/NAME_ANYTHING with clear/NAME",
        find=find_folders,
    ),
    "rgbd": Dataset(
        title="Clear pictures with depth: haze drawn at every step",
        paper="",
        source="yours, NYU Depth v2 for one, or a pack made by `unhaze data pack`",
        terms="yours",
        pairing="expected clear/NAME with depth/NAME, the same names in both",
    ),
    "outdoor": Dataset(
        title="Clear outdoor photos: an assumed depth and haze drawn at every step",
        paper="",
        source="yours, in `roots`, a list of folders",
        terms="yours",
        pairing="expected pictures in every folder of roots",
    ),
    "mixed": Dataset(
        title="Several datasets in one batch, through a camera (gamma, noise, JPEG)",
        paper="",
        source="`parts`: a list of [data] tables, each with its share",
        terms="those of the parts",
        pairing="expected at least one part",
    ),
    "unpaired": Dataset(
        title="The hazy side of one dataset and the clear side of another, for unpaired training",
        paper="",
        source="`hazy` and `clear`: the [data] tables of two datasets",
        terms="those of the two",
        pairing="expected scenes that are not on both sides",
    ),
    "unpaired-folders": Dataset(
        title="Folders of hazy and of clear pictures, for unpaired training",
        paper="",
        source="yours",
        terms="yours",
        pairing="expected pictures of different scenes in hazy and in clear",
    ),
}


def locate(dataset: Dataset, root: Path) -> tuple[list[Path], list[Path]]:
    """The hazy and the clear files of the first layout that `root` has."""
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
