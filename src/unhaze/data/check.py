"""Finds problems of a dataset on disk before training: names, sizes, scenes, files."""

import re
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unhaze import photo
from unhaze.data.catalog import Dataset, find_dataset, find_files, fit_clear
from unhaze.data.pack import is_pack, open_pack, read_index
from unhaze.data.pairing import Found, PairFiles, SceneFiles, match_scenes
from unhaze.errors import UnhazeError, counted
from unhaze.image import to_float
from unhaze.validation import check_arguments

# Measured on 100 NYU scenes. In the densest haze of RESIDE (beta 1.8, A 1), and in a denser one
# with noise (t at most 0.1), the lowest similarity to its own clear picture is 0.54, the highest
# to any other 0.14; the lowest PSNR is 3.9 dB.
LIKENESS = 0.2
LOWEST_PSNR = 3.0
SWAPPED = 0.75  # share of pairs
GREY = 0.1  # lossy codecs tint greys slightly


@dataclass(frozen=True)
class Problem:
    """kind: unpaired, count, version, corrupt, size, small, identical, psnr, scene, swapped, depth;
    or border, which is for information only."""

    kind: str
    file: Path
    text: str
    error: bool = True


@dataclass(frozen=True)
class Looked:
    """One scene: its problems, its clear picture's structure, and dissimilar hazy pictures.

    hazier: for each pair, whether the clear picture has more haze than the hazy one.
    """

    problems: list[Problem]
    clear: Path | None = None
    structure: np.ndarray | None = None
    unlike: list[tuple[PairFiles, np.ndarray]] = field(default_factory=list)
    hazier: list[bool] = field(default_factory=list)


def check(
    name: str, root: Path | str, *, sample: int | None = None, crop: int = 0, **arguments: Any
) -> list[Problem]:
    """Returns every problem of dataset `name` under `root`; all of its files are decoded in full.

    sample: number of scenes to decode, evenly spread; names and counts are always checked fully.
    crop: crop size of the training, in pixels; pictures with a shorter side are a problem.
    arguments: as for `find_pairs`; without `split`, all parts of a dataset are checked.
    UnhazeError: unknown name or argument, or nothing there that looks like the dataset.
    """
    dataset = find_dataset(name)
    root = Path(root)
    if name == "rgbd":
        check_arguments(check_scenes, arguments, f"dataset '{name}'", ("root", "sample"))
        return check_scenes(root, sample)
    if dataset.splits or dataset.half_counts:
        arguments = {"split": "all"} | arguments
    found = find_files(name, root, **arguments)
    partial = bool(arguments.get("partial"))
    if not (found.hazy_count or found.clear_count):
        raise UnhazeError(f"{name}: there are no pictures in '{root}'; {dataset.pairing}")
    problems = check_names(found, partial) + check_version(name, found, root)
    if not partial:
        problems += check_counts(dataset, found, root, arguments.get("split", "all"))
    scenes: dict[Path, list[PairFiles]] = {}
    for pair in found.pairs:
        scenes.setdefault(pair.clear or pair.hazy, []).append(pair)
    files = [file for pair in found.pairs for file in (pair.hazy, pair.clear) if file]
    problems += check_sizes(files, crop)
    return problems + check_pictures(list(spread(list(scenes.values()), sample)))


def check_sizes(files: Iterable[Path], crop: int) -> list[Problem]:
    """Finds pictures that are smaller than the crop, by their headers."""
    problems = []
    for file in dict.fromkeys(files) if crop else ():
        try:
            width, height = size_of(file)
        except UnhazeError:
            continue  # decoding reports the problem
        if min(width, height) < crop:
            text = f"{width}x{height}, too small for a crop of {crop}"
            problems.append(Problem("small", file, text))
    return problems


def size_of(file: Path) -> tuple[int, int]:
    """Returns (width, height) from the header. UnhazeError: not a picture."""
    with photo.open_photo(file) as opened:
        height, width = opened.shape[:2]
        return width, height


def check_names(found: Found, partial: bool) -> list[Problem]:
    """Finds files without a partner; in a part of a dataset, clear ones may have none."""
    problems = [
        Problem("unpaired", path, "no clear picture has its name or the start of it")
        for path in found.hazy_alone
    ]
    if not partial:
        text = "no hazy picture has its name"
        problems += [Problem("unpaired", path, text) for path in found.clear_alone]
    return problems


def check_counts(dataset: Dataset, found: Found, root: Path, split: str) -> list[Problem]:
    """Compares with the published numbers of files, or those of `split`."""
    problems = []
    published = dataset.hazy_counts, dataset.clear_counts
    if dataset.half_counts:
        halves = [each for half, each in dataset.half_counts.items() if split in (half, "all")]
        published = tuple((sum(numbers),) for numbers in zip(*halves))
    counts = (
        ("hazy", found.hazy_count, published[0]),
        ("clear", found.clear_count, published[1]),
    )
    for kind, count, expected_counts in counts:
        if expected_counts and count not in expected_counts:
            expected = " or ".join(f"{each:,}" for each in expected_counts)
            pictures = f"{kind} picture" if count == 1 else f"{kind} pictures"
            text = f"{count:,} {pictures}, published are {expected}; set partial for a part"
            problems.append(Problem("count", root, text))
    return problems


