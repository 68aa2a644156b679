"""Writes a Photo or a Stream to a file."""

import functools
import io
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import BinaryIO

import numpy as np
import pyvips

from unhaze.atomic import new_file
from unhaze.errors import UnhazeError
from unhaze.extras import explain_missing
from unhaze.formats import FORMATS
from unhaze.image import to_u8
from unhaze.outputs import AS_SOURCE, Output
from unhaze.photo import metadata, png
from unhaze.photo.converting import converted, whole
from unhaze.photo.picture import (
    EXIF,
    ICC,
    IPTC,
    XMP,
    Photo,
    Stream,
    Traits,
    one_line_errors,
    set_bytes,
)
from unhaze.photo.savers import SAVERS, Saver

log = logging.getLogger(__name__)


BLOCK = 1 << 20
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's, of 1 to 4 channels: grey or RGB, alpha or not
STORED = 0xFFFF  # most bytes of a deflate block
SUFFIXES = tuple(SAVERS)  # suffixes that can be written, all of which can be read


def write(
    photo: Photo | Stream,
    path: str | Path,
    *,
    overwrite: bool = False,
    output: Output = AS_SOURCE,
) -> None:
    """Encodes by the suffix of `path` and writes the file atomically.

    Rows stay in stored order with their orientation tag; in another format they are turned upright.
    What a format does not support (16 bits, transparency, IPTC) is logged. UnhazeError: unknown
    suffix, the file exists without `overwrite`, `path` is the photo's own source, no such folder,
    disk full, too large for the format; and errors of the strips.
    """
    path = Path(path)
    check_suffix(path.suffix)
    stream = _as_stream(photo)
    with (
        one_line_errors(f"cannot write '{path}'", "perhaps the disk is full"),
        new_file(path, original=stream.traits.path, overwrite=overwrite) as descriptor,
    ):
        if SAVERS[path.suffix.lower()].encode:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(_encoded(stream, path.suffix, output))
            return
        target = pyvips.Target.new_to_descriptor(descriptor)
        finish = _save(stream, path.suffix, target, output)
        with open(descriptor, "r+b", closefd=False) as file:
            finish(file)


def encode(photo: Photo | Stream, suffix: str, *, output: Output = AS_SOURCE) -> bytes:
    """Returns the bytes of the file that `write` would create; `suffix` with its dot, e.g.
    ".png".
    """
    check_suffix(suffix)
    with one_line_errors(f"cannot encode '{suffix}'", "perhaps too large for the format"):
        if SAVERS[suffix.lower()].encode:
            return _encoded(_as_stream(photo), suffix, output)
        target = pyvips.Target.new_to_memory()
        finish = _save(_as_stream(photo), suffix, target, output)
        file = io.BytesIO(target.get("blob"))
        finish(file)
        return file.getvalue()


def write_rgb(path: str | Path, rgb_hwc_u8: np.ndarray) -> None:
    """Writes bare (H,W,3) uint8 or uint16 pixels by the suffix of `path`; replaces any file
    there.
    """
    write(Photo(rgb_hwc_u8), path, overwrite=True)


def check_suffix(suffix: str) -> None:
    """Raises UnhazeError unless pictures can be written with this suffix."""
    if suffix.lower() not in SAVERS:
        known = ", ".join(SAVERS)
        raise UnhazeError(f"cannot write pictures as '{suffix}'; expected one of {known}")


def kept_suffix(traits: Traits, name: str = "") -> str:
    """Returns the suffix of a result in the format of its source, or in the one that it becomes if
    it can only be read; that of the file `name` if it means the same, so that .jpg stays .jpg.
    """
    suffix = Path(name).suffix.lower()
    if suffix in SAVERS and SAVERS[suffix].format == traits.format:
        return suffix
    if traits.format in FORMATS and FORMATS[traits.format].becomes:
        return FORMATS[traits.format].becomes
    return next((each for each in SAVERS if SAVERS[each].format == traits.format), ".png")


