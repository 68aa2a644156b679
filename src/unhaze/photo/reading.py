"""Reads any picture file as a Photo or a Stream; a broken or unknown one raises an error of one
line.
"""

import io
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyvips

from unhaze import formats
from unhaze.errors import UnhazeError
from unhaze.image import check_process
from unhaze.photo import exif, ifd, kinds, pages, png, profile
from unhaze.photo.bands import Bands, bands_of
from unhaze.photo.converting import whole
from unhaze.photo.decoding import (
    COMPUTED,
    LOADERS,
    SAMPLES,
    decoder,
    encoded_white,
    encoding_of,
    has_density,
    loader_of,
    metadata_of,
    only_reads,
    orientation_of,
    profile_of,
    rgb_or_grey,
)
from unhaze.photo.picture import CELL, EXIF, ICC, Opened, Photo, Traits, one_line_errors, value_of
from unhaze.photo.readers import decode

log = logging.getLogger(__name__)

MAX_PIXELS = 400_000_000  # a header that declares more is treated as a decompression bomb
HELD = 1_500_000_000  # bytes of a picture that is decoded whole
HEAD = 1 << 14  # bytes in which AVIF describes its encoding


@contextmanager
def open_photo(
    source: str | Path | bytes,
    *,
    max_pixels: int | None = None,
    bands: tuple[int, ...] | None = None,
) -> Iterator[Opened]:
    """Reads the header of a file or of the bytes of one.

    `max_pixels` limits width * height as declared in the header (default: environment variable
    UNHAZE_MAX_PIXELS, else 400 million). CMYK, Lab and floating-point RGB are converted, which is
    logged. `bands`: for TIFF files, numbers from 0 of red, green and blue, or of one grey band;
    None: as the file declares. UnhazeError: missing, no regular file, no picture, damaged, too
    large, more than four channels without a declaration of the colours, or a forked process.
    """
    check_process()
    name = "the given bytes" if isinstance(source, bytes) else f"'{source}'"
    with one_line_errors(f"cannot read {name}", "damaged or cut off"):
        file = _open(source)
    with file:
        with one_line_errors(f"cannot read {name}", "damaged or cut off"):
            opened = _opened(source, file, name, max_pixels, bands)
        yield opened


def read(
    source: str | Path | bytes,
    *,
    max_pixels: int | None = None,
    bands: tuple[int, ...] | None = None,
) -> Photo:
    """Decodes a file or the bytes of one. UnhazeError as for `open_photo`, or truncated."""
    with open_photo(source, max_pixels=max_pixels, bands=bands) as opened:
        return whole(opened.stream())


def read_rgb(path: str | Path) -> np.ndarray:
    """Returns the pixels alone: (H,W,3) uint8 or uint16, upright, grey repeated, without alpha.

    Floats become 16-bit sRGB. They are linear light unless a profile or a range of 255 or 65,535
    indicates otherwise.
    """
    photo = read(path)
    if photo.pixels.dtype != np.float32:
        return photo.pixels
    image = pyvips.Image.new_from_array(photo.pixels)
    if photo.traits.top or ICC in photo.traits.metadata:
        white = 65535 / (photo.traits.top or 1)
        return (image * white).rint().cast("ushort").numpy()
    return image.copy(interpretation="scrgb").colourspace("rgb16").numpy()


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
    source: str | Path | bytes,
    file: BinaryIO,
    name: str,
    max_pixels: int | None,
    asked: tuple[int, ...] | None,
) -> Opened:
    head = file.read(HEAD)
    if not head:
        are = "are" if isinstance(source, bytes) else "is"
        raise UnhazeError(f"{name} {are} empty; expected a picture")
    path = None if isinstance(source, bytes) else Path(source)
    key = _key(head, file, path, name)
    if asked is not None and key != "tiff":
        log.warning("the option bands is for TIFF; it has no effect on %s", name)
    if key is not None and _needs_reader(key, file):
        return _opened_by_reader(key, file, name, path, max_pixels, asked)
    image = decoder(source, file, name)
    loader = LOADERS[loader_of(image)]
    _check_size(image.width, image.height, name, max_pixels)

    def reopened() -> pyvips.Image:
        with _open(source) as again:  # a file position of its own
            return decoder(source, again, name)

    _warn_of_conversion(image, name)
    chosen = bands_of(file, image, asked, reopened, name) if loader == "tiff" else None

    def picture(image: pyvips.Image) -> pyvips.Image:
        return rgb_or_grey(image if chosen is None else chosen.picked(image), name)

    def again() -> pyvips.Image:
        return picture(decoder(source, file, name))

    def cells() -> pyvips.Image:
        return picture(decoder(source, file, name, shrink=CELL))

    converted = picture(image)
    traits = _traits(image, converted, again, file, head, chosen)
    return Opened(
        name,
        (image.height, image.width, converted.bands),
        SAMPLES[str(converted.format)],
        replace(traits, path=path),
        again,
        kinds.guess(file) if loader == "tiff" else kinds.DAMAGED,
        cells if loader == "jpeg" else None,
    )