def check_version(name: str, found: Found, root: Path) -> list[Problem]:
    """Recognises the ITS of RESIDE-v0 by its scene numbers, for any number of files."""
    digits = [re.match(r"\d+", pair.name) for pair in found.pairs]
    if name != "its" or max((int(each[0]) for each in digits if each), default=0) <= 1399:
        return []
    text = (
        "scenes beyond 1399 are of RESIDE-v0, its haze drawn from uncorrected depth; who trained"
        " on it got 17 to 21 dB: take ITS of RESIDE-Standard"
    )
    return [Problem("version", root, text)]


def check_pictures(scenes: list[list[PairFiles]]) -> list[Problem]:
    """Decodes all pictures in threads; compares a dissimilar hazy one with all other scenes."""
    with ThreadPoolExecutor() as pool:
        looked = list(pool.map(look_at, scenes))
    problems = [problem for each in looked for problem in each.problems if problem.error]
    framed = [problem for each in looked for problem in each.problems if not problem.error]
    if framed:
        text = f"{counted(len(framed), 'clear picture')} with a frame: {framed[0].text}"
        problems.append(Problem("border", framed[0].file, text, error=False))
    hazier = [one for each in looked for one in each.hazier]
    if sum(hazier) > SWAPPED * len(hazier):
        text = (
            f"in {sum(hazier)} of {len(hazier)} pairs the clear picture has more haze than the"
            " hazy one; are the folders swapped?"
        )
        problems.append(Problem("swapped", scenes[0][0].hazy.parent, text))
    structures = {
        each.clear: each.structure
        for each in looked
        if each.clear is not None and each.structure is not None
    }
    for pair, hazy in (one for each in looked for one in each.unlike):
        likeness = {path: float(hazy @ structure) for path, structure in structures.items()}
        best = max(likeness, key=likeness.__getitem__)
        own = likeness[pair.partner]
        text = f"not the scene of '{pair.partner.name}' (likeness {own:.2f})"
        if likeness[best] > LIKENESS:
            text += f" but that of '{best.name}' ({likeness[best]:.2f})"
        problems.append(Problem("scene", pair.hazy, text))
    return problems


def look_at(pairs: list[PairFiles]) -> Looked:
    """Checks one clear picture (or none) and all of its hazy ones."""
    problems: list[Problem] = []
    path = pairs[0].clear
    clear = decode(path, problems) if path else None
    structure, unlike, hazier = None, [], []
    for pair in pairs:
        hazy = decode(pair.hazy, problems)
        if hazy is None or clear is None:
            continue
        try:
            fitted = fit_clear(pair, clear, hazy)
        except UnhazeError as error:
            problems.append(Problem("size", pair.hazy, str(error)))
            continue
        if structure is None:
            structure = structure_of(fitted)
            if fitted.shape != clear.shape:
                text = f"{pair.border} px of each side are cut off, nothing is resized"
                problems.append(Problem("border", pair.partner, text, error=False))
        problems += compare(pair, hazy, fitted)
        hazier.append(has_less_haze(hazy, fitted))
        hazy_structure = structure_of(hazy)
        if hazy_structure @ structure < LIKENESS:
            unlike.append((pair, hazy_structure))
    return Looked(problems, path, structure, unlike, hazier)


def has_less_haze(one: np.ndarray, other: np.ndarray) -> bool:
    """Returns whether `one` is darker in its darkest channels and has more contrast.

    Haze does the opposite. Neither is sufficient alone: night is dark, and noise is contrast.
    """
    pixels = to_float(one), to_float(other)
    darkest = [each.min(axis=2).mean() for each in pixels]
    contrast = [each.std() for each in pixels]
    return bool(darkest[0] < darkest[1] and contrast[0] > contrast[1])


def compare(pair: PairFiles, hazy: np.ndarray, clear: np.ndarray) -> list[Problem]:
    """Checks that hazy and clear picture differ, but not too much."""
    if np.array_equal(hazy, clear):
        text = f"the very same picture as '{pair.partner.name}'"
        return [Problem("identical", pair.hazy, text)]
    psnr = -10 * np.log10(np.mean(np.square(to_float(hazy) - to_float(clear))))
    if psnr < LOWEST_PSNR:
        text = f"PSNR {psnr:.1f} dB to '{pair.partner.name}', lower than haze makes it"
        return [Problem("psnr", pair.hazy, text)]
    return []


def decode(path: Path, problems: list[Problem]) -> np.ndarray | None:
    """Returns the pixels; on failure adds a problem and returns None."""
    try:
        return photo.read_rgb(path)
    except UnhazeError as error:
        problems.append(Problem("corrupt", path, str(error)))
        return None


