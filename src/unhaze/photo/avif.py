"""AVIF files (ISO/IEC 14496-12): what libvips does not report, and colours as numbers (12.1.5)."""

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from unhaze.photo.inventory import CREDENTIALS, DEPTH, GAIN_MAP

HOLDERS = (b"iprp", b"ipco")  # boxes that contain only boxes
HEADER = 1 << 16  # size limit of item descriptions
LARGEST = 1 << 24  # size limit of the box that describes all pictures
BT601, FULL = 6, 0x80  # libheif's default
PROFILES = (b"prof", b"rICC")  # kinds of colr that hold an ICC profile


def encoding_of(head: bytes) -> dict[str, Any]:
    """Returns full_chroma, as in `Traits`; `head`: the first kilobytes of a file."""
    at = head.find(b"av1C")
    known = at > 0 and len(head) > at + 6
    return {"full_chroma": not head[at + 6] & 0x0C} if known else {}  # chroma_subsampling_x and _y


def colour_numbers(file: BinaryIO) -> bytes | None:
    """Returns primaries and transfer, two bytes each, of the first nclx box."""
    file.seek(0)
    head = file.read(HEADER)
    at = head.find(b"colrnclx")
    return None if at < 0 else head[at + 8 : at + 12]


def lost_in(file: BinaryIO) -> tuple[str, ...]:
    """Returns names of what no restored AVIF holds: credentials, a gain map, depth."""
    file.seek(0)
    data = file.read(1 << 20)
    names = {b"tmap": GAIN_MAP, b"c2pa": CREDENTIALS, b"jumb": CREDENTIALS}
    names |= {b"auxiliary:depth": DEPTH, b"hevc:2015:auxid:2": DEPTH}
    return tuple(dict.fromkeys(words for kind, words in names.items() if kind in data))


def replace_profile(file: BinaryIO, numbers: bytes) -> None:
    """Replaces the ICC profile of a finished file by primaries and transfer, two bytes each.

    The other numbers are those of libheif's default encoding. The description becomes some bytes
    shorter; a free box behind it fills the gap, so that the pixels, whose offsets it contains, do
    not move.
    """
    place, meta = _meta(file)
    kinds = [at for kind in PROFILES if (at := meta.find(b"colr" + kind)) >= 4]
    if not kinds:
        return
    start = kinds[0] - 4
    (size,) = struct.unpack_from(">I", meta, start)
    box = struct.pack(">I8s4sHB", 19, b"colrnclx", numbers, BT601, FULL)
    shorter = size - len(box)
    changed = bytearray(meta[:start] + box + meta[start + size :])
    for at in _around(meta, start):
        struct.pack_into(">I", changed, at, struct.unpack_from(">I", meta, at)[0] - shorter)
    file.seek(place)
    file.write(changed + struct.pack(">I4s", shorter, b"free") + bytes(shorter - 8))


def _around(meta: bytes, place: int) -> list[int]:
    """Returns the offsets of the boxes that hold `place`: meta itself, iprp, ipco."""
    starts, first = [0], 12
    for holder in HOLDERS:
        for kind, at, end in _boxes(meta, first, len(meta)):
            if kind == holder and at <= place < end:
                starts.append(at - 8)
                first = at
                break
    return starts


def _meta(file: BinaryIO) -> tuple[int, bytes]:
    """Returns offset and content of the box that describes all pictures; empty if there is none."""
    place = file.seek(0)
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8).rjust(8, b"\0"))
        if kind == b"meta" and 12 <= size <= LARGEST:
            file.seek(place)
            return place, file.read(size)
        if size < 8:
            break
        place = file.seek(place + size)
    return 0, b""


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields (kind, start of the content, end) of the boxes from `start` to `end`."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if size < 8 or start + size > end:
            return
        yield kind, start + 8, start + size
        start += size
