"""Training with real hazy photos: what the priors ask, that they are learned, exact resume."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from unhaze import photo
from unhaze.config import LossPart, Optimizer, Part, Recipe
from unhaze.data import PairedBatch
from unhaze.errors import UnhazeError
from unhaze.losses import create_loss
from unhaze.losses.unpaired import contrast_lacking, sky, sky_tint, tone
from unhaze.methods.adapted import Adapted, Drawing
from unhaze.methods.steps import Setup
from unhaze.nets import create_net
from unhaze.tensors import load_tensors
from unhaze.training import train
from unhaze.weights import newest_state

TINY = Path(__file__).parents[2] / "samples" / "tiny"


def plain(*colour: float, size: int = 32) -> torch.Tensor:
    return torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, size, size)


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((0.5, 0.5, 0.5), 0.0),
        ((0.1, 0.1, 0.1), 2 * (0.32 - 0.1)),
        ((0.55, 0.5, 0.45), 0.0),  # a warm light
        ((0.5, 0.7, 0.5), 0.2 / (0.5 + 0.7152 * 0.2) - 0.12),  # green
        ((0.8, 0.5, 0.2), 0.6 / (0.2126 * 0.8 + 0.7152 * 0.5 + 0.0722 * 0.2) - 0.4),  # dust
        ((0.5, 0.5, 1.5), 0.5 / (0.5 + 0.0722 * 0.5) - 0.2 + 0.25 / (0.5 + 0.0722 * 0.5) - 0.05),
    ],
)
def test_tone_by_hand(colour, expected):
    assert tone(plain(*colour)).item() == pytest.approx(expected, abs=1e-5)


def test_skies_may_be_blue_or_red_but_not_green_or_violet():
    fog, ground = plain(0.8, 0.8, 0.8), torch.rand(1, 3, 32, 32)
    assert sky(fog).min() > 0.9 and sky(ground).max() < 1e-3
    for colour in ((0.5, 0.7, 0.9), (0.9, 0.7, 0.5), (0.6, 0.6, 0.6)):
        assert sky_tint(plain(*colour), fog).item() == pytest.approx(0, abs=1e-6)
    for colour in ((0.6, 0.8, 0.6), (0.8, 0.6, 0.8)):
        assert sky_tint(plain(*colour), fog).item() > 0.15
    assert sky_tint(plain(0.3, 0.9, 0.3), ground).item() < 1e-3


def test_contrast_is_lacking_in_what_is_hazy_but_not_for_being_dark_or_sky():
    clear = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    hazy = 0.2 * clear + 0.7
    lacking = [contrast_lacking(each, hazy).item() for each in (clear, 0.5 * clear, hazy)]
    assert lacking[0] == 0 and lacking[1] < 0.01 and 0.2 < lacking[2] < 0.3
    assert contrast_lacking(0.7 * hazy, hazy).item() == pytest.approx(lacking[2], abs=0.01)
    assert contrast_lacking(plain(0.8, 0.8, 0.8), plain(0.8, 0.8, 0.8)).item() < 0.02


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three dark and hazy pictures of other sizes than any crop."""
    (tmp_path / "real").mkdir()
    random = np.random.default_rng(0)
    for number, size in enumerate(((40, 60), (70, 50), (33, 47))):
        pixels = 40 + 20 * random.random((*size, 3))
        photo.write_rgb(tmp_path / "real" / f"{number}.png", pixels.astype(np.uint8))
    return tmp_path / "real"


def build(photos: Path, **arguments) -> Adapted:
    torch.manual_seed(2)
    net = create_net("quarter", width=4)
    setup = Setup(
        fabric=Fabric(accelerator="cpu"),
        net=net,
        forward=net,
        losses={"l1": create_loss("l1")},
        weights={"l1": 1.0},
        optimizer=Optimizer(lr=1e-3),
        clip=0.0,
    )
    return Adapted(setup, photos=str(photos), **arguments)


def test_terms_by_hand(photos):
    method = build(photos, share=0.75, tone=0.4, sky=0.1)
    pair = PairedBatch(hazy=torch.rand(4, 3, 32, 40), clear=torch.rand(4, 3, 32, 40))
    seen = []
    method.networks["restorer"].register_forward_hook(lambda net, given, _: seen.append(given[0]))
    terms = method.measure(pair)
    assert seen[0].shape == (7, 3, 32, 40)
    torch.testing.assert_close(seen[0][:4], pair.hazy)
    real = seen[0][4:]
    with torch.no_grad():
        restored = method.networks["restorer"](seen[0])
    torch.testing.assert_close(terms["l1"], (restored[:4] - pair.clear).abs().mean())
    torch.testing.assert_close(terms["tone"], tone(restored[4:]))
    torch.testing.assert_close(terms["sky"], sky_tint(restored[4:], real))
    total = terms["l1"] + 0.4 * terms["tone"] + 0.1 * terms["sky"]
    torch.testing.assert_close(terms["total"], total)


