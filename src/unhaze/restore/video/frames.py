"""Frames of any origin as arrays: from a camera, a network stream, a simulation or a file."""

import importlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.extras import explain_missing
from unhaze.image import as_image, check_pixels
from unhaze.restore.analysis import analysis_image
from unhaze.restore.field import apply_field, check_strength
from unhaze.restore.video.ahead import Ahead
from unhaze.restore.video.temporal import (
    HOLD,
    SMOOTHING,
    Steadiness,
    check_estimates,
    follow,
    next_moment,
)

if TYPE_CHECKING:
    from unhaze.photo.series import Series
    from unhaze.restore.restorer import Restorer
    from unhaze.restore.video.reading import Reading


def restore_frames(
    frames: Iterable[np.ndarray],
    restorer: "Restorer",
    *,
    strength: float = 1.0,
    smoothing: float = SMOOTHING,
    hold: int = HOLD,
) -> Iterator[np.ndarray]:
    """Yields restored frames (H,W,3), uint8, uint16 or float32 in [0,1], one by one as they come.

    Each result is a new array of the type and size of its frame. `smoothing`, `hold`: as for
    `restore_video`. UnhazeError: a setting out of range, or not such a frame.
    """
    check_strength(strength)
    steadiness = Steadiness(smoothing, hold)
    check_estimates(restorer)
    return _restored(frames, restorer, strength, steadiness)


def _restored(
    frames: Iterable[np.ndarray], restorer: "Restorer", strength: float, steadiness: Steadiness
) -> Iterator[np.ndarray]:
    moment = None
    for number, pixels in enumerate(frames, start=1):
        check_pixels(pixels, f"frame {number} is")
        moment = follow(moment, pixels, restorer, steadiness)
        yield apply_field(moment.field, pixels, strength=strength, threads=restorer.threads)


def restored_series(series: "Series", restorer: "Restorer", strength: float) -> "Series":
    """Returns an animation with frames that are restored on demand; pixels hidden by alpha have no
    influence.

    Every frame is analysed, because animations are short and change abruptly.
    """
    if strength == 0:
        return series
    return replace(series, frames=_restored_frames(series.frames, restorer, strength))


def _restored_frames(
    frames: Iterator[np.ndarray], restorer: "Restorer", strength: float
) -> Iterator[np.ndarray]:
    steadiness, moment = Steadiness(SMOOTHING, hold=1), None
    for pixels in frames:
        image = as_image(pixels).copy(interpretation="srgb")
        small = analysis_image(image, restorer.frame_analysis)
        moment = next_moment(moment, small, restorer.estimate, steadiness)
        colours = np.ascontiguousarray(pixels[..., :3])
        done = apply_field(moment.field, colours, strength=strength, threads=restorer.threads)
        yield np.concatenate([done, pixels[..., 3:]], axis=2)


def read_frames(
    source: str | Path | IO[bytes],
    *,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    newest: bool = False,
    timeout: float = 10.0,
) -> Iterator[np.ndarray]:
    """Yields upright frames (H,W,3), uint8, or uint16 if the source has more than 8 bits.

    `source`: what FFmpeg opens: a file, a URL (rtsp://, http://), "pipe:0", a device such as
    /dev/video0 with `format` "v4l2", or an open binary file. `options`: FFmpeg's for that source.
    `newest`: for live sources; drops frames that came while the caller was busy. `timeout`: seconds
    without data after which a source counts as lost. UnhazeError: PyAV is missing, the source
    cannot be opened, contains no video, or was lost.
    """
    require_av("reading a video")
    from unhaze.restore.video.reading import Reading, find_video, open_container

    container = open_container(source, format=format, options=options, timeout=timeout)
    frames = _arrays(Reading(container, find_video(container, source)), str(source))
    return _newest(frames) if newest else frames


def _newest(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    with closing(Ahead(frames, 1, newest=True)) as ahead:
        yield from ahead


def _arrays(reading: "Reading", source: str) -> Iterator[np.ndarray]:
    from unhaze.restore.video.pixels import Picture, to_pictures
    from unhaze.restore.video.reading import read

    with reading.container:
        for picture in to_pictures(read(reading), reading.size, {}):
            # With the video alone there are no packets, and without an analysis size all is in RGB.
            assert isinstance(picture, Picture) and picture.pixels is not None
            yield np.rot90(picture.pixels[..., :3], picture.turns).copy()
    if reading.damage.end is not None:
        raise UnhazeError(f"reading '{source}' ended early: {reading.damage.end}")


def require_av(owner: str) -> None:
    """Raises UnhazeError with the command that installs PyAV, which `owner` needs."""
    try:
        importlib.import_module("av")
    except ModuleNotFoundError as error:
        raise explain_missing(error, owner) or error from error
