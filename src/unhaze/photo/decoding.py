"""libvips' part of reading: a lazy picture and its metadata."""

import io
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyvips

from unhaze.errors import UnhazeError
from unhaze.photo import avif, behind, exif, ifd, inventory, jpeg, kinds, png, profile, webp
from unhaze.photo.picture import (
    ABOUT,
    COLOURS,
    EXIF,
    ICC,
    IPTC,
    NUMBERS,
    SEGMENTS,
    TEXTS,
    XMP,
    value_of,
)

SIDE, FAR_ABOVE = 64, 10  # of the picture, by which the range of floats is detected; above white
LOADERS = {
    "jpegload": "jpeg",
    "pngload": "png",
    "tiffload": "tiff",
    "webpload": "webp",
    "heifload": "avif",
    "gifload": "gif",
}
SAMPLES = {"uchar": np.dtype(np.uint8), "ushort": np.dtype(np.uint16)}
SAMPLES["float"] = np.dtype(np.float32)
COMPUTED = ("lab", "labs", "labq", "xyz", "lch")  # colour spaces that are converted to RGB


def orientation_of(image: pyvips.Image, metadata: dict[str, bytes], loader: str) -> int:
    """Returns 1-8. For PNG from EXIF itself: with only the header read, libvips misses EXIF behind
    the pixels.
    """
    found = exif.orientation_of(metadata[EXIF]) if loader == "png" and EXIF in metadata else None
    return found or value_of(image, "orientation", 1)


def profile_of(image: pyvips.Image, metadata: dict[str, bytes]) -> bytes | None:
    """Returns the profile of the samples: of several colour tags, the one with precedence."""
    if COLOURS in metadata:
        chunks = png.chunks_of(io.BytesIO(png.SIGNATURE + metadata[COLOURS]), png.COLOURS)
        if b"cICP" in chunks or ICC not in metadata:
            return profile.from_png(chunks)
    if ICC in metadata:
        return metadata[ICC]
    if NUMBERS in metadata:
        return profile.from_numbers(*struct.unpack(">HH", metadata[NUMBERS]))
    # Floats without a profile are linear light, as rendered scenes are.
    return profile.from_numbers(1, 8) if image.format == "float" else None


def encoded_white(image: pyvips.Image) -> float | None:
    """Returns 255 or 65,535 if floats hold 8- or 16-bit values; None if 1 is white, apart from
    highlights.
    """
    cell = max(1, min(image.width, image.height) // SIDE)
    small = image.extract_band(0, n=min(3, image.bands) if image.bands > 2 else 1)
    samples = small.shrink(cell, cell).numpy()
    samples = samples[np.isfinite(samples)]
    if not samples.size or np.median(samples) <= 1 or samples.max() <= FAR_ABOVE:
        return None
    return 255.0 if samples.max() <= 255 else 65535.0


def decoder(
    source: str | Path | bytes, file: BinaryIO, name: str, *, shrink: int = 1
) -> pyvips.Image:
    """Opens the picture and reads only its header.

    shrink: 8 decodes a JPEG by the means of its blocks of 8x8 pixels, 1 decodes every pixel.

    libvips gets a descriptor, not a name, because it interprets brackets in names as options.
    """
    file.seek(0)
    is_jpeg = file.read(3) == b"\xff\xd8\xff"
    file.seek(0)
    if isinstance(source, bytes):
        origin = pyvips.Source.new_from_memory(source)
    else:
        origin = pyvips.Source.new_from_descriptor(file.fileno())
    options: dict[str, Any] = {"access": "sequential", "fail_on": "error"}
    try:
        if is_jpeg:  # by name: the loader of gain maps drops XMP and prints its warnings
            return pyvips.Image.jpegload_source(origin, shrink=shrink, **options)
        image = pyvips.Image.new_from_source(origin, "", **options)
    except pyvips.Error as error:
        if "labq" in error.detail and (as_rgb := exif.without_lab(file)) is not None:
            image = pyvips.Image.new_from_buffer(as_rgb, "", **options)
            return image.copy(interpretation="lab")
        file.seek(0)
        raise UnhazeError(f"cannot read {name}: {kinds.describe(file, error)}") from error
    if loader_of(image) not in LOADERS:
        file.seek(0)
        raise UnhazeError(f"cannot read {name}: {kinds.describe(file)}")
    if loader_of(image) == "tiffload" and image.format == "uchar" and image.bands >= 3:
        place = file.tell()
        icc_lab = exif.first_number(file, exif.PHOTOMETRIC) == exif.ICC_LAB
        file.seek(place)
        if icc_lab:  # as CIE L*a*b* is stored: a and b signed
            signs = [0, 128, 128] + [0] * (image.bands - 3)
            return (image ^ signs).copy(interpretation="lab")
    return image


def loader_of(image: pyvips.Image) -> str:
    """Returns the name of libvips' file loader for this source."""
    return str(image.get("vips-loader")).removesuffix("_source").removesuffix("_buffer")


def rgb_or_grey(image: pyvips.Image, name: str) -> pyvips.Image:
    """Returns uint8, uint16 or float with one to four channels, not computed yet; others become
    RGB.
    """
    if image.interpretation == "cmyk":
        depth = 16 if image.format == "ushort" else 8
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth)
    elif image.interpretation in COMPUTED:
        image = profile.from_lab(image).colourspace("rgb16").copy()
        image.remove(ICC)
    elif only_reads(image):
        depth = 16 if image.format == "ushort" else 8
        options: dict[str, Any] = {"embedded": True, "intent": "relative", "depth": depth}
        image = image.icc_transform("srgb", **options).copy()
        image.remove(ICC)
    if image.format == "double":
        image = image.cast("float")
    if image.format not in SAMPLES:
        raise UnhazeError(
            f"{name} has '{image.format}' samples; expected 8 or 16 bits, or 32-bit floats;"
            " convert it first"
        )
    if image.bands > 4:
        raise UnhazeError(
            f"{name} has {image.bands} channels; expected grey or RGB, with or without alpha"
        )
    return image


