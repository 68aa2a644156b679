"""EXIF and XMP of WebP files: chunks of any size behind the picture (RFC 9649).

libvips writes no EXIF of more than 65,000 bytes, and changes what it writes.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from unhaze.photo import splice
from unhaze.photo.picture import EXIF, XMP

LARGEST = 1 << 24  # bytes of a chunk: above, it is no description of a photo
FLAGS = {EXIF: 0x08, XMP: 0x04}
KINDS = {EXIF: b"EXIF", XMP: b"XMP "}
ALPHA, ANIMATED = 0x10, 0x02
PREFIX = b"Exif\0\0"  # that some programs write, as in JPEG


def contents(file: BinaryIO) -> tuple[dict[str, bytes], list[str]]:
    """(EXIF and XMP by their keys, names of the inventory that are not carried)."""
    found, lost = {}, []
    for kind, size, at in _chunks(file):
        key = next((key for key in KINDS if KINDS[key] == kind), None)
        if key and key not in found and size <= LARGEST:
            file.seek(at)
            found[key] = file.read(size).removeprefix(PREFIX)
        elif kind == b"C2PA":
            lost.append("content credentials")
    return found, lost


def complete(file: BinaryIO, found: dict[str, bytes]) -> None:
    """Adds EXIF and XMP to a finished file that has none."""
    wanted = [key for key in KINDS if key in found]
    if not wanted:
        return
    kind, size, at = next(_chunks(file))
    if kind != b"VP8X":
        splice.replace(file, at - 8, 0, _extended(file, kind, at))
    file.seek(20)
    flags = file.read(1)[0]
    file.seek(20)
    file.write(bytes([flags | sum(FLAGS[key] for key in wanted)]))
    for key in wanted:
        head = struct.pack("<4sI", KINDS[key], len(found[key]))
        splice.append(file, head + found[key] + bytes(len(found[key]) % 2))
    size = splice.end_of(file) - 8
    file.seek(4)
    file.write(struct.pack("<I", size))


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(kind, size, where its data stand) of every chunk."""
    at = 12
    file.seek(at)
    while len(head := file.read(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        yield kind, size, at + 8
        at += 8 + size + size % 2
        file.seek(at)


def _extended(file: BinaryIO, kind: bytes, at: int) -> bytes:
    """The chunk VP8X for a file that is nothing but its picture."""
    file.seek(at)
    start = file.read(10)
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", start[1:5])
        width, height, alpha = bits & 0x3FFF, bits >> 14 & 0x3FFF, bits >> 28 & 1
    else:
        across, down = struct.unpack("<HH", start[6:10])
        width, height, alpha = (across & 0x3FFF) - 1, (down & 0x3FFF) - 1, 0
    sizes = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    return struct.pack("<4sI", b"VP8X", 10) + bytes([ALPHA * alpha, 0, 0, 0]) + sizes
