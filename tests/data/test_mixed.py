"""What a model for photos learns from: uneven haze, assumed depth, several sources, a camera."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from unhaze import photo
from unhaze.config import Augment, Part
from unhaze.data import PairedBatch
from unhaze.data.build import create_data
from unhaze.data.mixed import Camera, cosine_basis, jpeg, photograph
from unhaze.data.outdoor import LAW, Outdoor, pseudo_depth
from unhaze.data.transforms import generator_for, haze_batch
from unhaze.errors import UnhazeError
from unhaze.haze import HazeLaw

CPU = torch.device("cpu")
PLAIN = Augment(crop=32, flip=False, rotate=False)


@pytest.fixture
def photos(tmp_path):
    """Three landscapes of 80 x 60: bright sky above, dark textured ground below."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(3):
        pixels = random.integers(0, 120, (60, 80, 3)).astype(np.uint8)
        pixels[:25] = (200, 215, 240)
        photo.write_rgb(folder / f"{number}.png", pixels)
    return folder


def test_a_share_of_the_pictures_gets_no_haze():
    clear = torch.rand(400, 3, 4, 4)
    law = HazeLaw(beta=(1.0, 1.0), clear_share=0.25)
    hazy = haze_batch(law, clear, torch.ones(400, 1, 4, 4), generator_for(0, 0))
    untouched = (hazy == clear).flatten(1).all(1).float().mean()
    assert 0.17 < untouched < 0.33


def test_uneven_haze_varies_across_a_picture_of_one_depth_and_without_it_does_not():
    clear, depth = torch.zeros(2, 3, 32, 32), torch.full((2, 1, 32, 32), 0.5)
    even = haze_batch(HazeLaw(), clear, depth, generator_for(0, 0))
    uneven = haze_batch(HazeLaw(uneven=0.5), clear, depth, generator_for(0, 0))
    assert even.std((-2, -1)).max() < 1e-6
    assert uneven.std((-2, -1)).min() > 0.01
    assert uneven.min() >= 0 and uneven.max() <= 1
    steps = (uneven[..., 1:] - uneven[..., :-1]).abs()
    assert steps.max() < 0.06  # smooth: no edge that the scene does not have


def test_a_camera_brings_the_mean_colour_towards_that_of_the_clear_picture():
    clear = 0.1 + 0.4 * torch.rand(200, 3, 8, 8)
    depth = torch.full((200, 1, 8, 8), 0.7)
    law = {"beta": (1.0, 1.0), "airlight": (0.9, 0.9), "airlight_tint": 0.3}
    plain = haze_batch(HazeLaw(**law), clear, depth, generator_for(0, 0))
    taken = haze_batch(HazeLaw(**law, camera=1.0), clear, depth, generator_for(0, 0))
    wanted, before, after = (each.mean((2, 3)) for each in (clear, plain, taken))
    exposed = (after.mean(1) - wanted.mean(1)) / (before.mean(1) - wanted.mean(1))
    assert exposed.min() > -0.05 and exposed.max() < 1.05  # never past it, never away from it
    assert 0.4 < exposed.mean() < 0.6  # half of it, on average
    # One number a channel and picture: what the haze did to each pixel stays as it was.
    factors = taken / plain
    assert factors.std((2, 3)).max() < 1e-5
    untouched = haze_batch(HazeLaw(beta=(0, 0), camera=1.0), clear, depth, generator_for(0, 0))
    torch.testing.assert_close(untouched, clear)


def test_dust_colours_the_light_on_the_scene_as_it_colours_the_haze():
    clear, near = torch.full((200, 3, 4, 4), 0.5), torch.zeros(200, 1, 4, 4)
    law = {"beta": (3.0, 3.0), "airlight": (0.8, 0.8), "airlight_tint": 0.2}
    plain = haze_batch(HazeLaw(**law), clear, near, generator_for(0, 0))
    dusty = haze_batch(HazeLaw(**law, dusty=1.0), clear, near, generator_for(0, 0))
    torch.testing.assert_close(plain, clear)  # at depth 0 there is no haze between
    colour, light = dusty.mean((2, 3)), dusty.mean((2, 3)) / 0.5
    assert light.max() <= 1.0001 and light.amax(1).min() > 0.9999  # it takes light away
    # As coloured as the haze at most, which is what is seen far away.
    far = haze_batch(HazeLaw(**law), clear, near + 50, generator_for(0, 0)).mean((2, 3))
    assert (light >= far / far.amax(1, keepdim=True) - 1e-4).all()
    assert colour.std(1).max() > 0.02
    none = haze_batch(HazeLaw(beta=(0, 0), dusty=1.0), clear, near, generator_for(0, 0))
    torch.testing.assert_close(none, clear)


def test_photos_with_haze_of_their_own_can_be_left_out(photos):
    foggy = np.full((60, 80, 3), 210, np.uint8)
    foggy[30:] += np.random.default_rng(0).integers(0, 6, (30, 80, 3)).astype(np.uint8)
    photo.write_rgb(photos / "fog.png", foggy)
    assert len(Outdoor([str(photos)])) == 4
    assert [file.stem for file in Outdoor([str(photos)], haziest=2.0).files] == ["0", "1", "2"]
    with pytest.raises(UnhazeError, match="haziest is 0.0: all pictures .* have more haze"):
        Outdoor([str(photos)], haziest=0.0)


