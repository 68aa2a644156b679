"""Animations: GIF and WebP by libvips, PNG and AVIF by Pillow; frames in, frames out."""

import importlib
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from unhaze.atomic import new_file
from unhaze.errors import UnhazeError
from unhaze.extras import explain_missing
from unhaze.formats import SUFFIXES, key_of
from unhaze.image import check_process
from unhaze.outputs import Output
from unhaze.photo import webp
from unhaze.photo.picture import EXIF, ICC, XMP, one_line_errors, set_bytes, value_of
from unhaze.photo.readers import one_line

log = logging.getLogger(__name__)

HEAD = 1 << 16  # bytes at the start that mark an animation
MOST = 1_500_000_000  # bytes of all frames
BY_LIBVIPS = {"gif", "webp"}
BY_PILLOW = {"png": "PNG", "avif": "AVIF"}
AV1_SPEED = 9  # of 10


@dataclass(frozen=True)
class Series:
    """frames: (H,W,3 or 4) uint8, each complete, in order. delays: milliseconds, one per frame.

    plays: number of loops, 0 without end. metadata: EXIF, XMP, ICC, as in `Traits`.
    """

    frames: Iterator[np.ndarray]
    shape: tuple[int, int, int]
    delays: list[int]
    plays: int = 0
    metadata: dict[str, bytes] = field(default_factory=dict)
    lossless: bool = False
    quality: int | None = None


def open_series(source: Path | bytes) -> Series | None:
    """Opens all frames of an animation; None if it is none.

    UnhazeError: too many frames to hold, damaged, Pillow is missing, or a forked process.
    """
    check_process()
    name = "the given bytes" if isinstance(source, bytes) else f"'{source}'"
    with one_line_errors(f"cannot read {name}", "damaged or cut off"):
        if isinstance(source, bytes):
            head = source[:HEAD]
        elif source.is_file():
            with source.open("rb") as file:
                head = file.read(HEAD)
        else:
            return None
        key = key_of(head)
        if key is None or not _may_be_animated(head, key):
            return None
        if key == "png" and not _has_pillow(name):
            return None
        data = source if isinstance(source, bytes) else source.read_bytes()
        read = _by_libvips if key in BY_LIBVIPS else _by_pillow
        found = read(data, key, name)
    if len(found.delays) < 2:
        return None
    return found


def _has_pillow(name: str) -> bool:
    """Returns whether it is installed; logs if not, since the first frame of a PNG does not need
    it.
    """
    try:
        with _needing(f"{name}: more than the first frame"):
            importlib.import_module("PIL")
    except UnhazeError as error:
        log.warning("%s", error)
        return False
    return True


def _check_size(name: str, shape: tuple[int, int, int], count: int) -> None:
    size = int(np.prod(shape)) * count
    if size > MOST:
        raise UnhazeError(
            f"{name} has {count} frames, which take {size / 1e9:.1f} GB; the limit"
            f" is {MOST / 1e9:.1f} GB: convert it to a video first"
        )


def _may_be_animated(head: bytes, key: str) -> bool:
    """Checks the first bytes; for GIF only the whole file shows it."""
    signs = {"webp": b"ANIM", "png": b"acTL", "avif": b"avis", "gif": b"GIF"}
    return key in signs and signs[key] in head


def _by_libvips(data: bytes, key: str, name: str) -> Series:
    image = pyvips.Image.new_from_buffer(data, "", n=-1, fail_on="error", access="sequential")
    height = value_of(image, "page-height", image.height)
    count = image.height // height
    _check_size(name, (height, image.width, image.bands), count)
    delays = value_of(image, "delay", None) or [100] * count
    image = image.colourspace("srgb") if image.interpretation != "srgb" else image
    given = {each: value_of(image, each, None) for each in (EXIF, XMP, ICC)}
    metadata = {each: value for each, value in given.items() if value is not None}
    if EXIF in metadata:
        metadata[EXIF] = metadata[EXIF].removeprefix(b"Exif\0\0")

    def frames() -> Iterator[np.ndarray]:
        region = pyvips.Region.new(image)
        for number in range(count):
            with one_line_errors(f"cannot read {name}", "damaged or cut off"):
                fetched = region.fetch(0, number * height, image.width, height)
            yield np.frombuffer(fetched, np.uint8).reshape(height, image.width, image.bands)

    plays = value_of(image, "loop", 1)
    shape = (height, image.width, image.bands)
    lossless = key == "webp" and b"VP8L" in data[:4096]
    return Series(frames(), shape, list(delays)[:count], plays, metadata, lossless)


