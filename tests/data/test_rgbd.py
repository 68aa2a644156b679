"""Haze drawn per step: a pure function of (seed, step), aligned, and true to the law."""

import numpy as np
import pytest
import torch

from tests.rgbd_scenes import ramp
from unhaze import photo
from unhaze.config import Augment, Part
from unhaze.data import folders
from unhaze.data.build import create_data
from unhaze.data.rgbd import RGBD
from unhaze.data.transforms import crop_batch, draw_haze, generator_for
from unhaze.errors import UnhazeError
from unhaze.haze import HazeLaw

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Four 40x32 scenes: red is the column, green the row, and depth the row."""
    root = tmp_path_factory.mktemp("scenes")
    depth = np.arange(32, dtype=np.uint8)[:, None, None] * np.full((1, 40, 3), 5, np.uint8)
    for kind in ("clear", "depth"):
        (root / kind).mkdir()
    for index in range(4):
        photo.write_rgb(root / "clear" / f"{index}.png", ramp(40 * index, down=8))
        photo.write_rgb(root / "depth" / f"{index}.png", depth)
    return root


def test_draw_is_a_pure_function_of_seed_and_step(root):
    one, other = RGBD(root), RGBD(root)
    augment = Augment(crop=16)
    other.draw(1, 0, size=3, augment=augment, device=CPU)
    for step in (0, 5):
        first = one.draw(1, step, size=3, augment=augment, device=CPU)
        again = other.draw(1, step, size=3, augment=augment, device=CPU)
        assert torch.equal(first.hazy, again.hazy) and torch.equal(first.clear, again.clear)
    different = one.draw(2, 5, size=3, augment=augment, device=CPU)
    assert not torch.equal(first.clear, different.clear)


def test_reading_that_takes_long_shows_its_progress(root, capsys, monkeypatch):
    RGBD(root)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(folders, "DELAY", 0)
    RGBD(root)
    assert f"unhaze: reading scenes of '{root}': 100%" in capsys.readouterr().err


def test_drawn_haze_obeys_the_law(root):
    data = RGBD(root, HazeLaw(beta=(0.7, 0.7), airlight=(0.8, 0.8)))
    batch = data.draw(0, 0, size=4, augment=Augment(crop=24), device=CPU)
    depth = batch.clear[:, 1:2] * 255 / 8 * 5 / (31 * 5)
    transmission = torch.exp(-0.7 * depth)
    expected = batch.clear * transmission + 0.8 * (1 - transmission)
    torch.testing.assert_close(batch.hazy, expected, rtol=0, atol=2e-6)


def test_half_of_the_draws_have_an_airlight_of_exactly_one(root):
    _, airlight = draw_haze(RGBD(root).law, 2000, generator_for(0, 0))
    at_one = (airlight == 1).all(dim=1).float().mean()
    assert 0.45 < at_one < 0.55
    assert airlight.min() >= 0.7
    assert torch.equal(airlight[:, 0], airlight[:, 2])


def test_tints_run_from_red_to_blue_and_few_are_strong():
    law = HazeLaw(airlight=(0.5, 0.5), airlight_tint=0.6)
    _, airlight = draw_haze(law, 2000, generator_for(0, 0))
    red, green, blue = airlight[:, :, 0, 0].unbind(1)
    difference = red - blue
    assert 0.5 < difference.max() <= 0.6 and -0.2 <= difference.min() < -0.16
    assert ((green - 0.5).abs() <= 0.3 * difference.abs() + 1e-6).all()  # nothing violet
    assert (difference.abs() < 0.1).float().mean() > 0.5
    assert difference.median().abs() < 0.01


def test_flips_and_turns_keep_the_pair_aligned(root):
    data = RGBD(root)
    images = [(data.clear[0], data.clear[0])] * 8
    first, second = crop_batch(images, Augment(crop=20), generator_for(0, 3), CPU)
    assert torch.equal(first, second)
    steps = first[:, 0, :, 1:] - first[:, 0, :, :-1]
    assert (steps > 0).all(dim=(1, 2)).any() and not (steps > 0).all()


def test_a_scale_below_one_takes_in_more_of_the_scene(root):
    data = RGBD(root)
    augment = Augment(crop=16, flip=False, rotate=False, scale=(0.5, 0.5))
    (clear,) = crop_batch([(data.clear[0],)], augment, generator_for(0, 0), CPU)
    step = (clear[0, 0, 8, 10] - clear[0, 0, 8, 6]) / 4 * 255
    assert clear.shape == (1, 3, 16, 16)
    assert step == pytest.approx(12, rel=0.05)


def test_border_and_scenes_are_cut_off(root):
    data = RGBD(root, border=3, scenes=(1, 3))
    assert data.names == ["1", "2"]
    assert data.pair(0).clear.shape == (3, 26, 34)
    assert data.pair(0).clear[0, 0, 0] == 18 / 255


def test_a_validation_pair_never_changes(root):
    one, other = RGBD(root).pair(2), RGBD(root).pair(2)
    assert torch.equal(one.hazy, other.hazy)
    assert not torch.equal(RGBD(root).pair(1).hazy, one.hazy)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"border": 16}, "too small"),
        ({"scenes": (4, 9)}, r"scenes is \[4, 9\], and there are 4 in '"),
        ({"scenes": (0, 5)}, "expected 0 <= first < end <= 4"),
        ({"scenes": (-2, 4)}, "expected 0 <= first < end <= 4"),
        ({"scenes": (3, 3)}, "expected 0 <= first < end <= 4"),
    ],
)
def test_wrong_settings_say_so(root, settings, message):
    with pytest.raises(UnhazeError, match=message):
        RGBD(root, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": 0.5}, r"'beta' must be of type tuple\[float, float\], not 0.5"),
        ({"beta": [0.5]}, "'beta' must be of type"),
        ({"beta": ["a", 1]}, "'beta' must be of type"),
        ({"beta": [2.0, 1.0]}, "beta is 2.0 1.0; expected low <= high"),
        ({"airlight": [0.7, 1.5]}, "airlight is 0.7 1.5; expected low <= high"),
        ({"scenes": [1]}, "'scenes' must be of type"),
        ({"root": 5}, "'root' must be of type"),
    ],
)
def test_a_recipe_with_wrong_values_ends_in_one_line(root, settings, message):
    with pytest.raises(UnhazeError, match=message):
        create_data(Part("rgbd", {"root": str(root)} | settings))


def test_unpaired_or_empty_depth_says_so(root, tmp_path):
    with pytest.raises(UnhazeError, match="there are no images"):
        RGBD(tmp_path)
    (tmp_path / "clear").mkdir()
    (tmp_path / "depth").mkdir()
    photo.write_rgb(tmp_path / "clear" / "a.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UnhazeError, match="'a' is in only one of them"):
        RGBD(tmp_path)
    photo.write_rgb(tmp_path / "depth" / "a.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UnhazeError, match="zero everywhere"):
        RGBD(tmp_path)
