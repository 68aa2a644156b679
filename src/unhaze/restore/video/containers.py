"""Which files are videos, and what a restored one may be named. Needs no PyAV."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Container:
    """FFmpeg's name of it, and the codecs (of `codecs.CODECS`) that players expect there."""

    form: str
    codecs: tuple[str, ...]


MP4 = Container("mp4", ("h264", "h265", "av1"))
MPEG_TS = Container("mpegts", ("h264", "h265"))
# By the suffix of a target.
CONTAINERS = {
    ".mp4": MP4,
    ".m4v": MP4,
    ".mov": Container("mov", ("h264", "h265", "prores")),
    ".mkv": Container("matroska", ("h264", "h265", "av1", "ffv1", "prores")),
    ".webm": Container("webm", ("av1",)),
    ".ts": MPEG_TS,
    ".mts": MPEG_TS,
    ".m2ts": MPEG_TS,
}
TARGET_SUFFIXES = tuple(CONTAINERS)
# What folders are searched for; results of the other ones become .mkv, which holds anything.
VIDEO_SUFFIXES = (*TARGET_SUFFIXES, ".3gp", ".avi", ".flv", ".mpeg", ".mpg", ".mxf", ".ogv", ".wmv")
