"""What FFmpeg attached to a frame: how to turn it, and the display it was graded on."""

import ctypes
from typing import Any

from av import VideoFrame
from av.sidedata.sidedata import Type

SMALL = 16  # pixels along a side


def attached(frame: VideoFrame, *kinds: Type) -> list[Any]:
    """The side data of each kind, a buffer; None where the frame has none.

    PyAV 18 frees the tags of side data twice, as an ICC profile has, and the process dies at some
    later moment. So a small copy is looked at, and what has tags is kept for good.
    """
    found: Any = frame.reformat(SMALL, SMALL, "gray").side_data  # its types know names only
    profile = found.get(Type.ICC_PROFILE)
    if profile is not None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(profile))
    return [found.get(kind) for kind in kinds]
