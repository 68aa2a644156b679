"""Any picture file becomes a Photo or a Stream; a broken or strange one becomes one clear line."""

import io
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyvips

from unhaze.errors import UnhazeError
from unhaze.photo import exif, headers, inventory, kinds, payloads
from unhaze.photo.picture import (
    EXIF,
    ICC,
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
DAMAGED = "damaged or cut off"
HEAD = 1 << 14  # bytes in which AVIF says how it is encoded
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
COMPUTED = ("lab", "labs", "labq", "xyz", "lch", "scrgb")  # colour spaces that become RGB


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
    guess: str = DAMAGED

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
    with one_line_errors(f"cannot read {name}", DAMAGED):
        file = _open(source)
    with file:
        with one_line_errors(f"cannot read {name}", DAMAGED):
            opened = _opened(source, file, name, max_pixels)
        yield opened


def read(source: str | Path | bytes, *, max_pixels: int | None = None) -> Photo:
    """Decodes a file or the bytes of one. UnhazeError as for `open_photo`, or truncated."""
    with open_photo(source, max_pixels=max_pixels) as opened:
        return whole(opened.stream())


def read_rgb(path: str | Path) -> np.ndarray:
    """The pixels alone: (H,W,3) uint8 or uint16, upright, grey repeated, alpha left out."""
    return read(path).pixels


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
    density = traits.density
    if density is not None and traits.orientation > 4:
        density = density[::-1]
    turned = replace(traits, metadata=metadata, orientation=1, density=density)
    return inventory.without_views(turned)


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
    kinds.check_is_the_photo(file, head, name)
    guess = kinds.hindrance(file, head) or DAMAGED
    with one_line_errors(f"cannot read {name}", guess):
        image = _decoder(source, file, name)
    loader = LOADERS[_loader(image)]
    _check_size(image, name, max_pixels)
    if (pages := _get(image, "n-pages", 1)) > 1:
        log.warning("%s has %d pages; only the first is read", name, pages)
    if image.interpretation == "cmyk":
        log.warning("%s is CMYK; converted to sRGB", name)
    elif image.interpretation in COMPUTED:
        log.warning("%s is %s; converted to 16-bit sRGB", name, image.interpretation)
    converted = _integer_rgb_or_grey(image, name)
    beside = payloads.beside(file, head, loader, image)
    if pages <= 1 and "animation" in beside.lost:
        log.warning("%s is animated; only its first picture is read", name)
    traits = Traits(
        grey=converted.bands <= 2,
        metadata=_metadata(converted, beside.metadata),
        orientation=beside.orientation or _get(image, "orientation", 1),
        format=loader,
        full_chroma=_get(image, "jpeg-chroma-subsample", "4:4:4") == "4:4:4",
        density=beside.density,
        inches=beside.inches,
        path=None if isinstance(source, bytes) else Path(source),
        extras=beside.extras,
        lost=beside.lost,
    )
    return Opened(
        name,
        (image.height, image.width, converted.bands),
        np.dtype(np.uint8 if converted.format == "uchar" else np.uint16),
        replace(traits, **headers.encoding(file, head)),
        lambda: _integer_rgb_or_grey(_decoder(source, file, name), name),
        guess,
    )


def _decoder(source: str | Path | bytes, file: BinaryIO, name: str) -> pyvips.Image:
    """The picture with only its header read.

    A descriptor, not a name, goes to libvips: to it, brackets in a name mean options.
    """
    file.seek(0)
    if isinstance(source, bytes):
        origin = pyvips.Source.new_from_memory(source)
    else:
        origin = pyvips.Source.new_from_descriptor(file.fileno())
    options = {"access": "sequential", "fail_on": "error"}
    file.seek(0)
    is_jpeg = file.read(3) == b"\xff\xd8\xff"
    file.seek(0)
    try:
        if is_jpeg:  # by its name: the loader for gain maps would not tell of XMP
            return pyvips.Image.jpegload_source(origin, **options)
        image = pyvips.Image.new_from_source(origin, "", **options)
    except pyvips.Error as error:
        if "known format" in error.detail:
            file.seek(0)
            raise UnhazeError(kinds.refusal(file.read(HEAD), name)) from error
        raise
    loader = _loader(image)
    if loader not in LOADERS:
        file.seek(0)
        raise UnhazeError(kinds.refusal(file.read(HEAD), name))
    return image


def _loader(image: pyvips.Image) -> str:
    return image.get("vips-loader").removesuffix("_source")


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


def _integer_rgb_or_grey(image: pyvips.Image, name: str) -> pyvips.Image:
    """Still lazy: uint8 or uint16, one to four channels; other colour spaces become RGB."""
    if image.interpretation == "cmyk":
        depth = 16 if image.format == "ushort" else 8
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth)
    elif image.interpretation in COMPUTED:
        image = image.colourspace("rgb16").copy()
        image.remove(ICC)
    if image.format not in ("uchar", "ushort"):
        raise UnhazeError(
            f"{name} has '{image.format}' samples; expected 8 or 16 bits: convert it first"
        )
    if image.bands > 4:
        raise UnhazeError(
            f"{name} has {image.bands} channels; expected grey or RGB, with alpha or not"
        )
    return image


def _metadata(image: pyvips.Image, beside: dict[str, bytes]) -> dict[str, bytes]:
    """All that is carried: the profile as libvips has it after a change of colours, the rest as
    it stands in the file.
    """
    found = {key: _get(image, key, None) for key in (XMP, ICC)} | beside
    return {key: value for key, value in found.items() if value is not None}


def _get(image: pyvips.Image, key: str, default: Any) -> Any:
    """A libvips field, or `default` where it is absent or not UTF-8."""
    try:
        return image.get(key) if image.get_typeof(key) else default
    except UnicodeDecodeError:
        return default
