"""What FFmpeg attached to a frame: how to turn it, and the display it was graded on."""

import ctypes

from av import VideoFrame
from av.sidedata.sidedata import SideData, Type

SMALL = 16  # pixels along a side


def attached(frame: VideoFrame, *kinds: Type) -> list[SideData | None]:
    """The side data of each kind; None where the frame has none.

    PyAV 18 frees the tags of side data twice, as an ICC profile has, and the process dies at some
    later moment. So a small copy is looked at, and what has tags is kept for good.
    """
    copy = frame.reformat(SMALL, SMALL, "gray")
    for each in copy.side_data:
        if each.type == Type.ICC_PROFILE:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))
    return [copy.side_data.get(kind) for kind in kinds]
