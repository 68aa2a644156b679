"""Data behind the picture of a JPEG file: gain maps and videos are kept, other views are not.

A table (CIPA DC-007, "MPF") lists the pictures; it is written again for those that are kept. A gain
map describes how much brighter a bright screen shows each place. It fits the restored picture as it
fitted the hazy one; a second view of the scene, or a preview, would show the haze.
"""

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from unhaze.photo import ifd, inventory, jpeg
from unhaze.photo.picture import BEHIND, GAIN_MAP_SIGN, VIEWS

LARGEST = 1 << 27  # bytes; larger data is not kept
VIEW = struct.Struct("<III")  # kind, size, offset from the end of the picture
FIRST, PREVIEWS = 0x030000, {0x010001, 0x010002}
VERSION, COUNT, ENTRIES = 0xB000, 0xB001, 0xB002
LOOK = 1 << 16  # bytes at the start of a picture that tell its kind
GAIN_MAPS = (b"hdrgm:", jpeg.GAIN_MAP_SIGN, b"HDRGainMap", b"hdrgainmap")
DEPTHS = (b"aux:depth", b"aux:disparity", b"depthmap", b"apdi:Depth")
VIDEO = re.compile(rb"....ftyp(?:isom|iso[2-9]|mp4[12]|qt  |avc1|heic|M4V )", re.DOTALL)
PICTURE = b"\xff\xd8\xff"


@dataclass(frozen=True)
class Behind:
    """`metadata`: what is kept, by keys of `picture`; `held`, `lost`: names of it and of the
    rest.
    """

    metadata: dict[str, bytes]
    held: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def read(file: BinaryIO, found: jpeg.Segments, announces_gain_map: bool) -> Behind:
    """Returns everything behind the first picture of a file that goes on there."""
    size = file.seek(0, 2) - found.behind
    file.seek(found.behind)
    data = file.read(size if size <= LARGEST else LOOK)
    views = _views(found)
    held, lost, kept, cut = [], [], [], []
    for kind, length, at in views:
        if not 0 <= at <= at + length <= size:
            continue
        name = _name(data[at : at + min(length, LOOK)])
        (cut if name is None or kind in PREVIEWS else kept).append((kind, length, at))
        if kind not in PREVIEWS:
            (lost if name is None else held).append(name or inventory.VIEWS)
    video = VIDEO.search(data)
    if not kept and not cut and PICTURE in data[: video.start() if video else None]:
        if announces_gain_map:
            held.append(inventory.GAIN_MAP)
        elif found.views is not None:
            lost.append(inventory.VIEWS)
            cut = [(0, video.start() if video else len(data), 0)]
    if video:
        held.append(inventory.VIDEO)
    if size > LARGEST:
        return Behind({}, (), tuple(dict.fromkeys(held + lost)))
    views = [(kind, n, at - sum(each[1] for each in cut if each[2] < at)) for kind, n, at in kept]
    metadata = {BEHIND: _without(data, cut), VIEWS: b"".join(VIEW.pack(*each) for each in views)}
    if inventory.GAIN_MAP in held:
        metadata[GAIN_MAP_SIGN] = found.gain_map_sign
    metadata = {key: value for key, value in metadata.items() if value}
    return Behind(metadata, tuple(dict.fromkeys(held)), tuple(dict.fromkeys(lost)))


def complete(file: BinaryIO, head: bytes, metadata: dict[str, bytes]) -> None:
    """Adds the segments `head` to a finished file, and what `read` found behind the picture."""
    views = list(VIEW.iter_unpack(metadata.get(VIEWS, b"")))
    head += metadata.get(GAIN_MAP_SIGN, b"")
    if views:
        start = jpeg.place_of_segments(file) + len(head)
        size = file.seek(0, 2) + len(head) + len(_table(views, 0, 0))
        head += _table(views, size, size - start)
    jpeg.insert_segments(file, head)
    file.seek(0, 2)
    file.write(metadata.get(BEHIND, b""))


def without_pictures(metadata: dict[str, bytes]) -> dict[str, bytes]:
    """Removes the pictures of the table; their orientation is that of the picture before it was
    turned.
    """
    kept = {key: metadata[key] for key in metadata if key not in (VIEWS, GAIN_MAP_SIGN)}
    data = metadata.get(BEHIND, b"")
    views = list(VIEW.iter_unpack(metadata.get(VIEWS, b"")))
    video = VIDEO.search(data)
    if not views and data[:3] == PICTURE:
        views = [(0, video.start() if video else len(data), 0)]
    if BEHIND in kept:
        kept[BEHIND] = _without(data, views)
    return kept


def _views(found: jpeg.Segments) -> list[tuple[int, int, int]]:
    """Yields (kind, size, offset from the end of the first) of the pictures in the table after the
    first.
    """
    if found.views is None:
        return []
    place, block = found.views
    entry = ifd.tags_of(block).get(ENTRIES)
    data = entry[1] if isinstance(entry, tuple) else b""
    order = "<" if block[:2] == b"II" else ">"
    entries = [struct.unpack_from(order + "III", data, at) for at in range(16, len(data) - 15, 16)]
    return [(kind & 0xFFFFFF, size, place + at - found.behind) for kind, size, at in entries]


def _name(data: bytes) -> str | None:
    """Returns the name of a picture that may be kept."""
    if any(mark in data for mark in GAIN_MAPS):
        return inventory.GAIN_MAP
    return inventory.DEPTH if any(mark in data for mark in DEPTHS) else None


def _without(data: bytes, pieces: list[tuple[int, int, int]]) -> bytes:
    for _, size, at in sorted(pieces, key=lambda piece: -piece[2]):
        data = data[:at] + data[at + size :]
    return data


def _table(views: list[tuple[int, int, int]], size: int, end: int) -> bytes:
    """Returns the segment; `size`: of the first picture; `end`: its offset, from this segment
    on.
    """
    base = end - 4 - len(jpeg.VIEWS_SIGN)  # offsets count from the TIFF structure in the segment
    entries = struct.pack("<IIIHH", FIRST, size, 0, 0, 0)
    for kind, length, at in views:
        entries += struct.pack("<IIIHH", kind, length, max(0, base + at), 0, 0)
    count = struct.pack("<I", len(views) + 1)
    tags: ifd.Tree = {VERSION: (7, b"0100"), COUNT: (4, count), ENTRIES: (7, entries)}
    return jpeg.segment(jpeg.APP + 2, jpeg.VIEWS_SIGN + ifd.block(tags))
