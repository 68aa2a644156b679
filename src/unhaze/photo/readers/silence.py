"""Captures what C libraries print to stdout and stderr instead of raising errors."""

import contextlib
import ctypes
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import BinaryIO

ALONE = threading.Lock()  # all threads share both streams


@contextlib.contextmanager
def silent(*words: str) -> Iterator[list[str]]:
    """Yields a list, filled at the end with the lines that contain one of `words`; these are not
    printed.

    Other output is printed afterwards.
    """
    taken: list[str] = []
    signs = [word.encode() for word in words]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, ALONE:
        _flush()
        kept = [os.dup(1), os.dup(2)]
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            yield taken
        finally:
            _flush()
            for number, (descriptor, printed) in enumerate(zip(kept, (out, err)), start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
                _sort(printed, number, signs, taken)


def _sort(printed: BinaryIO, descriptor: int, signs: list[bytes], taken: list[str]) -> None:
    printed.seek(0)
    rest = b""
    for line in printed:
        if any(sign in line for sign in signs):
            taken.append(line.decode(errors="replace").strip())
        else:
            rest += line
    if rest:
        os.write(descriptor, rest)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with contextlib.suppress(OSError, TypeError, AttributeError):  # Windows
        ctypes.CDLL(None).fflush(None)
