"""Converts decoded frames to RGB arrays and back, with the colour matrix and range of the source,
and restores frames in YUV without converting them.
"""

import ctypes
import functools
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from av import Packet, VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from unhaze.photo.profile import from_numbers
from unhaze.restore.field import Yuv, blend, built_kernel, kernel
from unhaze.restore.resources import count_threads
from unhaze.restore.video.ahead import timed

# The fast paths of FFmpeg's converter deviate by up to 3 levels and repeat chroma; these do not.
EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
# For a smaller picture: within 55 dB of libvips' result in RGB. Without the last flag chroma is
# halved on the way, and the field changes by 42 dB.
SMOOTH = Interpolation.LANCZOS | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
RGB, UNSPECIFIED = 0, 2  # as matrices (ISO/IEC 23091-2)
# Of transfer and primaries, there as well: WIDE are those of BT.2020 and of P3.
BT709, BT2020, PQ, HLG, WIDE = 1, 9, 16, 18, (9, 11, 12)
HIGH_DEFINITION = 720  # rows from which on players assume BT.709 for an untagged video
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


@dataclass(frozen=True)
class Picture:
    """A frame with its time, everything that FFmpeg attached to it, and its decoded format.

    `frame`: in RGB, or as decoded; then `pixels` is None. `pixels`: (H,W,3), or (H,W,4) with alpha,
    uint8 or uint16: the memory of `frame`, so that writing there changes it. `small`: (h,w,3) of
    these types, in RGB, for the network; None if there are `pixels`, or nothing is to be done.
    `transfer`, `primaries`: as tagged, by their numbers in ISO/IEC 23091-2. `layout`: FFmpeg's name
    of the pixel format it was decoded to. `matrix`: of YUV, by its number there; for a source in
    RGB, the one to use if it has to become YUV. `turns`: quarter turns to the left for display.
    """

    frame: VideoFrame
    pixels: np.ndarray | None
    small: np.ndarray | None
    layout: str
    matrix: int
    full_range: bool
    turns: int
    grey: bool
    interlaced: bool
    transfer: int
    primaries: int


def to_pictures(
    items: Iterable[VideoFrame | Packet],
    size: tuple[int, int],
    seconds: dict[str, float],
    *,
    in_rgb: bool = True,
    analysis: int | None = None,
    wanted: Callable[[VideoFrame], bool] = lambda frame: True,
) -> Generator[Picture | Packet, None, None]:
    """Yields frames, all of one `size` (width, height), in RGB or as decoded; packets are passed
    on.

    `analysis`: long side in pixels of a small RGB picture, which frames get that can be restored as
    decoded. `wanted`: whether a frame has to be seen at all; others are passed on as decoded.
    `seconds` as in `timed`.
    """
    converters = VideoReformatter(), VideoReformatter()
    waiting = iter(items)
    while True:
        with timed(seconds, "read"):
            item = next(waiting, None)
            if isinstance(item, VideoFrame):
                seen = in_rgb and wanted(item)
                item = _to_picture(item, converters, size, seen, analysis)
        if item is None:
            return
        yield item


def to_frame(
    picture: Picture, converter: VideoReformatter, layout: str, full_range: bool
) -> VideoFrame:
    """Converts the picture to the pixel format `layout` and that range, for an encoder."""
    if picture.frame.format.name == layout and full_range == picture.full_range:
        return picture.frame
    return converter.reformat(
        picture.frame,
        format=layout,
        src_colorspace=picture.matrix,
        dst_colorspace=picture.matrix,
        src_color_range=_range(picture.full_range),
        dst_color_range=_range(full_range),
        interpolation=EXACT,
        threads=1,
    )


def profile_of(picture: Picture) -> bytes | None:
    """Returns the ICC profile by which the network sees it, for PQ, HLG and wide gamuts.

    None for everything that is shown like sRGB: BT.709, BT.601, and untagged video.
    """
    primaries, transfer = picture.primaries, picture.transfer
    bright = transfer in (PQ, HLG)
    if picture.grey or not (bright or primaries in WIDE):
        return None
    return _profile(primaries if primaries in WIDE else BT2020, transfer if bright else BT709)


