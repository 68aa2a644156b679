"""Bytes go into the middle of a finished file, whose rest moves."""

import io
from typing import BinaryIO

BLOCK = 1 << 20


def replace(file: BinaryIO, at: int, count: int, data: bytes) -> None:
    """`count` bytes from `at` on become `data`, which may be longer or shorter."""
    moved, end = len(data) - count, end_of(file)
    starts = range(at + count, end, BLOCK)
    for start in reversed(starts) if moved > 0 else starts:
        if not moved:
            break
        file.seek(start)
        block = file.read(min(BLOCK, end - start))
        file.seek(start + moved)
        file.write(block)
    if moved < 0:
        file.truncate(end + moved)
    file.seek(at)
    file.write(data)


def append(file: BinaryIO, data: bytes) -> None:
    """`data` goes to the end."""
    end_of(file)
    file.write(data)


def end_of(file: BinaryIO) -> int:
    """Bytes in the file; its position is behind them."""
    return file.seek(0, io.SEEK_END)
