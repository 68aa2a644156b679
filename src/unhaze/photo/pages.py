"""The pages of a TIFF file: the photo, previews, overviews and raw pictures."""

import math
from typing import BinaryIO

from unhaze.photo import ifd
from unhaze.photo.exif import (
    ICC_LAB,
    PHOTOMETRIC,
    SIZES,
    first_directory,
    first_number,
    read_directory,
    read_integer,
    read_number,
    unless_damaged,
)

SUBFILE_TYPE, SUB_DIRECTORIES, DNG_VERSION = 254, 330, 50706
BITS, COMPRESSION, PLANES, TILES = 258, 259, 284, 322
READABLE_BITS = {1, 2, 4, 8, 16, 32}
COMPRESSIONS = {6: "old-style JPEG", 34661: "JBIG", 34712: "JPEG 2000", 34887: "LERC"}
COMPRESSIONS |= {34925: "LZMA", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"}
SAMPLES, SAMPLE_FORMAT, INK_SET = 277, 339, 332
MINIMUM_IS_WHITE, RGB, SEPARATED, YCBCR = 0, 2, 5, 6  # photometric interpretations
SENSOR = {32803, 34892}  # and those of a colour filter array, and linear raw
LOG_LUV = {32844, 32845}
COLOURS = {MINIMUM_IS_WHITE, 1, RGB, 3, SEPARATED, YCBCR, 8, ICC_LAB} | SENSOR | LOG_LUV
OTHERS = {4: "a transparency mask", 10: "colours as in fax (ITU L*a*b*)"}
OTHERS |= {51177: "a map of depth", 52527: "a mask of what is where"}
FLOATS, CMYK, JPEG = 3, 1, 7  # of the sample format, the inks, the compression
RAW = "is a camera's raw file, which is not read; develop it first, to TIFF for example"
MOST_PAGES = 64
NO_DATA = 42113
MOST_INNER = 16  # limit of directories searched for a camera's raw picture


def why_no_photo(file: BinaryIO) -> str | None:
    """Returns why the first picture of a TIFF file is not the photo; None if it is, or is damaged.

    Camera raw files (DNG, NEF, ARW, CR2 ...) are TIFF files that start with a small preview.
    """
    return unless_damaged(_why_no_photo, file)


def _why_no_photo(file: BinaryIO) -> str | None:
    file.seek(8)
    if file.read(2) == b"CR":
        return RAW
    header, directory, following = first_directory(file)
    inner = []
    if SUB_DIRECTORIES in directory:
        entry = directory[SUB_DIRECTORIES]
        size = SIZES[entry.kind]
        places = [entry.at + size * i for i in range(min(entry.count, MOST_INNER))]
        inner = [read_directory(file, header, read_number(file, header, at))[0] for at in places]
    while len(inner) < MOST_INNER and (place := read_number(file, header, following)):
        page, following = read_directory(file, header, place)
        inner.append(page)
    for each in (directory, *inner):
        interpretation = each.get(PHOTOMETRIC)
        if interpretation and read_integer(file, header, interpretation) in SENSOR:
            return RAW
    if DNG_VERSION in directory:
        return RAW
    kind = directory.get(SUBFILE_TYPE)
    if kind and read_integer(file, header, kind) & 1:
        return "opens with a reduced-resolution picture; expected the photo first: convert it"
    numbers = (PHOTOMETRIC, SAMPLE_FORMAT, INK_SET)
    return _strange_colours(*(first_number(file, tag) for tag in numbers))


def _strange_colours(
    interpretation: int | None, samples: int | None, inks: int | None
) -> str | None:
    """Returns the kind of the samples if they cannot be a photo (TIFF 6.0, section 8)."""
    if interpretation is not None and interpretation not in COLOURS:
        words = OTHERS.get(interpretation, f"the photometric interpretation {interpretation}")
        return f"is a TIFF file with {words}, which is not read; convert it to RGB first"
    if interpretation == MINIMUM_IS_WHITE and samples == FLOATS:
        return "has floating-point samples of which the lowest is white; convert it to RGB first"
    if interpretation == SEPARATED and inks not in (None, CMYK):
        return "has inks other than CMYK, which are not read; convert it to RGB first"
    return None


def hindrance(file: BinaryIO) -> str | None:
    """Returns the unsupported feature of an intact TIFF file in words; None: none known."""
    compression = first_number(file, COMPRESSION)
    if compression in COMPRESSIONS:
        return f"it is a TIFF file with {COMPRESSIONS[compression]} compression"
    bits = first_number(file, BITS)
    if bits is not None and bits not in READABLE_BITS:
        return f"it is a TIFF file with {bits} bits a sample"
    interpretation = first_number(file, PHOTOMETRIC)
    if interpretation == YCBCR and compression != JPEG:
        return "it is a TIFF file of YCbCr"
    if interpretation == ICC_LAB and bits == 16:
        return "it is a TIFF file of 16-bit ICC L*a*b*"
    if first_number(file, PLANES) == 2 and (first_number(file, SAMPLES) or 1) > 1:
        if interpretation != RGB:  # libvips mixes up the rows of such planes
            return "it is a TIFF file with a plane for each channel"
        if unless_damaged(_has_tiles, file):
            return "it is a TIFF file with tiles and a plane for each channel"
    return None


def _has_tiles(file: BinaryIO) -> bool:
    return TILES in first_directory(file)[1]


def tiling(file: BinaryIO) -> tuple[int, int] | None:
    """Returns (width, height) of the tiles of the first picture; None: it is stored in rows."""
    width, height = first_number(file, TILES), first_number(file, TILES + 1)
    return (width, height) if width and height else None


def missing_data(block: bytes | None) -> float | None:
    """Returns the sample value that means "no data", as GDAL writes it; None: there is none, or
    NaN.
    """
    tags = ifd.tags_of(block) if block else {}
    text = tags.get(NO_DATA, (2, b""))
    try:
        value = float(text[1].strip(b"\0 ")) if isinstance(text, tuple) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def count_overviews(file: BinaryIO) -> int:
    """Returns how many pages after the first are reduced copies of it."""
    return unless_damaged(_count_overviews, file) or 0


def _count_overviews(file: BinaryIO) -> int:
    header, _, following = first_directory(file)
    found = 0
    for _ in range(MOST_PAGES):
        place = read_number(file, header, following)
        if not place:
            break
        page, following = read_directory(file, header, place)
        kind = page.get(SUBFILE_TYPE)
        found += bool(kind and read_integer(file, header, kind) & 1)
    return found
