"""Restores a frame in YUV: the effect of the field in RGB, without converting back and forth.

Luma and chroma are read together, converted to red, green and blue of one pixel in registers, and
back by the same matrix and range. Differs from the way by RGB arrays: the colour of a pixel is that
of its chroma sample, not interpolated between samples, and nothing is rounded in between.
"""

import ctypes
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from av import VideoFrame

from unhaze.restore.field import blend
from unhaze.restore.field_kernel import Yuv, built_kernel, kernel
from unhaze.restore.resources import count_threads

# Shares of red and blue in luma, by the number of the matrix (ISO/IEC 23091-2, table 4).
SHARES = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
PLANAR = re.compile(r"yuva?j?4(?:20|22|44|40)p(?:(?:9|10|12|14|16)le)?")
PARTS = 2  # pixels of a frame per thread


def takes(frame: VideoFrame, matrix: int) -> bool:
    """Returns whether frames of this kind can be restored in YUV here."""
    known = PLANAR.fullmatch(frame.format.name) and matrix in SHARES
    return bool(known) and kernel() is not None


def restore_yuv(
    frame: VideoFrame,
    maps: np.ndarray,
    *,
    matrix: int,
    full_range: bool,
    strength: float = 1.0,
    threads: int = 0,
) -> None:
    """Applies the field, maps (3,2,h,w) as from `fit_field`, to a frame that `takes` accepts.

    Works in place; memory shared with others is copied first. Transparency does not change.
    """
    frame.make_writable()
    told, rows = _told(frame, np.ascontiguousarray(blend(maps, strength)), matrix, full_range)
    parts = min(rows, PARTS * count_threads(threads))
    edges = [rows * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(count_threads(threads)) as pool:
        apply = built_kernel().apply_yuv
        if any(pool.map(lambda one, other: apply(told, one, other), edges, edges[1:])):
            raise MemoryError


def _told(frame: VideoFrame, maps: np.ndarray, matrix: int, full_range: bool) -> tuple[Yuv, int]:
    """Returns the arguments of the kernel, and the number of rows of chroma."""
    bits, planes = frame.format.components[0].bits, frame.planes[:3]
    top, step = (1 << bits) - 1, 1 << (bits - 8)
    pointers = (ctypes.c_void_p * 3)(*(plane.buffer_ptr for plane in planes))
    steps = (ctypes.c_int64 * 3)(*(plane.line_size for plane in planes))
    rows = planes[1].height
    across = int(frame.format.chroma_width(8) < 8)
    down = int(frame.format.chroma_height(8) < 8)
    red, blue = SHARES[matrix]
    told = Yuv(
        *(maps.ctypes.data, *maps.shape[2:]),
        *(frame.width, frame.height, across, down, int(bits > 8), top),
        *(pointers, pointers, steps, steps),
        *((0, top, top) if full_range else (16 * step, 219 * step, 224 * step)),
        *(red, blue),
    )
    told.held = maps  # the kernel has only its address
    return told, rows
