"""`augment.resize`: pictures brought to a fixed size before the crop, both of a pair alike."""

import numpy as np
import pytest
import torch
from PIL import Image

from unhaze.config import Augment, Part, Recipe, from_table, to_table
from unhaze.data.transforms import crop_batch, generator_for, resized
from unhaze.errors import UnhazeError

CPU = torch.device("cpu")
NOISE = torch.from_numpy(np.random.default_rng(5).integers(0, 256, (3, 40, 60), np.uint8))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((20, 24), (20, 24)), ((20, 0), (20, 30)), ((0, 90), (60, 90)), ((0, 0), (40, 60))],
)
def test_sizes(size, expected):
    assert resized(NOISE, size).shape == (3, *expected)


@pytest.mark.parametrize("size", [(20, 24), (64, 80)])
def test_eight_bits_are_resized_as_pillow_does(size):
    picture = Image.fromarray(NOISE.permute(1, 2, 0).numpy())
    expected = np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    found = resized(NOISE, size)
    assert found.dtype == torch.uint8
    assert np.abs(found.permute(1, 2, 0).numpy() - expected).max() <= 1


def test_a_ramp_of_floats_stays_a_ramp():
    ramp = torch.linspace(0, 1, 60).expand(1, 40, 60)
    found = resized(ramp, (20, 30))
    assert found.dtype == torch.float32
    expected = (2 * torch.arange(30) + 0.5) / 59
    torch.testing.assert_close(found[0, 3, 2:-2], expected[2:-2])


def test_whole_resized_pictures_are_the_batch():
    clear = NOISE // 2
    augment = Augment(crop=24, flip=False, rotate=False, resize=(24, 24))
    hazy, clear = crop_batch([(NOISE, clear)], augment, generator_for(0, 0), CPU)
    torch.testing.assert_close(hazy[0], resized(NOISE, (24, 24)).float() / 255)
    torch.testing.assert_close(clear[0], resized(NOISE // 2, (24, 24)).float() / 255)


def test_crops_flips_and_turns_are_those_of_the_resized_picture():
    small, images = resized(NOISE, (32, 48)), [[NOISE]] * 5
    plain = crop_batch([[small]] * 5, Augment(crop=16), generator_for(1, 2), CPU)
    own = crop_batch(images, Augment(crop=16, resize=(32, 48)), generator_for(1, 2), CPU)
    torch.testing.assert_close(own[0], plain[0], rtol=0, atol=0)


def test_small_pictures_are_enlarged_to_hold_the_crop():
    with pytest.raises(UnhazeError, match="crop 50 does not fit an image of 60x40"):
        crop_batch([[NOISE]], Augment(crop=50), generator_for(0, 0), CPU)
    batch = crop_batch([[NOISE]], Augment(crop=50, resize=(50, 0)), generator_for(0, 0), CPU)
    assert batch[0].shape == (1, 3, 50, 50)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({"resize": [256]}, "'augment.resize' must be a list of 2"),
        ({"resize": 256}, "'augment.resize' must be a list of 2"),
        ({"resize": [256, 0.5]}, "'augment.resize' must be int, not 0.5"),
        ({"resize": [-1, 256]}, "'augment.resize' must be from 0 to 65535, not -1"),
        ({"resize": [256, 200]}, r"must hold a crop of 240, not \[256, 200\]"),
        ({"resize": [0, 128]}, r"must hold a crop of 240, not \[0, 128\]"),
    ],
)
def test_mistakes_are_named(augment, message):
    table = {"title": "t", "net": {"name": "a"}, "data": {"name": "b"}, "augment": augment}
    with pytest.raises(UnhazeError, match=message):
        from_table(Recipe, table, "")


def test_a_recipe_keeps_it():
    recipe = Recipe("t", Part("a"), Part("b"), augment=Augment(resize=(256, 320)))
    table = to_table(recipe)
    assert table["augment"]["resize"] == [256, 320]
    assert from_table(Recipe, table, "") == recipe
