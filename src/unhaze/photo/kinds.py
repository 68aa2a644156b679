"""What a file is that cannot be read, or must not: its error says so in the words of users."""

import re
from typing import BinaryIO

from unhaze.errors import UnhazeError
from unhaze.photo import exif

EXPECTED = "JPEG, PNG, TIFF, WebP, AVIF or GIF"
# (offset, how it begins there, what it is); a row leaves when its format is read.
BEGINNINGS: tuple[tuple[int, bytes, str], ...] = (
    (4, rb"ftyp(?:hei[cxms]|hev[cx])", "HEIC picture"),
    (4, rb"ftypcrx ", "Canon raw file (CR3)"),
    (4, rb"ftyp(?!avi[fs]|mif1|msf1|miaf)", "video, or of another format in MP4's container"),
    (0, rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a", "JPEG XL picture"),
    (0, rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000 picture"),
    (0, rb"\xff\xd8\xff\xf7", "JPEG-LS picture"),
    (0, rb"BM", "BMP picture"),
    (0, rb"P[1-7][\s#]|P[Ff]\s", "Netpbm picture (PBM, PGM, PPM, PAM, PFM)"),
    (0, rb"8BPS", "Photoshop document"),
    (0, rb"gimp xcf", "GIMP picture"),
    (0, rb"qoif", "QOI picture"),
    (0, rb"\x76\x2f\x31\x01", "OpenEXR picture"),
    (0, rb"#\?(?:RADIANCE|RGBE)", "Radiance picture"),
    (0, rb"FUJIFILMCCD-RAW", "Fujifilm raw file (RAF)"),
    (0, rb"IIRO|IIRS|MMOR", "Olympus raw file (ORF)"),
    (0, rb"IIU\0", "Panasonic raw file (RW2)"),
    (0, rb"II.\0\x10\0\0\0CR", "Canon raw file (CR2)"),
    (0, rb"FOVb", "Sigma raw file (X3F)"),
    (0, rb"\0MRM", "Minolta raw file (MRW)"),
    (0, rb"\0\0[\1\2]\0", "icon, or a TGA picture"),
    (0, rb"%PDF", "PDF document"),
    (0, rb"\s*(?:<\?xml|<svg|<!DOCTYPE svg)", "SVG or other XML document"),
)
SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, TILE = (
    254, 255, 256, 257, 258, 259, 262, 322,
)  # fmt: skip
PLANES, INNER, DNG_VERSION = 284, 330, 50706
REDUCED, RAW = 1, {32803: "colour filter array", 34892: "linear raw"}
COMPRESSIONS = {
    6: "old-style JPEG", 32809: "ThunderScan", 32908: "PixarFilm", 34661: "JBIG",
    34676: "SGI Log", 34677: "SGI Log", 34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA",
    50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
READABLE_BITS = {1, 2, 4, 8, 16, 32, 64}


def what_it_is(head: bytes) -> str | None:
    """A name for a file of no format that is read, by its first bytes; None: not known."""
    for at, pattern, name in BEGINNINGS:
        if re.match(pattern, head[at:], re.DOTALL):
            return name
    return None


def refusal(head: bytes, name: str) -> str:
    """The error for a file that libvips cannot read."""
    kind = what_it_is(head)
    if kind is None:
        return f"{name} is no picture that can be read; expected a whole {EXPECTED}"
    article = "an" if kind.startswith(("icon", "O", "SVG")) else "a"
    return f"{name} is no photo that can be read: it is {article} {kind}; expected {EXPECTED}"


def check_is_the_photo(file: BinaryIO, head: bytes, name: str) -> None:
    """UnhazeError for raw files and TIFF files that begin with a small picture of the photo.

    What would be read is that small picture, and its result would pass for the photo.
    """
    why = None
    if re.match(rb"II.\0\x10\0\0\0CR|IIRO|IIRS|MMOR|IIU\0", head, re.DOTALL):
        why = what_it_is(head)
    elif head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        why = _why_not(file)
    if why is not None:
        raise UnhazeError(
            f"{name} is no photo that can be read: {why}; develop it, then give the"
            " JPEG, PNG or TIFF file"
        )


def hindrance(file: BinaryIO, head: bytes) -> str | None:
    """Why a healthy TIFF or AVIF file may not be readable; None: nothing is known against it."""
    if head[4:8] == b"ftyp" and b"avis" in head[8:64]:
        return "it is an animated AVIF, which may be why: only still ones are read"
    if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    first = next(iter(exif.directories(file)), {})
    compression = COMPRESSIONS.get(_first(first, COMPRESSION, 1))
    if compression:
        return f"it has {compression} compression, which is not read; save it with LZW or Deflate"
    bits = _first(first, BITS, 8)
    if bits not in READABLE_BITS:
        return f"it has {bits} bits a sample, which is not read; save it with 8 or 16"
    if _first(first, PLANES, 1) == 2 and TILE in first:
        return "it has a tiled plane for each channel, which is not read; save it interleaved"
    return None


def _why_not(file: BinaryIO) -> str | None:
    """What speaks against the first directory of a TIFF file as the photo."""
    pages = list(exif.directories(file))
    if not pages:
        return None
    first, *others = pages
    if DNG_VERSION in first:
        return "it is a raw file (DNG), of which only a preview could be read"
    if any(_first(page, PHOTOMETRIC, 2) in RAW for page in pages):
        return "it is a camera's raw file, of which only a preview could be read"
    if _first(first, SUBFILE, 0) & REDUCED or _first(first, OLD_SUBFILE, 1) == 2:
        return "the first picture in this TIFF file is a preview of another one"
    return None


def _first(page: dict[int, tuple[int, ...]], tag: int, otherwise: int) -> int:
    values = page.get(tag)
    return values[0] if values else otherwise
