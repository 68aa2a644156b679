"""Image file directories of TIFF structures (TIFF 6.0), as trees: read whole, and written anew."""

import io
import struct
from typing import Any, BinaryIO

import numpy as np

from unhaze.photo.exif import (
    COLOURS,
    EXIF_TAGS,
    GPS_TAGS,
    ORIENTATION,
    PHOTOMETRIC,
    RESOLUTION_UNIT,
    SIZES,
    X_RESOLUTION,
    Entry,
    Header,
    first_directory,
    has_resolution,
    read_directory,
    read_header,
    read_number,
    unless_damaged,
)
from unhaze.photo.iptc import for_tiff, from_tags

INTEROPERABILITY = 40965  # points to another directory, as EXIF and GPS do
POINTERS = {EXIF_TAGS: {INTEROPERABILITY: {}}, GPS_TAGS: {}}
Y_RESOLUTION = 283
RESOLUTION = {X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT}
PAGE_NUMBER = 297
IPTC_RECORDS, PHOTOSHOP = 33723, 34377
# Storage of the pixels of a TIFF file, previews, and what libvips copies (XMP, ICC).
STORAGE = {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284}
STORAGE |= {288, 289, 290, 291, 292, 293, 301, 317, 320, 321, *range(322, 348)}
STORAGE |= {*range(512, 533), 559, 700, 34675, 37724, IPTC_RECORDS, PHOTOSHOP}
AS_ENCODED = {b"\0", b"\1", b"\2", b"\3", b"\6"}  # grey, RGB, a palette, YCbCr: not converted
WORDS = SIZES | {5: 4, 10: 4}  # bytes that the byte order swaps, by the kind of a value
LARGEST = 1 << 22  # bytes of values: more is no description of a photo
LITTLE = Header("<", False, 4)

# Tag -> (kind, its values in little-endian order), or the directory to which it points.
Tree = dict[int, "tuple[int, bytes] | Tree"]


def from_tiff(file: BinaryIO) -> tuple[bytes | None, bytes | None]:
    """Returns (EXIF block, IPTC as in JPEG) of a TIFF file; None if there is none or it is
    damaged.
    """
    tags = unless_damaged(_read_tree, file, POINTERS)
    if not tags:
        return None, None
    blocks, records = (tags.get(tag, (7, b""))[1] for tag in (PHOTOSHOP, IPTC_RECORDS))
    described = _description(tags)
    gone = {PAGE_NUMBER} if unless_damaged(_has_more, file) else set()
    if tags.get(PHOTOMETRIC, (3, b""))[1][:1] not in AS_ENCODED:
        gone |= COLOURS
    described = {tag: each for tag, each in described.items() if tag not in gone}
    exif = None
    if described.keys() - {ORIENTATION, *RESOLUTION}:
        exif = block(described)
    return exif, from_tags(blocks, records)


def _has_more(file: BinaryIO) -> bool:
    """Returns whether there is another page."""
    header, _, following = first_directory(file)
    return read_number(file, header, following) != 0


def tags_of(block: bytes) -> Tree:
    """Returns the first directory, with values in little-endian order; empty if it is damaged."""
    return unless_damaged(_read_tree, io.BytesIO(block), {}) or {}


def block(tree: Tree) -> bytes:
    """Returns a TIFF structure with this content."""
    return b"II*\0\x08\0\0\0" + _packed(tree, LITTLE, 8)


def opaque(data: bytes) -> bytes:
    """Returns an EXIF block that contains only a maker note with `data`."""
    return block({EXIF_TAGS: {37500: (7, data)}})


def density_of(file: BinaryIO) -> tuple[float, float, bool] | None:
    """Returns pixels per millimetre, horizontal and vertical, and whether a TIFF file counts by
    inches.
    """
    return unless_damaged(_density, file) if has_resolution(file) else None


def _density(file: BinaryIO) -> tuple[float, float, bool]:
    tree = _read_tree(file, {})  # without pointers there are no inner directories
    tags = {tag: each[1] for tag, each in tree.items() if not isinstance(each, dict)}
    across, down = (struct.unpack("<II", tags[tag]) for tag in (X_RESOLUTION, Y_RESOLUTION))
    inches = RESOLUTION_UNIT not in tags or struct.unpack("<H", tags[RESOLUTION_UNIT])[0] != 3
    unit = 25.4 if inches else 10.0
    return across[0] / max(1, across[1]) / unit, down[0] / max(1, down[1]) / unit, inches


