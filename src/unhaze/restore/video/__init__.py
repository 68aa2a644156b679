"""Videos and streams of frames: the field of photos, smoothed over time.

Importing this package loads only the names of files, since restoring photos needs no more. PyAV, of
the extra `video`, is loaded when `restore_video` and `read_frames` are called.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unhaze.restore.video.containers import TARGET_SUFFIXES, VIDEO_SUFFIXES

if TYPE_CHECKING:
    from unhaze.restore.video.files import restore_video
    from unhaze.restore.video.frames import read_frames, restore_frames
    from unhaze.restore.video.pipeline import VideoReport

# Name: the module that defines it, loaded on first use.
LATER = {
    "VideoReport": "pipeline",
    "read_frames": "frames",
    "restore_frames": "frames",
    "restore_video": "files",
}

__all__ = [
    "TARGET_SUFFIXES",
    "VIDEO_SUFFIXES",
    "VideoReport",
    "read_frames",
    "restore_frames",
    "restore_video",
]


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module 'unhaze.restore.video' has no attribute '{name}'")
    return getattr(import_module(f"unhaze.restore.video.{LATER[name]}"), name)
