"""Inventory of the metadata of picture files, and what a restored file keeps of it.

`FATES` is the one table: reading looks for its payloads, writing reports those that are left out,
and docs/use.md shows it.
"""

from dataclasses import dataclass
from typing import Any

from unhaze.photo import xmp
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
