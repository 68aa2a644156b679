"""Sends strips of pixels to libvips through a pipe, to save a picture that is never whole in
memory.

The stream is an uncompressed PNG (RFC 2083; stored blocks of RFC 1951), the only format that
libvips reads strip by strip from a pipe. Saving runs in a thread of its own: the main thread, the
only one that Ctrl-C reaches, stays outside libvips meanwhile.
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
STORED = 0xFFFF  # most bytes of a deflate block


def save_through_pipe(stream: Stream, save: Callable[[pyvips.Image], None]) -> None:
    """Calls `save` with the picture, to be read once from its first row to its last.

    Errors of the strips are raised unchanged, otherwise those of `save`. Floats, which PNG does not
    support, are collected first.
    """
    if stream.dtype == np.float32:
        save(pyvips.Image.new_from_array(np.concatenate(list(stream.strips))))
        return
    reading_end, writing_end = os.pipe()
    ended = Event()
    # The pipe is closed before the thread is joined, so that it ends after an error or Ctrl-C.
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


def _png(stream: Stream) -> Iterator[bytes | memoryview]:
    """Yields the bytes of the file in order; the zlib module would copy each of them four times."""
    height, width, channels = stream.shape
    depth = 8 * stream.dtype.itemsize
    yield png.SIGNATURE
    header = struct.pack(">IIBBBBB", width, height, depth, COLOUR_TYPES[channels], 0, 0, 0)
    yield png.chunk(b"IHDR", header)
    yield png.chunk(b"IDAT", b"\x78\x01")
    checksum = 1
    for strip in stream.strips:
        samples = strip.astype(stream.dtype.newbyteorder(">"), copy=False)
        samples = np.ascontiguousarray(samples).view(np.uint8).reshape(len(strip), -1)
        rows = np.empty((len(strip), 1 + samples.shape[1]), np.uint8)
        rows[:, 0] = 0  # no filter
        rows[:, 1:] = samples
        data = rows.reshape(-1).data
        checksum = zlib.adler32(data, checksum)
        yield from _stored(data)
    yield png.chunk(b"IDAT", b"\1\0\0\xff\xff" + struct.pack(">I", checksum))
    yield png.END


def _stored(data: memoryview) -> Iterator[bytes | memoryview]:
    """Returns a chunk of uncompressed blocks."""
    starts = range(0, len(data), STORED)
    yield struct.pack(">I4s", len(data) + 5 * len(starts), b"IDAT")
    checksum = zlib.crc32(b"IDAT")
    for start in starts:
        block = data[start : start + STORED]
        head = struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF)
        checksum = zlib.crc32(block, zlib.crc32(head, checksum))
        yield head
        yield block
    yield struct.pack(">I", checksum)