_profile = functools.lru_cache(from_numbers)


def _to_picture(
    frame: VideoFrame,
    converters: tuple[VideoReformatter, VideoReformatter],
    size: tuple[int, int],
    in_rgb: bool,
    analysis: int | None,
) -> Picture:
    """Converts to RGB; 8 bits per channel stay 8 and more become 16."""
    parts, layout, matrix = frame.format.components, frame.format.name, _matrix(frame)
    deep = max(part.bits for part in parts) > 8
    alpha = any(part.is_alpha for part in parts) or frame.format.has_palette
    names = {(0, 0): "rgb24", (0, 1): "rgba", (1, 0): "rgb48le", (1, 1): "rgba64le"}
    kind = np.dtype("<u2") if deep else np.dtype(np.uint8)
    full_range, small = _is_full(frame), None
    in_yuv = in_rgb and analysis is not None and takes(frame, matrix)
    if in_yuv and analysis is not None:
        scale = min(1.0, analysis / max(size))
        sides = [max(1, round(side * scale)) for side in size]
        how = EXACT if scale == 1 else SMOOTH
        shrunk = _converted(converters[1], frame, sides, names[deep, False], how)
        small = _pixels(shrunk, kind, 3)
    pixels, wanted = None, names[deep, alpha] if in_rgb and not in_yuv else layout
    converted = _converted(converters[0], frame, size, wanted, EXACT)
    if in_rgb and not in_yuv:
        pixels = _pixels(converted, kind, 4 if alpha else 3)
    return Picture(
        frame=converted,
        pixels=pixels,
        small=small,
        layout=layout,
        matrix=matrix,
        full_range=full_range,
        turns=round(frame.rotation / 90) % 4,
        grey=layout.startswith("gray"),
        interlaced=frame.interlaced_frame,
        transfer=int(frame.color_trc),
        primaries=int(frame.color_primaries),
    )


def _converted(
    converter: VideoReformatter,
    frame: VideoFrame,
    size: Sequence[int],
    layout: str,
    how: Interpolation,
) -> VideoFrame:
    """Converts the frame to that size and pixel format; returns it unchanged if it has both."""
    if (layout, *size) == (frame.format.name, frame.width, frame.height):
        return frame
    width, height = size
    return converter.reformat(
        frame,
        width,
        height,
        layout,
        src_colorspace=_matrix(frame),
        src_color_range=_range(_is_full(frame)),
        interpolation=how,
        threads=1,
    )


def _pixels(rgb: VideoFrame, kind: np.dtype, channels: int) -> np.ndarray:
    plane = rgb.planes[0]
    strides = (plane.line_size, channels * kind.itemsize, kind.itemsize)
    memory = memoryview(plane)  # pyright: ignore[reportArgumentType]  # a buffer, says its C code
    return np.ndarray((rgb.height, rgb.width, channels), kind, memory, strides=strides)


def _range(full: bool) -> ColorRange:
    return ColorRange.JPEG if full else ColorRange.MPEG


def _is_full(frame: VideoFrame) -> bool:
    """Returns whether its samples use the full range, by the rule of FFmpeg's converter if
    untagged.
    """
    if frame.color_range != ColorRange.UNSPECIFIED:
        return frame.color_range == ColorRange.JPEG
    return frame.format.name.startswith(("yuvj", "gray"))


def _matrix(frame: VideoFrame) -> int:
    """Returns the matrix as tagged, or as players assume for an untagged frame."""
    if frame.colorspace not in (UNSPECIFIED, RGB):
        return frame.colorspace
    return Colorspace.ITU709 if frame.height >= HIGH_DEFINITION else Colorspace.ITU601


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

    Works in place; memory shared with others is copied first. Transparency does not change. Luma
    and chroma are read together, converted to red, green and blue of one pixel in registers, and
    back by the same matrix and range. Differs from the way by RGB arrays: the colour of a pixel is
    that of its chroma sample, not interpolated between samples, and nothing is rounded in between.
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
