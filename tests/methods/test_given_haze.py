"""CDD-GAN with a hazer that is given the haze: what it is given, and what the restorer finds."""

import pytest
import torch

from tests.methods.test_cddgan import PHYSICAL, batch, method, weights_of
from unhaze.methods.given_haze import missed
from unhaze.nets.cddgan import Haze


@pytest.mark.parametrize("contrast", [0.0, 1.0])
def test_a_hazer_that_is_given_the_haze_learns_where_it_is(contrast):
    """Identity asks nothing of it any more: without haze, it changes nothing."""
    full = method(PHYSICAL, densities=[0.5, 2.0], contrast=contrast)
    before = {name: weights_of(full.networks[name]) for name in ("restorer", "hazer")}
    made, _, _ = full.make(batch(size=2))
    torch.testing.assert_close(made["same_hazy"], batch(size=2).hazy)
    terms = full.step([batch(size=2)], 2e-4)
    assert all(value.isfinite() for value in terms.values())
    for name, weights in before.items():
        assert any(not torch.equal(*each) for each in zip(weights, weights_of(full.networks[name])))


def test_cycles_are_given_what_was_removed_and_clear_pictures_another_haze(monkeypatch):
    full = method(PHYSICAL, densities=[0.5, 2.0], contrast=0.0)
    hazer, given = full.generators["hazer"], []

    def seen(image, layers, haze=None):
        given.append(haze)
        return type(hazer).translate(hazer, image, layers, haze)

    monkeypatch.setattr(hazer, "translate", seen)
    full.make(batch(size=3))
    found = full.generators["restorer"].translate(batch(size=3).hazy, ()).haze
    other, nothing, removed = given
    assert nothing.depth.abs().max() == 0
    for part in ("depth", "airlight"):
        one, same = getattr(removed, part), getattr(found, part)
        assert one.requires_grad and torch.equal(one, same)
    assert not other.depth.requires_grad and not other.airlight.requires_grad
    factors = other.depth / found.depth.roll(1, 0).clamp(min=0.05)
    assert 0.5 <= factors.min() < factors.max() <= 2
    assert (other.airlight - found.airlight.roll(1, 0)).abs().max() <= 0.2 + 1e-6


def test_haze_that_was_added_is_to_be_found_again():
    """The haze that was added is the target, and does not move towards what was found."""
    full = method(
        PHYSICAL | {"airlight": "brightest"}, densities=[0.5, 2.0], contrast=0.0, haze=1.0
    )
    given = full.generators["hazer"].translate(batch().clear, (), None).haze
    assert missed(given, given) == 0
    found = Haze(given.depth, given.airlight - 0.1, given.transmission.detach() + 0.2)
    torch.testing.assert_close(missed(given, found), torch.tensor(0.3))
    assert not missed(given, Haze(*map(torch.zeros_like, vars(found).values()))).requires_grad
    for step in range(2):
        terms = full.step([batch(step, size=2)], 2e-4)
    parts = {"cycle": 10, "identity": 5, "haze": 1}
    rest = terms["adversarial_clear"] + terms["adversarial_hazy"]
    total = rest + sum(weight * terms[name] for name, weight in parts.items())
    torch.testing.assert_close(terms["total"], total)


def test_the_hazer_of_a_strip_is_given_the_haze_of_the_hazy_picture():
    full = method(PHYSICAL, densities=[0.5, 2.0], contrast=0.0)
    given = batch(size=2)
    restorer = full.generators["restorer"]
    found = restorer.translate(given.hazy, ()).haze
    columns = full.columns(restorer, given)
    assert list(columns) == ["hazy", "restored", "hazy again", "clear", "hazed", "clear again"]
    hazed = full.generators["hazer"].translate(given.clear, (), found).picture
    assert torch.equal(columns["hazed"], hazed)
    change = (columns["hazed"] - given.clear).abs().mean()
    assert 0 < change < 0.3, "as little as the restorer finds before it is trained"