def _warn_of_conversion(image: pyvips.Image, name: str) -> None:
    if image.interpretation == "cmyk":
        log.warning("%s is CMYK; converted to sRGB", name)
    elif image.interpretation in COMPUTED:
        log.warning("%s is %s; converted to 16-bit sRGB", name, image.interpretation)
    elif only_reads(image):
        log.warning("%s has an input-only colour profile; converted to sRGB", name)


def _traits(
    image: pyvips.Image,
    converted: pyvips.Image,
    again: Callable[[], pyvips.Image],
    file: BinaryIO,
    head: bytes,
    chosen: Bands | None,
) -> Traits:
    """Returns the metadata of `image`, whose pixels are `converted`; `again`: from the start."""
    loader = LOADERS[loader_of(image)]
    metadata, lost, held = metadata_of(converted, file, loader)
    frames = value_of(image, "n-pages", png.count_frames(file) if loader == "png" else 1)
    overviews = pages.count_overviews(file) if loader == "tiff" and frames > 1 else 0
    if frames - overviews > 1:
        lost += (f"all but the first of {frames - overviews} pages or frames",)
    seen_by, top = profile_of(converted, metadata), None
    if converted.format == "float" and ICC not in metadata:
        top = encoded_white(again())
        seen_by = None if top else seen_by
    by_exif = exif.has_resolution(io.BytesIO(metadata.get(EXIF, b"")))
    stated = has_density(file, loader, by_exif)
    traits = Traits(
        grey=converted.bands <= 2,
        metadata=metadata,
        orientation=orientation_of(image, metadata, loader),
        profile=seen_by,
        top=top,
        extra=loader == "tiff" and chosen is None and exif.has_unspecified(file),
        bands=chosen,
        lost=lost,
        held=held,
        format=loader,
        full_chroma=value_of(image, "jpeg-chroma-subsample", "4:4:4") == "4:4:4",
        density=(image.xres, image.yres) if stated else None,
        inches=value_of(image, "resolution-unit", "in") == "in",
        tile=pages.tiling(file) if loader == "tiff" else None,
        overviews=overviews > 0,
        missing=pages.missing_data(metadata.get(EXIF)) if loader == "tiff" else None,
    )
    return replace(traits, **encoding_of(file, head, loader, density=not stated))


def _key(head: bytes, file: BinaryIO, path: Path | None, name: str) -> str | None:
    """Returns the format in `formats.FORMATS`; its signature decides, if it has one."""
    key = formats.key_of(head)
    if key == "tiff" and (refused := pages.why_no_photo(file)):
        if refused != pages.RAW:
            raise UnhazeError(f"{name} {refused}")
        return "raw"
    if key is None and path is not None and path.suffix.lower() == ".tga":
        return "tga"
    if key is None:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 32))
        return "tga" if formats.TGA_FOOTER in file.read() else None
    return key


