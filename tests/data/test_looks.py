"""The last layer that cannot crush or glow, and training data that teaches what photos bring."""

import dataclasses

import pytest
import torch

from unhaze.config import Augment
from unhaze.data import Pair, PairedBatch
from unhaze.data.collage import collage_batch, drawn_mask, sharp
from unhaze.data.mixed import Camera, Mixed
from unhaze.data.spoiling import Spoiling, spoiled
from unhaze.data.transforms import haze_batch
from unhaze.errors import UnhazeError
from unhaze.haze import HazeLaw
from unhaze.losses import create_loss
from unhaze.nets import create_net
from unhaze.nets.clearing import (
    DENSE,
    Clearing,
    bent,
    means_of_cells,
    where_hazy,
    without_blind_spots,
)

TOE = 12 / 255


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_toe_never_crushes_and_changes_nothing_above_it():
    hazy, restored = torch.meshgrid(
        torch.arange(256) / 255, torch.linspace(-1, 1.2, 2001), indexing="ij"
    )
    after = bent(restored, hazy, TOE)
    lit = hazy > 0
    assert (255 * after[lit]).round().min() >= 1
    above = restored >= TOE
    assert torch.equal(after[above], restored[above])
    assert (after >= restored).all() and (after <= torch.maximum(restored, hazy)).all()
    assert (after.diff(dim=1) >= 0).all()


def test_the_toe_has_no_edge():
    restored = torch.tensor([TOE - 1e-3, TOE, TOE + 1e-3], dtype=torch.float64, requires_grad=True)
    slopes = torch.autograd.grad(bent(restored, torch.ones(3).double(), TOE).sum(), restored)[0]
    assert slopes.tolist() == pytest.approx([1, 1, 1], abs=0.05)


@pytest.mark.parametrize("strength", [1.0, 1.4])
def test_no_channel_is_newly_clipped_however_wrong_the_network(strength):
    torch.manual_seed(0)
    net = create_net("quarter", width=4, toe=TOE, strength=strength).eval()
    hazy = (torch.rand(1, 3, 64, 64) * 253 + 1).round() / 255
    with torch.no_grad():
        for weights in net.parameters():
            weights.add_(0.3 * torch.randn_like(weights))
        levels = (255 * net(hazy).clamp(0, 1)).round()
        net.toe = 0.0
        crushed = (255 * net(hazy).clamp(0, 1)).round()
    assert (crushed == 0).float().mean() > 0.02  # what the same weights do without it
    assert levels.min() >= 1 and levels.max() <= 254


def test_transmission_ends_where_the_picture_does():
    """Cells straddle an edge: what is told of them is carried to it by the luma of the pixels."""
    picture = torch.full((1, 3, 64, 64), 0.8)
    picture[..., 30:] = 0.2
    told = torch.full((1, 1, 16, 16), 0.3)
    told[..., 8:] = 0.9  # the edge between cells is 2 pixels off
    cells = means_of_cells(picture, 4)
    gain, _, done, _ = Clearing(guided=3)(told, cells, picture, torch.ones(1, 3, 1, 1))
    assert done == 1
    row = 1 / gain[0, 0, 32]
    assert row[29] < 0.4 < 0.75 < row[30]  # as told, 30 and 31 would have 0.3
    assert (row[16:29] - row[16]).abs().max() < 0.06  # no glow beside it


def textured(level: float, *, contrast: float = 0.1) -> torch.Tensor:
    """(1,3,64,64) around `level`."""
    return level + contrast * (torch.rand(1, 1, 16, 16, generator=generator()) - 0.5).repeat(
        1, 3, 4, 4
    )


def cleared(settings: dict, picture: torch.Tensor, told: float, light: float) -> torch.Tensor:
    """J (1,3,64,64) for one t and one grey airlight."""
    cells = means_of_cells(picture, 4)
    airlight = torch.full((1, 3, 1, 1), light)
    gain, offset, _, _ = Clearing(4, **settings)(
        torch.full((1, 1, 16, 16), told), cells, picture, airlight
    )
    return gain * picture + offset


