"""Reads the compression settings of a picture from its header, which libvips does not report."""

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from unhaze.photo import exif, png

HEADER = 1 << 16  # size limit of AVIF's item descriptions
INCH, CENTIMETRE = 1, 2  # units of JFIF's density
# Index of the quantizer, from coarse to fine -> quality; measured with libwebp 1.6.
WEBP_INDICES = {127: 0, 92: 10, 68: 30, 52: 50, 45: 60, 39: 70, 36: 75, 27: 80, 20: 85, 12: 90}
WEBP_INDICES |= {6: 95, 0: 100}


def encoding(file: BinaryIO, head: bytes, *, density: bool) -> dict[str, Any]:
    """Returns some of `Traits`: quality of JPEG and WebP, full_chroma of WebP and AVIF, lossless of
    WebP.

    `head`: the first kilobytes of `file`. `density`: also return that of JPEG.
    """
    if head.startswith(b"\xff\xd8"):
        return _jpeg(file, density)
    if head[8:12] == b"WEBP":
        lossless = b"VP8L" in head[:64]
        at = head.find(b"VP8 ")
        quality = {} if lossless or at < 0 else {"quality": _webp_quality(head[at + 8 :])}
        return {"lossless": lossless, "full_chroma": lossless} | quality
    if head[4:8] == b"ftyp" and (at := head.find(b"av1C")) > 0 and len(head) > at + 6:
        return {"full_chroma": not head[at + 6] & 0x0C}  # chroma_subsampling_x and _y
    return {}


def has_density(file: BinaryIO, loader: str, exif_says: bool) -> bool:
    """Returns whether the file itself states pixels per inch or centimetre."""
    if loader == "png":
        return png.chunks_of(file, (b"pHYs",)).get(b"pHYs", b"\0")[-1] == 1
    if loader == "tiff":
        return exif.has_resolution(file)
    return loader == "jpeg" and exif_says  # libvips does not report that of JFIF


def colour_numbers(file: BinaryIO) -> bytes | None:
    """Returns primaries and transfer, two bytes each, of AVIF's first nclx box (ISO/IEC
    14496-12).
    """
    file.seek(0)
    head = file.read(HEADER)
    at = head.find(b"colrnclx")
    return None if at < 0 else head[at + 8 : at + 12]


def _jpeg(file: BinaryIO, density: bool) -> dict[str, Any]:
    """Reads the segments up to the pixels (JPEG, annex B); the first, JFIF's, contains the
    density.
    """
    found: dict[str, Any] = {}
    file.seek(2)
    while len(marker := file.read(2)) == 2 and marker[0] == 0xFF and marker[1] != 0xDA:
        length = file.read(2)
        if len(length) < 2:
            break
        segment = file.read(max(0, struct.unpack(">H", length)[0] - 2))
        if density and segment.startswith(b"JFIF\0") and len(segment) >= 12:
            unit, across, down = struct.unpack(">BHH", segment[7:12])
            per_mm = {INCH: 1 / 25.4, CENTIMETRE: 0.1}.get(unit)
            if per_mm and across and down:
                found |= {"density": (across * per_mm, down * per_mm), "inches": unit == INCH}
        elif marker[1] == 0xDB and (quality := _quality(segment)) is not None:
            found["quality"] = quality
    return found


def _quality(tables: bytes) -> int | None:
    """Returns 1-100, from the scale of the luminance table (JPEG, annex K.1: the standard sums to
    3694).
    """
    if len(tables) >= 129 and tables[0] == 0x10:
        table = np.frombuffer(tables[1:129], ">u2")
    elif len(tables) >= 65 and tables[0] == 0:
        table = np.frombuffer(tables[1:65], "u1")
    else:
        return None
    percent = 100 * float(table.sum()) / 3694
    quality = 5000 / percent if percent > 100 else (200 - percent) / 2
    return int(np.clip(round(quality), 1, 100))


def _webp_quality(frame: bytes) -> int:
    """Returns 0-100, from the quantizer index that libwebp chooses with its usual settings."""
    index = _quantizer(_bits(frame[10:]))
    indices, qualities = zip(*reversed(WEBP_INDICES.items()))
    return round(float(np.interp(index, indices, qualities)))


def _quantizer(bit: Iterator[int]) -> int:
    """Returns the quantizer in the header of a key frame, 0-127 (RFC 6386, 9.3, 9.6 and 19.2)."""

    def number(count: int) -> int:
        return sum(next(bit) << shift for shift in reversed(range(count)))

    def skip_optional(times: int, count: int) -> None:
        for _ in range(times):
            if number(1):
                number(count)

    number(2)  # colour space, clamping
    if number(1):  # segments
        map_comes, data_comes = number(1), number(1)
        if data_comes:
            number(1)
            skip_optional(4, 8)
            skip_optional(4, 7)
        if map_comes:
            skip_optional(3, 8)
    number(1 + 6 + 3)  # filter
    if number(1) and number(1):
        skip_optional(8, 7)
    number(2)  # partitions
    return number(7)


def _bits(data: bytes) -> Iterator[int]:
    """Decodes the bits of even probability of an arithmetic coder (RFC 6386, 7.3)."""
    value, width = int.from_bytes(data[:256].ljust(256, b"\0")), 255
    scale = 8 * 255  # the highest byte of `value` is that at `scale`
    while True:
        split = 1 + (width - 1) // 2
        is_set = value >= split << scale
        if is_set:
            value -= split << scale
        width = width - split if is_set else split
        while width < 128:
            width *= 2
            scale -= 1
        yield int(is_set)
