"""What changes from one frame to the next: motion of the camera, cuts, fog, moving things.

Luma pictures are (h,w) float32 in [0,1], of the size of the analysis.
"""

import math

import numpy as np

from unhaze.image import cell_means, window_mean

CELL = 4  # analysis pixels along the side of a cell, in which change is measured
STILL, CHANGED = 0.015, 0.06  # change of a cell's luma that is noise; that is other content
SURELY = 5  # standard errors by which motion has to explain a change: in fog it is that of grain
# Two frames show different scenes if their details do not correlate. Overall luma is no criterion:
# all hazy scenes become brighter towards the sky. Of the 60 cuts between the photos of the
# benchmark none exceeds a correlation of 0.15, and no hand-held pan is below 0.4.
DETAIL, SURROUND = 8, 1 / 16  # pixels along a cell; radius of its surroundings, in long sides
LIKENESS = 0.3  # correlation of details below which they belong to different scenes
FADED = 0.9  # the same, below which a crossfade has gone so far that light of before does not count
FLAT = 2.5e-5  # variance of details below which they are noise, as in dense fog or black
DARK, BURNT = 0.02, 0.97  # limits of luma beyond which there are no details
# Shares of cells that have to have details, and to have changed, to detect a cut.
SHOWN, SEEN = 0.05, 0.01


def find_motion(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Returns the motion (down, right) in pixels between luma pictures (h,w); (0,0) if unclear.

    Phase correlation of halved pictures (Kuglin and Hines, "The phase correlation image alignment
    method", 1975), refined by a parabola through the peak.
    """
    first, second = _windowed(cell_means(before, 2)), _windowed(cell_means(after, 2))
    if min(first.shape) < 8:
        return 0.0, 0.0
    spectrum = np.fft.rfft2(second) * np.fft.rfft2(first).conj()
    spectrum /= np.abs(spectrum) + 1e-9
    surface = np.fft.irfft2(spectrum, first.shape)
    peak = tuple(map(int, np.unravel_index(int(surface.argmax()), surface.shape)))
    down, right = (2 * _refined(surface, peak, axis) for axis in (0, 1))
    with_motion = np.abs(after - carried(before, (down, right))).mean()
    by_chance = (1 - SURELY / math.sqrt(after.size)) * np.abs(after - before).mean()
    return (down, right) if with_motion < by_chance else (0.0, 0.0)


def is_cut(before: np.ndarray, after: np.ndarray, least: float = LIKENESS) -> bool:
    """Whether two luma pictures (h,w), motion made good, show different scenes: the correlation of
    their details is below `least`.
    """
    coarse = cell_means(before, DETAIL), cell_means(after, DETAIL)
    first, second = map(details, coarse)
    # Cells that a flash has burnt out, or a fade has hidden, are not informative.
    shown = (np.minimum(*coarse) > DARK) & (np.maximum(*coarse) < BURNT)
    if shown.mean() < SHOWN or np.mean(change(before, after) > CHANGED) < SEEN:
        return False
    first, second = first[shown], second[shown]
    energies = float((first**2).mean()), float((second**2).mean())
    likeness = float((first * second).mean()) / math.sqrt(max(FLAT**2, energies[0] * energies[1]))
    return min(energies) > FLAT and likeness < least


def details(coarse: np.ndarray) -> np.ndarray:
    """Returns means of cells, (h,w), minus their surroundings: neither sky nor fine noise."""
    return coarse - window_mean(coarse, max(1, round(SURROUND * max(coarse.shape))))


def change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(h,w) luma pictures -> the change of each cell, 0 to 1."""
    return np.abs(cell_means(after - before, CELL))


def taken_up(changes: np.ndarray, least: float) -> np.ndarray:
    """Returns the weight of the new field in each cell: `least`, or 1 in and beside changes."""
    share = np.clip((changes - STILL) / (CHANGED - STILL), 0, 1)
    height, width = share.shape
    padded = np.pad(share, 1, "edge")
    around = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.float32(least) + np.float32(1 - least) * np.maximum.reduce(around)


def taken_up_by_pixels(before: np.ndarray, after: np.ndarray, least: float) -> np.ndarray:
    """`taken_up` for each pixel of luma pictures (h,w)."""
    share = taken_up(change(before, after), least)
    return share.repeat(CELL, 0).repeat(CELL, 1)[: after.shape[0], : after.shape[1]]


def in_the_fog_of(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Returns luma `before` (h,w) with the contrast and light of `after`, which fog changes."""
    first, second = before[::CELL, ::CELL], after[::CELL, ::CELL]
    means = first.mean(), second.mean()
    first, second = first - means[0], second - means[1]
    contrast = (first * second).mean() / max((first * first).mean(), FLAT)
    return (contrast * (before - means[0]) + means[1]).astype(np.float32)


def carried(values: np.ndarray, motion: tuple[float, float]) -> np.ndarray:
    """Moves (...,h,w) by whole pixels; pixels from outside repeat the border."""
    height, width = values.shape[-2:]
    down = min(max(round(motion[0]), 1 - height), height - 1)
    right = min(max(round(motion[1]), 1 - width), width - 1)
    if down == right == 0:
        return values
    stays = values[
        ..., max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)
    ]
    margins = ((max(0, down), max(0, -down)), (max(0, right), max(0, -right)))
    return np.pad(stays, ((0, 0),) * (values.ndim - 2) + margins, "edge")


def _windowed(luma: np.ndarray) -> np.ndarray:
    """Removes the mean and fades towards the border, so that a Fourier transform sees no edge
    there.
    """
    down, right = (np.hanning(size).astype(np.float32) for size in luma.shape)
    return (luma - luma.mean()) * down[:, None] * right


def _refined(surface: np.ndarray, peak: tuple[int, ...], axis: int) -> float:
    """Returns the position of a peak along `axis`, between pixels; negative beyond the middle."""
    size = surface.shape[axis]
    line = surface.take(peak[1 - axis], 1 - axis)
    left, top, right = (float(line[(peak[axis] + step) % size]) for step in (-1, 0, 1))
    curvature = left - 2 * top + right
    position = peak[axis] + (0.5 * (left - right) / curvature if curvature else 0.0)
    return position - size if position > size / 2 else position
