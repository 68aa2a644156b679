"""The dark channel prior beside what the network finds."""

import pytest
import torch
from torch import Tensor

from unhaze.nets.clearing import (
    HAZY,
    LEAST_BY_PRIOR,
    OMEGA,
    Clearing,
    colour_of,
    least_around,
    luma_of,
    with_colour_of_dust,
    with_dark_channel,
)

AIRLIGHT = 0.9
DARK, VEILED = 0.1, 0.8  # channels that are all equal, of the near half and of the far half


def scene(far: float, near: float, share: float = 0.5) -> Tensor:
    """(1,1,64,64): `far` in this share of the rows, at the top, `near` in the others."""
    rows = torch.full((64,), near)
    rows[: round(64 * share)] = far
    return rows.view(1, 1, 64, 1).expand(1, 1, 64, 64).contiguous()


def seconded(told: Tensor, cells: Tensor, share: float, light: float = AIRLIGHT, less: float = 1.0):
    airlight = torch.full((1, 3, 1, 1), light)
    colours = cells.expand(1, 3, -1, -1)
    return with_dark_channel(told, colours, airlight, share, torch.full((1, 1, 1, 1), less))[:2]


def test_where_the_prior_finds_more_haze_it_counts_by_its_share():
    """As far as the picture is surely hazy, and never less than the network finds."""
    told, cells = scene(0.5, 0.8), scene(VEILED, DARK)
    haze = 0.35
    sure = (haze - HAZY[0]) / (HAZY[1] - HAZY[0])
    assert sure > 1  # surely hazy
    by_prior = max(LEAST_BY_PRIOR, 1 - OMEGA * VEILED / AIRLIGHT)
    half, whole = (seconded(told, cells, share)[0] for share in (0.5, 1.0))
    assert whole[0, 0, 0, 0] == pytest.approx(by_prior, abs=0.03)
    torch.testing.assert_close(half, (told + whole) / 2)
    torch.testing.assert_close(seconded(told, cells, 1.0, less=0.5)[0], half)
    low = scene(0.05, 0.8)
    torch.testing.assert_close(seconded(low, cells, 1.0)[0][..., :32, :], low[..., :32, :])


def test_what_the_prior_finds_in_the_clearest_places_is_the_scene():
    told = torch.full((1, 1, 64, 64), 0.5)
    bright = torch.full((1, 1, 64, 64), VEILED)
    torch.testing.assert_close(seconded(told, bright, 1.0)[0], told)
    dark, light = (seconded(scene(0.5, 0.8), scene(VEILED, near), 1.0)[0] for near in (0.1, 0.5))
    assert light[..., 0, 0] > dark[..., 0, 0] + 0.05


def test_haze_in_the_distance_only_counts_fully_with_its_airlight():
    """An aerial view, on average nearly clear. Clear pictures stay."""
    told, cells = scene(0.7, 1.0, 0.25), scene(VEILED, DARK, 0.25)
    assert (1 - told).mean() < HAZY[0] + 0.03
    after, airlight = seconded(told, cells, 0.0, light=0.75)
    assert after[0, 0, 0, 0] == pytest.approx(LEAST_BY_PRIOR, abs=0.03)
    assert after[0, 0, -1, 0] == pytest.approx(1, abs=0.01)
    assert airlight.flatten().tolist() == pytest.approx(3 * [VEILED], abs=0.005)

    unchanged = told, torch.full((1, 3, 1, 1), 1.0)  # airlight lighter than all that is seen
    torch.testing.assert_close(seconded(told, cells, 0.0, light=1.0), unchanged)
    clear = scene(0.9, 1.0, 0.25)
    torch.testing.assert_close(seconded(clear, cells, 0.0)[0], clear)


def test_a_black_picture_stays_as_it_is():
    told, black = torch.full((1, 1, 64, 64), 0.6), torch.zeros(1, 1, 64, 64)
    after, airlight = seconded(told, black, 1.0)
    torch.testing.assert_close(after, told)
    assert airlight.flatten().tolist() == pytest.approx(3 * [AIRLIGHT])


