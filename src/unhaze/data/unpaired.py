"""Hazy and clear pictures of different scenes; this is checked before training."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from unhaze import photo
from unhaze.config import Augment
from unhaze.data import PairedData, UnpairedBatch
from unhaze.data.check import LIKENESS, structure_of
from unhaze.data.checked import draw
from unhaze.data.folders import as_tensor, check_crop, pair_at, small
from unhaze.data.pack import cut
from unhaze.data.pairing import CLEAR_MARK, HAZY_MARK, by_name, list_pictures, prefixes
from unhaze.data.rgbd import RGBD
from unhaze.data.transforms import crop_batch, generator_for
from unhaze.errors import UnhazeError
from unhaze.validation import one_of

LOOKED_AT = 32  # pairs of one name, at most


class UnpairedFolders:
    """UnpairedData over files; each picture is used once per epoch.

    hazy, clear: a folder or a list of folders, absolute or under `root`.
    hazy_names: names (without suffix) of the hazy pictures to train on; by default all.
    same_scenes: what to do if hazy and clear pictures pair by name as in a paired dataset (a hazy
        `1400_3` with a clear `1400`): "refuse"; "halve", which uses the hazy pictures of the first
        half of these scenes and the clear ones of the second; or "keep", which uses all, if names
        mean nothing. Running numbers (trainA/0.jpg, trainB/0.jpg) of pictures of different
        scenes are kept as well. Files with the same bytes on both sides are always refused.
    border: pixels cut from every side of the clear pictures (ITS has a white frame of 10).
    short_side: pixels to which the short side is resized before the crop, aspect kept; 0: never.
    cache: keep decoded pictures in memory (H*W*3 bytes each).
    """

    def __init__(
        self,
        root: str = ".",
        *,
        hazy: str | Sequence[str] = "hazy",
        clear: str | Sequence[str] = "clear",
        hazy_names: Sequence[str] = (),
        same_scenes: str = "refuse",
        border: int = 0,
        short_side: int = 0,
        cache: bool = False,
    ):
        one_of("data 'unpaired-folders': same_scenes", same_scenes, ("refuse", "halve", "keep"))
        if min(border, short_side) < 0:
            raise UnhazeError(f"border {border} and short_side {short_side} must be at least 0")
        keys = "data.hazy", "data.hazy_names"
        hazy_files = pictures_in(Path(root), hazy, hazy_names, keys=keys)
        clear_files = pictures_in(Path(root), clear, keys=("data.clear", ""))
        self.hazy, self.clear = disjoint(hazy_files, clear_files, same_scenes)
        refuse_copies(self.hazy, self.clear)
        self.border, self.short_side = border, short_side
        self.decode = lru_cache(maxsize=None)(self.read) if cache else self.read

    def __len__(self) -> int:
        return len(self.hazy)

    def check_crop(self, crop: int) -> None:
        """UnhazeError naming the first picture that is smaller than a crop of `crop` pixels."""
        if not self.short_side:
            check_crop(self.hazy, crop)
            check_crop(self.clear, crop + 2 * self.border)

    def draw(
        self, seed: int, step: int, *, size: int, augment: Augment, device: torch.device
    ) -> UnpairedBatch:
        """Returns the next `size` pictures of the sequence of shuffled epochs of each side."""
        sides = []
        # Two seeds, so that order, crops and flips of the two sides are independent.
        for files, own_seed, border in (
            (self.hazy, seed, 0),
            (self.clear, ~seed, self.border),
        ):
            places = range(step * size, (step + 1) * size)
            drawn = [files[pair_at(own_seed, place, len(files))] for place in places]
            with ThreadPoolExecutor(min(size, 16)) as pool:
                decoded = pool.map(self.decode, drawn, [border] * size)
            images = [[picture] for picture in decoded]
            sides += crop_batch(images, augment, generator_for(own_seed, step), device)
        return UnpairedBatch(*sides)

    def read(self, file: Path, border: int) -> Tensor:
        """Returns (3,H,W), uint8 unless resized."""
        picture = as_tensor(small(cut(photo.read_rgb(file), border, file)))
        return with_short_side(picture, self.short_side) if self.short_side else picture


class Unpaired:
    """UnpairedData of two PairedData: the hazy side of one and the clear side of the other."""

    def __init__(self, hazy: PairedData, clear: PairedData):
        if isinstance(hazy, RGBD) and isinstance(clear, RGBD):
            both = sorted(set(hazy.names) & set(clear.names))
            if both:
                raise UnhazeError(
                    f"data 'unpaired': scene '{both[0]}' is hazy and clear, as are {len(both)} in"
                    " all; choose different scenes for the two sides"
                )
        self.hazy, self.clear = hazy, clear

    def __len__(self) -> int:
        return len(self.hazy)

    def draw(
        self, seed: int, step: int, *, size: int, augment: Augment, device: torch.device
    ) -> UnpairedBatch:
        """Both sides of this seed and step, drawn independently."""
        hazy = draw(self.hazy, seed, step, size=size, augment=augment, device=device).hazy
        clear = draw(self.clear, ~seed, step, size=size, augment=augment, device=device).clear
        return UnpairedBatch(hazy, clear)


def pictures_in(
    root: Path, folders: str | Sequence[str], names: Sequence[str] = (), *, keys: tuple[str, str]
) -> list[Path]:
    """Returns the pictures below the folders: those with these names, without suffix, or all.

    keys: of the recipe, for folders and names. UnhazeError: a folder or a name has no picture.
    """
    files = []
    for folder in [folders] if isinstance(folders, str) else folders:
        found = list_pictures(root / folder)
        if not found:
            raise UnhazeError(f"{keys[0]}: there are no pictures in '{root / folder}'")
        files += found
    if not names:
        return files
    known = by_name(files)
    for name in names:
        if name not in known:
            where = f"{folders!r} has no picture '{name}'"
            raise UnhazeError(f"{keys[1]}: {where}; expected names of pictures without suffix")
    return [known[name] for name in names]


def disjoint(
    hazy: list[Path], clear: list[Path], same_scenes: str
) -> tuple[list[Path], list[Path]]:
    """Returns both lists without common scenes, by the naming rule of paired datasets."""
    if same_scenes == "keep":
        return hazy, clear
    by_scene = {CLEAR_MARK.sub("", path.stem): path for path in clear}
    scene_of = {}
    for path in hazy:
        names = prefixes(HAZY_MARK.sub("", path.stem))
        scene_of[path] = next((name for name in names if name in by_scene), None)
    shared = [name for name in by_scene if name in set(scene_of.values())]
    if not shared or only_numbered(hazy, clear, shared):
        return hazy, clear
    if same_scenes == "refuse":
        pair = next(path for path in hazy if scene_of[path]), by_scene
        raise UnhazeError(
            f"'{pair[0]}' and '{by_scene[scene_of[pair[0]]]}' are named as one scene, as are"
            f" {len(shared)} in all; unpaired data needs different ones, or"
            ' same_scenes = "halve", or "keep" if these names mean nothing'
        )
    first = set(shared[: len(shared) // 2])
    second = set(shared) - first
    hazy = [path for path in hazy if scene_of[path] not in second]
    clear = [path for name, path in by_scene.items() if name not in first]
    if not hazy or not clear:
        raise UnhazeError("there is only one scene; unpaired data needs at least two")
    return hazy, clear


def only_numbered(hazy: list[Path], clear: list[Path], shared: list[str]) -> bool:
    """Returns whether the `shared` names are just running numbers, of unrelated pictures.

    Compares up to `LOOKED_AT` of them by structure, which haze preserves (`data.check`).
    """
    sides = [{path.stem: path for path in side} for side in (hazy, clear)]
    if not all(name.isdecimal() and name in sides[0] for name in shared):
        return False
    for name in shared[:: -(-len(shared) // LOOKED_AT)]:
        one, other = (structure_of(photo.read_rgb(side[name])) for side in sides)
        if one @ other >= LIKENESS:
            return False
    return True


def refuse_copies(hazy: list[Path], clear: list[Path]) -> None:
    """Raises UnhazeError if a file is on both sides; reads only files of equal sizes."""
    sizes: dict[int, tuple[list[Path], list[Path]]] = defaultdict(lambda: ([], []))
    for side, files in enumerate((hazy, clear)):
        for path in files:
            sizes[path.stat().st_size][side].append(path)
    for here, there in sizes.values():
        digests = {hashlib.sha256(path.read_bytes()).digest(): path for path in here if there}
        for path in there if here else ():
            copy = digests.get(hashlib.sha256(path.read_bytes()).digest())
            if copy is not None:
                raise UnhazeError(f"'{copy}' and '{path}' are the same file, hazy and clear")


def with_short_side(picture: Tensor, length: int) -> Tensor:
    """(3,H,W), uint8 or float in [0,1], resized with aspect kept -> float32 in [0,1]."""
    height, width = picture.shape[-2:]
    scale = length / min(height, width)
    size = [max(round(height * scale), length), max(round(width * scale), length)]
    pixels = picture.float() / 255 if picture.dtype == torch.uint8 else picture.float()
    return functional.interpolate(pixels[None], size=size, mode="bilinear", antialias=True)[
        0
    ].clamp(0, 1)
