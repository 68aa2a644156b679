"""Restores animations frame by frame, with the temporal smoothing of videos."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyvips

from unhaze.photo.series import Series
from unhaze.restore.analysis import analysis_image
from unhaze.restore.field import apply_field
from unhaze.restore.video.frames import SMOOTHING
from unhaze.restore.video.temporal import Steadiness, next_moment

if TYPE_CHECKING:
    from unhaze.restore.restorer import Restorer


def restored_series(series: Series, restorer: "Restorer", strength: float) -> Series:
    """Returns the series with frames that are restored on demand; pixels hidden by alpha have no
    influence.

    Every frame is analysed, because animations are short and change abruptly.
    """
    if strength == 0:
        return series
    return replace(series, frames=_restored(series.frames, restorer, strength))


def _restored(
    frames: Iterator[np.ndarray], restorer: "Restorer", strength: float
) -> Iterator[np.ndarray]:
    steadiness, moment = Steadiness(SMOOTHING, hold=1), None
    for pixels in frames:
        image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels))
        small = analysis_image(image.copy(interpretation="srgb"), restorer.frame_analysis)
        moment = next_moment(moment, small, restorer.estimate, steadiness)
        colours = np.ascontiguousarray(pixels[..., :3])
        done = apply_field(moment.maps, colours, strength=strength, threads=restorer.threads)
        yield np.concatenate([done, pixels[..., 3:]], axis=2)
