"""VI and RI of BeDDE: against slow formulas, and on pairs of which it is known who wins."""

import math

import numpy as np
import pytest
from scipy.ndimage import minimum_filter
from scipy.signal import convolve2d

from unhaze.errors import UnhazeError
from unhaze.metrics import measure
from unhaze.metrics.visibility_realness import (
    dark_transmission,
    gradient,
    halved,
    phase_congruency,
    power,
    realness_index,
    visibility_index,
)
from unhaze.photo import write_rgb

LUMA = np.array([0.299, 0.587, 0.114])


def scene(height: int = 75, width: int = 101) -> np.ndarray:
    """Waves, edges and colours, of whole levels: (H,W,3) floats in [0,1]."""
    random = np.random.default_rng(5)
    row, column = np.mgrid[:height, :width] / 40
    waves = [0.4 + 0.35 * np.sin(5 * row * (k + 1) + 6 * column) for k in range(3)]
    picture = np.stack(waves, -1) + 0.02 * random.standard_normal((height, width, 3))
    picture[20:40, 30:70] = (0.7, 0.3, 0.1)
    return np.rint(255 * picture.clip(0, 1)) / 255


def hazed(clear: np.ndarray, through: float) -> np.ndarray:
    return np.rint(255 * (through * clear + (1 - through) * 0.85)) / 255


def halved_slowly(plane: np.ndarray) -> np.ndarray:
    """MATLAB's conv2(plane, ones(2)/4, 'same'), every second value."""
    full = convolve2d(plane, np.full((2, 2), 0.25))
    return full[1:, 1:][::2, ::2]


def dark_transmission_slowly(picture: np.ndarray) -> np.ndarray:
    dark = minimum_filter(picture.min(2), 15, mode="constant", cval=np.inf)
    height, width = picture.shape[:2]
    places = [(-dark[r, c], c, r) for c in range(width) for r in range(height)]
    brightest = sorted(places)[: math.floor(dark.size / 100)]
    airlight = np.mean([picture[r, c] for _, c, r in brightest], 0)
    return 1 - minimum_filter((picture / airlight).min(2), 15, mode="constant", cval=np.inf)


def visibility_slowly(restored: np.ndarray, clear: np.ndarray) -> float:
    one, two = (halved_slowly(dark_transmission_slowly(each)) for each in (clear, restored))
    scharr = np.array([[3, 0, -3], [10, 0, -10], [3, 0, -3]]) / 16
    slopes = []
    for each in (clear, restored):
        small = halved_slowly(255 * each @ LUMA)
        parts = [convolve2d(small, kernel, "same") for kernel in (scharr, scharr.T)]
        slopes.append(np.sqrt(parts[0] ** 2 + parts[1] ** 2))
    seen = (2 * one * two + one.mean()) / (one**2 + two**2 + one.mean())
    edges = (2 * slopes[0] * slopes[1] + 160) / (slopes[0] ** 2 + slopes[1] ** 2 + 160)
    weights = np.maximum(1 - one, 1 - two)
    assert (seen >= 0).all()
    return float((seen**0.4 * edges * weights).sum() / weights.sum())


@pytest.mark.parametrize("through", [0.3, 0.7])
def test_visibility_agrees_with_its_definition(through):
    clear = scene()
    hazy = hazed(clear, through)
    assert dark_transmission(hazy) == pytest.approx(dark_transmission_slowly(hazy), abs=1e-12)
    assert visibility_index(hazy, clear) == pytest.approx(visibility_slowly(hazy, clear), abs=1e-9)


@pytest.mark.parametrize("size", [(6, 8), (7, 9)])
def test_halves_and_gradients_have_zeros_beyond_the_border(size):
    plane = np.random.default_rng(1).random(size)
    assert halved(plane) == pytest.approx(halved_slowly(plane), abs=1e-12)
    flat = gradient(np.ones(size))
    assert flat[2:-2, 2:-2] == pytest.approx(0, abs=1e-12)
    assert flat[0, 3] == pytest.approx(1)  # 3 + 10 + 3 sixteenths


def test_broken_powers_of_negative_numbers_are_those_of_matlab():
    assert power(np.array([-1.0, 0.5]), 0.4) == pytest.approx([math.cos(0.4 * math.pi), 0.5**0.4])


def test_phase_congruency_finds_edges_whatever_their_contrast():
    plane = np.zeros((64, 96))
    plane[:, 48:] = 200
    found = phase_congruency(plane)
    assert found.min() >= 0 and found.max() <= 1
    assert found[32, 47:49].min() > 0.8
    assert found[32, 12:20].max() < 0.1
    assert phase_congruency(0.1 * plane + 40) == pytest.approx(found, abs=0.02)
    assert not phase_congruency(np.full((40, 41), 7.0)).any()


def test_phase_congruency_is_alike_in_all_its_orientations():
    plane = np.zeros((65, 65))  # an odd side has its middle in a pixel
    plane[20:45, 20:45] = 150
    found = phase_congruency(plane)
    assert found == pytest.approx(found.T, abs=1e-9)
    assert found[20, 32] == pytest.approx(found[44, 32], abs=0.05)


def test_noise_is_no_feature():
    random = np.random.default_rng(2)
    noise = phase_congruency(100 + random.standard_normal((96, 96)))
    assert np.median(noise) == 0
    assert noise.mean() < 0.1


@pytest.mark.parametrize("index", [visibility_index, realness_index])
def test_equal_pictures_score_one_and_haze_costs(index):
    clear = scene()
    values = [index(hazed(clear, through), clear) for through in (1.0, 0.8, 0.5, 0.2)]
    assert values[0] == pytest.approx(1)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.95


def test_realness_minds_colour():
    clear = scene()
    turned = clear[..., ::-1]
    assert realness_index(turned, clear) < realness_index(0.98 * clear, clear)


def test_pictures_are_rounded_as_files_are():
    clear = scene()
    hazy = hazed(clear, 0.5)
    for index in (visibility_index, realness_index):
        assert index(hazy + 0.4 / 255, clear) == index(hazy, clear)


def test_what_cannot_be_measured():
    assert math.isnan(visibility_index(np.zeros((40, 40, 3)), np.zeros((40, 40, 3))))
    assert math.isnan(realness_index(np.zeros((40, 40, 3)), np.zeros((40, 40, 3))))
    with pytest.raises(UnhazeError, match="32 pixels a side; this is 40x31"):
        measure(np.zeros((31, 40, 3)), np.zeros((31, 40, 3)), metrics=["vi"])


def test_eval_measures_what_is_asked_for(tmp_path, unhaze):
    for folder, through in (("hazy", 0.5), ("clear", 1.0)):
        (tmp_path / folder).mkdir()
        pixels = np.rint(255 * hazed(scene(), through)).astype(np.uint8)
        write_rgb(tmp_path / folder / "a.png", pixels)
    folders = ("--hazy", tmp_path / "hazy", "--clear", tmp_path / "clear")
    done = unhaze("eval", "identity", *folders, "--metric", "vi", "--metric", "ri")
    shown = dict(each.split()[:2] for each in done.stdout.decode().splitlines())
    assert done.returncode == 0 and "psnr" not in shown
    expected = [each(hazed(scene(), 0.5), scene()) for each in (visibility_index, realness_index)]
    assert [float(shown["vi"]), float(shown["ri"])] == pytest.approx(expected, abs=1e-4)