Colour = tuple[float, float, float]
DUST, GREY, WHITE = (0.9, 0.72, 0.48), (0.92, 0.9, 0.88), (1.0, 0.99, 0.98)


def scene_in(light: Colour, through: float) -> Tensor:
    """Colours of cells of a scene with every colour, in haze of equal density (1,3,40,40)."""
    scene = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    return through * scene + (1 - through) * colour(light)


def colour(values: Colour) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


def coloured(
    light: Colour, through: float, haze: float, told: Colour = GREY
) -> tuple[Tensor, float]:
    """The airlight, `told` by a network, and how surely haze of this `light` is dust."""
    cells, mean = scene_in(light, through), torch.full((1, 1, 1, 1), haze)
    airlight, dusty = with_colour_of_dust(colour(told), least_around(cells), mean)
    return airlight, dusty.item()


def test_the_airlight_of_dust_has_its_colour_and_keeps_its_largest_channel():
    airlight, dusty = coloured(DUST, 0.5, 0.2)
    assert dusty == 1
    assert airlight.amax().item() == pytest.approx(GREY[0], abs=1e-6)
    assert torch.allclose(airlight / airlight.amax(), colour(DUST) / DUST[0], atol=0.03)


@pytest.mark.parametrize(
    ("light", "through", "haze", "told"),
    [
        pytest.param(GREY, 0.5, 0.3, GREY, id="grey haze"),
        pytest.param((0.6, 0.8, 0.75), 0.5, 0.3, GREY, id="green haze, as over fields"),
        pytest.param((0.6, 0.75, 0.9), 0.5, 0.3, GREY, id="blue haze, as under water"),
        pytest.param(DUST, 0.8, 0.2, GREY, id="a warm room with dark shadows"),
        pytest.param(DUST, 0.5, 0.04, GREY, id="a warm scene without haze"),
        pytest.param(DUST, 0.5, 0.2, WHITE, id="a warm room in white haze"),
    ],
)
def test_other_airlights_stay_as_predicted(
    light: Colour, through: float, haze: float, told: Colour
):
    airlight, dusty = coloured(light, through, haze, told)
    assert dusty == 0 and torch.equal(airlight, colour(told))


def test_the_prior_counts_in_dust_as_in_surely_hazy_pictures():
    near, far = scene_in(DUST, 0.7), scene_in(DUST, 0.3)
    cells, told = torch.cat((far, near), 2), torch.full((1, 1, 80, 40), 0.9)
    less = torch.ones(1, 1, 1, 1)
    by_half, airlight, _ = with_dark_channel(told, cells, colour(GREY), 0.5, less)
    fully, _, _ = with_dark_channel(told, cells, colour(GREY), 1.0, less)
    torch.testing.assert_close(by_half, (told + fully) / 2)
    assert fully[:, :, :30].mean() < 0.7 and fully[:, :, 50:].mean() > 0.85
    assert airlight[0, 2].item() == pytest.approx(GREY[0] * DUST[2] / DUST[0], abs=0.12)


def test_a_wrong_colour_of_airlight_does_not_stain_dense_haze():
    """Grey surroundings keep most of their grey, details their colour, and all of it its luma."""
    random = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(3))
    scene = random * torch.tensor([0.3, 0.2, 0.2]).view(1, 3, 1, 1)
    told, airlight = torch.full((1, 1, 40, 40), 0.3), colour((0.8, 0.8, 0.7))
    cells = 0.3 * scene + 0.7 * 0.8

    def restored(cast: float) -> Tensor:
        gain, offset, _, _ = Clearing(4, fine=0.008, cast=cast)(told, cells, cells, airlight)
        return gain * cells + offset

    def stain(picture: Tensor) -> Tensor:
        return colour_of(picture.mean((2, 3), keepdim=True) - scene.mean((2, 3), keepdim=True))

    plain, kept = restored(0.0), restored(0.5)
    assert stain(kept).abs().amax() < 0.5 * stain(plain).abs().amax()
    torch.testing.assert_close(luma_of(kept), luma_of(plain), rtol=0, atol=1e-5)
    details = (each - each.mean((2, 3), keepdim=True) for each in (kept, plain))
    torch.testing.assert_close(*details, rtol=0, atol=0.03)
