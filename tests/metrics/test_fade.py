"""FADE against a slow reference written from its description, pinned scores, and published ones."""

import csv
import itertools
from importlib.resources import files

import numpy as np
import pytest
from scipy.ndimage import convolve

from unhaze import photo
from unhaze.errors import UnhazeError
from unhaze.haze import add_haze, transmission
from unhaze.image import to_float
from unhaze.metrics import fade_kernel
from unhaze.metrics.fog_density import (
    blur,
    contrast_energy,
    distances,
    entropy,
    fade,
    fog_features,
    statistics,
)


def drawn_scene(height: int, width: int) -> np.ndarray:
    """Coloured checks of several sizes with a soft light and some grain: (H,W,3) in [0,1]."""
    row, column = np.mgrid[:height, :width]
    checks = (row // 7 + column // 9) % 2 * 0.35 + (row // 23 + column // 17) % 2 * 0.25
    tint = np.stack([np.sin(row / 31), np.cos(column / 23), np.sin((row + column) / 41)], axis=-1)
    grain = (37 * row + 101 * column + 13 * row * column) % 17 / 255
    return (0.1 + (checks + grain)[..., None] + 0.2 * np.abs(tint)).clip(0, 1)


def hazed(clear: np.ndarray, beta: float) -> np.ndarray:
    """Haze that thickens towards the top."""
    depth = np.linspace(1, 0, clear.shape[0])[:, None, None]
    return add_haze(clear, transmission(depth, beta), 0.9)


def slow_energy(plane: np.ndarray, threshold: float) -> np.ndarray:
    """Contrast energy with whole two-dimensional sums, index by index."""
    offset = np.arange(20) - 9.75
    taps = (offset**2 / 3.25**4 - 1 / 3.25**2) * np.exp(-(offset**2) / (2 * 3.25**2))
    taps = taps - taps.mean()
    taps = taps / (0.5 * offset**2 * taps).sum()
    height, width = plane.shape
    beyond = [*range(10), *range(height), *range(height - 10, height)]
    aside = [*range(10), *range(width), *range(width - 10, width)]
    down, across = np.zeros_like(plane), np.zeros_like(plane)
    for step in range(20):
        # A convolution turns the taps round: tap k meets the sample 10 - k further on.
        down += taps[step] * plane[[beyond[10 + i + 10 - step] for i in range(height)]]
        across += taps[step] * plane[:, [aside[10 + i + 10 - step] for i in range(width)]]
    energy = np.sqrt(down**2 + across**2)
    return np.maximum(energy * energy.max() / (energy + 0.1 * energy.max()) - threshold, 0)


def slow_fade(picture: np.ndarray) -> float:
    """The measure patch by patch, with a pseudo-inverse for each."""
    rgb = np.round(picture * 255)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    gray = np.round(0.2989 * red + 0.5870 * green + 0.1140 * blue)
    square = (np.arange(7) - 3) ** 2
    window = np.exp(-(square[:, None] + square) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    mean = convolve(gray, window, mode="nearest")
    sigma = np.sqrt(np.abs(convolve(gray**2, window, mode="nearest") - mean**2))
    mscn = (gray - mean) / (sigma + 1)
    product = mscn * np.vstack([mscn[-1:], mscn[:-1]])
    opponents = (
        0.299 * red + 0.587 * green + 0.114 * blue,
        0.5 * (red + green) - blue,
        red - green,
    )
    thresholds = np.array([9.225496406e-4, 8.969246660e-4, 2.069284034e-4]) * 255
    energies = [slow_energy(each, limit) for each, limit in zip(opponents, thresholds)]
    stored = np.load(files("unhaze.metrics") / "fade_statistics.npz")
    found = {"fogfree": [], "foggy": []}
    for top, left in itertools.product(range(0, rgb.shape[0], 8), range(0, rgb.shape[1], 8)):
        cut = np.s_[top : top + 8, left : left + 8]
        levels = np.unique(gray[cut], return_counts=True)[1] / 64
        pixels = rgb[cut].reshape(-1, 3)
        opposed = pixels[:, 0] - pixels[:, 1], pixels[:, :2].mean(axis=1) - pixels[:, 2]
        features = np.log1p(
            [
                np.var(mscn[cut], ddof=1),
                np.var(product[cut][product[cut] >= 0], ddof=1),
                np.var(product[cut][product[cut] <= 0], ddof=1),
                sigma[cut].mean(),
                (sigma[cut] / mean[cut]).mean(),
                *(energy[cut].mean() for energy in energies),
                -(levels * np.log2(levels)).sum(),
                pixels.min(axis=1).mean() / 255,
                np.mean(1 - pixels.min(axis=1) / pixels.max(axis=1)),
                np.sqrt(sum(np.var(each, ddof=1) for each in opposed))
                + 0.3 * np.sqrt(sum(np.mean(each) ** 2 for each in opposed)),
            ]
        )
        for kind, values in found.items():
            covariance = stored[f"{kind}_covariance"] + np.var(features, ddof=1)
            away = stored[f"{kind}_mean"] - features
            values.append(np.sqrt(away @ np.linalg.pinv(covariance / 2) @ away))
    return np.mean(found["fogfree"]) / np.mean(found["foggy"])


@pytest.mark.parametrize("beta", [0.0, 1.2])
def test_agrees_with_the_slow_reference(beta):
    picture = hazed(drawn_scene(40, 56), beta)
    assert fade(picture) == pytest.approx(slow_fade(picture), rel=1e-9)


def test_pinned_scores():
    """Taken from the version that agrees with the published port on 22 photos to 1e-5."""
    clear = drawn_scene(120, 160)
    scores = [fade(hazed(clear, beta)) for beta in (0, 0.5, 1.5, 3.0)]
    assert scores == pytest.approx(PINNED, rel=1e-5)
    assert scores == sorted(scores)


PINNED = [0.1961656, 0.2966189, 0.5622852, 1.1631013]


def test_parity_with_the_published_port(shared_data):
    table = shared_data / "weights" / "fade" / "reference_scores.csv"
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 22
    for row in rows:
        picture = to_float(photo.read_rgb(shared_data / "data" / row["file"]))
        assert fade(picture) == pytest.approx(float(row["fade"]), rel=1e-3), row["file"]


def test_sides_are_cropped_to_multiples_of_eight():
    picture = hazed(drawn_scene(47, 63), 1.0)
    assert fade(picture) == fade(picture[:40, :56])


def test_pictures_are_rounded_to_eight_bits():
    picture = hazed(drawn_scene(40, 56), 1.0)
    assert fade(picture) == fade(np.rint(picture * 255) / 255)
    assert fade(picture.astype(np.float32)) == fade(picture)


def test_entropy_of_known_patches():
    halves = np.repeat([10.0, 200.0], 32)
    assert entropy(np.stack([halves, np.full(64, 7.0), np.arange(64.0)])) == pytest.approx(
        [1, 0, 6]
    )


def test_features_of_a_plain_colour():
    """Dark value, saturation and colourfulness of (200, 100, 50) by hand; nothing else is there."""
    features = np.expm1(fog_features(np.full((16, 16, 3), (200.0, 100.0, 50.0))))
    assert features[0, 3:9] == pytest.approx([0, 0, 0, 0, 0, 0], abs=1e-4)
    assert features[0, 9:] == pytest.approx([50 / 255, 0.75, 0.3 * np.hypot(100, 100)])


def test_distance_at_the_mean_is_nothing():
    mean = statistics()["foggy_mean"]
    assert distances(mean[None], "foggy") == pytest.approx([0])
    assert distances(mean[None], "fogfree") > 1


def test_a_black_picture_has_no_score():
    assert np.isnan(fade(np.zeros((16, 16, 3))))


def test_too_small_a_picture_is_refused():
    with pytest.raises(UnhazeError, match="at least 16x16, not 40x15"):
        fade(np.zeros((15, 40, 3)))


def test_the_notice_travels_with_the_statistics():
    notice = (files("unhaze.metrics") / "FADE-NOTICE.txt").read_text(encoding="utf-8")
    assert "Copyright (c) 2015 The University of Texas at Austin" in notice
    assert "NOTICE ENDS WITH THIS LINE" in notice


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64, bool])
def test_pictures_that_are_no_floats_are_refused(kind):
    """Clipped to [0,1] they would be black and white, and the score NaN or a lie."""
    with pytest.raises(UnhazeError, match=r"expected floats in \[0,1\]"):
        fade(np.full((32, 32, 3), 1, kind))


@pytest.mark.skipif(fade_kernel.kernel() is None, reason="no C compiler here")
@pytest.mark.parametrize("size", [(16, 16), (136, 24), (24, 272)])
def test_compiled_is_what_numpy_says(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    scene = hazed(drawn_scene(*size), 1.0)
    scene[: size[0] // 2] = 1  # flat, where the order of sums counts
    gray = np.rint(scene[..., 0] * 255)
    compiled = fade(scene), blur(gray), contrast_energy(gray)
    monkeypatch.setattr(fade_kernel, "kernel", lambda: None)
    assert fade(scene) == pytest.approx(compiled[0], rel=1e-12)
    assert np.array_equal(blur(gray), compiled[1])
    np.testing.assert_allclose(contrast_energy(gray), compiled[2], atol=1e-9)
