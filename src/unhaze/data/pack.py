"""The training pack: a clear + depth folder as one small file, for transfer to another machine.

It is an uncompressed zip file: clear/NAME.avif (or .webp), depth/NAME.webp at half size, and
index.json, which describes how each was made.
"""

import json
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unhaze import photo
from unhaze.atomic import check_replaceable, made_aside
from unhaze.data.pairing import SceneFiles, find_scenes, some_of
from unhaze.errors import UnhazeError, counted
from unhaze.image import cell_means, to_float, to_u8
from unhaze.photo.kinds import HEAD, kind_of

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "unhaze pack 1"
LIMIT = 32 * 2**20
DEPTH_QUALITY = 90


@dataclass(frozen=True)
class PackReport:
    """The written pack: sizes in bytes, of the file and per scene on average."""

    path: Path
    scenes: int
    size: tuple[int, int]
    bytes: int
    clear_bytes: float
    depth_bytes: float


@dataclass(frozen=True)
class PackedScene:
    """One encoded scene. deepest: largest depth of the original as a share of its range."""

    name: str
    size: tuple[int, int]
    clear: bytes
    depth: bytes
    deepest: float


def make_pack(
    root: Path | str,
    out: Path | str,
    *,
    border: int = 0,
    codec: str = "avif",
    quality: int = 58,
    source: str = "",
    limit: int = LIMIT,
    overwrite: bool = False,
) -> PackReport:
    """Packs `root`/clear and `root`/depth into the file `out`.

    border: pixels cut from every side first (10 for NYU). codec: "avif" or "webp" for the clear
    pictures; AVIF is smaller for the same error and ten times slower to write. source: a note on
    the origin of the scenes. limit: maximum size in bytes; if exceeded, no file is left behind.
    Depth is divided by its maximum in the picture (so its 8 bits span each scene, which suffices
    for haze as in RESIDE), halved by averaging and stored lossily.
    UnhazeError: no scenes, scenes of several sizes, constant depth, file exists, pack over limit.
    """
    root, out = Path(root), Path(out)
    if codec not in ("avif", "webp"):
        raise UnhazeError(f"pack codec '{codec}': expected 'avif' or 'webp'")
    check_replaceable(out, overwrite)
    scenes = gather(encoded(find_scenes(root), border, codec, quality), limit)
    index = {
        "format": FORMAT,
        "source": source or root.name,
        "border": border,
        "size": scenes[0].size,
        "clear": {"codec": codec, "quality": quality},
        "depth": {"codec": "webp", "quality": DEPTH_QUALITY, "scale": 0.5},
        "scenes": [{"name": scene.name, "deepest": scene.deepest} for scene in scenes],
    }
    with made_aside(out) as partial:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("index.json", json.dumps(index, indent=1))
            for scene in scenes:
                archive.writestr(f"clear/{scene.name}.{codec}", scene.clear)
                archive.writestr(f"depth/{scene.name}.webp", scene.depth)
        check_limit(partial.stat().st_size, limit, len(scenes))
    clear_bytes = sum(len(scene.clear) for scene in scenes) / len(scenes)
    depth_bytes = sum(len(scene.depth) for scene in scenes) / len(scenes)
    size = out.stat().st_size
    return PackReport(out, len(scenes), scenes[0].size, size, clear_bytes, depth_bytes)


def gather(scenes: Iterator[PackedScene], limit: int) -> list[PackedScene]:
    """Reads all scenes, which must have one size; stops as soon as they cannot fit."""
    gathered: list[PackedScene] = []
    total = 0
    for scene in scenes:
        gathered.append(scene)
        if scene.size != gathered[0].size:
            sizes = "{}x{} and {}x{}".format(*gathered[0].size, *scene.size)
            names = f"'{gathered[0].name}' and '{scene.name}'"
            raise UnhazeError(f"a pack needs scenes of one size; {names} are {sizes}")
        total += len(scene.clear) + len(scene.depth)
        check_limit(total, limit, len(gathered))
    return gathered


def check_limit(size: int, limit: int, scenes: int) -> None:
    """Raises UnhazeError if the pack is larger than `limit`."""
    if size > limit:
        raise UnhazeError(
            f"{size / 2**20:.1f} MiB after {counted(scenes, 'scene')} is over the limit of"
            f" {limit / 2**20:.1f} MiB; set a lower quality"
        )


def encoded(
    files: list[SceneFiles], border: int, codec: str, quality: int
) -> Iterator[PackedScene]:
    """Yields the scenes in order, encoded in threads, a few at a time to save memory."""
    rest = iter(files)
    with ThreadPoolExecutor() as pool:
        while some := list(islice(rest, 16)):
            yield from pool.map(lambda scene: encode(scene, border, codec, quality), some)


