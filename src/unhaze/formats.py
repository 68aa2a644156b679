"""The picture formats: how a file is recognised, what reads it, what a result of it can be.

`FORMATS` is the one table; the command, Python, batches, the service and docs/use.md use it.
"""

from dataclasses import dataclass
from pathlib import PurePath

LIBVIPS, OWN = "libvips", "unhaze"  # readers that the default install has


@dataclass(frozen=True)
class Format:
    """A kind of file. suffixes: the first is the usual one. signs: (place, bytes) that begin one.

    reader: libvips, this program, or the module that has to be installed (`unhaze.extras` knows
    how). becomes: suffix of a result, if such files are only read. depths: bits a channel that can
    be written, none if it is only read; 32 are floats. quality: whether it has one to choose.
    lossless: whether it can be told to be. animated: whether it can hold an animation. writer: the
    module that has to be installed to write.
    """

    name: str
    suffixes: tuple[str, ...]
    signs: tuple[tuple[int, bytes], ...] = ()
    reader: str = LIBVIPS
    becomes: str = ""
    depths: tuple[int, ...] = ()
    quality: bool = False
    lossless: bool = False
    animated: bool = False
    writer: str = LIBVIPS


TIFF_SIGNS = ((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+"))
RAW_SIGNS = (
    (0, b"FUJIFILMCCD-RAW"),
    (0, b"IIU\0"),
    (0, b"IIRO"),
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"FOVb"),
    (0, b"\0MRM"),
    (6, b"HEAPCCDR"),
)
RAW_SUFFIXES = (".dng", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".srf", ".sr2", ".raf")
RAW_SUFFIXES += (".orf", ".rw2", ".rwl", ".pef", ".srw", ".x3f", ".mrw", ".3fr", ".fff", ".iiq")
RAW_SUFFIXES += (".erf", ".kdc", ".dcr", ".mef", ".mos", ".gpr")
PNM_SIGNS = tuple((0, b"P" + bytes([kind])) for kind in b"123456fF")

FORMATS = {
    "jpeg": Format("JPEG", (".jpg", ".jpeg"), ((0, b"\xff\xd8\xff"),), depths=(8,), quality=True),
    "png": Format("PNG", (".png",), ((0, b"\x89PNG\r\n\x1a\n"),), depths=(8, 16), animated=True),
    "webp": Format(
        "WebP",
        (".webp",),
        ((8, b"WEBP"),),
        depths=(8,),
        quality=True,
        lossless=True,
        animated=True,
    ),
    "avif": Format(
        "AVIF", (".avif",), depths=(8, 10, 12), quality=True, lossless=True, animated=True
    ),
    "tiff": Format("TIFF", (".tif", ".tiff"), TIFF_SIGNS, depths=(8, 16, 32)),
    "gif": Format("GIF", (".gif",), ((0, b"GIF8"),), depths=(8,), animated=True),
    "heic": Format("HEIC", (".heic", ".heif", ".hif"), reader="pi_heif", becomes=".jpg"),
    "raw": Format("camera raw", RAW_SUFFIXES, RAW_SIGNS, reader="rawpy", becomes=".tif"),
    "jxl": Format(
        "JPEG XL",
        (".jxl",),
        ((0, b"\xff\x0a"), (0, b"\0\0\0\x0cJXL \r\n\x87\n")),
        reader="imagecodecs",
        depths=(8, 16),
        quality=True,
        lossless=True,
        writer="imagecodecs",
    ),
    "jp2": Format(
        "JPEG 2000",
        (".jp2", ".j2k", ".j2c", ".jpx", ".jpf"),
        ((0, b"\0\0\0\x0cjP  \r\n\x87\n"), (0, b"\xff\x4f\xff\x51")),
        reader="imagecodecs",
        becomes=".png",
    ),
    "exr": Format(
        "OpenEXR",
        (".exr",),
        ((0, b"\x76\x2f\x31\x01"),),
        reader="OpenEXR",
        depths=(16, 32),
        writer="OpenEXR",
    ),
    "bmp": Format("BMP", (".bmp",), ((0, b"BM"),), reader="PIL", becomes=".png"),
    "tga": Format("TGA", (".tga",), reader="PIL", becomes=".png"),
    "qoi": Format("QOI", (".qoi",), ((0, b"qoif"),), reader="imagecodecs", becomes=".png"),
    "psd": Format("PSD", (".psd", ".psb"), ((0, b"8BPS"),), reader=OWN, becomes=".tif"),
    "pnm": Format("PNM", (".ppm", ".pgm", ".pbm", ".pnm"), PNM_SIGNS, reader=OWN, becomes=".png"),
    "pfm": Format("PFM", (".pfm",), reader=OWN, becomes=".tif"),
}
SUFFIXES = {suffix: key for key, each in FORMATS.items() for suffix in each.suffixes}
WRITTEN = tuple(suffix for suffix, key in SUFFIXES.items() if FORMATS[key].depths)
NAMED = {"jpg": ".jpg", "png": ".png", "webp": ".webp", "avif": ".avif", "tiff": ".tif"}
NAMED |= {"jxl": ".jxl", "exr": ".exr", "gif": ".gif"}  # as --format calls them

# Kinds of pictures that share one container (ISO/IEC 14496-12), by the brands it names.
BRANDS = {
    "raw": {b"crx "},
    "heic": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"},
    "avif": {b"avif", b"avis"},
}
GENERAL_BRANDS = {b"mif1", b"msf1", b"mif2"}  # of HEIF, with any codec
HEAD = 1 << 16  # bytes at the start that tell the format
TGA_FOOTER = b"TRUEVISION-XFILE."


def key_of(head: bytes) -> str | None:
    """The format of a file with these first bytes, by its signature; None: none that is known.

    Camera raw files that are TIFF files count as these; TGA has no signature.
    """
    if head[4:8] == b"ftyp":
        size = min(int.from_bytes(head[:4]), len(head))
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))}
        for key, known in BRANDS.items():
            if brands & known:
                return key
        return "heic" if brands & GENERAL_BRANDS else None
    if head[:1] == b"P" and head[2:3] not in (b"\n", b"\r", b" ", b"\t", b"#"):
        return None
    if head[:2] in (b"Pf", b"PF"):
        return "pfm"
    for key, each in FORMATS.items():
        if any(head[at : at + len(sign)] == sign for at, sign in each.signs):
            return key
    return None


def format_of(name: PurePath) -> Format | None:
    """The format that a file is named as, by its suffix."""
    return of_suffix(name.suffix)


def of_suffix(suffix: str) -> Format | None:
    """The format of files that end so; None if it is no picture's."""
    key = SUFFIXES.get(suffix.lower())
    return None if key is None else FORMATS[key]


def kept_suffix(name: PurePath) -> str | None:
    """The suffix of the result of a picture file: its own, or that of the format it becomes."""
    found = format_of(name)
    return None if found is None else found.becomes or name.suffix


def usual_suffix(data: bytes) -> str:
    """The usual suffix of the result of a file with this content; empty if it is not known."""
    key = key_of(data[:HEAD])
    return (FORMATS[key].becomes or FORMATS[key].suffixes[0]) if key else ""
