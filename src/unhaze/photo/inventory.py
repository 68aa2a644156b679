"""What files hold beside pixels, and what becomes of it in each format that is written.

One table drives writing, docs/use.md and a test that makes all these files. Whatever a file holds
is kept, converted, or said to be lost; and XMP announces nothing that is gone.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from unhaze.photo import jpeg, xmp
from unhaze.photo.picture import (
    COMMENTS,
    EXIF,
    EXTENDED,
    ICC,
    IPTC,
    SEGMENTS,
    TEXTS,
    TRAILER,
    VIEWS,
    XMP,
    Traits,
)

log = logging.getLogger(__name__)

KEPT, LOST = "kept", "lost"
MERGED, SRGB, AS_TEXT = "in the main XMP", "pixels become sRGB", "as a text of PNG"

WRITTEN = ("jpeg", "png", "tiff", "webp", "avif", "gif")
# What becomes of each payload in each of these formats; a row is all there is to add.
FATES: dict[str, tuple[str, ...]] = {
    #                       JPEG  PNG   TIFF  WebP  AVIF  GIF
    "EXIF": (KEPT, KEPT, KEPT, KEPT, KEPT, LOST),
    "XMP": (KEPT, KEPT, KEPT, KEPT, KEPT, LOST),
    "extended XMP": (KEPT, MERGED, MERGED, MERGED, MERGED, LOST),
    "IPTC": (KEPT, KEPT, KEPT, LOST, LOST, LOST),
    "ICC profile": (KEPT, KEPT, KEPT, KEPT, KEPT, SRGB),
    "density": (KEPT, KEPT, KEPT, LOST, LOST, LOST),
    "comments": (KEPT, AS_TEXT, LOST, LOST, LOST, LOST),
    "texts of PNG": (LOST, KEPT, LOST, LOST, LOST, LOST),
    "gain map": (KEPT, LOST, LOST, LOST, LOST, LOST),
    "motion video": (KEPT, LOST, LOST, LOST, LOST, LOST),
    "depth": (KEPT, LOST, LOST, LOST, LOST, LOST),
    "thermal data": (KEPT, LOST, LOST, LOST, LOST, LOST),
    "further pictures": (KEPT, LOST, LOST, LOST, LOST, LOST),
    "data behind the picture": (KEPT, LOST, LOST, LOST, LOST, LOST),
    "segments of JPEG": (KEPT, LOST, LOST, LOST, LOST, LOST),
    "further views": (LOST,) * 6,  # of the scene: they would not fit the restored one
    "further pages": (LOST,) * 6,
    "animation": (LOST,) * 6,
    "content credentials": (LOST,) * 6,  # signed: not valid for other pixels
}
# Their fate is that of the pixels; who reads and writes colours fills these rows.
COLOUR_TAGS: dict[str, tuple[str, ...]] = {
    "colour tags of PNG": (LOST,) * 6,  # cICP, gAMA, cHRM, mDCV, cLLI
    "colour tags of AVIF": (LOST,) * 6,  # nclx
}
KEYS = {
    "EXIF": EXIF,
    "XMP": XMP,
    "extended XMP": EXTENDED,
    "IPTC": IPTC,
    "ICC profile": ICC,
    "comments": COMMENTS,
    "texts of PNG": TEXTS,
}
SAID_WHEN_READ = ("further pages", "animation")
# Bytes that fit; what is larger is lost, or, XMP, becomes an extended packet.
LARGEST = {("jpeg", EXIF): 65_527, ("jpeg", XMP): 65_504, ("avif", EXIF): 65_000}


@dataclass
class Fates:
    """What became of the payloads of one file; names of `FATES` and words for what pixels lose."""

    lost: list[str] = field(default_factory=list)
    converted: list[str] = field(default_factory=list)

    def say(self, suffix: str, traits: Traits, gone: list[str]) -> None:
        """One line for what a format does not hold or what never survives."""
        self.lost += gone
        gone = [each for each in gone if each not in SAID_WHEN_READ]
        if gone:
            whose = "" if traits.path is None else f"'{traits.path}': "
            log.warning("%s'%s' holds no %s; left out", whose, suffix, ", no ".join(gone))


def fate(payload: str, format: str) -> str:
    """What becomes of a payload in a file of a format that is written."""
    return (FATES | COLOUR_TAGS)[payload][WRITTEN.index(format)]


def exif_fits(metadata: Mapping[str, bytes], format: str) -> bool:
    """Whether a file of that format takes the EXIF that there is."""
    size = len(metadata.get(EXIF, b""))
    return fate("EXIF", format) == KEPT and size <= LARGEST.get((format, EXIF), size)


def payloads_of(traits: Traits) -> list[str]:
    """Names of all that a picture brings along, but for density, in the order of the table."""
    names = {name for name, key in KEYS.items() if key in traits.metadata}
    names |= {*traits.extras, *traits.lost}
    if SEGMENTS in traits.metadata and "thermal data" not in traits.extras:
        names.add("segments of JPEG")
    return [name for name in FATES | COLOUR_TAGS if name in names]


def settle(traits: Traits, format: str, suffix: str, fates: Fates) -> dict[str, bytes]:
    """The metadata for a file of `format`, with what it cannot hold left out, or turned into what
    it can; adds to `fates`, and says in one line what is lost.
    """
    found = dict(traits.metadata)
    becomes = {name: fate(name, format) for name in payloads_of(traits)}
    becomes |= dict.fromkeys(traits.lost, LOST)
    if becomes.get("extended XMP") == MERGED and EXTENDED in found:
        joined = xmp.merged(found.get(XMP, b""), found.pop(EXTENDED))
        becomes["extended XMP"] = MERGED if joined else LOST
        found |= {XMP: joined} if joined else {}
    _into_segments(found, format)
    gone = []
    for name, what in becomes.items():
        key = KEYS.get(name)
        size, most = len(found.get(key, b"")), LARGEST.get((format, key))
        if key and most and size > most:
            gone.append(f"{name} of {size} bytes")
            del found[key]
        elif what == LOST:
            gone.append(name)
            found.pop(key, None)
        elif what != KEPT:
            fates.converted.append(f"{name}: {what}")
    if format != "jpeg":
        found = {key: found[key] for key in found if key not in (SEGMENTS, TRAILER, VIEWS)}
    fates.say(suffix, traits, gone + _uncorrected(found, [each.split(" of ")[0] for each in gone]))
    return found


def without_views(traits: Traits) -> Traits:
    """Without the pictures behind this one that lie as it lies: after a turn they would not fit."""
    metadata = jpeg.without_views(dict(traits.metadata))
    if metadata == traits.metadata:
        return traits
    gone = tuple(
        each for each in traits.extras if each in ("gain map", "depth", "further pictures")
    )
    extras = tuple(each for each in traits.extras if each not in gone)
    return replace(traits, metadata=metadata, extras=extras, lost=(*traits.lost, *gone))


def _into_segments(found: dict[str, bytes], format: str) -> None:
    """Of JPEG: a main packet of XMP that is too large becomes the extension of a small one."""
    too_large = len(found.get(XMP, b"")) > LARGEST.get((format, XMP), 1 << 62)
    if too_large and EXTENDED not in found:
        found[EXTENDED] = found[XMP].strip(b"\0")
        found[XMP] = xmp.pointing_to(jpeg.digest(found[EXTENDED]))


def _uncorrected(found: dict[str, bytes], gone: list[str]) -> list[str]:
    """Corrects XMP of what is gone; where that fails XMP goes, too, and is returned."""
    if XMP not in found:
        return []
    corrected = xmp.without(found[XMP], gone)
    if corrected is None:
        del found[XMP]
        found.pop(EXTENDED, None)
        return ["XMP"]
    found[XMP] = corrected
    return []
