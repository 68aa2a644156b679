"""Any picture file becomes a Photo or a Stream; a broken or strange one becomes one clear line."""

import io
import logging
import os
import re
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyvips

from unhaze.errors import UnhazeError
from unhaze.photo import behind, exif, headers, inventory, jpeg, kinds, png, profile
from unhaze.photo.picture import (
    COLOURS,
    EXIF,
    ICC,
    IPTC,
    NUMBERS,
    SEGMENTS,
    TEXTS,
    XMP,
    Photo,
    Stream,
    Traits,
    one_line_errors,
    upright,
)

log = logging.getLogger(__name__)

MAX_PIXELS = 400_000_000  # a header that promises more is taken for a decompression bomb
STRIP = 1 << 18  # pixels that are decoded at once
HEAD = 1 << 14  # bytes in which AVIF says how it is encoded
SIDE, FAR_ABOVE = 64, 10  # of the picture by which the range of floats is judged; above white
LOADERS = {
    "jpegload": "jpeg",
    "pngload": "png",
    "tiffload": "tiff",
    "webpload": "webp",
    "heifload": "avif",
    "gifload": "gif",
    "jxlload": "jxl",
    "jp2kload": "jp2",
    "ppmload": "ppm",
    "bmpload": "bmp",
}
SAMPLES = {"uchar": np.dtype(np.uint8), "ushort": np.dtype(np.uint16)}
SAMPLES["float"] = np.dtype(np.float32)
COMPUTED = ("lab", "labs", "labq", "xyz", "lch")  # colour spaces that become RGB


