"""Directories of TIFF structures: their places and entries (TIFF 6.0, BigTIFF)."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

# Bytes of one value by its kind, and how many of them the byte order swaps.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
SIZES |= {16: 8, 17: 8, 18: 8}  # only in BigTIFF
WORDS = SIZES | {5: 4, 10: 4}
MOST = 4096  # limit of entries in a directory


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


LITTLE = Header("<", False, 4)


def unless_damaged(work: Callable[..., Any], *arguments: Any) -> Any:
    """Returns what `work` returns, or None if the structure is damaged."""
    try:
        return work(*arguments)
    except (ValueError, KeyError, OverflowError, struct.error):
        return None


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
    header, entry = _entry(file, tag)
    count = min(entry.count, len(numbers))
    file.seek(entry.at)
    file.write(struct.pack(f"{header.order}{count}H", *numbers[:count]))


def _entry(file: BinaryIO, tag: int) -> tuple[Header, Entry]:
    header = read_header(file)
    directory, _ = read_directory(file, header, read_number(file, header, header.pointer))
    return header, directory[tag]


def _bytes_of(file: BinaryIO, tag: int) -> bytes:
    _, entry = _entry(file, tag)
    file.seek(entry.at)
    return file.read(entry.count * SIZES[entry.kind])


def _numbers_of(file: BinaryIO, tag: int) -> tuple[int, ...]:
    header, entry = _entry(file, tag)
    file.seek(entry.at)
    return struct.unpack(f"{header.order}{entry.count}H", file.read(2 * entry.count))
