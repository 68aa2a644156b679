"""Decoded frames become RGB arrays and back, with the colour matrix and range of the source."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from av import Packet, VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from unhaze.restore.video.ahead import timed

# The fast paths of FFmpeg's converter are up to 3 levels off and repeat chroma; these are not.
EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
RGB, UNSPECIFIED = 0, 2  # as matrices (ISO/IEC 23091-2)
HIGH_DEFINITION = 720  # rows from which on players take an untagged video for BT.709


@dataclass(frozen=True)
class Picture:
    """A frame with its time and all that FFmpeg attached to it, and what it was when decoded.

    `frame`: in RGB, or as decoded if nothing is to be done to it; then `pixels` is None. `pixels`:
    (H,W,3), or (H,W,4) with alpha, uint8 or uint16: the memory of `frame`, so that writing there
    changes it. `layout`: FFmpeg's name of the pixel format it was decoded to. `matrix`: of YUV, by
    its number in ISO/IEC 23091-2; for a source in RGB, the one to use if it has to become YUV.
    `turns`: quarter turns to the left that show it upright.
    """

    frame: VideoFrame
    pixels: np.ndarray | None
    layout: str
    matrix: int
    full_range: bool
    turns: int
    grey: bool
    interlaced: bool


def to_pictures(
    items: Iterable[VideoFrame | Packet],
    size: tuple[int, int],
    seconds: dict[str, float],
    *,
    in_rgb: bool = True,
) -> Iterator[Picture | Packet]:
    """Frames, all of one `size` (width, height), in RGB or as decoded; packets pass.

    `seconds` as in `timed`.
    """
    converter = VideoReformatter()
    waiting = iter(items)
    while True:
        with timed(seconds, "read"):
            item = next(waiting, None)
            if isinstance(item, VideoFrame):
                item = _to_picture(item, converter, size, in_rgb)
        if item is None:
            return
        yield item


def to_frame(
    picture: Picture, converter: VideoReformatter, layout: str, full_range: bool
) -> VideoFrame:
    """The picture in the pixel format `layout` and that range, for an encoder."""
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


def _to_picture(
    frame: VideoFrame, converter: VideoReformatter, size: tuple[int, int], in_rgb: bool
) -> Picture:
    """In RGB, 8 bits a channel stay 8 and more become 16."""
    parts, layout = frame.format.components, frame.format.name
    deep = max(part.bits for part in parts) > 8
    alpha = any(part.is_alpha for part in parts) or frame.format.has_palette
    names = {(0, 0): "rgb24", (0, 1): "rgba", (1, 0): "rgb48le", (1, 1): "rgba64le"}
    wanted = names[deep, alpha] if in_rgb else layout
    converted = frame
    if (wanted, *size) != (layout, frame.width, frame.height):
        converted = converter.reformat(
            frame,
            *size,
            wanted,
            src_colorspace=_matrix(frame),
            src_color_range=_range(_is_full(frame)),
            interpolation=EXACT,
            threads=1,
        )
    kind = np.dtype("<u2") if deep else np.dtype(np.uint8)
    return Picture(
        frame=converted,
        pixels=_pixels(converted, kind, 4 if alpha else 3) if in_rgb else None,
        layout=layout,
        matrix=_matrix(frame),
        full_range=_is_full(frame),
        turns=round(frame.rotation / 90) % 4,
        grey=layout.startswith("gray"),
        interlaced=frame.interlaced_frame,
    )


def _pixels(rgb: VideoFrame, kind: np.dtype, channels: int) -> np.ndarray:
    plane = rgb.planes[0]
    strides = (plane.line_size, channels * kind.itemsize, kind.itemsize)
    return np.ndarray((rgb.height, rgb.width, channels), kind, plane, strides=strides)


def _range(full: bool) -> ColorRange:
    return ColorRange.JPEG if full else ColorRange.MPEG


def _is_full(frame: VideoFrame) -> bool:
    """Whether its samples use the full range, as FFmpeg's converter takes it where no tag says."""
    if frame.color_range != ColorRange.UNSPECIFIED:
        return frame.color_range == ColorRange.JPEG
    return frame.format.name.startswith(("yuvj", "gray"))


def _matrix(frame: VideoFrame) -> int:
    """As tagged, or what players assume of an untagged frame."""
    if frame.colorspace not in (UNSPECIFIED, RGB):
        return frame.colorspace
    return Colorspace.ITU709 if frame.height >= HIGH_DEFINITION else Colorspace.ITU601
