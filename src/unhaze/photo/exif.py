"""EXIF blocks and the tags of TIFF files, both of which are TIFF structures (TIFF 6.0; Exif 3.0,
4.6).

libvips drops unknown tags, and neither reads nor writes EXIF in TIFF files. Therefore blocks are
copied and edited only in place, so that offsets inside (as in maker notes) remain valid.
"""

import io
import struct
from collections.abc import Callable, Collection
from typing import Any, BinaryIO

import numpy as np

from unhaze.photo.directories import (
    LITTLE,
    SIZES,
    WORDS,
    Entry,
    Header,
    overwrite_integer,
    read_directory,
    read_header,
    read_integer,
    read_number,
    unless_damaged,
)
from unhaze.photo.iptc import for_tiff, from_tags

EXIF_TAGS, GPS_TAGS, INTEROPERABILITY = 34665, 34853, 40965  # each points to another directory
POINTERS = {EXIF_TAGS: {INTEROPERABILITY: {}}, GPS_TAGS: {}}
ORIENTATION, RESOLUTION = 274, {282, 283, 296}
PIXELS_ACROSS, PIXELS_DOWN = 40962, 40963
THUMBNAIL_AT, THUMBNAIL_SIZE = 513, 514
IPTC_RECORDS, PHOTOSHOP = 33723, 34377
RESOLUTION_UNIT, NO_UNIT = 296, 1
PHOTOMETRIC = 262
EXTRA_SAMPLES, UNSPECIFIED = 338, 0  # the latter: not transparency, infrared for example
RGB, CIE_LAB, ICC_LAB = 2, 8, 9  # photometric interpretations
# Storage of the pixels of a TIFF file, previews, and what libvips copies (XMP, ICC).
STORAGE = {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284}
STORAGE |= {288, 289, 290, 291, 292, 293, 301, 317, 320, 321, *range(322, 348)}
STORAGE |= {*range(512, 533), 559, 700, 34675, 37724, IPTC_RECORDS, PHOTOSHOP}

PAGE_NUMBER = 297
AS_ENCODED = {b"\0", b"\1", b"\2", b"\3", b"\6"}  # grey, RGB, a palette, YCbCr: not converted
COLOURS = {318, 319}  # white point and primaries: of the samples as encoded

LARGEST = 1 << 22  # bytes of values: more is no description of a photo

# Tag -> (kind, its values in little-endian order), or the directory to which it points.
Tree = dict[int, "tuple[int, bytes] | Tree"]
# Returns a JPEG of at most this many bytes, or None if there is none.
MakeThumbnail = Callable[[int], bytes | None]


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
    header = read_header(file)
    _, following = read_directory(file, header, read_number(file, header, header.pointer))
    return read_number(file, header, following) != 0


def without_lab(file: BinaryIO) -> bytes | None:
    """Returns a TIFF file of 8-bit CIE L*a*b*, which libvips refuses, with its samples marked as
    RGB.
    """
    file.seek(0)
    changed = io.BytesIO(file.read())
    if first_number(changed, PHOTOMETRIC) != CIE_LAB:
        return None
    overwrite(changed, PHOTOMETRIC, RGB)
    return changed.getvalue()


def overwrite(file: BinaryIO, tag: int, value: int) -> None:
    """Overwrites a number in the first directory of a TIFF file. KeyError: there is no such tag."""
    header = read_header(file)
    directory, _ = read_directory(file, header, read_number(file, header, header.pointer))
    overwrite_integer(file, header, directory[tag], value)


def first_number(file: BinaryIO, tag: int) -> int | None:
    """Returns the first value of a tag in the first directory of a TIFF file; None if there is
    none.
    """
    return unless_damaged(_first_number, file, tag)


def orientation_of(block: bytes) -> int | None:
    """Returns the orientation of an EXIF block, 1-8; None if there is no valid one."""
    number = unless_damaged(_first_number, io.BytesIO(block), ORIENTATION)
    return number if number in range(1, 9) else None


def has_unspecified(file: BinaryIO) -> bool:
    """Returns whether the sample after the colours of a TIFF file is not transparency."""
    return first_number(file, EXTRA_SAMPLES) == UNSPECIFIED


def _first_number(file: BinaryIO, tag: int) -> int:
    """Returns the first value of a tag in the first directory. KeyError: there is none."""
    header = read_header(file)
    directory, _ = read_directory(file, header, read_number(file, header, header.pointer))
    return read_integer(file, header, directory[tag])


def tags_of(block: bytes) -> Tree:
    """Returns the first directory, with values in little-endian order; empty if it is damaged."""
    return unless_damaged(_read_tree, io.BytesIO(block), {}) or {}


def block(tree: Tree) -> bytes:
    """Returns a TIFF structure with this content."""
    return b"II*\0\x08\0\0\0" + _packed(tree, LITTLE, 8)


def has_resolution(file: BinaryIO) -> bool:
    """Returns whether a TIFF file states pixels per inch or centimetre."""
    return bool(unless_damaged(_resolution_unit, file))


