"""EXIF blocks and the first directory of TIFF files: tags read one by one, and edited in place.

Both are TIFF structures (TIFF 6.0, BigTIFF; Exif 3.0, 4.6). libvips drops unknown tags, and neither
reads nor writes EXIF in TIFF files. Therefore blocks are copied and edited only in place, so that
offsets inside (as in maker notes) remain valid; `ifd` reads whole directories and writes new ones.
"""

import io
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, BinaryIO

EXIF_TAGS, GPS_TAGS = 34665, 34853  # each points to another directory
ORIENTATION, PHOTOMETRIC = 274, 262
PIXELS_ACROSS, PIXELS_DOWN = 40962, 40963
THUMBNAIL_AT, THUMBNAIL_SIZE = 513, 514
X_RESOLUTION, RESOLUTION_UNIT, NO_UNIT = 282, 296, 1
EXTRA_SAMPLES, UNSPECIFIED = 338, 0  # the latter: not transparency, infrared for example
RGB, CIE_LAB, ICC_LAB = 2, 8, 9  # photometric interpretations
COLOURS = {318, 319}  # white point and primaries: of the samples as encoded

# Bytes of one value by its kind.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
SIZES |= {16: 8, 17: 8, 18: 8}  # only in BigTIFF
MOST = 4096  # limit of entries in a directory

# Returns a JPEG of at most this many bytes, or None if there is none.
MakeThumbnail = Callable[[int], bytes | None]


def orientation_of(block: bytes) -> int | None:
    """Returns the orientation of an EXIF block, 1-8; None if there is no valid one."""
    number = unless_damaged(_first_number, io.BytesIO(block), ORIENTATION)
    return number if number in range(1, 9) else None


def first_number(file: BinaryIO, tag: int) -> int | None:
    """Returns the first value of a tag in the first directory of a TIFF file; None if there is
    none.
    """
    return unless_damaged(_first_number, file, tag)


def has_unspecified(file: BinaryIO) -> bool:
    """Returns whether the sample after the colours of a TIFF file is not transparency."""
    return first_number(file, EXTRA_SAMPLES) == UNSPECIFIED


def _first_number(file: BinaryIO, tag: int) -> int:
    """Returns the first value of a tag in the first directory. KeyError: there is none."""
    header, directory, _ = first_directory(file)
    return read_integer(file, header, directory[tag])


def has_resolution(file: BinaryIO) -> bool:
    """Returns whether a TIFF file states pixels per inch or centimetre."""
    return bool(unless_damaged(_resolution_unit, file))


def _resolution_unit(file: BinaryIO) -> bool:
    header, directory, _ = first_directory(file)
    unit = directory.get(RESOLUTION_UNIT)
    return X_RESOLUTION in directory and (
        unit is None or read_integer(file, header, unit) != NO_UNIT
    )


def forget_resolution(file: BinaryIO) -> None:
    """Marks the pixels of a TIFF file as having no physical size."""
    header, directory, _ = first_directory(file)
    if RESOLUTION_UNIT in directory:
        overwrite_integer(file, header, directory[RESOLUTION_UNIT], NO_UNIT)


def overwrite(file: BinaryIO, tag: int, value: int) -> None:
    """Overwrites a number in the first directory of a TIFF file. KeyError: there is no such tag."""
    header, directory, _ = first_directory(file)
    overwrite_integer(file, header, directory[tag], value)


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


def edited(exif: bytes, orientation: int, turned: bool, make: MakeThumbnail | None) -> bytes:
    """Returns the block with another orientation and, unless `make` is None, another thumbnail, in
    the same size.

    `turned`: width and height are exchanged. An invalid block does not change.
    """
    changed = io.BytesIO(exif)
    done = unless_damaged(_edit, changed, orientation, turned, make)
    return changed.getvalue() if done and len(changed.getvalue()) == len(exif) else exif


def _edit(file: BinaryIO, orientation: int, turned: bool, make: MakeThumbnail | None) -> bool:
    header, first, pointer = first_directory(file)
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
    file: BinaryIO, header: "Header", second: "dict[int, Entry]", pointer: int, make: MakeThumbnail
) -> None:
    """Writes the thumbnail over the old one. If none fits, the directory is cut off, because the
    old one shows the haze.
    """
    if THUMBNAIL_AT in second:
        place, size = (
            read_integer(file, header, second[tag]) for tag in (THUMBNAIL_AT, THUMBNAIL_SIZE)
        )
        small = make(size)
        if small is not None:
            file.seek(place)
            file.write(small.ljust(size, b"\0"))
            overwrite_integer(file, header, second[THUMBNAIL_SIZE], len(small))
            return
    file.seek(pointer)
    file.write(bytes(4))


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


