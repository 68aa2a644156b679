"""Previews of a video: one frame before and after, or a clip of split screens."""

from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.container import OutputContainer

from unhaze import photo
from unhaze.atomic import check_target
from unhaze.errors import UnhazeError
from unhaze.photo import Photo, Traits
from unhaze.restore.field import apply_field, check_strength
from unhaze.restore.preview import comparison
from unhaze.restore.video.clock import frame_rate
from unhaze.restore.video.encoders import CODECS
from unhaze.restore.video.pixels import Picture, profile_of, to_pictures
from unhaze.restore.video.reading import Reading, find_video, open_container, read
from unhaze.restore.video.temporal import (
    HOLD,
    SMOOTHING,
    Moment,
    Steadiness,
    check_estimates,
    follow,
)
from unhaze.restore.video.writing import target_file

if TYPE_CHECKING:
    from unhaze.restore.restorer import Restorer

LINE = 0.003  # width of the line between the sides of a split screen, as a share of its width
CLIP_SUFFIXES = (".mp4", ".mkv", ".mov")
TICKS = Fraction(1, 90_000)  # of a second
TICK = 1e-6  # seconds, FFmpeg's own


def preview_frame(
    source: str | Path,
    target: str | Path,
    *,
    restorer: "Restorer",
    at: float | None = None,
    strength: float = 1.0,
    overwrite: bool = False,
) -> None:
    """Writes a picture, hazy beside restored, of the frame that is shown at `at` seconds.

    None: of the middle. UnhazeError: no such frame, `target` exists or is named like no picture.
    """
    target = Path(target)
    photo.check_suffix(target.suffix)
    check_target(target, Path(source), overwrite)
    with open_container(source) as container:
        video = find_video(container, source)
        at = (Reading(container, video).duration or 0) / 2 if at is None else at
        lasting = float(1 / frame_rate(video))  # of a frame, which may have begun before
        reading = Reading(container, video, max(0.0, at - lasting + TICK))
        for _, hazy, restored in _sides(reading, restorer, strength):
            shown = Photo(comparison(hazy, restored), traits=Traits(path=Path(source)))
            photo.write(shown, target, overwrite=overwrite)
            return
        raise UnhazeError(f"'{source}' has no frame at {at:g} s")


def preview_clip(
    source: str | Path,
    target: str | Path,
    *,
    restorer: "Restorer",
    seconds: float,
    at: float | None = None,
    strength: float = 1.0,
    overwrite: bool = False,
) -> int:
    """Writes a clip whose left half is hazy and whose right half is restored; returns its frames.

    Of `seconds` from `at` on, None: around the middle; H.264, without sound. UnhazeError as above.
    """
    target = Path(target)
    if target.suffix.lower() not in CLIP_SUFFIXES:
        raise UnhazeError(
            f"cannot write clips as '{target.suffix}'; expected {', '.join(CLIP_SUFFIXES)}"
        )
    check_target(target, Path(source), overwrite)
    with (
        open_container(source) as container,
        target_file(target, original=Path(source), overwrite=overwrite) as file,
    ):
        video = find_video(container, source)
        whole = Reading(container, video).duration or 0
        start = max(0.0, (whole - seconds) / 2) if at is None else at
        reading = Reading(container, video, start, start + seconds)
        form = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}[target.suffix.lower()]
        frames = 0
        with av.open(file, "w", format=form) as made:
            for time, hazy, restored in _sides(reading, restorer, strength):
                _add(made, split(hazy, restored), time - start)
                frames += 1
            if not frames:
                raise UnhazeError(f"'{source}' has no frame from {start:g} s on")
            made.mux(made.streams.video[0].encode(None))
    return frames


def split(hazy: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """(H,W,3) uint8 twice -> the left half of the first, a white line, the right half of the other;
    with even sides.
    """
    height, width = (side - side % 2 for side in hazy.shape[:2])
    shown = restored[:height, :width].copy()
    shown[:, : width // 2] = hazy[:height, : width // 2]
    line = max(1, round(LINE * width / 2))
    shown[:, max(0, width // 2 - line) : width // 2 + line] = 255
    return shown


def _add(made: OutputContainer, shown: np.ndarray, time: float) -> None:
    if not made.streams.video:
        stream = made.add_stream("libx264", options=dict(CODECS["h264"].options))
        stream.height, stream.width = shown.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TICKS
    frame = av.VideoFrame.from_ndarray(shown, "rgb24")
    frame.pts, frame.time_base = max(0, round(time / TICKS)), TICKS
    made.mux(made.streams.video[0].encode(frame))


def _sides(
    reading: Reading, restorer: "Restorer", strength: float
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Time in seconds, hazy and restored, (H,W,3) uint8 and upright, of each wanted frame."""
    check_strength(strength)
    check_estimates(restorer)
    moment: Moment | None = None
    steadiness = Steadiness(SMOOTHING, HOLD)
    with closing(to_pictures(read(reading), reading.size, {})) as pictures:
        for picture in pictures:
            if not isinstance(picture, Picture) or picture.pixels is None:
                continue
            upright = np.rot90(picture.pixels[..., :3], picture.turns)
            seen = {"grey": picture.grey, "profile": profile_of(picture)}
            moment = follow(moment, upright, restorer, steadiness, **seen)
            hazy = upright if upright.dtype == np.uint8 else (upright >> 8).astype(np.uint8)
            hazy = np.ascontiguousarray(hazy)
            settings = {"strength": strength, "threads": restorer.threads}
            yield reading.time_of(picture.frame), hazy, apply_field(moment.field, hazy, **settings)