def test_what_is_under_a_blown_sky_is_compared_with_what_it_is_with_its_sky(photos):
    method = build(photos, share=0.5, tone=0.0, sky=0.0, contrast=0.3, steady=0.2)
    pair = PairedBatch(hazy=torch.rand(4, 3, 32, 40), clear=torch.rand(4, 3, 32, 40))
    seen = []
    method.networks["restorer"].register_forward_hook(lambda net, given, _: seen.append(given[0]))
    terms = method.measure(pair)
    real, blown = seen[0][4:6], seen[0][6:]
    assert (blown[..., :8, :] == 1).all() and torch.equal(blown[..., 8:, :], real[..., 8:, :])
    with torch.no_grad():
        answers = method.networks["restorer"](seen[0])
    change = (answers[6:] - answers[4:6])[..., 8:, :].abs().mean()
    torch.testing.assert_close(terms["steady"], change)
    torch.testing.assert_close(terms["contrast"], contrast_lacking(answers[4:6], real))
    total = terms["l1"] + 0.3 * terms["contrast"] + 0.2 * terms["steady"]
    torch.testing.assert_close(terms["total"], total)


def test_real_photos_are_learned_from(photos):
    """They are dark; pairs that are as they should be say nothing of that."""
    clear = 0.4 + 0.2 * torch.rand(2, 3, 32, 32)
    pair = PairedBatch(hazy=clear, clear=clear)
    first, last = [], []
    for weight in (0.0, 3.0):
        method = build(photos, tone=weight, sky=0.0)
        tones = [method.step([pair], 1e-2)["tone"].item() for _ in range(60)]
        first.append(tones[0])
        last.append(np.mean(tones[-5:]))
    assert first[0] == first[1] > 0.2
    assert last[1] < 0.5 * last[0]


def test_photos_are_drawn_whole_some_mirrored_and_a_state_continues():
    photos = torch.arange(3 * 3 * 4 * 6, dtype=torch.uint8).view(3, 3, 4, 6)
    drawing, other = Drawing(), Drawing()
    drawn = [drawing.draw(photos, 4) for _ in range(20)]
    kinds = {tuple((255 * each[0, 0]).round().int().tolist()) for batch in drawn for each in batch}
    rows = [photos[place, 0, 0].int().tolist() for place in range(3)]
    assert kinds == {tuple(row) for row in rows} | {tuple(row[::-1]) for row in rows}
    other.load_state_dict(drawing.state_dict())
    assert torch.equal(drawing.draw(photos, 9), other.draw(photos, 9))


def test_a_run_continues_as_if_it_had_not_stopped(photos, tmp_path):
    """The photos that come next are part of the state."""
    recipe = Recipe(
        "adapted",
        Part("quarter", {"width": 4}),
        Part("rgbd", {"root": str(TINY)}),
        {"l1": LossPart()},
        method=Part("adapted", {"photos": str(photos), "names": ["0", "2"]}),
    )
    schedule = dataclasses.replace(recipe.schedule, steps=4, batch=2, decay="none")
    augment = dataclasses.replace(recipe.augment, crop=32)
    whole = dataclasses.replace(recipe, schedule=schedule, augment=augment)
    half = dataclasses.replace(whole, schedule=dataclasses.replace(schedule, steps=2))
    train(whole, out=tmp_path / "whole")
    train(half, out=tmp_path / "parts")
    train(whole, resume=tmp_path / "parts")
    one, other = (
        load_tensors(newest_state(tmp_path / run), "restorer")[0] for run in ("whole", "parts")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["0", "nine"]}, "method.names: .* has no picture 'nine'"),
        ({"share": 0.0}, "share is 0.0"),
        ({"sky": -1.0}, "'sky': -1.0"),
    ],
)
def test_wrong_settings_are_reported(photos, arguments, message):
    with pytest.raises(UnhazeError, match=message):
        build(photos, **arguments)


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(UnhazeError, match="no pictures in"):
        build(tmp_path / "none")
