"""Writes metadata: libvips writes most of it; EXIF is inserted byte by byte.

libvips rewrites EXIF without tags unknown to it and with others that it invents. Therefore it
writes a placeholder of the right size, which is then replaced.
"""

import functools
import io
import logging
import os
import struct
import zlib
from collections.abc import Collection
from typing import BinaryIO

import numpy as np
import pyvips

from unhaze.errors import UnhazeError
from unhaze.photo import avif, behind, exif, ifd, inventory, iptc, jpeg, png, profile, webp, xmp
from unhaze.photo.picture import (
    ABOUT,
    BEHIND,
    COLOURS,
    EXIF,
    GAIN_MAP_SIGN,
    ICC,
    IPTC,
    NUMBERS,
    SEGMENTS,
    TEXTS,
    VIEWS,
    XMP,
    Stream,
    Traits,
    set_bytes,
)

log = logging.getLogger(__name__)

NAMES = {EXIF: "EXIF", XMP: "XMP", ICC: "ICC profile", IPTC: "IPTC", TEXTS: "texts of PNG"}
NAMES |= {ABOUT: "date and background of PNG"}
NAMES |= {SEGMENTS: "comments and makers' segments of JPEG"}
IN_JPEG = {BEHIND, VIEWS, GAIN_MAP_SIGN}
TAGS = {COLOURS, NUMBERS}  # colour tags, which a profile can replace
# What libvips cannot write into a format, and is added to the finished file.
OURS = {
    "jpeg": {EXIF, XMP, IPTC, SEGMENTS, *IN_JPEG},
    "tiff": {EXIF, IPTC},
    "png": {IPTC, TEXTS, COLOURS, ABOUT},
    "avif": {NUMBERS},
    "webp": {EXIF},  # libvips begins it as in JPEG, unlike RFC 9649
}
# Bytes that libvips adds to EXIF, and limits of one JPEG segment for EXIF and XMP.
LARGEST = 65_000
LARGEST_IN_JPEG = {
    EXIF: jpeg.LARGEST - len(jpeg.EXIF_SIGN),
    XMP: jpeg.LARGEST - len(jpeg.XMP_SIGN),
}
TOKEN = os.urandom(16)  # marks the placeholder
THUMBNAIL_SIDE, THUMBNAIL_QUALITIES = 160, (90, 75, 60, 40, 20)
BLOCK = 1 << 20


def to_write(stream: Stream, suffix: str, saver: str, holds: Collection[str]) -> dict[str, bytes]:
    """Returns the metadata for the format of `saver`, which supports `holds`; logs what is left
    out.
    """
    traits = stream.traits
    found = dict(traits.metadata)
    if traits.lost:
        log.warning("left out: %s", "; ".join(traits.lost))
    if TAGS & found.keys() - set(holds) and ICC in holds and traits.profile:
        log.warning("'%s' holds no such colour tags; an ICC profile says the same", suffix)
        found[ICC] = traits.profile
    if saver == "avif" and NUMBERS in found:
        _make_room_for_numbers(found, traits)
    if saver != "jpeg":
        found = {key: found[key] for key in found if key not in IN_JPEG}
        for words in traits.held:
            log.warning("'%s' holds no %s; left out", suffix, words)
        if XMP in found:
            _fit_xmp(found, suffix, traits)
    for key in (NAMES.keys() | TAGS) & found.keys() - set(holds) - {ICC}:  # colours are converted
        if key == SEGMENTS and not jpeg.without_extended_xmp(found[key]):
            del found[key]
            continue
        if key in NAMES:
            log.warning("'%s' holds no %s; left out", suffix, NAMES[key])
        del found[key]
    if stream.preview is not None and EXIF in found:
        make = functools.partial(_thumbnail, stream.preview)
        found[EXIF] = exif.edited(found[EXIF], traits.orientation, False, make)
    if stream.preview is not None and IPTC in found:
        found[IPTC] = iptc.without_thumbnails(found[IPTC])
    limits = {"jpeg": LARGEST_IN_JPEG, "avif": {EXIF: LARGEST}}.get(saver, {})
    for key in limits.keys() & found.keys():
        if len(found[key]) > limits[key]:
            size = len(found.pop(key))
            log.warning("'%s' holds no %s of %d bytes; left out", suffix, NAMES[key], size)
    return found


def _make_room_for_numbers(found: dict[str, bytes], traits: Traits) -> None:
    """Replaces the profile by colour numbers where possible: libheif writes no nclx; sRGB needs
    neither.
    """
    if ICC in found or struct.unpack(">HH", found[NUMBERS]) in ((2, 2), profile.SRGB):
        del found[NUMBERS]
    else:
        found[ICC] = traits.profile or profile.matrix_profile(
            profile.PRIMARIES[1], profile.srgb_curve
        )


def _fit_xmp(found: dict[str, bytes], suffix: str, traits: Traits) -> None:
    """Fits XMP for formats other than JPEG: one packet, without references to what they do not
    hold.
    """
    gone = traits.held
    if xmp.extension_of(found[XMP]) is not None:
        extension = jpeg.extended_xmp(found.get(SEGMENTS, b""), found[XMP])
        joined = None if extension is None else xmp.merged(found[XMP], extension)
        if joined is None:
            log.warning("'%s' holds no %s; left out", suffix, inventory.EXTENDED)
            gone += (inventory.EXTENDED,)
        found[XMP] = joined or found[XMP]
    for words in inventory.correct_xmp(found, gone):
        log.warning("'%s' holds no %s that can be corrected; left out", suffix, words)