def _by_pillow(data: bytes, key: str, name: str) -> Series:
    with one_line(f"cannot read {name}", f"animated {key.upper()}"):
        return _frames_by_pillow(data, key, name)


def _frames_by_pillow(data: bytes, key: str, name: str) -> Series:
    from PIL import Image

    picture = Image.open(io.BytesIO(data), formats=[BY_PILLOW[key]])
    alpha = "A" in picture.mode or "transparency" in picture.info
    mode = "RGBA" if alpha else "RGB"
    info = picture.info
    metadata = {EXIF: info.get("exif"), ICC: info.get("icc_profile"), XMP: info.get("xmp")}
    if block := metadata[EXIF]:
        metadata[EXIF] = block.removeprefix(b"Exif\0\0")
    shape = (picture.height, picture.width, len(mode))
    count = getattr(picture, "n_frames", 1)
    _check_size(name, shape, count)
    frames, delays = [], []
    for number in range(count):
        picture.seek(number)
        frames.append(np.array(picture.convert(mode)))
        delays.append(round(picture.info.get("duration") or 100))
    kept = {each: value for each, value in metadata.items() if value}
    return Series(iter(frames), shape, delays, info.get("loop", 0), kept, lossless=key == "png")


def write_series(
    series: Series, path: Path, original: Path, *, overwrite: bool, output: Output
) -> None:
    """Writes an animation atomically. UnhazeError: as for `write`."""
    encoded = encode_series(series, path.suffix, output)
    with (
        one_line_errors(f"cannot write '{path}'", "perhaps the disk is full"),
        new_file(path, original=original, overwrite=overwrite) as descriptor,
        open(descriptor, "wb", closefd=False) as file,
    ):
        file.write(encoded)


def encode_series(series: Series, suffix: str, output: Output) -> bytes:
    """Returns the bytes of an animation in the format of the suffix; consumes `series.frames`."""
    key = SUFFIXES[suffix.lower()]
    if output.bit_depth not in (None, 8) or output.color_space not in (None, "srgb"):
        raise UnhazeError("animations have 8 bits per channel and keep their colour space")
    metadata = {} if output.strip_metadata else series.metadata
    if output.strip_metadata and ICC in series.metadata:
        metadata = {ICC: series.metadata[ICC]}
    frames = list(series.frames)
    if key in BY_LIBVIPS:
        return _save_by_libvips(series, frames, metadata, key, output)
    return _save_by_pillow(series, frames, metadata, key, output)


def _save_by_libvips(
    series: Series, frames: list[np.ndarray], metadata: dict[str, bytes], key: str, output: Output
) -> bytes:
    tall = pyvips.Image.new_from_array(np.concatenate(frames)).copy(interpretation="srgb")
    tall.set_type(pyvips.GValue.gint_type, "page-height", series.shape[0])
    tall.set_type(pyvips.GValue.array_int_type, "delay", series.delays)
    tall.set_type(pyvips.GValue.gint_type, "loop", series.plays)
    for each, value in metadata.items():
        if each != EXIF:
            set_bytes(tall, each, value)
    if key == "gif":
        return tall.gifsave_buffer(dither=1.0)
    lossless = output.lossless or (series.lossless and output.quality is None)
    file = io.BytesIO(tall.webpsave_buffer(lossless=lossless, Q=output.quality or 90, exact=True))
    if EXIF in metadata:
        webp.add_exif(file, metadata[EXIF])
    return file.getvalue()


def _save_by_pillow(
    series: Series, frames: list[np.ndarray], metadata: dict[str, bytes], key: str, output: Output
) -> bytes:
    with _needing(f"writing an animated {key.upper()}"):
        from PIL import Image
    pictures = [Image.fromarray(each) for each in frames]
    names = {EXIF: "exif", ICC: "icc_profile", XMP: "xmp"}
    options: dict[str, Any] = {names[each]: value for each, value in metadata.items()}
    if key == "avif":
        quality = 100 if output.lossless else output.quality or 80
        options |= {"quality": quality, "speed": AV1_SPEED, "subsampling": "4:4:4"}
    else:
        options.pop("xmp", None)
        options |= {"loop": series.plays, "default_image": False}
    file = io.BytesIO()
    more = {"save_all": True, "append_images": pictures[1:], "duration": series.delays}
    pictures[0].save(file, BY_PILLOW[key], **more, **options)
    return file.getvalue()


@contextmanager
def _needing(owner: str) -> Iterator[None]:
    """Names the extra that contains a missing package."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise explain_missing(error, owner) or error from error