def add_to_tiff(file: BinaryIO, exif: bytes | None, iptc: bytes | None) -> None:
    """Adds the content of the blocks to the first directory of a TIFF file, which moves to
    its end.
    """
    tags = unless_damaged(_read_tree, io.BytesIO(exif), POINTERS) if exif else None
    added = _description(tags or {})
    added.pop(ORIENTATION, None)  # written by libvips
    if iptc:
        found = dict(zip((PHOTOSHOP, IPTC_RECORDS), for_tiff(iptc), strict=True))
        added |= {tag: (7, data) for tag, data in found.items() if data}
    if not added:
        return
    header = read_header(file)
    start = read_number(file, header, header.pointer)
    written = _read_tree(file, {}, start)
    end = file.seek(0, io.SEEK_END)
    end += file.write(bytes(-end % 8))
    following = read_number(file, header, read_directory(file, header, start)[1])
    file.seek(end)
    file.write(_packed(written | added, header, end, following))
    file.seek(header.pointer)
    file.write(struct.pack(header.order + header.number, end))


def _description(tags: Tree) -> Tree:
    """Returns the tags that describe the picture, without those of its storage."""
    return {
        tag: each
        for tag, each in tags.items()
        if tag not in STORAGE and (isinstance(each, dict) or each[0] <= 13)
    }


def _read_tree(file: BinaryIO, pointers: dict[int, Any], start: int | None = None) -> Tree:
    """Returns the directory at `start` (default: the first), and those to which its `pointers`
    lead.
    """
    header = read_header(file)
    place = read_number(file, header, header.pointer) if start is None else start
    tree: Tree = {}
    size = 0
    for tag, entry in read_directory(file, header, place)[0].items():
        if tag in pointers:
            inner = read_number(file, header, entry.at)
            if branch := unless_damaged(_read_tree, file, pointers[tag], inner):
                tree[tag] = branch
        elif (size := size + entry.count * SIZES[entry.kind]) <= LARGEST:
            tree[tag] = (entry.kind, _value(file, header, tag, entry))
    return tree


def _value(file: BinaryIO, header: Header, tag: int, entry: Entry) -> bytes:
    file.seek(entry.at)
    data = file.read(entry.count * SIZES[entry.kind])
    if len(data) < entry.count * SIZES[entry.kind]:
        raise ValueError("a value lies outside the file")
    # Bytes, even where programs declare another kind.
    return data if tag in (IPTC_RECORDS, PHOTOSHOP) else _ordered(data, entry.kind, header.order)


def _ordered(data: bytes, kind: int, order: str) -> bytes:
    """Converts from little-endian to `order`, or back."""
    swap = order == ">" and WORDS[kind] > 1
    return np.frombuffer(data, f"u{WORDS[kind]}").byteswap().tobytes() if swap else data


def _packed(tree: Tree, header: Header, start: int, following: int = 0) -> bytes:
    """Returns the directory as stored at `start`, followed by its values and inner directories.

    following: offset of the next directory, 0 for none.
    """
    room = 8 if header.big else 4
    count = struct.pack(header.order + ("Q" if header.big else "H"), len(tree))
    line = struct.Struct(header.order + "HH" + header.number)
    behind = start + len(count) + len(tree) * (line.size + room) + room
    lines, values = b"", b""
    for tag, each in sorted(tree.items()):
        place = struct.pack(header.order + header.number, behind + len(values))
        if isinstance(each, dict):
            kind, length, value = (16 if header.big else 4), 1, place
            values += _packed(each, header, behind + len(values))
        else:
            kind, length = each[0], len(each[1]) // SIZES[each[0]]
            value = each[1]
            if tag not in (IPTC_RECORDS, PHOTOSHOP):
                value = _ordered(value, kind, header.order)
            if len(value) > room:
                values += value
                value = place
        values += bytes(-len(values) % 2)
        lines += line.pack(tag, kind, length) + value.ljust(room, b"\0")
    return count + lines + struct.pack(header.order + header.number, following) + values
