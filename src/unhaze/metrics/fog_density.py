"""FADE: the fog density of a picture, without a reference. Lower is clearer.

Choi, You, Bovik, "Referenceless Prediction of Perceptual Fog Density and Perceptual Image
Defogging", IEEE TIP 24(11), 2015. The stored statistics come from the authors' MATLAB release
(FADE-NOTICE.txt). The value depends on the size of the picture, and rewards contrast and
saturation: an over-enhanced picture can score best, so never report it alone.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from unhaze.errors import UnhazeError
from unhaze.metrics import fade_kernel

PATCH = 8
SMALLEST = 16
BORDER = 10
BAND = 32  # rows that are processed at once, which fit into the cache; a multiple of PATCH
RUN = 32  # results of one convolution that are computed at once
# Noise thresholds of the contrast energy of gray, blue-yellow and red-green, on a 0-255 scale.
THRESHOLDS = (255 * 9.225496406e-4, 255 * 8.969246660e-4, 255 * 2.069284034e-4)


def fade(picture_hwc: np.ndarray) -> float:
    """Perceptual fog density of (H,W,3) RGB in [0,1], at least 16x16.

    Clear photos score 0.1 to 0.3, dense fog 4 and more.
    The picture is rounded to 8 bits and cropped to multiples of 8, as FADE is defined.
    NaN if no patch has a score, as in a black picture. UnhazeError: too small, or not floats.
    """
    if picture_hwc.dtype.kind != "f":
        raise UnhazeError(
            f"FADE was given {picture_hwc.dtype}; expected floats in [0,1] (to_float)"
        )
    height, width = (side - side % PATCH for side in picture_hwc.shape[:2])
    if min(height, width) < SMALLEST:
        given = f"{picture_hwc.shape[1]}x{picture_hwc.shape[0]}"
        raise UnhazeError(f"FADE needs a picture of at least {SMALLEST}x{SMALLEST}, not {given}")
    rgb = np.rint(np.clip(picture_hwc[:height, :width], 0, 1).astype(np.float64) * 255)
    features = fog_features(rgb)
    fogfree, foggy = (distances(features, kind) for kind in ("fogfree", "foggy"))
    if np.isnan(fogfree).all():
        return float("nan")
    return float(np.nanmean(fogfree) / np.nanmean(foggy))


def fog_features(rgb: np.ndarray) -> np.ndarray:
    """log(1 + each of the twelve features) of each 8x8 patch: (patches, 12) from 0-255 RGB.

    NaN where a patch has fewer than two products of one sign.
    """
    red, green, blue = colours = np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
    gray = np.rint(0.2989 * red + 0.5870 * green + 0.1140 * blue)
    opponents = (0.299 * red + 0.587 * green + 0.114 * blue, (red + green) / 2 - blue, red - green)
    energies = [contrast_energy(each) for each in opponents]
    blurred = gray, blur(gray), blur(gray**2)
    largest = [each.max() for each in energies]
    height, found = len(gray), []
    for top in range(0, height, BAND):
        rows = slice(top, top + BAND)
        and_above = np.arange(top - 1, min(top + BAND, height))  # above the first is the last
        around = [each[and_above] for each in blurred]
        parts = [each[rows] for each in energies]
        seen = list(map(above_noise, parts, largest, THRESHOLDS))
        found.append(band_features(colours[:, rows], around, seen))
    return np.log1p(np.concatenate(found))


def band_features(
    colours: np.ndarray, around: Sequence[np.ndarray], energies: Sequence[np.ndarray]
) -> np.ndarray:
    """The twelve features of each patch of h rows, (patches, 12).

    `colours` (3,h,w): red, green, blue. `around`: gray, its local mean and that of its squares,
    each (h+1,w), from one row above. `energies`: contrast energies, each (h,w).
    """
    red, green, blue = colours
    gray, mean, squares = around
    deviation = np.sqrt(np.abs(squares - mean**2))
    normalised = (gray - mean) / (deviation + 1)
    products = patches(normalised[1:] * normalised[:-1])
    gray, mean, deviation, normalised = gray[1:], mean[1:], deviation[1:], normalised[1:]
    darkest = np.minimum(np.minimum(red, green), blue)
    brightest = np.maximum(np.maximum(red, green), blue)
    saturation = (brightest - darkest) / np.where(brightest > 0, brightest, 1)
    opponents = red - green, (red + green) / 2 - blue
    spread = variance(patches(opponents[0])) + variance(patches(opponents[1]))
    colourfulness = np.sqrt(spread) + 0.3 * np.hypot(*map(means, opponents))
    columns = [
        variance(patches(normalised)),
        variance_where(np.maximum(products, 0), products >= 0),
        variance_where(np.minimum(products, 0), products <= 0),
        means(deviation),
        means(deviation / np.where(mean > 0, mean, np.nan)),
        *map(means, energies),
        entropy(patches(gray)),
        means(darkest) / 255,
        means(saturation),
        colourfulness,
    ]
    return np.stack(columns, axis=1)


def distances(features: np.ndarray, kind: str) -> np.ndarray:
    """Mahalanobis-like distance of each patch to a corpus, "fogfree" or "foggy".

    sqrt(d^T ((C + v)/2)^-1 d): v, the variance of the patch's twelve features, is added to every
    entry of C. That is a rank-one change, inverted for all patches at once (Sherman-Morrison).
    """
    stored = statistics()
    inverse = np.linalg.inv(stored[f"{kind}_covariance"])
    difference = features - stored[f"{kind}_mean"]
    spread = features.var(axis=1, ddof=1)
    weighted = difference @ inverse
    along = weighted.sum(axis=1)
    square = (weighted * difference).sum(axis=1) - spread * along**2 / (1 + spread * inverse.sum())
    return np.sqrt(2 * square)


def patches(plane: np.ndarray) -> np.ndarray:
    """(H,W) with sides in multiples of 8 -> (patches, 64)."""
    height, width = plane.shape
    blocks = plane.reshape(height // PATCH, PATCH, width // PATCH, PATCH)
    return blocks.swapaxes(1, 2).reshape(-1, PATCH * PATCH)


def means(plane: np.ndarray) -> np.ndarray:
    """(H,W) -> the mean of each patch, in the order of `patches`."""
    rows = plane.reshape(-1, PATCH, plane.shape[1]).sum(axis=1)
    return rows.reshape(-1, PATCH).sum(axis=1) / PATCH**2


def variance(values: np.ndarray) -> np.ndarray:
    """Sample variance of each row."""
    difference = values - values.mean(axis=1, keepdims=True)
    return np.einsum("ij,ij->i", difference, difference) / (values.shape[1] - 1)


def variance_where(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Sample variance of the selected entries of each row; NaN for rows with fewer than two.

    values: 0 where they are not selected.
    """
    count = chosen.sum(axis=1)
    mean = values.sum(axis=1) / np.maximum(count, 1)
    # Unselected values are 0, and their squared difference is that of the mean.
    difference = values - mean[:, None]
    squares = np.einsum("ij,ij->i", difference, difference) - (values.shape[1] - count) * mean**2
    return np.where(count > 1, np.maximum(squares, 0) / np.maximum(count - 1, 1), np.nan)


