"""Inventory of a picture file beside its pixels, and what a restored file keeps of it.

`FATES` is the one table; reading looks for its payloads, writing says which of them are gone, and
docs/use.md shows it.
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

KEPT, CONVERTED, SAID, NONE = "kept", "converted", "said", "-"


@dataclass(frozen=True)
class Payload:
    """A thing that files hold. `fates`: by format of a result in the format of its source."""

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
    Payload("mastering and light level", _fates(NONE, KEPT, NONE, NONE, SAID)),
    Payload("date and background of PNG", _fates(NONE, KEPT, NONE, NONE, NONE)),
    Payload("comments and texts", _fates(KEPT, KEPT, KEPT, NONE, NONE)),
    Payload("density, or that there is none", _fates(KEPT, KEPT, KEPT, NONE, NONE)),
    Payload("GeoTIFF", _fates(NONE, NONE, KEPT, NONE, NONE)),
    Payload("thermal data (FLIR)", _fates(KEPT, NONE, NONE, NONE, NONE)),
    Payload("gain map", _fates(KEPT, NONE, NONE, NONE, SAID)),
    Payload("depth behind the picture", _fates(KEPT, NONE, NONE, NONE, SAID)),
    Payload("motion video", _fates(KEPT, NONE, NONE, NONE, NONE)),
    Payload("frames of an animation", _fates(NONE, CONVERTED, NONE, CONVERTED, CONVERTED)),
    Payload("further views and pages", _fates(SAID, SAID, SAID, SAID, SAID)),
    Payload("content credentials (C2PA)", _fates(SAID, SAID, SAID, SAID, SAID)),
)

GAIN_MAP = "gain map (the picture is the standard one for all screens)"
VIDEO = "motion video"
DEPTH = "depth"
MASKS = "masks of what is where"
VIEWS = "further pictures of the file"
CREDENTIALS = "content credentials (C2PA), which are void once pixels change"
EXTENDED = "extended XMP"
COMMENTS = "comments"
THERMAL = "thermal data"

# What XMP says of things that a restored file no longer holds: names, and items of a list.
ANNOUNCED: dict[str, tuple[xmp.Names, bytes]] = {
    GAIN_MAP: (xmp.GAIN_MAP, b"GainMap"),
    VIDEO: (xmp.VIDEO, b"MotionPhoto"),
    DEPTH: (xmp.DEPTH, b"Depth|Confidence"),
    EXTENDED: (xmp.EXTENSION, b""),
    CREDENTIALS: (xmp.CREDENTIALS, b""),
}


def lost_in_jpeg(found: Segments) -> tuple[str, ...]:
    """Names of what no restored JPEG holds, but for what is `behind` the picture."""
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
    """Credentials; frames are counted by libvips."""
    return (CREDENTIALS,) if png.has_chunk(file, b"caBX") else ()


def lost_in_webp(file: BinaryIO) -> tuple[str, ...]:
    """Credentials in a chunk of RIFF."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        kind, size = head[:4], struct.unpack("<I", head[4:])[0]
        if kind == b"C2PA":
            return (CREDENTIALS,)
        file.seek(size + size % 2, 1)
    return ()


def correct_xmp(metadata: dict[str, Any], lost: tuple[str, ...]) -> tuple[str, ...]:
    """Changes it so that it no longer tells of what is lost; where that cannot be, it goes, too,
    and is returned by name.
    """
    corrected = without_announcements(metadata[XMP], lost)
    if corrected is None:
        del metadata[XMP]
        return ("XMP",)
    metadata[XMP] = corrected
    return ()


def without_announcements(packet: bytes, lost: tuple[str, ...]) -> bytes | None:
    """XMP that no longer tells of what is lost; None: it cannot be corrected and must go, too."""
    corrected: bytes | None = packet
    for words in lost:
        names, semantics = ANNOUNCED.get(words, ((), b""))
        if corrected is not None:
            corrected = xmp.without(corrected, names, semantics)
    return corrected


@contextmanager
def noted(source: Path) -> Iterator[list[str]]:
    """Fills the list with what this thread logs as warnings meanwhile: what a photo loses.

    Whoever else hears of it hears the name of the file, too.
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
