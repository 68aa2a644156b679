"""The published dehazing datasets: their layout on disk, how files pair, how many there are."""

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
from unhaze.validation import check_arguments

if TYPE_CHECKING:
    import numpy as np
    import torch

Array = TypeVar("Array", "np.ndarray", "torch.Tensor")


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
    """Like `find_pairs`, but returns files without a partner too instead of raising."""
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
    """The entry `name` of `DATASETS`, of an entry point, or at "package.module:Class"."""
    return plugins.find(DATASETS, name, "dataset", dataset_of)


def dataset_of(name: str, build: Callable[..., Any]) -> Dataset:
    """The entry of a class from elsewhere."""
    title, where = name.rpartition(":")[2], f"from {build.__module__}"
    return Dataset(title, paper="", source=where, terms="its own", pairing=where, build=build)


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


RESIDE = "RESIDE: Li et al., TIP 2019, arXiv:1712.04143"
RESIDE_TERMS = "Published for research, no licence known to us. Cite the paper, pass no copy on."
OWN_TERMS = "Published for research; its page says on what terms. Cite the paper, pass no copy on."
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
    "urhi": Dataset(
        title="RESIDE URHI (real pictures without boxes)",
        paper=RESIDE,
        source="RESIDE-beta, UnannotatedHazyImages.zip; folder names from memory and public code",
        terms=RESIDE_TERMS,
        pairing="expected UnannotatedHazyImages/NAME.jpg; there are no clear pictures",
        find=find_hazy_only,
        inside=("", "URHI"),
        hazy=("UnannotatedHazyImages", "URHI", "hazy"),
        clear=(),
        hazy_counts=(4_807, 4_809),
        has_clear=False,
    ),
    "reside-6k": Dataset(
        title="RESIDE-6K (indoors and out, as DehazeFormer and gUNet train on it)",
        paper="mixed from RESIDE; used in Song et al., TIP 2023, arXiv:2204.03883",
        source="page of DehazeFormer, RESIDE-6K; layout from memory of its code",
        terms=RESIDE_TERMS,
        pairing="expected train/ and test/ with hazy/NAME.jpg and GT/NAME.jpg, the same names",
        find=find_halves,
        inside=("", "RESIDE-6K", "RESIDE6K"),
        half_counts={"train": (6_000, 6_000), "test": (1_000, 1_000)},
    ),
    "haze4k": Dataset(
        title="Haze4K (4,000 pairs, indoors and out)",
        paper="Liu et al., From Synthetic to Real, ACM MM 2021, arXiv:2108.02934",
        source="page of DMT-Net, Haze4K.zip; maps of transmission and airlight are not read",
        terms=OWN_TERMS,
        pairing="expected train/ and test/ with haze/SCENE_A_BETA.png and gt/SCENE.png",
        find=find_halves,
        inside=("", "Haze4K", "Haze4K/Haze4K"),
        half_counts={"train": (3_000, 3_000), "test": (1_000, 1_000)},
    ),
    "rs-haze": Dataset(
        title="RS-Haze (satellite pictures, not uniform haze)",
        paper="Song et al., DehazeFormer, TIP 2023, arXiv:2204.03883",
        source="page of DehazeFormer, RS-Haze-RGB; layout and numbers from memory of its paper",
        terms=OWN_TERMS,
        pairing="expected train/ and test/ with hazy/NAME.png and GT/NAME.png, the same names",
        find=find_halves,
        inside=("", "RS-Haze", "RS-Haze-RGB", "RSHaze"),
        half_counts={"train": (51_300, 51_300), "test": (2_700, 2_700)},
    ),
    "hazerd": Dataset(
        title="HazeRD (outdoor scenes, five visibilities each)",
        paper="Zhang et al., ICIP 2017",
        source="page of HazeRD; its MATLAB script draws simu/ from img/; layout from memory",
        terms=OWN_TERMS,
        pairing="expected data/simu/SCENE_ANYTHING.jpg with data/img/SCENE_RGB.jpg",
        find=find_published,
        inside=("", "data", "HazeRD", "HazeRD/data"),
        hazy=("simu", "hazy", "haze"),
        clear=("img", "clear", "gt"),
        clear_mark=re.compile(r"_(rgb|gt|clear|clean)$", re.IGNORECASE),
        hazy_counts=(75,),
        clear_counts=(15,),
    ),
    "bedde": Dataset(
        title="BeDDE (real fog, clear picture of the same place on another day)",
        paper="Zhao et al., ICME 2019; TIP 2020",
        source="page of BeDDE-for-defogging; theirs compares by VI and RI within mask/, not PSNR",
        terms=OWN_TERMS,
        pairing="expected CITY/fog/CITY_N.png with CITY/gt/CITY_clear.png",
        find=find_cities,
        inside=("", "BeDDE"),
        hazy=("fog",),
        clear=("gt",),
        hazy_counts=(208,),
        clear_counts=(23,),
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