def test_far_clears_more_the_more_haze_there_is():
    """far - 1 in proportion to the mean haze, and not so indoors."""
    picture = textured(0.7)

    def share(settings: dict, told: float, light: float = 0.8) -> float:
        further = cleared({"far": 3.0} | settings, picture, told, light)
        return float(further.std() / cleared({}, picture, told, light).std())

    assert 1 < share({}, 0.95) < 1.005
    dense = 0.6 / DENSE
    assert share({}, 0.4) == pytest.approx(1 + 2 * dense * 0.6 * (1 - 0.4), rel=0.02)
    assert share({"ease": 2.0}, 0.4) == pytest.approx(1 + 2 * dense * 0.6**2 * (1 - 0.4), rel=0.02)
    indoors = share({"indoors": 0.5}, 0.4, light=1.0)
    assert indoors == pytest.approx(1 + 2 * 0.5 * 0.6 * (1 - 0.4), rel=0.02)


def test_bound_and_keep_end_the_clearing_before_black():
    picture = textured(0.4)
    assert cleared({}, picture, 0.2, 0.9).max() < 0
    assert cleared({"bound": 1.05}, picture, 0.2, 0.9).mean() > 0
    kept = cleared({"keep": 0.4}, picture, 0.2, 0.9)
    assert kept.mean() == pytest.approx(0.4 * picture.mean().item(), rel=0.05)


def test_under_airlight_as_indoors_less_is_kept_and_cleared():
    looks = {"far": 3.0, "keep": 0.4, "indoors": 0.5}
    under_far = cleared({"far": 2.0}, textured(0.7), 0.4, 1.0)
    torch.testing.assert_close(cleared(looks | {"keep": 0.0}, textured(0.7), 0.4, 1.0), under_far)
    for light, share in ((0.9, 0.4), (1.0, 0.2)):
        kept = cleared(looks, textured(0.4), 0.2, light).mean()
        assert kept == pytest.approx(share * textured(0.4).mean().item(), rel=0.05)


def test_where_nothing_is_to_be_seen_nothing_is_cleared():
    flat = torch.full((1, 3, 64, 64), 0.6)
    assert torch.allclose(cleared({"flat": 0.01}, flat, 0.2, 0.9), flat, atol=1e-3)
    seen = textured(0.6, contrast=0.4)
    spreads = [cleared(each, seen, 0.5, 0.9).std().item() for each in ({"flat": 0.01}, {})]
    assert spreads[0] == pytest.approx(spreads[1], rel=0.1)


def test_noise_in_what_is_flat_grows_less_than_contrast():
    """The colours of the surroundings become as they would without it."""
    noise = 0.02 * torch.rand(1, 1, 64, 64, generator=generator())
    flat = 0.6 + noise.expand(1, 3, 64, 64)
    loud, calm = (cleared(each, flat, 0.4, 0.9) for each in ({}, {"fine": 0.01}))
    assert loud.std() / flat.std() == pytest.approx(1 / 0.4, rel=0.02)
    assert 1 <= calm.std() / flat.std() < 1.3
    assert calm.mean() == pytest.approx(loud.mean().item(), abs=1e-3)
    seen = 0.4 + means_of_cells(textured(0.2, contrast=0.4), 4).repeat_interleave(4, 2)
    seen = seen.repeat_interleave(4, 3)
    spreads = [cleared(each, seen, 0.4, 0.9).std().item() for each in ({}, {"fine": 0.001})]
    assert spreads[1] == pytest.approx(spreads[0], rel=0.02)


