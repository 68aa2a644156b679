"""Pairs hazy and clear files by name, with one rule for every dataset."""

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from unhaze.errors import UnhazeError
from unhaze.formats import SUFFIXES

T = TypeVar("T")

HAZY_MARK = re.compile(r"_(hazy|haze)$", re.IGNORECASE)
NO_MARK = re.compile(r"(?!)")
CLEAR_MARK = re.compile(r"_(gt|clear|clean)$", re.IGNORECASE)
# Only if names do not pair with it: "clear_sky" may be the name of a scene.
HAZY_FRONT = re.compile(r"^(hazy|haze)[_-]", re.IGNORECASE)
CLEAR_FRONT = re.compile(r"^(gt|clear|clean)[_-]", re.IGNORECASE)


@dataclass(frozen=True)
class PairFiles:
    """One hazy picture and its clear one (None if the dataset has none).

    border: pixels by which the clear picture may be larger on each side; `fit_clear` crops them.
    """

    name: str
    hazy: Path
    clear: Path | None
    border: int = 0

    @property
    def partner(self) -> Path:
        """The file of the clear picture. UnhazeError if there is none."""
        if self.clear is None:
            raise UnhazeError(f"'{self.hazy}' has no clear picture")
        return self.clear


@dataclass(frozen=True)
class Found:
    """The files of a dataset. `alone` have no partner; counts are before any split."""

    pairs: list[PairFiles]
    hazy_alone: list[Path] = field(default_factory=list)
    clear_alone: list[Path] = field(default_factory=list)
    hazy_count: int = 0
    clear_count: int = 0


@dataclass(frozen=True)
class SceneFiles:
    """One clear picture and its depth."""

    name: str
    clear: Path
    depth: Path


def match_files(
    hazy_files: list[Path],
    clear_files: list[Path],
    border: int,
    clear_mark: re.Pattern[str] = CLEAR_MARK,
) -> Found:
    """Pairs files by name, ignoring `_hazy` or `_GT` (`clear_mark`) at the end.

    The clear partner has the name of the hazy file or its longest prefix that ends before an
    underscore: `1400_3` pairs with `1400`, `1_2_0.90179` with `1`. If there is none, `hazy_` at
    the start of the name is ignored: `hazy_a` pairs with `clear_a` or `a`.
    """
    clear_by_name = by_name(clear_files, clear_mark)
    fronts = {CLEAR_FRONT.sub("", name): name for name in clear_by_name}
    fronts |= {name: name for name in clear_by_name}
    pairs, hazy_alone, used = [], [], set()
    for name, hazy in by_name(hazy_files, HAZY_MARK).items():
        partner = next((each for each in prefixes(name) if each in clear_by_name), None)
        if partner is None and (bare := HAZY_FRONT.sub("", name)) != name:
            partner = next((fronts[each] for each in prefixes(bare) if each in fronts), None)
        if partner is None:
            hazy_alone.append(hazy)
            continue
        used.add(partner)
        pairs.append(PairFiles(name, hazy, clear_by_name[partner], border))
    clear_alone = [path for name, path in clear_by_name.items() if name not in used]
    return Found(pairs, hazy_alone, clear_alone, len(hazy_files), len(clear_files))


def by_name(files: list[Path], mark: re.Pattern[str] = NO_MARK) -> dict[str, Path]:
    """Files by stem without `mark`; two files with the same stem are an error."""
    names: dict[str, Path] = {}
    for path in files:
        name = mark.sub("", path.stem)
        if name in names:
            raise UnhazeError(f"'{names[name]}' and '{path}' have one name; remove one of them")
        names[name] = path
    return names


def prefixes(name: str) -> Iterable[str]:
    """`a_b_c`, `a_b`, `a`."""
    while name:
        yield name
        name = name.rpartition("_")[0]


def scene_number(pair: PairFiles) -> int:
    """Returns the number at the start of a pair's name."""
    digits = re.match(r"\d+", pair.name)
    if digits is None:
        raise UnhazeError(f"'{pair.hazy}': expected a name that starts with the scene's number")
    return int(digits[0])


def find_scenes(root: Path) -> list[SceneFiles]:
    """Returns the scenes of `root`/clear and `root`/depth; UnhazeError for files without pair."""
    if not root.is_dir():
        raise UnhazeError(f"there is no folder '{root}'; expected one with clear/ and depth/")
    clear, depth = match_scenes(root)
    missing = sorted(clear.keys() ^ depth.keys())
    if not clear or missing:
        wrong = f"'{missing[0]}' is in only one of them" if missing else "there are no images"
        raise UnhazeError(f"'{root}' needs clear/ and depth/ with the same names; {wrong}")
    return [SceneFiles(name, clear[name], depth[name]) for name in clear]


def some_of(found: Sequence[T], span: tuple[int, int] | None, what: str, where: str) -> list[T]:
    """Returns the items from `span`'s first index to before its last, or all without a span.

    UnhazeError, with `what` as the name of the span: not all of these are found in `where`.
    """
    first, end = span or (0, len(found))
    if not 0 <= first < end <= len(found):
        given = f"{what} is [{first}, {end}], and there are {len(found)} in {where}"
        raise UnhazeError(f"{given}; expected 0 <= first < end <= {len(found)}")
    return list(found[first:end])


def match_scenes(root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Returns the files of `root`/clear and of `root`/depth by name."""
    folders = resolve(root, "clear"), resolve(root, "depth")
    clear, depth = (list_pictures(folder) if folder else [] for folder in folders)
    return by_name(clear), by_name(depth)


def list_pictures(folder: Path) -> list[Path]:
    """Returns every picture under `folder` (large datasets come in parts) except hidden files."""
    pictures = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                pictures.append(Path(where, name))
    return sorted(sorted(pictures), key=natural_order)


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sorts 2 before 10."""
    pieces = re.split(r"(\d+)", path.stem)
    return [(int(piece), "") if piece.isdecimal() else (0, piece) for piece in pieces]


def find_folder(root: Path, inside: Iterable[str], names: Iterable[str]) -> Path | None:
    """Returns the first folder with one of these names in the folders `inside` of `root`."""
    for middle, name in itertools.product(inside, names):
        folder = resolve(root, middle, name)
        if folder is not None:
            return folder
    return None


def resolve(root: Path, *parts: str) -> Path | None:
    """Returns the folder `root/parts`, in any case; None if there is none."""
    if not root.is_dir():
        return None
    for part in Path(*parts).parts:
        if (root / part).is_dir():
            root = root / part
            continue
        same = [each for each in root.iterdir() if each.name.lower() == part.lower()]
        if not same or not same[0].is_dir():
            return None
        root = same[0]
    return root
