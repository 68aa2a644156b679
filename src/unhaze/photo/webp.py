"""EXIF in a finished WebP file (RFC 9649); libvips writes it as in JPEG, and never a large
block.
"""

import io
import struct
from typing import BinaryIO

from unhaze.atomic import insert

HAS_ALPHA, HAS_EXIF = 0x10, 0x08
EXTENDED = 18  # bytes of the chunk that lists the file's content


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
