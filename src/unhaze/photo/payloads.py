"""What a file holds beside its pixels, of whatever format: one row for each format that is read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

import pyvips

from unhaze.photo import exif, jpeg, png, webp
from unhaze.photo.picture import EXIF, IPTC

Density = tuple[tuple[float, float], bool]  # as `exif.density_of`
JFIF_UNITS = {1: (1 / 25.4, True), 2: (0.1, False)}  # per inch, per centimetre
# What libheif finds in AVIF by these words, and nothing carries.
AVIF_PARTS = (
    (b"tmap", "gain map"),
    (b"urn:com:apple:photo:2020:aux:hdrgainmap", "gain map"),
    (b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth", "depth"),
    (b"urn:mpeg:hevc:2015:auxid:2", "depth"),
    (b"\xd8\xfe\xc3\xd6\x1b\x0e\x48\x3c\x92\x97\x58\x28\x87\x7e\xc4\x81", "content credentials"),
)


@dataclass
class Beside:
    """Parts of `Traits` as the file has them; `orientation`: 0 where libvips knows it."""

    metadata: dict[str, bytes] = field(default_factory=dict)
    density: tuple[float, float] | None = None
    inches: bool = True
    orientation: int = 0
    extras: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def beside(file: BinaryIO, head: bytes, format: str, image: pyvips.Image) -> Beside:
    """All that a file of that format holds, beside its pixels, their profile and, where libvips
    reads it whole, XMP.
    """
    found = READERS[format](file, head, image) if format in READERS else Beside()
    pages = image.get("n-pages") if image.get_typeof("n-pages") else 1
    if pages > 1:
        kind = "animation" if format in ("gif", "webp", "avif") else "further pages"
        found.lost = (*found.lost, kind)
    return found


def _jpeg(file: BinaryIO, head: bytes, image: pyvips.Image) -> Beside:
    found = jpeg.contents(file)
    jfif = None
    if found.jfif and found.jfif[0] in JFIF_UNITS and all(found.jfif[1:]):
        scale, inches = JFIF_UNITS[found.jfif[0]]
        jfif = (found.jfif[1] * scale, found.jfif[2] * scale), inches
    return _with_exif(found.metadata, jfif, found.extras, found.lost)


def _png(file: BinaryIO, head: bytes, image: pyvips.Image) -> Beside:
    found = png.contents(file)
    density = None if found.density is None else (found.density, True)
    made = _with_exif(found.metadata, None, [], found.lost)
    made.density, made.inches = density or (None, True)
    return made


def _webp(file: BinaryIO, head: bytes, image: pyvips.Image) -> Beside:
    metadata, lost = webp.contents(file)
    return _with_exif(metadata, None, [], lost)


def _avif(file: BinaryIO, head: bytes, image: pyvips.Image) -> Beside:
    lost = [name for words, name in AVIF_PARTS if words in head]
    block = image.get(EXIF) if image.get_typeof(EXIF) else b""
    if not block:
        return Beside(lost=tuple(lost))
    # libvips has turned it, whatever EXIF says.
    block = exif.edited(block.removeprefix(b"Exif\0\0"), 1, False, None)
    made = _with_exif({EXIF: block}, None, [], lost)
    made.orientation = 0
    return made


def _tiff(file: BinaryIO, head: bytes, image: pyvips.Image) -> Beside:
    """libvips reads no EXIF there, and a quarter of IPTC."""
    block, records = exif.from_tiff(file)
    found = {EXIF: block, IPTC: records}
    density = exif.density_of(exif.first_directory(file))
    made = Beside({key: value for key, value in found.items() if value is not None})
    made.density, made.inches = density or (None, True)
    return made


def _with_exif(
    metadata: dict[str, bytes], density: Density | None, extras: list[str], lost: list[str]
) -> Beside:
    """EXIF says of density and orientation more than the format itself."""
    tags = exif.tags_of(metadata.get(EXIF, b""))
    density = exif.density_of(tags) or density
    across_down, inches = density or (None, True)
    turns = tags.get(exif.ORIENTATION)
    number = int.from_bytes(turns[1][:2], "little") if isinstance(turns, tuple) else 0
    orientation = number if 1 <= number <= 8 else 0
    return Beside(metadata, across_down, inches, orientation, tuple(extras), tuple(lost))


READERS: dict[str, Callable[[BinaryIO, bytes, pyvips.Image], Beside]] = {
    "jpeg": _jpeg,
    "png": _png,
    "tiff": _tiff,
    "webp": _webp,
    "avif": _avif,
}
