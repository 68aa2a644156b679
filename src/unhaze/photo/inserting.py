"""Bytes put into a file between those that are there."""

import os
from typing import BinaryIO


def insert(file: BinaryIO, at: int, data: bytes, *, block: int = 1 << 20) -> None:
    """Inserts `data` into a file at `at`; the rest moves, block by block from the end."""
    end = file.seek(0, os.SEEK_END)
    while data and end > at:
        start = max(at, end - block)
        file.seek(start)
        moved = file.read(end - start)
        file.seek(start + len(data))
        file.write(moved)
        end = start
    file.seek(at)
    file.write(data)
