"""Reads the numeric arrays of a MATLAB 5 file (.mat), and nothing else of the format."""

import struct
import zlib
from collections.abc import Iterator
from math import prod

import numpy as np

# Codes of the "MAT-File Format" document for types of elements and classes of arrays.
STORED = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8"}
CLASSES = {6: "<f8", 7: "<f4", 8: "i1", 9: "u1", 10: "<i2", 11: "<u2", 12: "<i4", 13: "<u4"}
MATRIX, COMPRESSED, COMPLEX = 14, 15, 0x0800


def read_arrays(content: bytes, largest: int) -> dict[str, np.ndarray]:
    """Returns name -> real array; skips cells, structures, text and complex arrays.

    ValueError: the file is damaged, big-endian, or unpacks to more than `largest` bytes.
    """
    if content[126:128] != b"IM":
        raise ValueError("it is not of version 5, little-endian")
    arrays: dict[str, np.ndarray] = {}
    try:
        for kind, body in elements(content[128:]):
            if kind == COMPRESSED:
                body = unpack(body, largest)
                largest -= len(body)
                ((kind, body),) = elements(body)
            if kind == MATRIX:
                arrays |= read_array(body)
    except (struct.error, zlib.error) as error:
        raise ValueError(str(error)) from error
    return arrays


def elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields (kind, body) of the consecutive elements in `content`."""
    position = 0
    while position < len(content):
        kind, size = struct.unpack_from("<II", content, position)
        start, small = position + 8, kind >> 16
        if small:  # Up to four bytes are stored in the tag itself.
            kind, size, start = kind & 0xFFFF, small, position + 4
        body = content[start : start + size]
        if len(body) < size:
            raise ValueError("it ends too early")
        yield kind, body
        # Elements start at multiples of eight, except compressed ones.
        position = start + size + (0 if kind == COMPRESSED else -(start + size) % 8)


def unpack(body: bytes, largest: int) -> bytes:
    """Decompresses `body`; raises ValueError beyond `largest` bytes, before they are in memory."""
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(body, largest + 1)
    if len(content) > largest:
        raise ValueError(f"it unpacks to more than {largest} bytes")
    return content


def read_array(body: bytes) -> dict[str, np.ndarray]:
    """Returns {name: array}, or {} for anything but a real numeric array."""
    parts = list(elements(body))
    if len(parts) < 4:
        return {}
    (_, flags), (_, sizes), (_, name), (stored, numbers) = parts[:4]
    (flag,) = struct.unpack_from("<I", flags)
    if flag & 0xFF not in CLASSES or flag & COMPLEX or stored not in STORED:
        return {}
    shape = np.frombuffer(sizes, "<i4").tolist()
    # MATLAB stores integers in the smallest type that fits, regardless of the class of the array.
    array = np.frombuffer(numbers, STORED[stored]).astype(CLASSES[flag & 0xFF])
    if min(shape, default=0) < 0 or prod(shape) != len(array):
        raise ValueError(f"an array of shape {shape} has {len(array)} numbers")
    return {name.decode("ascii", "replace"): array.reshape(shape, order="F")}
