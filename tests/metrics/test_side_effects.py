"""Measures of harm: pinned to numbers of an independent program, and each moved by its own harm."""

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from unhaze import photo
from unhaze.cli import main
from unhaze.data.pairing import PairFiles
from unhaze.errors import UnhazeError
from unhaze.evaluation import evaluate
from unhaze.metrics.side_effects import BT601, gaussian, harm, uniform


def hazy_scene() -> np.ndarray:
    """A skyline before a sky that gets lighter, with grain: (240,320,3) uint8."""
    row, column = np.mgrid[:240, :320]
    sky = 170 + 30 * row / 240 + (37 * row + 101 * column + 13 * row * column) % 5
    towers = (column // 40 % 3 == 0) & (row > 60 + column // 40 * 10)
    ground = 40 + (row * 7 + column * 11) % 60
    grey = np.where(towers | (row > 190), ground, sky)
    return np.stack([grey, grey + 4, grey + 9], 2).clip(0, 255).astype(np.uint8)


def stretched(hazy: np.ndarray) -> np.ndarray:
    """More contrast than there is room for, and a glow round what is dark."""
    luma = hazy @ BT601
    glow = np.clip(gaussian_filter(luma, 8) - luma, -20, 0)[..., None]
    return np.clip((hazy - 90.0) * 1.6 + 60 - glow, 0, 255).round().astype(np.uint8)


PINNED = {
    "luma": 5.1968302254269405,
    "at_0": 7.813802083333334,
    "newly_at_0": 7.813802083333334,
    "at_255": 4.377604166666667,
    "black": 9.01171875,
    "noise_gain": 2.317164461747989,
    "halo": 12.879038956521738,
}


def floats(picture: np.ndarray) -> np.ndarray:
    return (picture / 255).astype(np.float32)


def test_the_numbers_of_an_independent_program():
    """Written with SciPy and OpenCV by the people who first measured these; run on this picture."""
    found = harm(floats(hazy_scene()), floats(stretched(hazy_scene())))
    assert {name: found[name] for name in PINNED} == pytest.approx(PINNED, rel=1e-9)


def test_filters_are_those_of_scipy():
    plane = np.random.default_rng(0).uniform(0, 255, (41, 57))
    np.testing.assert_allclose(gaussian(plane), gaussian_filter(plane, 1.5), atol=1e-9)
    np.testing.assert_allclose(uniform(plane), uniform_filter(plane, 15), atol=1e-9)


def test_doing_nothing_does_no_harm():
    hazy = floats(hazy_scene())
    found = harm(hazy, hazy)
    assert found["noise_gain"] == 1
    assert [found[name] for name in ("luma", "newly_at_0", "newly_at_255", "halo")] == [0, 0, 0, 0]


def test_each_harm_moves_its_own_measure():
    hazy = hazy_scene()
    crushed, blown = hazy.copy(), hazy.copy()
    crushed[:24, :, 2], blown[:48, :, 0] = 0, 255
    assert harm(floats(hazy), floats(crushed))["newly_at_0"] == pytest.approx(10)
    assert harm(floats(hazy), floats(blown))["newly_at_255"] == pytest.approx(20)
    assert harm(floats(blown), floats(blown))["at_255"] == pytest.approx(20)
    darker = harm(floats(hazy), floats(hazy) / 2)
    assert darker["luma"] == pytest.approx(-50, abs=0.5)
    assert harm(floats(hazy), floats(hazy) * 0)["black"] == 100


def test_what_cannot_be_told_is_nan():
    flat = np.full((40, 40, 3), 0.5, np.float32)
    found = harm(flat, flat)
    assert np.isnan(found["noise_gain"]) and np.isnan(found["halo"])


@pytest.fixture
def folders(tmp_path):
    for name, picture in (("hazy", hazy_scene()), ("done", stretched(hazy_scene()))):
        (tmp_path / name).mkdir()
        ending = ".unhazed" if name == "done" else ""
        photo.write_rgb(tmp_path / name / f"city{ending}.png", picture)
    return tmp_path


def test_a_folder_of_results_is_measured_as_a_model(folders, capsys):
    line = ["eval", str(folders / "done"), "--hazy", str(folders / "hazy"), "--json"]
    assert main(line) == 0
    told = json.loads(capsys.readouterr().out)
    expected = harm(floats(hazy_scene()), floats(stretched(hazy_scene())))
    assert told["harm"] == pytest.approx(expected)
    assert told["fade"] > 0 and told["seconds"] == 0


def test_clear_photos_that_shall_stay_get_psnr_and_harm(folders):
    path = folders / "hazy" / "city.png"
    result = evaluate(folders / "done", [PairFiles("city", path, path)])
    assert result.compared_with == "input" and result.psnr < 20
    assert result.harm["newly_at_0"] > 1
    assert result.per_image[0]["halo"] == result.harm["halo"]


def test_a_result_that_is_missing_or_of_another_shape_is_named(folders):
    for name, shape in (
        ("wood", "no restored picture named"),
        ("flat", "whose aspect ratio differs from"),
    ):
        photo.write_rgb(folders / "hazy" / f"{name}.png", hazy_scene())
        if name == "flat":
            photo.write_rgb(folders / "done" / "flat.png", hazy_scene()[:100])
        with pytest.raises(UnhazeError, match=shape):
            evaluate(folders / "done", [PairFiles(name, folders / "hazy" / f"{name}.png", None)])
