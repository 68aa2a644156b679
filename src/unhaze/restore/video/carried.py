"""Side data of frames: kept if the encoder writes it, otherwise reported."""

import ctypes
from collections.abc import Iterable
from typing import Any

from av import VideoFrame
from av.sidedata.sidedata import SideDataContainer, Type

SMALL = 16  # pixels along a side
# For each kind of FFmpeg's side data: its name for users, and the encoders that write it.
CARRIED: dict[Type, tuple[str, tuple[str, ...]]] = {
    Type.A53_CC: ("closed captions", ("libx264",)),
    Type.STEREO3D: ("the layout of stereo 3D", ("libx264",)),
    Type.SPHERICAL: ("the mark as a 360-degree video", ()),
    Type.MASTERING_DISPLAY_METADATA: ("the mastering display of HDR", ("libx265",)),
    Type.CONTENT_LIGHT_LEVEL: ("the light level of HDR", ("libx265",)),
    Type.DYNAMIC_HDR_PLUS: ("the metadata of HDR10+", ()),
    Type.DYNAMIC_HDR_VIVID: ("the metadata of HDR Vivid", ()),
    Type.DOVI_METADATA: ("the metadata of Dolby Vision", ()),
}
# Codecs of still pictures, by FFmpeg's names. They have only ICC profiles, for which side data
# must not be read frame by frame in PyAV 18 (see `attached`).
STILL = {"png", "apng", "mjpeg", "tiff", "webp", "jpegxl", "jpeg2000", "bmp", "exr", "gif"}


def carried_by(frame: VideoFrame) -> set[Type]:
    """Returns the kinds of CARRIED that a frame has.

    Uses a container of its own: `frame.side_data` and its frame reference each other, and the
    memory of the frame would wait for Python's garbage collector.
    """
    container: Any = SideDataContainer  # its types know neither this call nor `get` by kinds
    held = container(frame)
    return {kind for kind in CARRIED if held.get(kind) is not None}


def left_out(carried: Iterable[Type], encoder: str, codec: str) -> str | None:
    """Returns a note on side data in `carried` that the encoder of a `codec` does not write."""
    found = set(carried)
    lost = [
        words
        for kind, (words, writers) in CARRIED.items()
        if kind in found and encoder not in writers
    ]
    return f"this {codec} does not keep {', '.join(lost)}" if lost else None


def attached(frame: VideoFrame, *kinds: Type) -> list[Any]:
    """Returns the side data of each kind, a buffer; None if the frame has none.

    PyAV 18 frees the tags of side data twice, such as those of an ICC profile, and the process
    crashes some time later. Therefore a small copy is examined, and side data with tags is kept for
    ever.
    """
    found: Any = frame.reformat(SMALL, SMALL, "gray").side_data  # its types know names only
    profile = found.get(Type.ICC_PROFILE)
    if profile is not None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(profile))
    return [found.get(kind) for kind in kinds]
