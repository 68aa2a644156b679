"""Side effects of restoration: crushed shadows, halos, noise, changed brightness.

FADE rewards darkening, and PSNR needs ground truth; these measures need the input only. Judge them
together with FADE, because a method that changes nothing is harmless. The measures are ours;
`unhaze eval` prints them, and docs/use.md explains them. NumPy only.
"""

import math
from typing import Literal

import numpy as np

BT601 = np.array([0.299, 0.587, 0.114])
BLACK = 8  # levels of luma below which nothing is visible
# Flat: standard deviation below 4 levels over 15 x 15 pixels; bright: above the median.
FLAT_WINDOW, FLAT = 15, 4.0
FINE = 1.5  # pixels, Gaussian; finer detail counts as noise
LEAST_NOISE = 0.25  # levels; lower bound of the input's noise, for drawings without any
# Strong: the upper 3 % of gradients, at least 4 levels per pixel. Beside them, on the bright side,
# a glow is visible NEAR pixels away, and not FAR pixels away.
STRONG, LEAST_EDGE = 97, 4.0
NEAR, FAR = (4, 6, 8, 10, 12), (18, 21, 24, 27, 30)
STEADY = 5.0  # levels; the input must be this flat from NEAR to FAR
PLACES = 4000  # maximum number of edges that are measured

HARM = {
    "luma": "change of the mean luma, percent",
    "at_0": "pixels with a channel at 0, percent",
    "newly_at_0": "pixels with a channel at 0 that had none, percent",
    "at_255": "pixels with a channel at 255, percent",
    "newly_at_255": "pixels with a channel at 255 that had none, percent",
    "black": f"pixels of a luma under {BLACK}, percent",
    "noise_gain": "fine detail of bright, flat places, output over input",
    "halo": "new overshoot beside strong edges, levels of 255",
}


def harm(hazy_hwc: np.ndarray, restored_hwc: np.ndarray) -> dict[str, float]:
    """Returns each measure of `HARM` for (H,W,3) floats in [0,1], rounded to 8 bits as in a file.

    `noise_gain` is NaN if too little is bright and flat, `halo` if too few edges have such places
    beside them.
    """
    hazy, restored = (np.rint(255 * each.astype(np.float64)) for each in (hazy_hwc, restored_hwc))
    before, after = luma(hazy), luma(restored)
    zero, white = (any_channel(restored == level) for level in (0, 255))
    smooth, light = gaussian(before), before.mean()
    return {
        "luma": 100 * (after.mean() / light - 1) if light else math.nan,
        "at_0": 100 * zero.mean(),
        "newly_at_0": 100 * (zero & ~any_channel(hazy == 0)).mean(),
        "at_255": 100 * white.mean(),
        "newly_at_255": 100 * (white & ~any_channel(hazy == 255)).mean(),
        "black": 100 * (after < BLACK).mean(),
        "noise_gain": noise_gain(before, after, smooth),
        "halo": halo(before, after, smooth),
    }


def luma(levels_hwc: np.ndarray) -> np.ndarray:
    """(H,W,3) -> (H,W), BT.601. No matrix product, because it would start threads."""
    red, green, blue = np.moveaxis(levels_hwc, -1, 0)
    return BT601[0] * red + BT601[1] * green + BT601[2] * blue


def any_channel(chosen_hwc: np.ndarray) -> np.ndarray:
    """(H,W,3) booleans -> (H,W); `any` along such a short axis takes ten times as long."""
    return chosen_hwc[..., 0] | chosen_hwc[..., 1] | chosen_hwc[..., 2]


def noise_gain(before: np.ndarray, after: np.ndarray, smooth: np.ndarray) -> float:
    """Returns the ratio of detail finer than FINE, after over before, of luma (H,W) in [0,255].

    Measured where `before` is bright and flat; NaN for 2000 such pixels or fewer. smooth: the
    `gaussian` of `before`.
    """
    mean, squares = (uniform(each) for each in (before, before**2))
    flat = np.sqrt(np.maximum(squares - mean**2, 0)) < FLAT
    flat &= before > np.percentile(before, 50)
    if flat.sum() <= 2000:
        return math.nan
    fine = [each[flat].std() for each in (before - smooth, after - gaussian(after))]
    return float(fine[1] / max(fine[0], LEAST_NOISE))