def test_what_is_blown_does_not_take_the_colour_that_it_is_filled_with():
    blown, filled = torch.ones(1, 3, 64, 64), torch.full((1, 3, 64, 64), 0.6)
    told, airlight = torch.full((1, 1, 16, 16), 0.4), torch.full((1, 3, 1, 1), 0.9)
    cells = means_of_cells(filled, 4), means_of_cells(blown, 4)
    gain, offset, _, _ = Clearing(4, fine=0.01)(told, cells[0], filled, airlight, cells[1])
    assert (gain * blown + offset).min() >= 1


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_frame_takes_the_colours_of_what_it_frames(level):
    inside = torch.tensor([0.6, 0.5, 0.4]).view(1, 3, 1, 1) + torch.zeros(1, 3, 64, 64)
    framed = torch.full((1, 3, 64, 64), level)
    framed[..., 10:54, 10:54] = inside[..., 10:54, 10:54]
    seen, cells = without_blind_spots(framed, means_of_cells(framed, 4))
    torch.testing.assert_close(seen, inside, rtol=0, atol=0.03)
    torch.testing.assert_close(cells, means_of_cells(inside, 4), rtol=0, atol=0.03)


def test_a_picture_without_blind_spots_is_seen_as_it_is():
    picture = 0.1 + 0.8 * torch.rand(2, 3, 64, 96, generator=generator())
    cells = means_of_cells(picture, 4)
    seen = without_blind_spots(picture, cells)
    torch.testing.assert_close(seen[0], picture)
    torch.testing.assert_close(seen[1], cells)
    nothing = torch.ones(1, 3, 32, 32)
    assert without_blind_spots(nothing, means_of_cells(nothing, 4))[0].isfinite().all()


def test_the_airlight_is_the_mean_of_where_haze_is():
    airlight = torch.zeros(1, 3, 4, 4)
    airlight[..., :2] = 0.9
    gain = torch.ones(1, 16, 16, 16)
    gain[..., :8] = 4.0
    assert where_hazy(airlight, gain).flatten().tolist() == pytest.approx([0.9 * 77 / 79] * 3)


@pytest.mark.parametrize("preset, plain", [("looks", None), ("fast-looks", "fast")])
def test_the_looks_take_the_weights_of_the_plain_network(preset, plain):
    net = create_net("quarter", preset=preset)
    net.load_state_dict(create_net("quarter", preset=plain).state_dict())
    restored = net(torch.rand(1, 3, 45, 70))
    restored.mean().backward()
    assert restored.shape == (1, 3, 45, 70)
    assert net.leave.weight.grad.abs().max() > 0


@pytest.mark.parametrize("wrong", [{"far": 0.5}, {"bound": 3.0}, {"far": 2.0}, {"flat": 0.01}])
def test_what_clears_further_needs_its_window(wrong):
    with pytest.raises((UnhazeError, ValueError), match="expected 1 or more|need guided"):
        create_net("quarter", **wrong)


@pytest.mark.parametrize("wrong", [{"guided": -1}, {"toe": 0.3}])
def test_settings_without_sense_are_refused(wrong):
    with pytest.raises((UnhazeError, ValueError), match="expected 0 or more, 0 to 0.2"):
        create_net("quarter", **wrong)


def test_masks_have_edges_of_one_pixel():
    like = torch.zeros(4, 3, 96, 128)
    for seed in range(8):
        mask = drawn_mask(like, generator(seed))
        assert mask.shape == (4, 1, 96, 128) and mask.min() >= 0 and mask.max() <= 1
    ramp = torch.linspace(-2, 2, 65).expand(1, 1, 8, 65)
    assert ((sharp(ramp) > 0) & (sharp(ramp) < 1)).sum(3).max() <= 1


def test_a_collage_without_haze_is_its_target_and_haze_hides_it():
    clear, depth = torch.rand(4, 3, 64, 64, generator=generator()), torch.rand(4, 1, 64, 64)
    law = HazeLaw(beta=(2.0, 2.0), airlight=(0.8, 0.8), clear_share=1.0)
    same = collage_batch(law, clear, depth, generator())
    torch.testing.assert_close(same.hazy, same.clear)
    hidden = collage_batch(HazeLaw(beta=(2.0, 2.0), airlight=(0.8, 0.8)), clear, depth, generator())
    assert hidden.hazy.std() < 0.8 * hidden.clear.std()