def _resolution_unit(file: BinaryIO) -> bool:
    header = read_header(file)
    directory, _ = read_directory(file, header, read_number(file, header, header.pointer))
    unit = directory.get(RESOLUTION_UNIT)
    return 282 in directory and (unit is None or read_integer(file, header, unit) != NO_UNIT)


def density_of(file: BinaryIO) -> tuple[float, float, bool] | None:
    """Returns pixels per millimetre, horizontal and vertical, and whether a TIFF file counts by
    inches.
    """
    return unless_damaged(_density, file) if has_resolution(file) else None


def _density(file: BinaryIO) -> tuple[float, float, bool]:
    tree = _read_tree(file, {})  # without pointers there are no inner directories
    tags = {tag: each[1] for tag, each in tree.items() if not isinstance(each, dict)}
    across, down = (struct.unpack("<II", tags[tag]) for tag in (282, 283))
    inches = RESOLUTION_UNIT not in tags or struct.unpack("<H", tags[RESOLUTION_UNIT])[0] != 3
    unit = 25.4 if inches else 10.0
    return across[0] / max(1, across[1]) / unit, down[0] / max(1, down[1]) / unit, inches


def forget_resolution(file: BinaryIO) -> None:
    """Marks the pixels of a TIFF file as having no physical size."""
    header = read_header(file)
    directory, _ = read_directory(file, header, read_number(file, header, header.pointer))
    if RESOLUTION_UNIT in directory:
        overwrite_integer(file, header, directory[RESOLUTION_UNIT], NO_UNIT)


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


def edited(exif: bytes, orientation: int, turned: bool, make: MakeThumbnail | None) -> bytes:
    """Returns the block with another orientation and, unless `make` is None, another thumbnail, in
    the same size.

    `turned`: width and height are exchanged. An invalid block does not change.
    """
    changed = io.BytesIO(exif)
    done = unless_damaged(_edit, changed, orientation, turned, make)
    return changed.getvalue() if done and len(changed.getvalue()) == len(exif) else exif


def without(block: bytes, tags: Collection[int]) -> bytes:
    """Returns the block without these entries of its first directory; nothing moves."""
    changed = io.BytesIO(block)
    return changed.getvalue() if unless_damaged(_remove, changed, tags) else block


def _remove(file: BinaryIO, tags: Collection[int]) -> bool:
    header = read_header(file)
    start = read_number(file, header, header.pointer)
    room, size = (20, 8) if header.big else (12, 2)
    file.seek(start)
    (count,) = struct.unpack(header.order + ("Q" if header.big else "H"), file.read(size))
    lines = file.read(count * room)
    following = file.read(8 if header.big else 4)
    each = [lines[at : at + room] for at in range(0, len(lines), room)]
    kept = [line for line in each if struct.unpack(header.order + "H", line[:2])[0] not in tags]
    file.seek(start)
    file.write(struct.pack(header.order + ("Q" if header.big else "H"), len(kept)))
    file.write(b"".join(kept) + following)
    file.write(bytes((count - len(kept)) * room))
    return len(kept) < count


def opaque(data: bytes) -> bytes:
    """Returns an EXIF block that contains only a maker note with `data`."""
    return block({EXIF_TAGS: {37500: (7, data)}})


def _description(tags: Tree) -> Tree:
    """Returns the tags that describe the picture, without those of its storage."""
    return {
        tag: each
        for tag, each in tags.items()
        if tag not in STORAGE and (isinstance(each, dict) or each[0] <= 13)
    }


def _edit(file: BinaryIO, orientation: int, turned: bool, make: MakeThumbnail | None) -> bool:
    header = read_header(file)
    first, pointer = read_directory(file, header, read_number(file, header, header.pointer))
    if ORIENTATION in first:
        overwrite_integer(file, header, first[ORIENTATION], orientation)
    if turned and EXIF_TAGS in first:
        exif, _ = read_directory(file, header, read_number(file, header, first[EXIF_TAGS].at))
        across, down = (
            read_integer(file, header, exif[tag]) for tag in (PIXELS_ACROSS, PIXELS_DOWN)
        )
        overwrite_integer(file, header, exif[PIXELS_ACROSS], down)
        overwrite_integer(file, header, exif[PIXELS_DOWN], across)
    place = read_number(file, header, pointer)
    if place and make is not None:
        _replace_thumbnail(file, header, read_directory(file, header, place)[0], pointer, make)
    return True


def _replace_thumbnail(
    file: BinaryIO, header: "Header", second: dict[int, Entry], pointer: int, make: MakeThumbnail
) -> None:
    """Writes the thumbnail over the old one. If none fits, the directory is cut off, because the
    old one shows the haze.
    """
    if THUMBNAIL_AT in second:
        place, size = (read_integer(file, header, second[tag]) for tag in (513, 514))
        small = make(size)
        if small is not None:
            file.seek(place)
            file.write(small.ljust(size, b"\0"))
            overwrite_integer(file, header, second[THUMBNAIL_SIZE], len(small))
            return
    file.seek(pointer)
    file.write(bytes(4))


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
    # Bytes, whatever kind some programs declare.
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