def _needs_reader(key: str, file: BinaryIO) -> bool:
    """Returns whether libvips cannot read it."""
    if key == "tiff":
        return pages.hindrance(file) is not None
    if key == "avif":  # libvips does not support animated ones
        file.seek(8)
        return file.read(4) == b"avis"
    return formats.FORMATS[key].reader != formats.LIBVIPS


def _opened_by_reader(
    key: str,
    file: BinaryIO,
    name: str,
    path: Path | None,
    max_pixels: int | None,
    asked: tuple[int, ...] | None,
) -> Opened:
    """Opens with a library other than libvips: decoded at once and held in memory."""

    def check(width: int, height: int, pixel: int) -> None:
        _check_size(width, height, name, max_pixels)
        if (needed := width * height * pixel) > HELD and not os.environ.get("UNHAZE_MAX_PIXELS"):
            raise UnhazeError(
                f"{name} says it has {width} x {height} pixels, which take {needed / 1e9:.1f} GB;"
                " set UNHAZE_MAX_PIXELS to their number if that is right"
            )

    kind = pages.hindrance(file) if key == "tiff" else None
    decoded = decode(key, file, name, check, kind=kind and kind.removeprefix("it is a "))
    for note in decoded.notes:
        log.warning("%s: %s", name, note)
    samples, metadata = decoded.samples, decoded.metadata
    stored, chosen = pyvips.Image.new_from_array(samples), None
    if key == "tiff" and (chosen := bands_of(file, stored, asked, lambda: stored, name)):
        samples = np.ascontiguousarray(samples[..., list(chosen.chosen)])
    floats = samples.dtype == np.float32
    seen_by = metadata.get(ICC) or (profile.from_numbers(1, 8) if decoded.linear else None)
    traits = Traits(
        grey=samples.shape[2] <= 2,
        metadata=metadata,
        profile=seen_by,
        top=1.0 if floats and not decoded.linear else None,
        lost=decoded.lost,
        held=decoded.held,
        format=key,
        path=path,
        bands=chosen,
    )
    if key == "tiff":
        beside = _beside_tiff(file, metadata)
        traits = replace(traits, **beside, extra=chosen is None and exif.has_unspecified(file))
    bands = samples.shape[2]
    spaces = ("b-w", "b-w", "grey16") if bands <= 2 else ("srgb", "scrgb", "rgb16")
    space = spaces[0 if samples.dtype == np.uint8 else 1 if floats else 2]

    def image() -> pyvips.Image:
        return pyvips.Image.new_from_array(samples).copy(interpretation=space)

    return Opened(name, samples.shape, samples.dtype, traits, image)


def _beside_tiff(file: BinaryIO, metadata: dict[str, bytes]) -> dict[str, Any]:
    """Returns what libvips would report of the file, as fields of `Traits`."""
    orientation = exif.first_number(file, exif.ORIENTATION)
    density = ifd.density_of(file)
    return {
        "orientation": orientation if orientation in range(1, 9) else 1,
        "density": density and density[:2],
        "inches": density is None or density[2],
        "tile": pages.tiling(file),
        "overviews": pages.count_overviews(file) > 0,
        "missing": pages.missing_data(metadata.get(EXIF)),
    }


def _check_size(width: int, height: int, name: str, max_pixels: int | None) -> None:
    setting = os.environ.get("UNHAZE_MAX_PIXELS", str(MAX_PIXELS))
    if not setting.isdecimal():
        raise UnhazeError(f"UNHAZE_MAX_PIXELS is '{setting}'; expected a number of pixels")
    limit = max_pixels or int(setting)
    if width * height > limit:
        raise UnhazeError(
            f"{name} says it has {width} x {height} pixels, over the limit of {limit};"
            " set UNHAZE_MAX_PIXELS higher if that is right"
        )
