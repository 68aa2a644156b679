"""Estimators of the airlight A, the colour of infinitely distant points."""

import numpy as np


def brightest_of(
    hazy: np.ndarray, haziness: np.ndarray, share: float, *, choice: str = "brightest"
) -> np.ndarray:
    """Returns (3,) float32: a pixel of `hazy` (3,H,W) among the `share` of pixels with most
    `haziness`.

    `choice`: "brightest" selects the one of highest intensity (sum of its channels), "mean"
    averages all of them. haziness: (H,W), of any range.
    """
    count = max(1, round(share * haziness.size))
    hazy, haziness = hazy.reshape(3, -1), haziness.ravel()
    # All that reach the threshold take part, so that ties do not depend on position.
    threshold = np.partition(haziness, haziness.size - count)[haziness.size - count]
    candidates = hazy[:, haziness >= threshold]
    if choice == "mean":
        return candidates.mean(1, dtype=np.float64).astype(np.float32)
    return candidates[:, candidates.sum(0).argmax()]


def quad_tree(hazy: np.ndarray, smallest: int) -> np.ndarray:
    """Returns (3,) float32: the whitest pixel of a bright and flat region of `hazy` (3,H,W).

    The region is found by descending into the best quarter, the one with the largest mean minus
    standard deviation of its values, until it has at most `smallest` pixels (Kim et al., 2013).
    """
    while hazy[0].size > smallest and min(hazy.shape[1:]) > 1:
        middle_row, middle_column = hazy.shape[1] // 2, hazy.shape[2] // 2
        quarters = [
            hazy[:, rows, columns]
            for rows in (slice(middle_row), slice(middle_row, None))
            for columns in (slice(middle_column), slice(middle_column, None))
        ]
        hazy = max(quarters, key=lambda quarter: float(quarter.mean() - quarter.std()))
    pixels = hazy.reshape(3, -1)
    return pixels[:, ((1 - pixels) ** 2).sum(0).argmin()]
