"""The affine field over time: it moves with the picture, reduces flicker, and restarts at cuts.

A network that sees single frames turns noise into noise of the result, which is visible as flicker.
Haze itself changes slowly, so the field of a video is a running mean in which old estimates fade:
slowly where the picture is static, at once where it changed. For the same reason the network need
not see every frame: its last estimate is kept, and moved along with the camera, until it is too old
or too much of the picture has changed.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.image import LUMA, lanczos, size_within, to_float
from unhaze.restore.analysis import analysis_image
from unhaze.restore.video.changes import (
    CELL,
    CHANGED,
    FADED,
    carried,
    change,
    find_motion,
    in_the_fog_of,
    is_cut,
    taken_up_by_pixels,
)

if TYPE_CHECKING:
    from unhaze.restore.restorer import Restorer

SMOOTHING, HOLD = 0.8, 4  # of `Steadiness`
WORN = 0.02  # share of changed cells at which the network has to run again
# So many times slower than the field its mean light changes where the picture does not: a network
# reacts to the grain of a compressed video, which is another one after each key frame. By that it
# errs by half a level (standard deviation); beyond GRAIN the light follows as the field does, as
# when a cloud comes or goes.
LIGHT, GRAIN = 5, 2 / 255

# Fog makes a scene lighter, not darker: if the restored light of what stands still falls although
# its own does not, too much is removed. A mean over MEMORY frames is the measure, with a margin for
# grain; a frame with more light has the weight RISE in it. Each frame gives up a share of what is
# withheld, and the mean all of it in FORGET frames.
MEMORY, RISE, FORGET, RELEASE, NO_FALL = 64, np.float32(0.5), 160, 0.2, 0.5 / 255

Estimate = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Steadiness:
    """Settings of the temporal smoothing.

    `smoothing` in [0,1): the share of the old field that is kept, where nothing changed, from one
    estimate to the next; 0 turns it off. `hold`: number of frames that one estimate may serve.
    """

    smoothing: float
    hold: int

    def __post_init__(self) -> None:
        """Raises UnhazeError for a value out of range or of a wrong type."""
        if not isinstance(self.hold, int) or self.hold < 1:
            raise UnhazeError(f"hold is {self.hold!r}; expected a whole number from 1")
        if not isinstance(self.smoothing, int | float) or not 0 <= self.smoothing < 1:
            raise UnhazeError(f"smoothing is {self.smoothing!r}; expected 0 (none) to below 1")


@dataclass(frozen=True)
class Moment:
    """What is known at a frame. Luma pictures are (h,w), maps (3,2,h,w), all moved onto that frame.

    `luma`: of the frame. `target`: the last estimate, made `age` frames ago from `target_luma`.
    `maps`: the smoothed field, and `maps_luma`, the luma that it belongs to, equally smoothed.
    `light`: slow means of the luma before and after restoration, (2,h,w), since the picture
    `view`. `share`: of the field that is applied. `frames`: of this scene before this one.
    `rest`: motion (down, right) in pixels too small to be carried out so far.
    `scenes`, `estimates`: how many there were from the first frame to this one.
    """

    luma: np.ndarray
    target: np.ndarray
    target_luma: np.ndarray
    maps: np.ndarray
    maps_luma: np.ndarray
    light: np.ndarray
    view: np.ndarray
    share: float = 1.0
    age: int = 0
    frames: int = 0
    rest: tuple[float, float] = (0.0, 0.0)
    scenes: int = 1
    estimates: int = 1

    @property
    def field(self) -> np.ndarray:
        """The maps (3,2,h,w) to be applied."""
        if self.share == 1:
            return self.maps
        maps = self.share * self.maps
        maps[:, 0] += 1 - self.share
        return maps


def follow(
    before: Moment | None,
    pixels: np.ndarray,
    restorer: "Restorer",
    steadiness: Steadiness,
    *,
    grey: bool = False,
    profile: bytes | None = None,
) -> Moment:
    """Returns the moment of the frame after `before`, with its field.

    `profile`: ICC profile by which the network sees it; None: sRGB.
    """
    small = _shrunk(pixels, restorer.frame_analysis)
    seen = {"grey": grey} | ({} if profile is None else {"profile": profile})
    estimate = functools.partial(restorer.estimate, **seen)
    return next_moment(before, small, estimate, steadiness)


def _shrunk(pixels: np.ndarray, long_side: int) -> np.ndarray:
    """Returns the analysis image; for 8 bits eight times as fast, and rounded: less than a video's
    noise.
    """
    height, width = pixels.shape[:2]
    if max(height, width) <= long_side and pixels.dtype != np.float32:
        return to_float(pixels)
    if pixels.dtype != np.uint8:
        return analysis_image(pixels, long_side)
    small = size_within(pixels.shape, long_side)
    return to_float(lanczos(pixels, small[1] / width, small[0] / height))


def check_estimates(restorer: "Restorer") -> None:
    """Raises UnhazeError for a restorer that works without a field."""
    if restorer.native:
        raise UnhazeError("native works only for photos; leave it out for videos")


def next_moment(
    before: Moment | None, small: np.ndarray, estimate: Estimate, steadiness: Steadiness
) -> Moment:
    """Returns the moment of the next frame, `small` (h,w,3) float32 in [0,1] at analysis size.

    `before`: None for the first frame. `estimate`: `small` -> maps (3,2,h,w).
    """
    luma = small @ LUMA
    if before is None:
        return _first_moment(luma, estimate(small))
    motion = (0.0, 0.0)
    if before.luma.shape == luma.shape:
        motion = find_motion(before.luma, luma)
    # A wrong motion, such as that of a flash, makes no cut.
    if before.luma.shape != luma.shape or (
        is_cut(before.luma, luma) and is_cut(carried(before.luma, motion), luma)
    ):
        first = _first_moment(luma, estimate(small))
        return replace(first, scenes=before.scenes + 1, estimates=before.estimates + 1)
    now = _moved_moment(before, motion)
    worn = np.mean(change(now.target_luma, luma) > CHANGED) > WORN
    worn = worn or abs(_lighter(now.target, luma - now.target_luma)) > GRAIN
    if now.age >= steadiness.hold or worn:
        estimates = before.estimates + 1
        now = replace(now, target=estimate(small), target_luma=luma, age=0, estimates=estimates)
    # In a young scene all frames have equal weight, or the first would dominate.
    weight, young = 1 - steadiness.smoothing ** (1 / steadiness.hold), 1 / (now.frames + 1)
    least = max(weight, young)
    share = taken_up_by_pixels(now.maps_luma, luma, least)
    maps = _between(now.maps, now.target, share)
    if young < weight < 1:  # with no smoothing nothing is still
        still = (1 - share) / (1 - least)
        change_of_light = _light_change(now.maps, maps, luma, still)
        grain = change_of_light.clip(-weight * GRAIN, weight * GRAIN)
        maps[:, 1] -= still * ((1 - 1 / LIGHT) * grain)
    now = replace(now, maps=maps, maps_luma=_between(now.maps_luma, luma, share))
    if weight < 1:
        if is_cut(now.view, luma, FADED):
            now = replace(now, light=_light_of(luma, maps), view=luma)
        fresh = taken_up_by_pixels(in_the_fog_of(luma, now.luma), luma, max(1 / MEMORY, young))
        now = _without_darkening(now, luma, fresh)
    return replace(now, luma=luma)


def _without_darkening(now: Moment, luma: np.ndarray, fresh: np.ndarray) -> Moment:
    """Returns `now` with `light` taken up, and a share of the field by which the restored light of
    what stands still does not fall below its mean, unless that of the picture `luma` (h,w) falls.
    `fresh` (h,w): weight of this frame in `light`, 1 in motion.
    """
    light = _light_of(luma, now.maps)
    still = 1 - fresh[::CELL, ::CELL]
    sums = ((each[::CELL, ::CELL] * still).sum() for each in (*now.light, *light))
    was_hazy, was, hazy, restored = (float(each / max(still.sum(), 1e-6)) for each in sums)
    least = was * min(1.0, hazy / max(was_hazy, 1e-6)) - NO_FALL
    share = 1.0
    if restored < min(least, hazy):
        share -= float(still.mean()) * min(1.0, (least - restored) / (hazy - restored))
    share = min(share, now.share + RELEASE * (share - now.share))
    applied = luma + share * (light[1] - luma)
    if share * restored + (1 - share) * hazy > was:
        fresh = np.maximum(fresh, RISE)
    means = _between(now.light, np.stack([luma, applied]), fresh)
    means[1] += (light[1] - means[1]) / FORGET
    return replace(now, share=share, light=means)


def _light_of(luma: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Returns luma (h,w) and what the green of a field, its largest part, makes of it, (2,h,w)."""
    return np.stack([luma, np.clip(maps[1, 0] * luma + maps[1, 1], 0, 1)])


