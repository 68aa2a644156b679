"""WebP files (RFC 9649): what libvips does not report, and EXIF, which it writes as in JPEG."""

import io
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from unhaze.atomic import insert
from unhaze.photo import inventory

HAS_ALPHA, HAS_EXIF = 0x10, 0x08
EXTENDED = 18  # bytes of the chunk that lists the file's content
# Index of the quantizer, from coarse to fine -> quality; measured with libwebp 1.6.
INDICES = {127: 0, 92: 10, 68: 30, 52: 50, 45: 60, 39: 70, 36: 75, 27: 80, 20: 85, 12: 90}
INDICES |= {6: 95, 0: 100}


def add_exif(file: BinaryIO, exif: bytes) -> None:
    """Adds the block after the picture, and marks it in the header."""
    file.seek(12)
    head = file.read(EXTENDED)
    if head[:4] != b"VP8X":
        insert(file, 12, _extended(head))
    file.seek(20)
    flags = file.read(1)[0]
    file.seek(20)
    file.write(bytes((flags | HAS_EXIF,)))
    chunk = b"EXIF" + struct.pack("<I", len(exif)) + exif + bytes(len(exif) % 2)
    insert(file, _place_of_xmp(file), chunk)
    size = file.seek(0, io.SEEK_END)
    file.seek(4)
    file.write(struct.pack("<I", size - 8))


def _place_of_xmp(file: BinaryIO) -> int:
    """Returns the offset of XMP, which follows EXIF; else the end of the file."""
    at, end = 12, file.seek(0, io.SEEK_END)
    while at + 8 <= end:
        file.seek(at)
        kind, size = struct.unpack("<4sI", file.read(8))
        if kind == b"XMP ":
            return at
        at += 8 + size + size % 2
    return end


def _extended(head: bytes) -> bytes:
    """Returns the chunk VP8X for a file that has only its pixels; `head`: its first bytes."""
    if head[:4] == b"VP8L":
        bits = struct.unpack("<I", head[9:13])[0]
        width, height, flags = bits & 0x3FFF, bits >> 14 & 0x3FFF, HAS_ALPHA * (bits >> 28 & 1)
    else:
        width, height = (each - 1 & 0x3FFF for each in struct.unpack("<HH", head[14:18]))
        flags = 0
    sides = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    return b"VP8X" + struct.pack("<IB", 10, flags) + bytes(3) + sides


def encoding_of(head: bytes) -> dict[str, Any]:
    """Returns lossless, full_chroma and, estimated, quality, as in `Traits`; `head`: the first
    kilobytes of a file.
    """
    lossless = b"VP8L" in head[:64]
    at = head.find(b"VP8 ")
    quality = {} if lossless or at < 0 else {"quality": _quality(head[at + 8 :])}
    return {"lossless": lossless, "full_chroma": lossless} | quality


def _quality(frame: bytes) -> int:
    """Returns 0-100, from the quantizer index that libwebp chooses with its usual settings."""
    index = _quantizer(_bits(frame[10:]))
    indices, qualities = zip(*reversed(INDICES.items()))
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


def lost_in(file: BinaryIO) -> tuple[str, ...]:
    """Returns names of what no restored WebP holds: credentials in a RIFF chunk."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        kind, size = head[:4], struct.unpack("<I", head[4:])[0]
        if kind == b"C2PA":
            return (inventory.CREDENTIALS,)
        file.seek(size + size % 2, 1)
    return ()