def test_the_sky_of_an_outdoor_photo_is_farther_than_its_ground(photos):
    data = Outdoor([str(photos)])
    for number, (_, cues) in enumerate(data.images):
        depth = pseudo_depth(cues[None].float() / 255, generator_for(number, 0))[0, 0]
        assert depth.min() >= 0 and depth.max() <= 1
        assert depth[:20].mean() > 0.9
        assert depth[40:].mean() < 0.6


def test_outdoor_batches_depend_on_seed_and_step_alone(photos):
    data = Outdoor([str(photos)], replace(LAW, clear_share=0.0))
    first, again, other = (
        data.draw(0, step, size=4, augment=PLAIN, device=CPU) for step in (3, 3, 4)
    )
    assert torch.equal(first.hazy, again.hazy) and torch.equal(first.clear, again.clear)
    assert not torch.equal(first.clear, other.clear)
    assert first.hazy.shape == first.clear.shape == (4, 3, 32, 32)
    assert (first.hazy - first.clear).abs().mean() > 0.02


def test_outdoor_pairs_are_whole_photos_with_haze_of_their_own(photos):
    data = Outdoor([str(photos)], pictures=(1, 3))
    assert len(data) == 2
    pair = data.pair(0)
    assert pair.name == "1"
    expected = photo.read_rgb(photos / "1.png").transpose(2, 0, 1) / 255
    np.testing.assert_allclose(pair.clear.numpy(), expected, atol=1e-6)
    assert torch.equal(pair.hazy, data.pair(0).hazy)


def test_outdoor_says_when_there_are_no_pictures(photos, tmp_path):
    for pictures in ((7, 9), (1, 4)):
        with pytest.raises(UnhazeError, match=f"there are 3 in '{photos}'; .* end <= 3"):
            Outdoor([str(photos)], pictures=pictures)
    with pytest.raises(UnhazeError, match="no pictures in"):
        Outdoor([str(tmp_path / "none")])


def test_mixed_batches_come_from_every_part(photos):
    part = {"name": "outdoor", "roots": [str(photos)], "beta": [0.0, 0.0]}
    hazy = part | {"beta": [50.0, 50.0], "airlight": [1.0, 1.0], "airlight_tint": 0.0}
    data = create_data(Part("mixed", {"parts": [part | {"share": 3.0}, hazy], "jpeg": 100}))
    batch = data.draw(0, 0, size=64, augment=PLAIN, device=CPU)
    assert isinstance(batch, PairedBatch)
    hazy_ones = ((batch.hazy - batch.clear).abs().flatten(1).mean(1) > 0.01).sum()
    assert 6 <= hazy_ones <= 26  # a quarter of 64, less those of the clear share
    assert len(data) == 6
    assert data.pair(0).name == data.pair(1).name == "0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected a list of tables"),
        ({"parts": 3}, "expected a list of tables"),
        ({"parts": []}, "expected a positive one"),
        ({"parts": [{"name": "outdor"}]}, "did you mean 'outdoor'"),
        ({"parts": [{"name": "outdoor", "share": "half"}]}, "expected a number"),
        ({"parts": [{"name": "outdoor"}]}, "roots"),
    ],
)
def test_wrong_mixtures_end_in_one_line(arguments, message):
    with pytest.raises(UnhazeError, match=message):
        create_data(Part("mixed", arguments))


def test_a_mixture_has_pairs_only(photos, tmp_path):
    hazy = str(photos)
    (tmp_path / "other").mkdir()
    photo.write_rgb(tmp_path / "other" / "a.png", np.zeros((40, 40, 3), np.uint8))
    unpaired = {"name": "unpaired-folders", "hazy": hazy, "clear": str(tmp_path / "other")}
    with pytest.raises(UnhazeError, match="'unpaired-folders' has no pairs; use paired data"):
        create_data(Part("mixed", {"parts": [unpaired]}))


def test_gamma_changes_both_pictures_alike_and_noise_only_the_hazy_one():
    same = torch.rand(8, 3, 16, 16)
    bent = photograph(same, same, Camera(gamma=(0.5, 2.0)), generator_for(0, 0))
    assert torch.equal(bent.hazy, bent.clear) and not torch.equal(bent.clear, same)
    noisy = photograph(same, same, Camera(noise=0.1), generator_for(0, 0))
    assert torch.equal(noisy.clear, same)
    assert 0.005 < (noisy.hazy - same).std() < 0.1


def test_the_cosine_basis_is_orthonormal():
    torch.testing.assert_close(cosine_basis() @ cosine_basis().T, torch.eye(8))


def test_jpeg_harms_more_the_lower_its_quality_and_like_the_real_one():
    random = np.random.default_rng(1)
    coarse = random.integers(0, 256, (6, 6, 3)).astype(np.float32)
    pixels = np.kron(coarse, np.ones((12, 12, 1), np.float32)).astype(np.uint8)[:70, :70]
    image = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None] / 255
    errors = [
        (jpeg(image, torch.full((1, 1, 1, 1), quality)) - image).std() for quality in (20.0, 50, 90)
    ]
    assert errors[0] > 1.5 * errors[1] > 2 * errors[2] > 0
    traits = photo.Traits(format="jpeg", quality=50)
    encoded = photo.read(photo.encode(photo.Photo(pixels, traits=traits), ".jpg")).pixels
    real = torch.from_numpy(encoded.transpose(2, 0, 1).copy()).float()[None] / 255
    assert 0.4 < errors[1] / (real - image)[..., :64, :64].std() < 2.5
    assert torch.equal(jpeg(image, torch.full((1, 1, 1, 1), 20.0))[..., 64:, :], image[..., 64:, :])