def halo(before: np.ndarray, after: np.ndarray, smooth: np.ndarray) -> float:
    """Returns mean |change of (NEAR - FAR)| beside strong edges, of luma (H,W) in [0,255].

    smooth: the `gaussian` of `before`.
    """
    down, across = gradients(smooth)
    size = np.hypot(across, down)
    rows, columns = np.nonzero(size >= max(np.percentile(size, STRONG), LEAST_EDGE))
    if len(rows) < 50:
        return math.nan
    some = np.random.default_rng(0).permutation(len(rows))[:PLACES]
    rows, columns = rows[some], columns[some]
    length = size[rows, columns]
    steps = (down[rows, columns] / length, across[rows, columns] / length)

    def beside(luma: np.ndarray, distances: tuple[int, ...]) -> np.ndarray:
        return np.array([at(luma, rows, columns, steps, each) for each in distances])

    near, far = beside(before, NEAR), beside(before, FAR)
    with np.errstate(invalid="ignore"):
        steady = np.concatenate([near, far]).std(0) < STEADY
    steady &= np.isfinite(near).all(0) & np.isfinite(far).all(0)
    if steady.sum() < 30:
        return math.nan
    glow = beside(after, NEAR).mean(0) - beside(after, FAR).mean(0)
    return float(np.abs(glow - (near.mean(0) - far.mean(0)))[steady].mean())


def at(
    luma: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    steps: tuple[np.ndarray, np.ndarray],
    distance: int,
) -> np.ndarray:
    """Returns `luma` at `distance` from places along their (down, across) steps; NaN outside."""
    down = np.rint(rows + steps[0] * distance).astype(int)
    across = np.rint(columns + steps[1] * distance).astype(int)
    height, width = luma.shape
    inside = (down >= 0) & (down < height) & (across >= 0) & (across < width)
    values = luma[down.clip(0, height - 1), across.clip(0, width - 1)]
    return np.where(inside, values, math.nan)


def uniform(plane: np.ndarray) -> np.ndarray:
    """Means of (H,W) over FLAT_WINDOW x FLAT_WINDOW, borders mirrored."""
    weights = np.full(FLAT_WINDOW, 1 / FLAT_WINDOW)
    return filtered(filtered(plane, weights, 0), weights, 1)


def gaussian(plane: np.ndarray) -> np.ndarray:
    """(H,W) under a Gaussian of FINE pixels, truncated at four times that; borders mirrored."""
    radius = int(4 * FINE + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / FINE) ** 2)
    weights /= weights.sum()
    return filtered(filtered(plane, weights, 0), weights, 1)


def gradients(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sobel, down and across, of (H,W), in levels per pixel; mirrored without the border pixel."""
    smooth, slope = np.array([1, 2, 1]) / 4, np.array([-1, 0, 1]) / 2
    down = filtered(filtered(plane, slope, 0, "reflect"), smooth, 1, "reflect")
    return down, filtered(filtered(plane, smooth, 0, "reflect"), slope, 1, "reflect")


def filtered(
    plane: np.ndarray,
    weights: np.ndarray,
    axis: int,
    border: Literal["symmetric", "reflect"] = "symmetric",
) -> np.ndarray:
    """(H,W) correlated with `weights` (odd) along an axis; a `border` of numpy.pad."""
    radius = len(weights) // 2
    margin = [(radius, radius) if each == axis else (0, 0) for each in (0, 1)]
    wide = np.pad(plane, margin, border)
    height, width = plane.shape
    total, product = np.zeros(plane.shape), np.empty(plane.shape)
    for shift, weight in enumerate(weights):
        rows = slice(shift, shift + height) if axis == 0 else slice(None)
        columns = slice(shift, shift + width) if axis == 1 else slice(None)
        total += np.multiply(weight, wide[rows, columns], out=product)
    return total