def test_smoke_lies_in_patches_and_only_where_it_is_asked_for():
    clear, depth = torch.zeros(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    law = HazeLaw(beta=(1, 1), airlight=(0.9, 0.9), patchy=1.0)
    smoke = haze_batch(law, clear, depth, generator(3))
    assert smoke.amax() > 0.2 and smoke.std() > 0.05
    without = haze_batch(HazeLaw(beta=(1, 1), airlight=(0.9, 0.9)), clear, depth, generator(3))
    assert without.abs().max() == 0


def test_a_cloud_is_equally_dense_everywhere_and_dust_lacks_blue():
    clear, depth = torch.zeros(8, 3, 64, 64), torch.rand(8, 1, 64, 64)
    plain = HazeLaw(beta=(1, 1), airlight=(0.9, 0.9))
    cloud = haze_batch(dataclasses.replace(plain, veiled=1.0), clear, depth, generator(3))
    assert cloud.std((1, 2, 3)).max() < 1e-6 and cloud.std() > 0.05
    red, green, blue = haze_batch(
        dataclasses.replace(plain, dust=1.0), clear + 0.5, depth + 5, generator(3)
    ).unbind(1)
    assert (red > green).all() and (green > blue).all()
    same = [
        haze_batch(dataclasses.replace(plain, **{name: 1e-9}), clear, depth, generator(3))
        for name in ("veiled", "dust")
    ]
    assert all(torch.equal(each, haze_batch(plain, clear, depth, generator(3))) for each in same)


@pytest.mark.parametrize("kind", ["framed", "stamped", "blown", "grey", "dark", "flat"])
def test_what_spoils_a_photo_spoils_its_target_alike(kind):
    clear = torch.rand(6, 3, 80, 100, generator=generator())
    hazy = clear * 0.4 + 0.5
    after = spoiled(PairedBatch(hazy, clear), Spoiling(**{kind: 1.0}), generator(1))
    assert (after.hazy != hazy).any()
    changed = (after.hazy != hazy).any(1) & (after.clear != clear).any(1)
    if kind in ("framed", "stamped", "flat"):
        same = (after.hazy == after.clear).all(1)
        assert same[changed].float().mean() > 0.99
        assert changed.any()
    if kind == "grey":
        assert (after.clear.amax(1) - after.clear.amin(1)).max() < 1e-6
    if kind == "dark":
        share = after.hazy / hazy
        torch.testing.assert_close(after.clear, clear * share.mean((1, 2, 3), keepdim=True))
    if kind == "blown":
        assert (after.clear == 1).any() and (after.hazy == 1).any()


def test_spoiling_is_a_share_and_none_of_it_draws_nothing():
    with pytest.raises(UnhazeError, match="framed is 1.5; expected a share"):
        Spoiling(framed=1.5)

    class One:
        def __len__(self) -> int:
            return 1

        def pair(self, index: int) -> Pair:
            raise NotImplementedError

        def draw(self, seed, step, *, size, augment, device):
            clear = torch.rand(size, 3, 32, 32, generator=generator(step))
            return PairedBatch(clear, clear)

    draws = [
        Mixed([One()], [1.0], Camera(), spoiling).draw(
            0, 5, size=2, augment=Augment(crop=32), device=torch.device("cpu")
        )
        for spoiling in (None, Spoiling(), Spoiling(flat=1.0))
    ]
    assert torch.equal(draws[0].hazy, draws[1].hazy)
    assert draws[2].hazy.std((2, 3)).max() == 0


def test_gradient_loss_counts_differences_of_neighbours():
    clear = torch.zeros(1, 1, 2, 2)
    restored = torch.tensor([[[[0.0, 0.4], [0.0, 0.4]]]])
    loss = create_loss("gradient")
    assert loss(restored, clear, clear).item() == pytest.approx(0.2)
    assert loss(clear + 0.3, clear, clear).item() == 0