def _first_moment(luma: np.ndarray, maps: np.ndarray) -> Moment:
    return Moment(luma, maps, luma, maps, luma, _light_of(luma, maps), luma)


def _moved_moment(before: Moment, motion: tuple[float, float]) -> Moment:
    """Moves everything by whole pixels; the rest of the motion is kept for later."""
    wanted = (before.rest[0] + motion[0], before.rest[1] + motion[1])
    return replace(
        before,
        luma=carried(before.luma, wanted),
        target=carried(before.target, wanted),
        target_luma=carried(before.target_luma, wanted),
        maps=carried(before.maps, wanted),
        maps_luma=carried(before.maps_luma, wanted),
        light=carried(before.light, wanted),
        view=carried(before.view, wanted),
        age=before.age + 1,
        frames=before.frames + 1,
        rest=(wanted[0] - round(wanted[0]), wanted[1] - round(wanted[1])),
    )


def _lighter(maps: np.ndarray, change: np.ndarray) -> float:
    """Returns how much lighter a field (3,2,h,w) makes a picture whose luma changes by (h,w)."""
    gain = maps[:, 0, ::CELL, ::CELL].mean(0)
    return float((gain * change[::CELL, ::CELL]).mean())


def _light_change(
    before: np.ndarray, after: np.ndarray, luma: np.ndarray, still: np.ndarray
) -> np.ndarray:
    """Returns by how much the result of a field of the second maps is lighter than one of the first
    on the whole, (3,1,1). `still` (h,w): the weight of each pixel.
    """
    gain, offset = np.moveaxis(after[..., ::CELL, ::CELL] - before[..., ::CELL, ::CELL], 1, 0)
    weight = still[::CELL, ::CELL]
    sums = ((gain * luma[::CELL, ::CELL] + offset) * weight).sum((1, 2))
    return (sums / max(weight.sum(), 1e-6))[:, None, None]


def _between(old: np.ndarray, new: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Interpolates from old to new by `share`."""
    way = new - old
    way *= share
    way += old
    return way