def only_reads(image: pyvips.Image) -> bool:
    """Returns whether the profile can convert colours from its space but not to it."""
    integers = image.format in ("uchar", "ushort") and image.bands >= 3
    return integers and profile.only_reads(value_of(image, ICC, b""))


def metadata_of(
    image: pyvips.Image, file: BinaryIO, loader: str
) -> tuple[dict[str, bytes], tuple[str, ...], tuple[str, ...]]:
    """Returns metadata by the keys of `picture`, and the texts of `Traits.lost` and `.held`."""
    found = {key: value_of(image, key, None) for key in (EXIF, XMP, ICC, IPTC)}
    lost: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    if found[EXIF] is not None:
        found[EXIF] = found[EXIF].removeprefix(b"Exif\0\0")
    if loader == "jpeg":
        segments = jpeg.read_segments(file)
        found |= {EXIF: segments.exif, SEGMENTS: segments.kept or None}
        found[XMP] = segments.xmp or found[XMP]
        if segments.photoshop is not None:
            found[IPTC] = jpeg.PHOTOSHOP_SIGN + segments.photoshop
        lost = jpeg.lost_in(segments)
        if segments.behind:
            by_xmp = b"hdrgm:" in (found[XMP] or b"")
            rest = behind.read(file, segments, by_xmp or bool(segments.gain_map_sign))
            found |= rest.metadata
            lost, held = lost + rest.lost, rest.held
    elif loader == "tiff":  # libvips reads no EXIF here, and a quarter of IPTC
        found[EXIF], found[IPTC] = ifd.from_tiff(file)
    elif loader == "avif":
        if found[EXIF] is not None:  # libvips has turned the picture, regardless of EXIF
            found[EXIF] = exif.edited(found[EXIF], 1, False, None)
        found[NUMBERS] = avif.colour_numbers(file)
        lost = avif.lost_in(file)
    elif loader == "png":
        found[TEXTS], found[IPTC] = png.texts_of(file)
        chunks = png.chunks_of(file, (*png.COLOURS, b"eXIf"))
        found[EXIF] = chunks.pop(b"eXIf", None)
        found[ABOUT] = png.about_of(file)
        whole_chunks = b"".join(png.chunk(kind, data) for kind, data in chunks.items())
        found[COLOURS] = whole_chunks or None
        lost = png.lost_in(file)
    elif loader == "webp":
        lost = webp.lost_in(file)
    if found[XMP] and lost:
        lost += inventory.correct_xmp(found, lost)
    return {key: value for key, value in found.items() if value is not None}, lost, held


def encoding_of(file: BinaryIO, head: bytes, loader: str, *, density: bool) -> dict[str, Any]:
    """Returns some of `Traits` that libvips does not report: how the pixels are encoded.

    `head`: the first kilobytes of `file`. `density`: also return that of JPEG.
    """
    if loader == "jpeg":
        return jpeg.encoding_of(file, density=density)
    if loader == "webp":
        return webp.encoding_of(head)
    return avif.encoding_of(head) if loader == "avif" else {}


def has_density(file: BinaryIO, loader: str, exif_says: bool) -> bool:
    """Returns whether the file itself states pixels per inch or centimetre."""
    if loader == "png":
        return png.chunks_of(file, (b"pHYs",)).get(b"pHYs", b"\0")[-1] == 1
    if loader == "tiff":
        return exif.has_resolution(file)
    return loader == "jpeg" and exif_says  # libvips does not report that of JFIF