def encode(files: SceneFiles, border: int, codec: str, quality: int) -> PackedScene:
    """Reads, crops and encodes one scene."""
    import pyvips

    clear = cut(photo.read_rgb(files.clear), border, files.clear)
    depth = to_float(cut(photo.read_rgb(files.depth), border, files.depth)[..., 0])
    if clear.shape[:2] != depth.shape:
        raise UnhazeError(f"scene '{files.name}': clear and depth differ in size")
    if depth.min() == depth.max():
        raise UnhazeError(f"scene '{files.name}': its depth is the same everywhere")
    if clear.dtype != np.uint8:
        clear = to_u8(to_float(clear))
    deepest = float(depth.max())
    image = pyvips.Image.new_from_array(clear)
    bare = pyvips.ForeignKeep.NONE
    if codec == "avif":
        # Full chroma: half a decibel better than 4:2:0 at the same file size.
        packed = image.heifsave_buffer(
            keep=bare, Q=quality, compression="av1", effort=4, subsample_mode="off"
        )
    else:
        packed = image.webpsave_buffer(keep=bare, Q=quality, effort=6, smart_subsample=True)
    halved = to_u8(cell_means(depth / deepest, 2))
    near = pyvips.Image.new_from_array(halved).webpsave_buffer(keep=bare, Q=DEPTH_QUALITY, effort=6)
    return PackedScene(files.name, (clear.shape[1], clear.shape[0]), packed, near, deepest)


def cut(pixels: np.ndarray, border: int, path: Path) -> np.ndarray:
    """Crops `border` pixels on every side."""
    height, width = pixels.shape[:2]
    if min(height, width) <= 2 * border:
        raise UnhazeError(f"'{path}' is {width}x{height}, too small for a border of {border}")
    return np.ascontiguousarray(pixels[border : height - border, border : width - border])


def read_pack(
    path: Path | str, *, scenes: tuple[int, int] | None = None, border: int = 0
) -> "tuple[list[str], Tensor, Tensor]":
    """Returns names, clear (N,3,H,W) uint8, and depth (N,1,h,w) uint8 at half size, 255 deepest.

    scenes: first and last-plus-one index, to decode only those. border: crop of a reader of
    the folder; a pack is already cropped, so this must be the pack's border, or 0.
    UnhazeError for a file that is not a pack, is damaged, lacks these scenes or has another border.
    """
    import torch

    from unhaze.data.folders import read_all

    with open_pack(path) as archive:
        index = read_index(archive, path)
        if border not in (0, index["border"]):
            raise UnhazeError(f"pack '{path}' was cut by {index['border']} px, not by {border}")
        names = [scene["name"] for scene in index["scenes"]]
        chosen = some_of(names, scenes, "scenes", f"'{path}'")
        codec = index["clear"]["codec"]
        members = [(f"clear/{name}.{codec}", f"depth/{name}.webp") for name in chosen]
        try:
            stored = [tuple(archive.read(member) for member in pair) for pair in members]
        except (KeyError, OSError, zipfile.BadZipFile) as error:
            raise UnhazeError(f"pack '{path}' is damaged: {error}; make or copy it anew") from error
    width, height = index["size"]
    clear = torch.empty(len(chosen), 3, height, width, dtype=torch.uint8)
    depth = torch.empty(len(chosen), 1, -(-height // 2), -(-width // 2), dtype=torch.uint8)

    def decode(place: int) -> None:
        near, far = (photo.read(data).pixels for data in stored[place])
        clear[place] = torch.from_numpy(near).permute(2, 0, 1)
        depth[place, 0] = torch.from_numpy(far[..., 0].copy())

    read_all(decode, range(len(chosen)), f"scenes of '{path}'")
    return chosen, clear, depth


def is_pack(path: Path | str) -> bool:
    """Returns whether `path` is a file, as only packs are; `open_pack` checks its content."""
    return Path(path).is_file()


def open_pack(path: Path | str) -> zipfile.ZipFile:
    """Opens the container; UnhazeError if it cannot be read or is not a pack."""
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise UnhazeError(f"cannot read pack '{path}': {error.strerror}") from error
    except zipfile.BadZipFile as error:
        raise UnhazeError(no_pack(Path(path))) from error


def no_pack(path: Path) -> str:
    """Returns the error for a file without the index at its end."""
    with path.open("rb") as file:
        start = file.read(HEAD)
    if not start:
        return f"'{path}' is empty; expected a pack: copy it anew"
    if start.startswith(b"PK\3\4"):
        return f"pack '{path}' is cut off: its end is missing; copy it anew"
    kind = kind_of(start)
    found = "not a pack" if kind is None else f"{kind} and not a pack"
    return f"'{path}' is {found}; make one with `unhaze data pack`"


def read_index(archive: zipfile.ZipFile, path: Path | str) -> dict[str, Any]:
    """Returns the index.json of an open pack."""
    try:
        index = json.loads(archive.read("index.json"))
    except (KeyError, ValueError) as error:
        raise UnhazeError(f"'{path}' is not a pack: it has no index.json") from error
    if index.get("format") != FORMAT:
        raise UnhazeError(f"'{path}' is '{index.get('format')}'; this version reads '{FORMAT}'")
    return index
