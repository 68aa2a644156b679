"""The scattering model: its limits, its inverse, and the haze that RESIDE drew by it."""

import numpy as np
import pytest
import torch

from unhaze import photo
from unhaze.data.catalog import find_pairs
from unhaze.data.pairing import find_scenes
from unhaze.haze import add_haze, remove_haze, transmission
from unhaze.image import to_float

SOTS_PSNR = 11.975  # of the 500 hazy inputs of SOTS indoor, as published


def test_no_distance_is_no_haze_and_far_away_is_airlight():
    clear = np.array([0.1, 0.5, 0.9])
    assert np.array_equal(add_haze(clear, transmission(np.zeros(3), 1.3), 0.8), clear)
    np.testing.assert_allclose(add_haze(clear, transmission(np.full(3, 99.0), 1.3), 0.8), 0.8)


def test_known_values():
    assert transmission(np.log(2.0), 1.0) == pytest.approx(0.5)
    assert transmission(np.log(2.0), 2.0) == pytest.approx(0.25)
    assert add_haze(0.2, 0.25, 1.0) == pytest.approx(0.8)


def test_remove_haze_is_the_inverse():
    random = np.random.default_rng(0)
    clear, depth = random.random((5, 7, 3)), random.random((5, 7, 1))
    airlight = np.array([0.7, 0.8, 0.95])
    through = transmission(depth, 1.8)
    hazy = add_haze(clear, through, airlight)
    np.testing.assert_allclose(remove_haze(hazy, through, airlight), clear, atol=1e-12)


def test_arrays_and_tensors_agree():
    random = np.random.default_rng(1)
    clear, depth = random.random((2, 3, 4, 4)), random.random((2, 1, 4, 4))
    beta = np.array([0.6, 1.5]).reshape(2, 1, 1, 1)
    array = add_haze(clear, transmission(depth, beta), 0.9)
    tensors = [torch.from_numpy(each) for each in (clear, depth, beta)]
    tensor = add_haze(tensors[0], transmission(tensors[1], tensors[2]), 0.9)
    np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-12)


@pytest.fixture(scope="module")
def sots(shared_data):
    """scene -> clear (H,W,3) and {k: hazy}, of the published pictures NNNN_k.png."""
    scenes = {}
    for pair in find_pairs("sots-indoor", shared_data / "data" / "sots-indoor-part"):
        if pair.clear.stem not in scenes:
            scenes[pair.clear.stem] = (to_float(photo.read_rgb(pair.clear)), {})
        scenes[pair.clear.stem][1][int(pair.name.split("_")[1])] = pair.hazy
    chosen = list(scenes)[::2]
    return {
        scene: (
            scenes[scene][0],
            {k: to_float(photo.read_rgb(scenes[scene][1][k])) for k in (1, 4, 7, 10)},
        )
        for scene in chosen
    }


def test_sots_indoor_has_beta_from_0_6_to_1_5(sots):
    """log t of file k over log t of file 10 is (0.5 + 0.1 k) / 1.5, whatever the depth is."""
    for clear, hazy in sots.values():
        dark = clear.mean(axis=2) < 0.7  # where 8 bits tell t from A
        extinction = {k: -np.log(fit_transmission(clear, each)[dark]) for k, each in hazy.items()}
        for k in hazy:
            beta = 1.5 * np.median(extinction[k] / extinction[10])
            assert beta == pytest.approx(0.5 + 0.1 * k, abs=1e-3)


def test_sots_indoor_has_white_airlight(sots):
    """Differences between channels give t without A; the rest of the law then gives A."""
    for clear, hazy in sots.values():
        contrast = clear[..., 0] - clear[..., 2]
        through = (hazy[10][..., 0] - hazy[10][..., 2]) / np.where(contrast == 0, 1, contrast)
        known = (np.abs(contrast) > 0.25) & (through < 0.6)
        assert known.sum() > 100
        through = through[known][:, None]
        airlight = (hazy[10][known] - through * clear[known]) / (1 - through)
        assert np.median(airlight) == pytest.approx(1.0, abs=5e-3)


def test_haze_drawn_by_the_law_gives_the_published_pictures(sots):
    """Depth read off file 10 predicts files 1, 4 and 7 up to rounding."""
    for clear, hazy in sots.values():
        depth = -np.log(fit_transmission(clear, hazy[10])) / 1.5
        dark = clear.mean(axis=2) < 0.7
        for k in (1, 4, 7):
            drawn = add_haze(clear, transmission(depth[..., None], 0.5 + 0.1 * k), 1.0)
            error = np.mean(np.square(drawn - hazy[k])[dark])
            assert -10 * np.log10(error) > 45


def test_haze_drawn_from_nyu_is_as_thick_as_that_of_sots_indoor(shared_data):
    """Other scenes, so the mean PSNR of inputs agrees roughly; at a wrong scale it would not."""
    values = []
    for scene in find_scenes(shared_data / "data" / "nyu-depth-v2")[::100]:
        clear = to_float(photo.read_rgb(scene.clear)[10:470, 10:630])
        depth = to_float(photo.read_rgb(scene.depth)[10:470, 10:630, :1])
        for beta in (0.6, 0.9, 1.2, 1.5):
            hazy = add_haze(clear, transmission(depth / depth.max(), beta), 1.0)
            values.append(-10 * np.log10(np.mean(np.square(hazy - clear))))
    assert np.mean(values) == pytest.approx(SOTS_PSNR, abs=1.0)


def fit_transmission(clear: np.ndarray, hazy: np.ndarray) -> np.ndarray:
    """t (H,W) by least squares over the channels, for A = 1: 1 - hazy = t (1 - clear)."""
    product = ((1 - hazy) * (1 - clear)).sum(axis=2)
    return np.clip(product / np.maximum(np.square(1 - clear).sum(axis=2), 1e-4), 1e-4, 1)