def entropy(levels: np.ndarray) -> np.ndarray:
    """Shannon entropy in bits of the whole numbers 0-255 in each row."""
    rows, length = levels.shape
    share = np.arange(length + 1) / length
    terms = share * np.log2(np.where(share > 0, share, 1))  # of each possible count
    keys = levels.astype(np.int32)
    keys += 256 * np.arange(rows, dtype=np.int32)[:, None]
    counts = np.bincount(keys.ravel(), minlength=256 * rows)
    return -terms[counts].reshape(rows, 256).sum(axis=1)


def blur(plane: np.ndarray) -> np.ndarray:
    """7x7 Gaussian of sigma 7/6, borders repeated, summed tap by tap in reading order.

    The order matters: in a flat patch, the sign of MSCN is that of the rounding error, which
    changes features 2 and 3. This order gives the reference's scores on overexposed skies.
    """
    height, width = plane.shape
    taps = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    kernel = np.outer(taps, taps) / np.outer(taps, taps).sum()
    library = fade_kernel.kernel()
    if library is not None:
        return fade_kernel.convolved(library.blur, plane, kernel)
    padded = np.pad(plane, 3, mode="edge")
    total = np.zeros_like(plane)
    product = np.empty((BAND, width))
    for top in range(0, height, BAND):  # a band fits into the processor's cache
        band = total[top : top + BAND]
        for (row, column), tap in np.ndenumerate(kernel):
            part = padded[top + row : top + row + len(band), column : column + width]
            band += np.multiply(tap, part, out=product[: len(band)])
    return total


def above_noise(energy: np.ndarray, largest: float, threshold: float) -> np.ndarray:
    """Contrast energy, divisively normalised by the largest of the picture, above a threshold."""
    if largest == 0:
        return energy
    seen = energy * largest
    seen /= energy + 0.1 * largest
    seen -= threshold
    return np.maximum(seen, 0, out=seen)


def contrast_energy(plane: np.ndarray) -> np.ndarray:
    """Second-derivative energy."""
    sigma = 3.25
    offset = np.arange(-3 * sigma, 3 * sigma + 1e-9)
    taps = (offset**2 / sigma**4 - 1 / sigma**2) * np.exp(-(offset**2) / (2 * sigma**2))
    taps -= taps.mean()
    taps /= (0.5 * offset**2 * taps).sum()
    library = fade_kernel.kernel()
    if library is not None:
        return fade_kernel.convolved(library.energy, plane, taps)
    # 20 taps reach 9 and 10 samples far; the outer ten rows and columns are repeated as blocks.
    rows, columns = (repeat_blocks(each) for each in (plane, plane.T))
    across = along_rows(rows, taps)
    down = np.ascontiguousarray(along_rows(columns, taps).T)
    return np.sqrt(across * across + down * down)  # np.hypot takes ten times as long


def repeat_blocks(plane: np.ndarray) -> np.ndarray:
    """Repeats the outer ten columns on either side; drops the one that no tap reaches."""
    return np.concatenate([plane[:, :BORDER], plane, plane[:, -BORDER:]], axis=1)[:, 1:]


def along_rows(plane: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Convolves each row where all taps fit: (H,W) -> (H, W - taps + 1).

    A matrix product with the taps along its diagonals, RUN results at a time.
    """
    height, wide = plane.shape[0], plane.shape[1] - taps.size + 1
    runs = -(-wide // RUN)
    padded = np.pad(plane, ((0, 0), (0, runs * RUN - wide)))
    pieces = sliding_window_view(padded, RUN + taps.size - 1, axis=1)[:, ::RUN]
    diagonals = np.zeros((RUN + taps.size - 1, RUN))
    for column in range(RUN):
        diagonals[column : column + taps.size, column] = taps[::-1]
    return (pieces @ diagonals).reshape(height, -1)[:, :wide]


@cache
def statistics() -> dict[str, np.ndarray]:
    """{fogfree,foggy}_{mean,covariance} of the authors' corpora, made by tools/."""
    with (files("unhaze.metrics") / "fade_statistics.npz").open("rb") as file:
        return dict(np.load(file))
