"""Videos and streams of frames: what the field of a photo is, held steady over time.

Importing this needs no PyAV; `restore_video` and `read_frames` do (extra `video`).
"""

from unhaze.restore.video.containers import TARGET_SUFFIXES, VIDEO_SUFFIXES
from unhaze.restore.video.files import VideoReport, restore_video
from unhaze.restore.video.frames import read_frames, restore_frames

__all__ = [
    "TARGET_SUFFIXES",
    "VIDEO_SUFFIXES",
    "VideoReport",
    "read_frames",
    "restore_frames",
    "restore_video",
]
