"""The losses of unpaired training by hand."""

import math

import pytest
import torch

from unhaze.losses.adversarial import ADVERSARIAL, reconstruction
from unhaze.losses.patchnce import adversarial_contrast, patch_contrast, spread


def vectors(*rows: tuple[float, ...]) -> torch.Tensor:
    """One picture's vectors, (1,N,D)."""
    return torch.tensor([rows])


EAST, NORTH, WEST = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)


def test_contrast_of_one_positive_and_two_negatives():
    """-log(e^2 / (e^2 + e^0 + e^-2)) at temperature 1/2."""
    loss = adversarial_contrast(vectors(EAST), vectors(EAST), vectors(NORTH, WEST), temperature=0.5)
    expected = math.log(math.exp(2) + 1 + math.exp(-2)) - 2
    assert loss.item() == pytest.approx(expected)


def test_contrast_is_the_mean_over_patches():
    loss = adversarial_contrast(
        vectors(EAST, NORTH), vectors(EAST, WEST), vectors(NORTH), temperature=1.0
    )
    first = math.log(math.e + 1) - 1
    second = math.log(1 + math.e) - 0
    assert loss.item() == pytest.approx((first + second) / 2)


def test_negatives_belong_to_their_own_picture():
    queries = torch.tensor([[EAST], [EAST]])
    negatives = torch.tensor([[NORTH], [EAST]])
    loss = adversarial_contrast(queries, queries, negatives, temperature=1.0)
    assert loss.item() == pytest.approx((math.log(1 + 1 / math.e) + math.log(2)) / 2)


def test_exemplars_are_further_positives():
    """P is the mean of exp(0), of the key, and exp(1), of the exemplar."""
    loss = adversarial_contrast(
        vectors(EAST),
        vectors(NORTH),
        vectors(WEST),
        temperature=1.0,
        exemplars=vectors(EAST),
    )
    positive = (1 + math.e) / 2
    assert loss.item() == pytest.approx(math.log((positive + math.exp(-1)) / positive))


def test_one_exemplar_is_drawn_for_each_patch():
    torch.manual_seed(0)
    many = vectors(*[EAST] * 2000)
    loss = adversarial_contrast(
        many,
        vectors(*[NORTH] * 2000),
        vectors(WEST),
        temperature=1.0,
        exemplars=vectors(EAST, WEST),
        one_exemplar=True,
    )
    per_draw = []
    for drawn in (1.0, -1.0):
        positive = (1 + math.exp(drawn)) / 2
        per_draw.append(math.log((positive + math.exp(-1)) / positive))
    assert loss.item() == pytest.approx(sum(per_draw) / 2, rel=0.02)


def test_patch_contrast_takes_the_other_patches_for_negatives():
    loss = patch_contrast(vectors(EAST, NORTH), vectors(EAST, NORTH), temperature=0.5)
    assert loss.item() == pytest.approx(math.log(math.exp(2) + 1) - 2)


def test_contrast_survives_half_precision_and_a_low_temperature():
    with torch.autocast("cpu", torch.bfloat16):
        loss = adversarial_contrast(vectors(EAST), vectors(EAST), vectors(WEST), temperature=0.001)
    assert loss.dtype == torch.float32 and loss.item() == 0


def test_contrast_pulls_to_the_key_and_pushes_from_negatives():
    queries = torch.tensor([[[0.6, 0.8]]], requires_grad=True)
    adversarial_contrast(queries, vectors(EAST), vectors(NORTH)).backward()
    pulled = -queries.grad[0, 0]
    assert pulled[0] > 0 > pulled[1]


def test_spread_of_halves():
    """|(1,0) - (0,1)| and |(1,0) - (1,0)|: mean absolute difference 1/2, times the root of 2."""
    assert spread(vectors(EAST, EAST, NORTH, EAST)).item() == pytest.approx(2**0.5 / 2)
    assert spread(vectors(EAST, EAST, EAST, EAST)).item() == 0
    assert spread(vectors(EAST, NORTH, WEST)).item() == pytest.approx(2**0.5)


def test_spread_of_independent_directions_is_about_1():
    directions = torch.nn.functional.normalize(torch.randn(1, 512, 256), dim=-1)
    assert spread(directions).item() == pytest.approx(1.13, abs=0.02)


REAL, MADE = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 2.0])


@pytest.mark.parametrize(
    ("name", "critic", "generator"),
    [
        ("lsgan", ((0 + 0.25) / 2 + (0 + 4) / 2) / 2, (1 + 1) / 2),
        ("hinge", ((0 + 0.5) / 2 + (1 + 3) / 2) / 2, -1.0),
    ],
)
def test_adversarial_losses(name, critic, generator):
    loss = ADVERSARIAL[name]
    assert loss.critic(REAL, MADE).item() == pytest.approx(critic)
    assert loss.generator(MADE).item() == pytest.approx(generator)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_undecided_is_the_best_that_a_blind_critic_can_do(name):
    """One score for all pictures, real or made, and the best such score."""
    loss = ADVERSARIAL[name]
    scores = torch.linspace(-2, 2, 401)
    blind = min(loss.critic(score.view(1), score.view(1)).item() for score in scores)
    assert blind == pytest.approx(loss.undecided, abs=1e-6)


def test_reconstruction_is_measured_in_the_published_scale():
    again = torch.full((1, 3, 2, 2), 0.75)
    assert reconstruction(again, torch.full((1, 3, 2, 2), 0.5)).item() == pytest.approx(0.5)