def structure_of(pixels: np.ndarray) -> np.ndarray:
    """Returns a unit vector of edge directions in the 64x48 miniature of a picture.

    The product of two is their similarity. Haze reduces gradients, differently in each place, so
    each is divided by its own magnitude (plus the median); where something distant is brighter
    than the airlight it inverts gradients, so angles are doubled: opposite directions are equal.
    """
    grey = to_float(pixels).mean(axis=2)
    miniature = average(average(grey, 48).T, 64).T
    down = np.diff(miniature, axis=0)[:, :-1]
    right = np.diff(miniature, axis=1)[:-1]
    steepness = np.hypot(down, right)
    scale = np.maximum(steepness * (steepness + np.median(steepness) + 1e-5), 1e-9)
    edges = np.stack([down**2 - right**2, 2 * down * right]) / scale
    edges = (edges - edges.mean(axis=(1, 2), keepdims=True)).ravel().astype(np.float32)
    return edges / max(float(np.linalg.norm(edges)), 1e-12)


def average(grey: np.ndarray, rows: int) -> np.ndarray:
    """Means over `rows` bands of equal height; with fewer rows, they are repeated."""
    if len(grey) < rows:
        grey = np.repeat(grey, -(-rows // len(grey)), axis=0)
    edges = np.linspace(0, len(grey), rows + 1).astype(int)
    return np.add.reduceat(grey, edges[:-1], axis=0) / np.diff(edges)[:, None]


def check_scenes(root: Path, sample: int | None = None) -> list[Problem]:
    """Checks clear pictures with depth: a folder, or a pack."""
    if is_pack(root):
        return check_pack(root, sample)
    if not root.exists():
        raise UnhazeError(f"there is no '{root}'; pass a folder with clear/ and depth/, or a pack")
    clear, depth = match_scenes(root)
    if not clear and not depth:
        raise UnhazeError(f"'{root}' needs clear/ and depth/ with the same names; they are empty")
    problems = [
        Problem("unpaired", clear.get(name) or depth[name], "clear/ and depth/ do not both have it")
        for name in sorted(clear.keys() ^ depth.keys())
    ]
    scenes = [SceneFiles(name, path, depth[name]) for name, path in clear.items() if name in depth]
    with ThreadPoolExecutor() as pool:
        for found in pool.map(look_at_scene, spread(scenes, sample)):
            problems += found
    return problems


def look_at_scene(scene: SceneFiles) -> list[Problem]:
    """Decodes picture and depth, and checks sizes and depth."""
    problems: list[Problem] = []
    clear, depth = decode(scene.clear, problems), decode(scene.depth, problems)
    if clear is not None and depth is not None and clear.shape != depth.shape:
        sizes = f"clear {clear.shape[1]}x{clear.shape[0]}, depth {depth.shape[1]}x{depth.shape[0]}"
        problems.append(Problem("size", scene.depth, sizes))
    return problems + (check_depth(depth, scene.depth) if depth is not None else [])


def check_depth(depth: np.ndarray, path: Path) -> list[Problem]:
    """A depth map must be grey and not constant."""
    if depth.min() == depth.max():
        return [Problem("depth", path, f"the depth is {depth.max()} everywhere")]
    if np.ptp(to_float(depth), axis=2).max() > GREY:
        return [Problem("depth", path, "a colour picture; expected grey, larger is farther")]
    return []


def check_pack(path: Path, sample: int | None) -> list[Problem]:
    """Checks that every picture of a pack exists, decodes, and has the size stated in the index."""
    problems: list[Problem] = []
    with open_pack(path) as archive:
        index = read_index(archive, path)
        width, height = index["size"]
        sizes = {"clear": (height, width), "depth": (-(-height // 2), -(-width // 2))}
        for scene in spread(index["scenes"], sample):
            for kind, size in sizes.items():
                member = f"{kind}/{scene['name']}.{index[kind]['codec']}"
                try:
                    pixels = photo.read(archive.read(member)).pixels
                except (UnhazeError, KeyError, OSError, zipfile.BadZipFile) as error:
                    problems.append(Problem("corrupt", path / member, str(error)))
                    continue
                if pixels.shape[:2] != size:
                    text = f"{pixels.shape[1]}x{pixels.shape[0]}, expected {size[1]}x{size[0]}"
                    problems.append(Problem("size", path / member, text))
                if kind == "depth":
                    problems += check_depth(pixels, path / member)
    return problems


def spread(scenes: list[Any], sample: int | None) -> Iterable[Any]:
    """Returns all, or `sample` of them, evenly spread."""
    if sample is None or sample >= len(scenes):
        return scenes
    if sample < 1:
        raise UnhazeError(f"sample is {sample}; expected at least 1 scene")
    return [scenes[place * len(scenes) // sample] for place in range(sample)]
