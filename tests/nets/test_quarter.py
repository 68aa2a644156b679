"""QuarterNet: what it tells of haze, and that the border of a picture is nothing to it."""

import pytest
import torch

from unhaze.errors import UnhazeError
from unhaze.nets import create_net
from unhaze.nets.clearing import LARGEST_LIFT, UNCHANGED, Clearing, lift_to, lifted, luma_of


@pytest.mark.parametrize("preset", [None, "fast"])
def test_a_flat_picture_gets_no_frame(preset):
    torch.manual_seed(0)
    net = create_net("quarter", preset=preset).eval()
    flat = torch.tensor([0.6, 0.7, 0.8]).view(1, 3, 1, 1).expand(1, 3, 192, 256)
    with torch.no_grad():
        torch.nn.init.normal_(net.leave.weight, std=0.1)
        gain, offset, _, _ = net.haze(flat)
        restored = net(flat)
    # Each fold has a pattern of its own; it is the same everywhere.
    fold = net.fold
    cells = gain.unfold(2, fold, fold).unfold(3, fold, fold)[0, 0]
    assert cells[0, 0].std() > 1e-3
    torch.testing.assert_close(cells, cells[5, 5].expand_as(cells), rtol=0, atol=1e-4)
    assert (offset / (1 - gain)).std((2, 3)).max() < 1e-5  # the airlight
    assert (restored[..., :fold, :fold] - restored[..., -fold:, -fold:]).abs().max() < 1e-4


def test_it_solves_the_law_of_haze_within_its_ranges():
    torch.manual_seed(0)
    net = create_net("quarter", width=4).eval()
    hazy = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        for weights in net.parameters():
            weights.add_(0.1 * torch.randn_like(weights))
        gain, offset, exposure, _ = net.haze(hazy)
        airlight = offset / (1 - gain)
        expected = exposure * (airlight + gain * (hazy - airlight))
        torch.testing.assert_close(net(hazy), expected)
    assert gain.shape == (2, 1, 64, 96) and gain.min() >= 1
    assert airlight.shape == hazy.shape and airlight.min() > 0 and airlight.max() < 1
    assert exposure.shape == (2, 3, 1, 1)
    assert 0.5 < exposure.min() < exposure.max() < 2


def test_without_exposure_light_is_as_it_was():
    net = create_net("quarter", width=4, exposed=False)
    torch.nn.init.normal_(net.exposure[2].weight)
    assert (net.haze(torch.rand(2, 3, 64, 96))[2] == 1).all()


@pytest.mark.parametrize("wrong", [{"prior": 1.5}, {"fine": -0.1}, {"fine": 0.1, "cast": 1.5}])
def test_prior_fine_and_cast_have_limits(wrong):
    with pytest.raises(UnhazeError, match="expected 0 to 1"):
        create_net("quarter", guided=2, one_airlight=True, **wrong)
    with pytest.raises(UnhazeError, match="cast needs fine"):
        create_net("quarter", guided=2, one_airlight=True, cast=0.2)


@pytest.mark.parametrize("wrong", [{"ease": 0.5}, {"indoors": 0.0}, {"brighten": 1.5}])
def test_ease_indoors_and_brighten_have_limits(wrong):
    with pytest.raises(UnhazeError, match="expected 1 to 4, over 0 to 1, 0 to 1"):
        create_net("quarter", guided=2, one_airlight=True, **wrong)


def test_a_lift_gives_back_the_luminance_that_haze_took():
    hazy = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    restored = 0.2 * hazy + 0.8 * (1.2 * hazy**1.5 - 0.1).clamp(0, 1)
    lost = (luma_of(hazy) - luma_of(restored)).mean((1, 2, 3))
    for share in (0.5, 1.0):
        whole = lifted(restored, lift_to(hazy, restored, torch.tensor(share)))
        back = (luma_of(whole) - luma_of(restored)).mean((1, 2, 3))
        torch.testing.assert_close(back, share * lost, rtol=0.02, atol=0)
        assert whole.min() >= 0 and whole.max() <= 1 and (whole >= restored).all()
    whole, one = torch.ones(1, 3, 4, 4), torch.tensor(1.0)
    assert (lift_to(hazy, hazy + 0.1, one) == 0).all(), "nothing is darkened"
    assert (lift_to(whole, 0.01 * whole, one) == LARGEST_LIFT).all(), "no more than twice"
    assert lifted(0 * whole, one).max() == 0 and lifted(whole, one).min() == 1


def test_hazy_photos_are_brightened_and_clear_ones_keep_their_light():
    """Not in light haze, whose light it is that is lost, nor in white airlight, as indoors."""
    clearing = Clearing(guided=2, brighten=0.4)
    cells = 0.4 + 0.2 * torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))

    def lift(through: float, light: float) -> float:
        told, airlight = torch.full((1, 1, 16, 16), through), torch.full((1, 3, 1, 1), light)
        return float(clearing(told, cells, cells, airlight)[3])

    dense = lift(0.6, 0.8)
    restored = 0.8 + (cells - 0.8) / 0.6
    assert dense == pytest.approx(float(lift_to(cells, restored, torch.tensor(0.4))), rel=1e-4)
    assert 0 < lift(0.8, 0.8) < dense
    assert lift(0.948, 0.8) < 1e-3 and lift(0.6, 1.0) == lift(0.98, 1.0) == 0
    whole = lift_to(cells, 0.8 + (cells - 0.8) / 0.98, torch.tensor(1.0))
    assert lift(0.98, 0.8) == pytest.approx(float(whole), rel=1e-4)
    assert Clearing(guided=2)(torch.ones(1, 1, 16, 16), cells, cells, cells[..., :1, :1])[3] is None


def test_what_is_found_in_a_clear_picture_is_no_haze():
    """It stays as it is; from twice the least mean of 1 - t on, all that is found is removed."""
    cells = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    airlight = torch.full((1, 3, 1, 1), 0.8)

    def restored(haze: float) -> torch.Tensor:
        told = torch.full((1, 1, 16, 16), 1 - haze)
        gain, offset, _, _ = Clearing(guided=2)(told, cells, cells, airlight)
        return gain * cells + offset

    least, full = UNCHANGED
    torch.testing.assert_close(restored(least), cells, rtol=0, atol=1e-5)
    for haze, removed in ((full, full), ((least + full) / 2, (least + full) / 4)):
        expected = 0.8 + (cells - 0.8) / (1 - removed)
        torch.testing.assert_close(restored(haze), expected, rtol=0, atol=1e-4)


def test_brightening_clips_nothing_that_the_toe_kept():
    """However far over white a restored value is, and next to white."""
    net = create_net("quarter", width=4, guided=2, one_airlight=True, toe=0.065, brighten=1.0)
    told, airlight = torch.full((1, 1, 16, 16), 0.3), torch.full((1, 3, 1, 1), 0.7)
    hazy = torch.full((1, 3, 64, 64), 254 / 255)
    dark = torch.full((1, 3, 16, 16), 0.6)
    lift = Clearing(guided=2, brighten=1.0)(told, dark, hazy, airlight)[3]
    assert lift > 0.4
    net.haze = lambda _: (torch.full_like(hazy, 20.0), torch.zeros_like(hazy), 1.0, lift)
    with torch.no_grad():
        assert (255 * net(hazy)).round().max() < 255
        assert (255 * net(0.9 * hazy)).round().max() < 255
