"""FFmpeg's side data of a frame: its rotation, and the display it was graded on."""

import ctypes
from typing import Any

from av import VideoFrame
from av.sidedata.sidedata import Type

SMALL = 16  # pixels along a side


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