@dataclass(frozen=True)
class Opened:
    """A picture of which only the header has been read; its pixels can be read repeatedly.

    `shape` (H,W,channels) as stored: grey or RGB, then alpha if there is one. `image()`: all of it,
    not decoded yet, to be used from its first row to its last. `guess`: why that may fail.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    traits: Traits
    image: Callable[[], pyvips.Image]
    guess: str = kinds.DAMAGED

    def stream(self) -> Stream:
        """The rows as stored. UnhazeError, when they are used: damaged or truncated."""
        return Stream(self._strips(), self.shape, self.dtype, self.traits)

    def reading(self) -> AbstractContextManager[None]:
        """In it, libvips' errors become one line that names the picture."""
        return one_line_errors(f"cannot read {self.name}", self.guess)

    def _strips(self) -> Iterator[np.ndarray]:
        height, width, channels = self.shape
        rows = max(1, STRIP // width)
        with self.reading():
            region = pyvips.Region.new(self.image())
        for start in range(0, height, rows):
            count = min(rows, height - start)
            with self.reading():
                data = region.fetch(0, start, width, count)
            yield np.frombuffer(data, self.dtype).reshape(count, width, channels)


@contextmanager
def open_photo(source: str | Path | bytes, *, max_pixels: int | None = None) -> Iterator[Opened]:
    """Reads the header of a file or of the bytes of one.

    `max_pixels` bounds width * height as the header states it (default: environment variable
    UNHAZE_MAX_PIXELS, else 400 million). CMYK, Lab and floating-point RGB are converted, which is
    logged. UnhazeError: missing, no regular file, no picture, damaged, too large, more than four
    channels.
    """
    name = "the given bytes" if isinstance(source, bytes) else f"'{source}'"
    with one_line_errors(f"cannot read {name}", "damaged or cut off"):
        file = _open(source)
    with file:
        with one_line_errors(f"cannot read {name}", "damaged or cut off"):
            opened = _opened(source, file, name, max_pixels)
        yield opened


def read(source: str | Path | bytes, *, max_pixels: int | None = None) -> Photo:
    """Decodes a file or the bytes of one. UnhazeError as for `open_photo`, or truncated."""
    with open_photo(source, max_pixels=max_pixels) as opened:
        return whole(opened.stream())


def read_rgb(path: str | Path) -> np.ndarray:
    """The pixels alone: (H,W,3) uint8 or uint16, upright, grey repeated, alpha left out.

    Floats become 16-bit sRGB: they are linear light, but where a profile or a range of 255 or
    65,535 says otherwise.
    """
    photo = read(path)
    if photo.pixels.dtype != np.float32:
        return photo.pixels
    image = pyvips.Image.new_from_array(photo.pixels)
    if photo.traits.top or ICC in photo.traits.metadata:
        white = 65535 / (photo.traits.top or 1)
        return (image * white).rint().cast("ushort").numpy()
    return image.copy(interpretation="scrgb").colourspace("rgb16").numpy()


def whole(stream: Stream) -> Photo:
    """All strips in one picture, upright, and what EXIF and XMP say of orientation changed."""
    samples = np.empty(stream.shape, stream.dtype)
    start = 0
    for strip in stream.strips:
        samples[start : start + len(strip)] = strip
        start += len(strip)
    samples = upright(samples, stream.traits.orientation)
    grey = stream.traits.grey
    pixels = np.repeat(samples[..., :1], 3, axis=2) if grey else samples[..., :3]
    alpha = np.ascontiguousarray(samples[..., -1]) if samples.shape[2] in (2, 4) else None
    return Photo(np.ascontiguousarray(pixels), alpha, _turned(stream.traits))


def _turned(traits: Traits) -> Traits:
    if traits.orientation == 1:
        return traits
    metadata = dict(traits.metadata)
    if EXIF in metadata:
        metadata[EXIF] = exif.edited(metadata[EXIF], 1, traits.orientation > 4, None)
    if XMP in metadata:
        tag = rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[1-8]"
        metadata[XMP] = re.sub(tag, rb"\g<1>1", metadata[XMP])
    pictures = tuple(each for each in traits.held if each != inventory.VIDEO)
    if pictures:
        metadata = behind.without_pictures(metadata)
    if pictures and XMP in metadata:
        pictures += inventory.correct_xmp(metadata, pictures)
    lost, held = traits.lost + pictures, tuple(each for each in traits.held if each not in pictures)
    density = traits.density
    if density is not None and traits.orientation > 4:
        density = density[::-1]
    changed = {"metadata": metadata, "density": density, "lost": lost, "held": held}
    return replace(traits, orientation=1, **changed)


def _open(source: str | Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    mode = Path(source).stat().st_mode
    if stat.S_ISDIR(mode):
        raise UnhazeError(f"'{source}' is a folder; expected a picture file")
    if not stat.S_ISREG(mode):  # reading a pipe or device might never end
        raise UnhazeError(f"'{source}' is a pipe or device; expected a file, or - for stdin")
    return Path(source).open("rb", buffering=0)  # its position is shared with libvips


def _opened(
    source: str | Path | bytes, file: BinaryIO, name: str, max_pixels: int | None
) -> Opened:
    head = file.read(HEAD)
    if not head:
        raise UnhazeError(f"{name} is empty; expected a picture")
    image = _decoder(source, file, name)
    loader = LOADERS[_loader(image)]
    if loader == "tiff" and (refused := exif.why_no_photo(file)):
        raise UnhazeError(f"{name} {refused}")
    _check_size(image, name, max_pixels)
    frames = _get(image, "n-pages", 1)
    if image.interpretation == "cmyk":
        log.warning("%s is CMYK; converted to sRGB", name)
    elif image.interpretation in COMPUTED:
        log.warning("%s is %s; converted to 16-bit sRGB", name, image.interpretation)
    elif _only_reads(image):
        log.warning("%s has a profile that only reads colours; converted to sRGB", name)
    converted = _rgb_or_grey(image, name)
    metadata, lost, held = _metadata(converted, file, loader)
    if frames > 1:
        lost += (f"all but the first of {frames} pages or frames",)
    seen_by, top = _profile(converted, metadata), None
    if converted.format == "float" and ICC not in metadata:
        top = _encoded_white(_rgb_or_grey(_decoder(source, file, name), name))
        seen_by = None if top else seen_by
    by_exif = exif.has_resolution(io.BytesIO(metadata.get(EXIF, b"")))
    has_density = headers.has_density(file, loader, by_exif)
    traits = Traits(
        grey=converted.bands <= 2,
        metadata=metadata,
        orientation=_orientation(image, metadata, loader),
        profile=seen_by,
        top=top,
        extra=loader == "tiff" and exif.first_number(file, exif.EXTRA_SAMPLES) == exif.UNSPECIFIED,
        lost=lost,
        held=held,
        format=loader,
        full_chroma=_get(image, "jpeg-chroma-subsample", "4:4:4") == "4:4:4",
        density=(image.xres, image.yres) if has_density else None,
        inches=_get(image, "resolution-unit", "in") == "in",
        path=None if isinstance(source, bytes) else Path(source),
    )
    return Opened(
        name,
        (image.height, image.width, converted.bands),
        SAMPLES[converted.format],
        replace(traits, **headers.encoding(file, head, density=not has_density)),
        lambda: _rgb_or_grey(_decoder(source, file, name), name),
        kinds.guess(file) if loader == "tiff" else kinds.DAMAGED,
    )


def _orientation(image: pyvips.Image, metadata: dict[str, bytes], loader: str) -> int:
    """1-8. Of PNG by EXIF itself: libvips, at the header, does not know one behind the pixels."""
    found = exif.orientation_of(metadata[EXIF]) if loader == "png" and EXIF in metadata else None
    return found or _get(image, "orientation", 1)


def _profile(image: pyvips.Image, metadata: dict[str, bytes]) -> bytes | None:
    """By which the samples are to be seen: of the tags that a format has, the one that counts."""
    if COLOURS in metadata:
        chunks = png.chunks_of(io.BytesIO(png.SIGNATURE + metadata[COLOURS]), png.COLOURS)
        if b"cICP" in chunks or ICC not in metadata:
            return profile.from_png(chunks)
    if ICC in metadata:
        return metadata[ICC]
    if NUMBERS in metadata:
        return profile.from_numbers(*struct.unpack(">HH", metadata[NUMBERS]))
    # Floats without a profile are taken for linear light, as scenes are rendered.
    return profile.from_numbers(1, 8) if image.format == "float" else None


def _encoded_white(image: pyvips.Image) -> float | None:
    """255 or 65,535 if floats are samples as of 8 or 16 bits; None if 1 is white, lamps aside."""
    cell = max(1, min(image.width, image.height) // SIDE)
    small = image.extract_band(0, n=min(3, image.bands) if image.bands > 2 else 1)
    samples = small.shrink(cell, cell).numpy()
    samples = samples[np.isfinite(samples)]
    if not samples.size or np.median(samples) <= 1 or samples.max() <= FAR_ABOVE:
        return None
    return 255.0 if samples.max() <= 255 else 65535.0


def _decoder(source: str | Path | bytes, file: BinaryIO, name: str) -> pyvips.Image:
    """The picture with only its header read.

    A descriptor, not a name, goes to libvips: to it, brackets in a name mean options.
    """
    file.seek(0)
    is_jpeg = file.read(3) == b"\xff\xd8\xff"
    file.seek(0)
    if isinstance(source, bytes):
        origin = pyvips.Source.new_from_memory(source)
    else:
        origin = pyvips.Source.new_from_descriptor(file.fileno())
    options = {"access": "sequential", "fail_on": "error"}
    try:
        if is_jpeg:  # by name: the loader of gain maps keeps no XMP, and prints what it cannot read
            return pyvips.Image.jpegload_source(origin, **options)
        image = pyvips.Image.new_from_source(origin, "", **options)
    except pyvips.Error as error:
        if "labq" in error.detail and (as_rgb := exif.without_lab(file)) is not None:
            image = pyvips.Image.new_from_buffer(as_rgb, "", **options)
            return image.copy(interpretation="lab")
        file.seek(0)
        raise UnhazeError(f"cannot read {name}: {kinds.describe(file, error)}") from error
    if _loader(image) not in LOADERS:
        file.seek(0)
        raise UnhazeError(f"cannot read {name}: {kinds.describe(file)}")
    if _loader(image) == "tiffload" and image.format == "uchar" and image.bands >= 3:
        place = file.tell()
        icc_lab = exif.first_number(file, exif.PHOTOMETRIC) == exif.ICC_LAB
        file.seek(place)
        if icc_lab:  # made as CIE L*a*b* is stored: a and b signed
            signs = [0, 128, 128] + [0] * (image.bands - 3)
            return (image ^ signs).copy(interpretation="lab")
    return image


def _loader(image: pyvips.Image) -> str:
    return image.get("vips-loader").removesuffix("_source").removesuffix("_buffer")


def _check_size(image: pyvips.Image, name: str, max_pixels: int | None) -> None:
    setting = os.environ.get("UNHAZE_MAX_PIXELS", str(MAX_PIXELS))
    if not setting.isdecimal():
        raise UnhazeError(f"UNHAZE_MAX_PIXELS is '{setting}'; expected a number of pixels")
    limit = max_pixels or int(setting)
    if image.width * image.height > limit:
        raise UnhazeError(
            f"{name} says it has {image.width} x {image.height} pixels, over the limit of {limit};"
            " set UNHAZE_MAX_PIXELS higher if it is genuine"
        )


def _rgb_or_grey(image: pyvips.Image, name: str) -> pyvips.Image:
    """Still lazy: uint8, uint16 or float, one to four channels; other colour spaces become RGB."""
    if image.interpretation == "cmyk":
        depth = 16 if image.format == "ushort" else 8
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth)
    elif image.interpretation in COMPUTED:
        image = profile.from_lab(image).colourspace("rgb16").copy()
        image.remove(ICC)
    elif _only_reads(image):
        depth = 16 if image.format == "ushort" else 8
        options = {"embedded": True, "intent": "relative", "depth": depth}
        image = image.icc_transform("srgb", **options).copy()
        image.remove(ICC)
    if image.format not in SAMPLES:
        raise UnhazeError(
            f"{name} has '{image.format}' samples; expected 8 or 16 bits, or floats of 32:"
            " convert it first"
        )
    if image.bands > 4:
        raise UnhazeError(
            f"{name} has {image.bands} channels; expected grey or RGB, with alpha or not"
        )
    return image


def _only_reads(image: pyvips.Image) -> bool:
    integers = image.format in ("uchar", "ushort") and image.bands >= 3
    return integers and profile.only_reads(_get(image, ICC, b""))


def _metadata(
    image: pyvips.Image, file: BinaryIO, loader: str
) -> tuple[dict[str, bytes], tuple[str, ...], tuple[str, ...]]:
    """What is carried, by the keys of `picture`, and the words of `Traits.lost` and `.held`."""
    found = {key: _get(image, key, None) for key in (EXIF, XMP, ICC, IPTC)}
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
        by_xmp = b"hdrgm:" in (found[XMP] or b"")
        rest = behind.read(file, segments, by_xmp or bool(segments.gain_map_sign))
        found |= rest.metadata
        lost, held = inventory.lost_in_jpeg(segments) + rest.lost, rest.held
    elif loader == "tiff":  # where libvips reads no EXIF and a quarter of IPTC
        found[EXIF], found[IPTC] = exif.from_tiff(file)
    elif loader == "avif":
        if found[EXIF] is not None:  # libvips has turned it, whatever EXIF says
            found[EXIF] = exif.edited(found[EXIF], 1, False, None)
        found[NUMBERS] = headers.colour_numbers(file)
        lost = inventory.lost_in_boxes(file)
    elif loader == "png":
        found[TEXTS], found[IPTC] = png.texts_of(file)
        chunks = png.chunks_of(file, (*png.COLOURS, b"eXIf"))
        found[EXIF] = chunks.pop(b"eXIf", None)
        whole_chunks = b"".join(png.chunk(kind, data) for kind, data in chunks.items())
        found[COLOURS] = whole_chunks or None
        lost = inventory.lost_in_png(file)
    elif loader == "webp":
        lost = inventory.lost_in_webp(file)
    if found[XMP] and lost:
        lost += inventory.correct_xmp(found, lost)
    return {key: value for key, value in found.items() if value is not None}, lost, held


def _get(image: pyvips.Image, key: str, default: Any) -> Any:
    """A libvips field, or `default` where it is absent or not UTF-8."""
    try:
        return image.get(key) if image.get_typeof(key) else default
    except UnicodeDecodeError:
        return default