@dataclass(frozen=True)
class Header:
    """`order`: "<" or ">"; `big`: BigTIFF; `pointer`: offset of the first directory's offset."""

    order: str
    big: bool
    pointer: int

    @property
    def number(self) -> str:
        """Returns the `struct` code of an offset."""
        return "Q" if self.big else "I"


@dataclass(frozen=True)
class Entry:
    """An entry of a directory: `kind` and `count` of its values, and `at`, their offset."""

    kind: int
    count: int
    at: int


def unless_damaged(work: Callable[..., Any], *arguments: Any) -> Any:
    """Returns what `work` returns, or None if the structure is damaged."""
    try:
        return work(*arguments)
    except (ValueError, KeyError, OverflowError, struct.error):
        return None


def first_directory(file: BinaryIO) -> tuple[Header, dict[int, Entry], int]:
    """Returns the header, the entries of the first directory by tag, and the place of the next
    directory's offset.
    """
    header = read_header(file)
    return header, *read_directory(file, header, read_number(file, header, header.pointer))


def read_header(file: BinaryIO) -> Header:
    """Reads byte order and kind of the file. ValueError: not a TIFF structure."""
    file.seek(0)
    start = file.read(4)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or len(start) < 4:
        raise ValueError("no TIFF structure")
    big = struct.unpack(order + "H", start[2:])[0] == 43
    return Header(order, big, 8 if big else 4)


def read_number(file: BinaryIO, header: Header, at: int) -> int:
    """Reads an offset at `at`."""
    file.seek(at)
    return struct.unpack(header.order + header.number, file.read(8 if header.big else 4))[0]


def read_directory(file: BinaryIO, header: Header, start: int) -> tuple[dict[int, Entry], int]:
    """Returns the entries by tag, and the place of the next directory's offset."""
    room = 8 if header.big else 4
    line = struct.Struct(header.order + "HH" + header.number)
    file.seek(start)
    size = struct.Struct(header.order + ("Q" if header.big else "H"))
    (count,) = size.unpack(file.read(size.size))
    if count > MOST:
        raise ValueError(f"{count} entries in a directory")
    lines = file.read(count * (line.size + room))
    at = start + size.size
    entries = {}
    for i in range(count):
        offset = i * (line.size + room)
        tag, kind, length = line.unpack_from(lines, offset)
        if kind not in SIZES:
            continue
        value = at + offset + line.size
        if length * SIZES[kind] > room:
            (value,) = struct.unpack_from(header.order + header.number, lines, offset + line.size)
        entries[tag] = Entry(kind, length, value)
    return entries, at + len(lines)


def read_integer(file: BinaryIO, header: Header, entry: Entry) -> int:
    """Returns the first value of an entry of 2 or 4 bytes."""
    file.seek(entry.at)
    letter = {3: "H", 4: "I"}[entry.kind]
    return struct.unpack(header.order + letter, file.read(SIZES[entry.kind]))[0]


def overwrite_integer(file: BinaryIO, header: Header, entry: Entry, value: int) -> None:
    """Overwrites the first value of an entry."""
    file.seek(entry.at)
    file.write(struct.pack(header.order + {3: "H", 4: "I"}[entry.kind], value))


def bytes_of(file: BinaryIO, tag: int) -> bytes:
    """Returns a tag of the first directory as it is stored; empty if there is none."""
    return unless_damaged(_bytes_of, file, tag) or b""


def numbers_of(file: BinaryIO, tag: int) -> tuple[int, ...]:
    """Returns the values, of two bytes each; empty if there are none."""
    return unless_damaged(_numbers_of, file, tag) or ()


def overwrite_numbers(file: BinaryIO, tag: int, numbers: tuple[int, ...]) -> None:
    """Overwrites values of two bytes each; their number does not change."""
    header, directory, _ = first_directory(file)
    entry = directory[tag]
    count = min(entry.count, len(numbers))
    file.seek(entry.at)
    file.write(struct.pack(f"{header.order}{count}H", *numbers[:count]))


def _bytes_of(file: BinaryIO, tag: int) -> bytes:
    entry = first_directory(file)[1][tag]
    file.seek(entry.at)
    return file.read(entry.count * SIZES[entry.kind])


def _numbers_of(file: BinaryIO, tag: int) -> tuple[int, ...]:
    data, order = _bytes_of(file, tag), read_header(file).order
    return struct.unpack(f"{order}{len(data) // 2}H", data)