def attach(image: pyvips.Image, found: dict[str, bytes], saver: str) -> pyvips.Image:
    """Returns a copy of the picture with its metadata, in libvips' form."""
    image = image.copy()
    for key in by_libvips(found, saver):
        block = _placeholder(len(found[key])) if key == EXIF else found[key]
        set_bytes(image, key, block)
    return image


def by_libvips(found: dict[str, bytes], saver: str) -> set[str]:
    """Returns the keys that libvips writes by itself."""
    large = {EXIF} if len(found.get(EXIF, b"")) > LARGEST else set()
    return found.keys() - OURS.get(saver, set()) - large


def complete(file: BinaryIO, found: dict[str, bytes], traits: Traits, saver: str) -> None:
    """Adds to the finished file what libvips cannot write."""
    if saver in COMPLETED:
        COMPLETED[saver](file, found, traits)


def _complete_jpeg(file: BinaryIO, found: dict[str, bytes], traits: Traits) -> None:
    if traits.density is None:
        jpeg.forget_density(file)
    by_exif = exif.has_resolution(io.BytesIO(found.get(EXIF, b"")))
    segments = b"" if by_exif else jpeg.jfif(traits.density, traits.inches)
    for key, sign in ((EXIF, jpeg.EXIF_SIGN), (XMP, jpeg.XMP_SIGN)):
        if key in found:
            segments += jpeg.segment(jpeg.APP + 1, sign + found[key])
    if IPTC in found:
        segments += jpeg.photoshop_segments(iptc.resources_of(found[IPTC]))
    segments += found.get(SEGMENTS, b"")
    if IN_JPEG & found.keys():
        behind.complete(file, segments, found)
    else:
        jpeg.insert_segments(file, segments)


def _complete_tiff(file: BinaryIO, found: dict[str, bytes], traits: Traits) -> None:
    if traits.extra and exif.first_number(file, exif.EXTRA_SAMPLES) is not None:
        exif.overwrite(file, exif.EXTRA_SAMPLES, exif.UNSPECIFIED)
    if traits.bands is not None:
        traits.bands.name_extra(file)
    if traits.density is None:
        exif.forget_resolution(file)
    ifd.add_to_tiff(file, found.get(EXIF), found.get(IPTC))


def _complete_png(file: BinaryIO, found: dict[str, bytes], traits: Traits) -> None:
    texts = found.get(TEXTS, b"")
    if len(found.get(EXIF, b"")) > LARGEST:  # before the pixels, where most programs look
        png.insert_chunks(file, png.chunk(b"eXIf", found[EXIF]))
    elif EXIF in found:
        _replace_placeholder(file, found[EXIF])
    if texts or IPTC in found:
        png.add_texts(file, texts, found.get(IPTC))
    if traits.density is None:
        png.forget_density(file)
    if ABOUT in found:
        png.add_about(file, found[ABOUT])
    if COLOURS in found:
        png.insert_chunks(file, found[COLOURS])


def _complete_webp(file: BinaryIO, found: dict[str, bytes], traits: Traits) -> None:
    if EXIF in found:
        webp.add_exif(file, found[EXIF])


def _complete_avif(file: BinaryIO, found: dict[str, bytes], traits: Traits) -> None:
    if EXIF in found:
        _replace_placeholder(file, found[EXIF])
    if NUMBERS in found:
        avif.replace_profile(file, found[NUMBERS])


COMPLETED = {
    "jpeg": _complete_jpeg,
    "tiff": _complete_tiff,
    "png": _complete_png,
    "webp": _complete_webp,
    "avif": _complete_avif,
}


def _thumbnail(preview: np.ndarray, largest: int) -> bytes | None:
    """Returns a small JPEG of at most this many bytes, if possible."""
    image = pyvips.Image.new_from_array(np.ascontiguousarray(preview)).copy(interpretation="srgb")
    image = image.thumbnail_image(THUMBNAIL_SIDE, size="down")
    for quality in THUMBNAIL_QUALITIES:
        encoded = image.jpegsave_buffer(Q=quality, keep=pyvips.ForeignKeep.NONE)
        if len(encoded) <= largest:
            return encoded
    return None


def _placeholder(size: int) -> bytes:
    """Returns EXIF from which libvips makes `size` bytes, or slightly more if that is very
    small.
    """
    return ifd.opaque(TOKEN + bytes(max(0, size - _overhead())))


@functools.cache
def _overhead() -> int:
    """Returns the bytes that libvips makes of the smallest placeholder, token included."""
    image = pyvips.Image.black(1, 1)
    set_bytes(image, EXIF, ifd.opaque(TOKEN))
    encoded = io.BytesIO(image.jpegsave_buffer(keep=pyvips.ForeignKeep.EXIF))
    _, token = _find_placeholder(encoded)
    return token + len(TOKEN)


def _replace_placeholder(file: BinaryIO, block: bytes) -> None:
    start, before = _find_placeholder(file)
    room = before + len(TOKEN) + max(0, len(block) - _overhead())
    file.seek(start)
    file.write(block.ljust(room, b"\0"))
    file.seek(start - 8)
    size, kind = struct.unpack(">I4s", file.read(8))
    if kind == b"eXIf":  # PNG has a checksum after each chunk
        checksum = zlib.crc32(file.read(size), zlib.crc32(kind))
        file.write(struct.pack(">I", checksum))


def _find_placeholder(file: BinaryIO) -> tuple[int, int]:
    """Returns the offset of its TIFF structure, and the distance to the token."""
    at, before = file.seek(0), b""
    while block := file.read(BLOCK):
        window = before + block
        if (token := window.find(TOKEN)) >= 0:
            start = window.rindex(b"II*\0", 0, token)
            return at - len(before) + start, token - start
        at, before = at + len(block), window[-4096:]
    raise UnhazeError("this libvips writes no EXIF; install the package pyvips[binary]")
