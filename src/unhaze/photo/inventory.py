"""Inventory of the metadata of picture files, and what a restored file keeps of it.

`FATES` is the one table: reading looks for its payloads, writing reports those that are left out,
and docs/use.md shows it.
"""

import logging
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from unhaze.photo import png, xmp
from unhaze.photo.jpeg import APP, Segments
from unhaze.photo.picture import XMP

KEPT, CONVERTED, LEFT_OUT, NONE = "kept", "converted", "left out", "-"


@dataclass(frozen=True)
class Payload:
    """A kind of metadata. `fates`: by format, for a result in the format of its source."""

    name: str
    fates: dict[str, str]


def _fates(jpeg: str, png: str, tiff: str, webp: str, avif: str) -> dict[str, str]:
    return {"jpeg": jpeg, "png": png, "tiff": tiff, "webp": webp, "avif": avif}


FATES = (
    Payload("EXIF, GPS and maker notes", _fates(KEPT, KEPT, KEPT, KEPT, KEPT)),
    Payload("orientation", _fates(KEPT, KEPT, KEPT, KEPT, CONVERTED)),
    Payload("EXIF thumbnail", _fates(CONVERTED, CONVERTED, NONE, CONVERTED, CONVERTED)),
    Payload("XMP", _fates(KEPT, KEPT, KEPT, KEPT, KEPT)),
    Payload("extended XMP", _fates(KEPT, NONE, NONE, NONE, NONE)),
    Payload("IPTC", _fates(KEPT, KEPT, KEPT, NONE, NONE)),
    Payload("ICC profile", _fates(KEPT, KEPT, KEPT, KEPT, KEPT)),
    Payload("colour tags (cICP, gAMA, cHRM, nclx)", _fates(NONE, KEPT, NONE, NONE, KEPT)),
    Payload("mastering and light level", _fates(NONE, KEPT, NONE, NONE, LEFT_OUT)),
    Payload("date and background of PNG", _fates(NONE, KEPT, NONE, NONE, NONE)),
    Payload("comments and texts", _fates(KEPT, KEPT, KEPT, NONE, NONE)),
    Payload("density, or that there is none", _fates(KEPT, KEPT, KEPT, NONE, NONE)),
    Payload("GeoTIFF", _fates(NONE, NONE, KEPT, NONE, NONE)),
    Payload("thermal data (FLIR)", _fates(KEPT, NONE, NONE, NONE, NONE)),
    Payload("gain map", _fates(KEPT, NONE, NONE, NONE, LEFT_OUT)),
    Payload("depth behind the picture", _fates(KEPT, NONE, NONE, NONE, LEFT_OUT)),
    Payload("motion video", _fates(KEPT, NONE, NONE, NONE, NONE)),
    Payload("frames of an animation", _fates(NONE, CONVERTED, NONE, CONVERTED, CONVERTED)),
    Payload("further views and pages", _fates(LEFT_OUT, LEFT_OUT, LEFT_OUT, LEFT_OUT, LEFT_OUT)),
    Payload("content credentials (C2PA)", _fates(LEFT_OUT, LEFT_OUT, LEFT_OUT, LEFT_OUT, LEFT_OUT)),
)

GAIN_MAP = "gain map (the picture is the standard one for all screens)"
VIDEO = "motion video"
DEPTH = "depth"
MASKS = "masks of what is where"
VIEWS = "further pictures of the file"
CREDENTIALS = "content credentials (C2PA), which are void once pixels change"
EXTENDED = "extended XMP"

# What XMP states about parts that a restored file lacks: names, and items of a list.
ANNOUNCED: dict[str, tuple[xmp.Names, bytes]] = {
    GAIN_MAP: (xmp.GAIN_MAP, b"GainMap"),
    VIDEO: (xmp.VIDEO, b"MotionPhoto"),
    DEPTH: (xmp.DEPTH, b"Depth|Confidence"),
    EXTENDED: (xmp.EXTENSION, b""),
    CREDENTIALS: (xmp.CREDENTIALS, b""),
}


def lost_in_jpeg(found: Segments) -> tuple[str, ...]:
    """Returns names of what no restored JPEG holds, except for what is `behind` the picture."""
    is_signed = any(marker == APP + 11 and sign.startswith(b"JP") for marker, sign in found.signs)
    return (CREDENTIALS,) if is_signed else ()


def lost_in_boxes(file: BinaryIO) -> tuple[str, ...]:
    """Returns what is lost of AVIF: credentials in a box, a derived gain map, a motion track."""
    file.seek(0)
    data = file.read(1 << 20)
    names = {b"tmap": GAIN_MAP, b"c2pa": CREDENTIALS, b"jumb": CREDENTIALS}
    names |= {b"auxiliary:depth": DEPTH, b"hevc:2015:auxid:2": DEPTH}
    return tuple(dict.fromkeys(words for kind, words in names.items() if kind in data))


def lost_in_png(file: BinaryIO) -> tuple[str, ...]:
    """Returns credentials; libvips counts frames."""
    return (CREDENTIALS,) if png.has_chunk(file, b"caBX") else ()


def lost_in_webp(file: BinaryIO) -> tuple[str, ...]:
    """Returns credentials in a RIFF chunk."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        kind, size = head[:4], struct.unpack("<I", head[4:])[0]
        if kind == b"C2PA":
            return (CREDENTIALS,)
        file.seek(size + size % 2, 1)
    return ()


def correct_xmp(metadata: dict[str, Any], lost: tuple[str, ...]) -> tuple[str, ...]:
    """Corrects XMP so that it no longer mentions what is lost; if it cannot be corrected, it is
    removed and its name is returned.
    """
    corrected = without_announcements(metadata[XMP], lost)
    if corrected is None:
        del metadata[XMP]
        return ("XMP",)
    metadata[XMP] = corrected
    return ()


def without_announcements(packet: bytes, lost: tuple[str, ...]) -> bytes | None:
    """Returns XMP that no longer mentions what is lost; None: it cannot be corrected."""
    corrected: bytes | None = packet
    for words in lost:
        names, semantics = ANNOUNCED.get(words, ((), b""))
        if corrected is not None:
            corrected = xmp.without(corrected, names, semantics)
    return corrected


@contextmanager
def noted(source: Path) -> Iterator[list[str]]:
    """Yields a list of the warnings that this thread logs inside the block: what a photo loses.

    For other listeners the name of the file is added.
    """
    notes: list[str] = []
    thread = threading.get_ident()

    def collect(record: logging.LogRecord) -> bool:
        if record.thread == thread:
            said = record.getMessage()
            notes.append(said)
            if str(source) not in said:
                record.msg, record.args = "'%s': %s", (source, said)
        return False

    collector = logging.Handler(logging.WARNING)
    collector.addFilter(collect)
    logger = logging.getLogger("unhaze")
    logger.addHandler(collector)
    try:
        yield notes
    finally:
        logger.removeHandler(collector)
