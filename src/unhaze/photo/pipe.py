"""Strips of pixels go to libvips through a pipe, so that it can save a picture that never is whole.

What flows is a PNG whose compression is none (RFC 2083; stored blocks of RFC 1951): the only format
that libvips reads from a pipe strip by strip. Saving has a thread of its own: the main thread, the
only one that Ctrl-C reaches, stays out of libvips meanwhile.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pyvips

from unhaze.photo import png
from unhaze.photo.picture import Stream

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG: grey, grey with alpha, RGB, RGB with alpha
BLOCK = 1 << 20


def save_through_pipe(stream: Stream, save: Callable[[pyvips.Image], None]) -> None:
    """Calls `save` with the picture, to be read once, from its first row to its last.

    What goes wrong with the strips is raised as it is, else what goes wrong in `save`.
    """
    reading_end, writing_end = os.pipe()
    ended = Event()
    # The pipe is closed before the thread is waited for: after an error or Ctrl-C it runs dry.
    with ThreadPoolExecutor(1) as thread, os.fdopen(writing_end, "wb") as pipe:
        saved = thread.submit(_save, reading_end, save, ended)
        for piece in _png(stream):
            if ended.is_set():
                break
            pipe.write(piece)
    saved.result()


def _save(reading_end: int, save: Callable[[pyvips.Image], None], ended: Event) -> None:
    try:
        source = pyvips.Source.new_from_descriptor(reading_end)
        save(pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error"))
    finally:
        ended.set()
        while os.read(reading_end, BLOCK):  # or the other end would wait for ever
            pass
        os.close(reading_end)


def _png(stream: Stream) -> Iterator[bytes | np.ndarray]:
    """The bytes of the file in order."""
    height, width, channels = stream.shape
    depth = 8 * stream.dtype.itemsize
    yield png.SIGNATURE
    header = struct.pack(">IIBBBBB", width, height, depth, COLOUR_TYPES[channels], 0, 0, 0)
    yield from _chunk(b"IHDR", header)
    packer = zlib.compressobj(0)
    for strip in stream.strips:
        samples = strip.astype(stream.dtype.newbyteorder(">"), copy=False)
        samples = np.ascontiguousarray(samples).view(np.uint8).reshape(len(strip), -1)
        rows = np.empty((len(strip), 1 + samples.shape[1]), np.uint8)
        rows[:, 0] = 0  # no filter
        rows[:, 1:] = samples
        yield from _chunk(b"IDAT", packer.compress(rows))
    yield from _chunk(b"IDAT", packer.flush())
    yield from _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> Iterator[bytes]:
    yield struct.pack(">I", len(data)) + kind
    yield data
    yield struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