def _as_stream(photo: Photo | Stream) -> Stream:
    if isinstance(photo, Stream):
        return photo
    planes = [photo.pixels[..., :1] if photo.traits.grey else photo.pixels]
    planes += [] if photo.alpha is None else [photo.alpha[..., None]]
    samples = np.concatenate(planes, axis=2) if len(planes) > 1 else planes[0]
    step = max(1, max(samples.shape) // 320)
    preview = photo.pixels[::step, ::step]
    if preview.dtype == np.uint16:
        preview = (preview >> 8).astype(np.uint8)
    elif preview.dtype == np.float32:
        preview = to_u8(preview)
    return Stream([samples], samples.shape, samples.dtype, photo.traits, preview)


def _ready(stream: Stream, saver: Saver, output: Output) -> Stream:
    """Converts for the format: upright if it is another one, in the requested colours and depth."""
    kind = FORMATS[saver.format]
    output.check(kind)
    if output.lossless and kind.quality and not kind.lossless:
        log.warning("%s cannot be lossless; written with loss", kind.name)
    turned = saver.format != stream.traits.format or output.strip_metadata
    if stream.traits.orientation != 1 and turned:
        stream = _as_stream(whole(stream))
    if output == AS_SOURCE and not saver.encode:  # libvips holds all that the source may have
        return stream
    tagged = ICC in stream.traits.metadata or stream.dtype != np.float32
    if saver.encode and tagged and stream.traits.profile is not None:
        log.warning("results in %s are sRGB; converted", kind.name)
    return converted(stream, output, saver.format)


def _encoded(stream: Stream, suffix: str, output: Output) -> bytes:
    """Returns the file, for formats that libvips does not write."""
    saver = SAVERS[suffix.lower()]
    stream = _with_bands(_ready(stream, saver, output), saver, suffix)
    found = metadata.to_write(stream, suffix, saver.format, saver.holds)
    samples = np.concatenate(list(stream.strips))
    try:
        assert saver.encode is not None  # as for all formats handled here
        return saver.encode(samples, output, found)
    except ModuleNotFoundError as error:
        missing = explain_missing(error, f"writing {FORMATS[saver.format].name}")
        raise missing or error from error


def _save(
    stream: Stream, suffix: str, target: pyvips.Target, output: Output
) -> Callable[[BinaryIO], None]:
    """Writes what libvips can; returns what remains to be added to the file."""
    saver = SAVERS[suffix.lower()]
    stream = _with_bands(_ready(stream, saver, output), saver, suffix)
    bands = stream.traits.bands
    found = metadata.to_write(stream, suffix, saver.format, saver.holds)
    _say_what_it_cannot_hold(stream, saver, suffix)

    def save(image: pyvips.Image) -> None:
        fitted = _fitted(image, stream, saver)
        image = metadata.attach(bands.whole(fitted) if bands else fitted, found, saver.format)
        # libvips would invent an EXIF block for a picture without one.
        kinds = {EXIF: "exif", XMP: "xmp", IPTC: "iptc"}
        given = kinds.keys() & metadata.by_libvips(found, saver.format)
        keep = "|".join(["icc", "other", *(kinds[key] for key in given)])
        options = saver.options(stream.traits, image, output)
        pyvips.Operation.call(saver.operation, image, target, keep=keep, **options)

    _save_through_pipe(stream, save)
    return functools.partial(
        metadata.complete, found=found, traits=stream.traits, saver=saver.format
    )


def _save_through_pipe(stream: Stream, save: Callable[[pyvips.Image], None]) -> None:
    """Calls `save` with the picture, to be read once from its first row to its last.

    Strips go through a pipe, as uncompressed PNG, the only format that libvips reads strip by strip
    from one. Saving runs in a thread of its own: the main thread, the only one that Ctrl-C reaches,
    stays outside libvips meanwhile. Errors of the strips are raised unchanged, otherwise those of
    `save`. Floats, which PNG does not support, are collected first.
    """
    if stream.dtype == np.float32:
        save(pyvips.Image.new_from_array(np.concatenate(list(stream.strips))))
        return
    reading_end, writing_end = os.pipe()
    ended = Event()
    # The pipe is closed before the thread is joined, so that it ends after an error or Ctrl-C.
    with ThreadPoolExecutor(1) as thread, os.fdopen(writing_end, "wb") as pipe:
        saved = thread.submit(_save_from, reading_end, save, ended)
        for piece in _as_png(stream):
            if ended.is_set():
                break
            pipe.write(piece)
    saved.result()


def _save_from(reading_end: int, save: Callable[[pyvips.Image], None], ended: Event) -> None:
    try:
        source = pyvips.Source.new_from_descriptor(reading_end)
        save(pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error"))
    finally:
        ended.set()
        while os.read(reading_end, BLOCK):  # or the other end would never return
            pass
        os.close(reading_end)


def _as_png(stream: Stream) -> Iterator[bytes | memoryview]:
    """Yields the bytes of a PNG of stored blocks (RFC 1951), strip by strip.

    The zlib module would copy each of them four times.
    """
    height, width, channels = stream.shape
    depth = 8 * stream.dtype.itemsize
    yield png.SIGNATURE
    header = struct.pack(">IIBBBBB", width, height, depth, COLOUR_TYPES[channels], 0, 0, 0)
    yield from _png_chunk(b"IHDR", [header])
    yield from _png_chunk(b"IDAT", [b"\x78\x01"])
    checksum = 1
    for strip in stream.strips:
        samples = strip.astype(stream.dtype.newbyteorder(">"), copy=False)
        samples = np.ascontiguousarray(samples).view(np.uint8).reshape(len(strip), -1)
        rows = np.empty((len(strip), 1 + samples.shape[1]), np.uint8)
        rows[:, 0] = 0  # no filter
        rows[:, 1:] = samples
        data = rows.reshape(-1).data
        checksum = zlib.adler32(data, checksum)
        blocks = [data[start : start + STORED] for start in range(0, len(data), STORED)]
        heads = [struct.pack("<BHH", 0, len(each), len(each) ^ 0xFFFF) for each in blocks]
        yield from _png_chunk(b"IDAT", [piece for pair in zip(heads, blocks) for piece in pair])
    yield from _png_chunk(b"IDAT", [b"\1\0\0\xff\xff" + struct.pack(">I", checksum)])
    yield png.END


def _png_chunk(kind: bytes, pieces: Sequence[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yields a chunk whose content is in pieces, which are not copied."""
    yield struct.pack(">I4s", sum(map(len, pieces)), kind)
    checksum = zlib.crc32(kind)
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
        yield piece
    yield struct.pack(">I", checksum)


def _with_bands(stream: Stream, saver: Saver, suffix: str) -> Stream:
    """Returns traits with the further bands of the source, if the format supports them."""
    bands = stream.traits.bands
    if bands is None or (saver.format == "tiff" and stream.dtype == bands.dtype):
        return stream
    log.warning("'%s' of this depth holds no %s; left out", suffix, bands.words)
    return replace(stream, traits=replace(stream.traits, bands=None))


def _say_what_it_cannot_hold(stream: Stream, saver: Saver, suffix: str) -> None:
    """Logs what the format does not support, in the thread of the caller, who may listen."""
    floats, alpha = stream.dtype == np.float32, stream.shape[2] in (2, 4)
    if floats and saver.format != "tiff":
        bits = 16 if saver.wide else 8
        log.warning("'%s' holds no floating-point samples; rounded to %d bits", suffix, bits)
    if alpha and stream.traits.extra and saver.format != "tiff":
        log.warning("'%s' holds no channel beside colours and transparency; left out", suffix)
    elif alpha and not saver.alpha:
        log.warning("'%s' holds no transparency; blended onto white", suffix)
    if stream.dtype == np.uint16 and not saver.wide:
        log.warning("'%s' holds no 16 bits a channel; rounded to 8", suffix)
    if ICC in stream.traits.metadata and ICC not in saver.holds:
        log.warning("'%s' holds no ICC profile; converted to sRGB", suffix)


def _fitted(image: pyvips.Image, stream: Stream, saver: Saver) -> pyvips.Image:
    """Returns what the format supports of the picture, not yet computed."""
    if stream.traits.extra and saver.format != "tiff" and image.bands in (2, 4):
        image = image.extract_band(0, n=image.bands - 1)
    space = {False: ("srgb", "rgb16"), True: ("b-w", "grey16")}[stream.traits.grey]
    if stream.dtype == np.float32:
        image = _fitted_floats(image, stream, saver)
    if image.format != "float":
        image = image.copy(interpretation=space[image.format == "ushort"])
    if image.hasalpha() and not saver.alpha:
        white = {"uchar": 255, "ushort": 65535}[str(image.format)]
        image = image.flatten(background=[white], max_alpha=white)
    if image.format == "ushort" and not saver.wide:
        image = (image / 257).rint().cast("uchar").copy(interpretation=space[False])
    profile = stream.traits.metadata.get(ICC)
    if profile and ICC not in saver.holds:
        set_bytes(image, ICC, profile)
        image = image.icc_transform("srgb", embedded=True)
    across, down = stream.traits.density or (1.0, 1.0)  # 1: unknown
    image = image.copy(xres=across, yres=down)
    image.set_type(pyvips.GValue.gint_type, "orientation", stream.traits.orientation)
    return image


def _fitted_floats(image: pyvips.Image, stream: Stream, saver: Saver) -> pyvips.Image:
    """Keeps floats in TIFF; elsewhere they become 16 bits, and linear light becomes sRGB."""
    image = image.copy(interpretation="b-w" if stream.traits.grey else "scrgb")
    if saver.format == "tiff":
        return image
    if stream.traits.top or ICC in stream.traits.metadata:
        return (image * (65535 / (stream.traits.top or 1))).rint().cast("ushort")
    return image.colourspace("grey16" if stream.traits.grey else "rgb16")
