"""Before/after strips, and pictures of haze that are right where the haze is known."""

import numpy as np
import pytest

from unhaze.haze import add_haze
from unhaze.restore.field import fit_field
from unhaze.restore.preview import comparison, field_pictures

AIRLIGHT = np.array([0.9, 0.8, 0.6], np.float32)


def scene(height: int, width: int) -> np.ndarray:
    """Texture and blocks, (H,W,3) float32; the upper third is as flat as a sky."""
    random = np.random.default_rng(0)
    blocks = random.random((height // 12 + 1, width // 12 + 1, 3), dtype=np.float32)
    clear = blocks.repeat(12, 0).repeat(12, 1)[:height, :width] * 0.8
    clear += 0.1 * random.random((height, width, 3), dtype=np.float32)
    clear[: height // 3] = 0.9 * AIRLIGHT
    return clear


def transmission_of(height: int, width: int) -> np.ndarray:
    return np.linspace(0.3, 0.9, height, dtype=np.float32)[:, None, None].repeat(width, 1)


def test_a_comparison_shows_both_with_a_line_between():
    hazy = np.full((90, 120, 3), 200, np.uint8)
    restored = np.full((90, 120, 3), 50, np.uint8)
    beside = comparison(hazy, restored)
    assert (beside.shape, beside.dtype) == ((90, 242, 3), np.uint8)
    np.testing.assert_array_equal(beside[:, :120], hazy)
    assert (beside[:, 120:122] == 255).all()
    np.testing.assert_array_equal(beside[:, 122:], restored)


def test_wide_pictures_lie_one_on_the_other():
    hazy, restored = np.zeros((50, 1000, 3), np.uint8), np.full((50, 1000, 3), 9, np.uint8)
    stacked = comparison(hazy, restored)
    assert stacked.shape == (104, 1000, 3)
    assert (stacked[:50] == 0).all() and (stacked[54:] == 9).all()
    assert comparison(hazy[:1, :1], restored[:1, :1]).shape == (1, 4, 3)


def test_known_haze_is_shown_as_it_is():
    clear, transmission = scene(240, 200), transmission_of(240, 200)
    hazy = add_haze(clear, transmission, AIRLIGHT)
    shown, light = field_pictures(fit_field(hazy, clear), hazy)
    assert shown.shape == light.shape == hazy.shape
    assert shown.dtype == light.dtype == np.uint8
    assert np.ptp(shown, axis=2).max() == 0
    assert np.abs(shown / 255 - transmission).mean() < 0.03
    # No structure shows the gain in the sky; its transmission is seen all the same.
    assert np.abs((shown / 255 - transmission)[:80]).mean() < 0.06
    assert np.abs(light / 255 - AIRLIGHT).mean() < 0.02


def test_light_brighter_than_white_keeps_its_hue():
    hazy = add_haze(scene(200, 200), np.float32(0.6), 0.7)
    restored = hazy / 0.6 - (1 / 0.6 - 1) * np.array([1.5, 1.2, 0.9], np.float32)
    _, light = field_pictures(fit_field(hazy, restored), hazy)
    assert light[..., 0].min() >= 250
    expected = np.array([1, 0.8, 0.6])
    assert np.abs(light / 255 - expected).mean() < 0.03


def test_nothing_changed_is_clear_air_of_unknown_colour():
    hazy = scene(60, 80)
    shown, light = field_pictures(fit_field(hazy, hazy), hazy)
    assert shown.min() == 255
    assert np.unique(light).tolist() == [128]


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 2)])
@pytest.mark.parametrize("gain", [-3.0, 0.0, 0.5, 1.0, 1e4])
def test_any_size_and_any_field_gives_pictures(size, gain):
    hazy = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    maps = np.empty((3, 2, *size), np.float32)
    maps[:, 0], maps[:, 1] = gain, -0.1
    with np.errstate(all="raise"):
        for shown in field_pictures(maps, hazy):
            assert (shown.shape, shown.dtype) == (hazy.shape, np.uint8)
