"""The networks of CDD-GAN, reconstructed: counts, sampling, features, physics, negatives."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.errors import UnhazeError
from unhaze.nets import create_net
from unhaze.nets.cddgan import CDDGenerator, Haze, blur_down, blur_up
from unhaze.nets.cddgan_training import (
    FreeNegatives,
    NegativeGenerators,
    PatchCritic,
    ProjectionHeads,
)

LAYERS = (0, 4, 8, 12, 16)


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def small(**arguments) -> CDDGenerator:
    torch.manual_seed(1)
    return CDDGenerator(**({"width": 4, "blocks": 5} | arguments))


def picture(batch: int = 1, side: int = 32) -> Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(2))


def test_counts_are_those_of_the_ancestors():
    generator = CDDGenerator()
    channels = [generator.channels(layer) for layer in LAYERS]
    assert count(generator) == 11_378_179
    assert count(PatchCritic()) == 2_764_737
    assert channels == [3, 128, 256, 256, 256]
    assert count(ProjectionHeads(channels)) == 560_384
    assert count(ProjectionHeads(channels[1:])) == 493_568
    assert count(NegativeGenerators(5)) == 5 * 147_968


def test_everything_has_its_parameters_before_the_first_picture():
    """Nothing is created lazily: an optimizer or a copy made at once knows all of it."""
    parts = [small(), PatchCritic(width=4), ProjectionHeads([3, 8], dimension=8)]
    parts.append(NegativeGenerators(2, dimension=8, noise=4, count=6))
    before = [list(part.state_dict()) for part in parts]
    features = parts[0].encode(picture(), (4,))[0].flatten(2).transpose(1, 2)
    parts[1](picture())
    parts[3](parts[2](features, 1).mean(1), 1)
    assert [list(part.state_dict()) for part in parts] == before
    assert not any(isinstance(each, nn.modules.lazy.LazyModuleMixin) for each in parts[0].modules())


@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
def test_sampling_is_the_published_filters(size):
    features = torch.rand(2, 3, *size)
    binomial = torch.tensor([1.0, 2.0, 1.0])
    kernel = (torch.outer(binomial, binomial) / 16).expand(3, 1, 3, 3)
    mirrored = functional.pad(features, (1, 1, 1, 1), mode="reflect")
    expected = functional.conv2d(mirrored, kernel, stride=2, groups=3)
    torch.testing.assert_close(blur_down(features), expected)
    wider = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = (torch.outer(wider, wider) / 16).expand(3, 1, 4, 4)
    repeated = functional.pad(features, (1, 1, 1, 1), mode="replicate")
    spread = functional.conv_transpose2d(repeated, kernel, stride=2, groups=3)
    torch.testing.assert_close(blur_up(features), spread[..., 3:-3, 3:-3])


@pytest.mark.parametrize("shrink", [1, 2])
def test_features_are_met_on_the_way_and_the_encoder_stops_early(shrink):
    net = small(shrink=shrink)
    translated = net.translate(picture(), LAYERS)
    seen = net.encode(picture(), LAYERS)
    for layer, one, other in zip(LAYERS, translated.features, seen):
        assert torch.equal(one, other)
        assert one.shape[1] == net.channels(layer)
    assert torch.equal(translated.picture, net(picture()))
    sides = [each.shape[-1] * shrink for each in seen]
    assert sides == [32 + 6 * shrink, 32, 16, 8, 8]
    net.blocks[4].conv1.weight.data.fill_(torch.nan)
    assert all(each.isfinite().all() for each in net.encode(picture(), LAYERS[:-1]))


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no layer 17 to contrast; there are 0, 4, 8, 12, 13"):
        small().channels(17)


@pytest.mark.parametrize(("norm", "normalized"), [("instance", 5), ("early", 3), ("none", 0)])
def test_norm_says_which_blocks_have_one(norm, normalized):
    net = small(norm=norm)
    assert [block.normalized for block in net.blocks] == [True] * normalized + [False] * (
        5 - normalized
    )
    level = 0.3 * picture(), 0.3 * picture() + 0.4
    blind = (net.blocks[0](net.encode(level[0], (8,))[0]) * 0).sum() == 0
    assert blind
    one, other = (net.translate(each, (12,)).features[0] for each in level)
    erased = torch.allclose(one, other, atol=1e-3)
    assert erased == (norm != "none")


def test_heads_follow_the_haze_law():
    """Given the same prediction, "veil" undoes what "haze" does; each moves the right way."""
    haze, veil = small(head="haze"), small(head="veil")
    predicted = torch.rand(1, 4, 32, 32)
    hazy = picture()
    restored = haze.restored(hazy, predicted)[0]
    torch.testing.assert_close(veil.restored(restored, predicted)[0], hazy, atol=1e-5, rtol=1e-5)
    airlight = torch.sigmoid(predicted[:, 1:].mean((2, 3), keepdim=True))
    assert (veil.restored(hazy, predicted)[0] - airlight).abs().mean() < (
        hazy - airlight
    ).abs().mean()
    assert (restored - airlight).abs().mean() > (hazy - airlight).abs().mean()


def test_the_haze_that_is_given_is_the_haze_that_is_added():
    """As much in the mean, in the given colour; the network chooses where."""
    veil = small(head="veil")
    veil.last.weight.data *= 50  # otherwise everywhere alike
    clear = picture(2)
    given = Haze(torch.tensor([0.0, 0.4]).view(2, 1, 1, 1), torch.rand(2, 3, 1, 1))
    translated = veil.translate(clear, (), given)
    hazy = translated.picture
    torch.testing.assert_close(translated.haze.depth, given.depth, atol=0.02, rtol=0)
    assert torch.equal(translated.haze.airlight, given.airlight)
    torch.testing.assert_close(hazy[0], clear[0])
    depth = -torch.log((hazy[1] - given.airlight[1]) / (clear[1] - given.airlight[1])).mean(0)
    assert depth.std() > 0.01
    assert small(head="tanh").translate(clear, ()).haze is None


def test_the_physics_starts_near_the_input_and_can_leave_it():
    net = small(head="haze", norm="none")
    restored = net(picture())
    assert (restored - picture()).abs().mean() < 0.15
    clear_sky = torch.zeros(1, 4, 32, 32, requires_grad=True)
    net.restored(picture(), clear_sky)[0].sum().backward()
    assert clear_sky.grad[:, 0].abs().mean() > 0.01
    thick = net.restored(picture(), torch.full((1, 4, 32, 32), 1e6))[0]
    assert thick.isfinite().all()


def test_the_airlight_starts_at_the_brightest_place():
    """Of 16 x 16 pixels: single bright pixels are no place."""
    net = small(head="haze", airlight="brightest")
    dusk = 0.3 * picture(side=64)
    dusk[..., 16:32, 32:48] = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)
    dusk[..., 50, 50] = 1
    airlight = net.translate(dusk, ()).haze.airlight.flatten()
    torch.testing.assert_close(airlight, torch.tensor([0.5, 0.4, 0.3]), atol=0.02, rtol=0)
    white = net.translate(torch.ones(1, 3, 5, 7), ())
    assert white.haze.airlight.min() > 0.9 and white.picture.isfinite().all()
    assert net.opposite().airlight == "brightest"


def test_exposure_starts_with_next_to_no_effect_and_can_give_back_the_luminance():
    net = small(head="haze", exposed=True).eval()
    plain = net.translate(picture(), ()).picture
    assert 0 <= (net(picture()) - plain.clamp(0, 1)).abs().max() < 0.02
    net.exposure[-1].bias.data.fill_(9.0)
    torch.testing.assert_close(net(picture()).mean(), picture().mean(), atol=1e-3, rtol=0)
    soft = small(head="haze", exposed=True, toe=0.1).eval()
    assert plain.min() < 0 < soft(picture()).min()


def test_haze_is_smooth_where_the_network_sees_blocks():
    """From block to block in half steps: no grid can be painted into the picture."""
    net = small(head="haze", norm="none", shrink=2)
    grey = torch.full((1, 3, 32, 32), 0.2)
    predicted = torch.zeros(1, 4, 16, 16)
    low = net.restored(grey, predicted)[0]
    high = net.restored(grey, predicted + torch.tensor([0.01, 0, 0, 0]).view(1, 4, 1, 1))[0]
    predicted[:, 0, :, ::2] = 0.01
    painted = net.restored(grey, predicted)[0]
    assert painted.shape == grey.shape
    step = (painted[..., 1:] - painted[..., :-1]).abs().max()
    assert 0 < step < 0.51 * (high - low).abs().max()


def test_the_way_back_has_the_same_arguments():
    net = create_net("cddgan", preset="slim", width=8)
    back = net.opposite()
    assert (back.head, back.width, back.shrink, back.norm) == ("veil", 8, 2, "none")
    assert count(back) == count(net)
    assert CDDGenerator(width=4, blocks=1).opposite().head == "tanh"


def test_heads_and_negatives_have_length_one():
    heads = ProjectionHeads([3, 8], dimension=16)
    projected = heads(torch.randn(2, 7, 8), 1)
    torch.testing.assert_close(projected.norm(dim=-1), torch.ones(2, 7), atol=1e-3, rtol=0)
    generated = NegativeGenerators(2, dimension=16, noise=4, count=6)
    for net in (generated, FreeNegatives(2, dimension=16, count=6)):
        made = net(projected.mean(1), 1)
        assert made.shape == (2, 6, 16)
        torch.testing.assert_close(made.norm(dim=-1), torch.ones(2, 6), atol=1e-3, rtol=0)


def test_each_generated_negative_has_its_own_noise_and_its_picture():
    torch.manual_seed(0)
    net = NegativeGenerators(1, dimension=16, noise=4, count=6)
    context = torch.randn(2, 16)
    made = net(context, 0)
    assert len(made.flatten(0, 1).unique(dim=0)) == 12
    torch.manual_seed(3)
    first = net(context, 0)
    torch.manual_seed(3)
    other = net(torch.stack((context[0], -context[1])), 0)
    assert torch.equal(first[0], other[0])
    assert not torch.allclose(first[1], other[1])


def test_critic_judges_patches():
    critic = PatchCritic(width=4)
    assert critic(picture(2, 64)).shape == (2, 1, 6, 6)
    small_one = PatchCritic(width=4, shrink=2)
    small_one.load_state_dict(critic.state_dict())
    shrunk = functional.avg_pool2d(picture(2, 128), 2)
    assert torch.equal(small_one(picture(2, 128)), critic(shrunk))


def test_critic_norm_hides_the_contrast():
    """Scores of a picture and of the same with a third of its contrast, about a level of zero."""
    flat = 0.5 + (picture(1, 64) - 0.5) / 3
    apart = {}
    for norm in ("instance", "none"):
        torch.manual_seed(0)
        critic = PatchCritic(width=4, norm=norm)
        for parameter in critic.parameters():  # The start is too small for the norm to bite.
            parameter.data *= 50
        scores = critic(picture(1, 64))
        apart[norm] = ((critic(flat) - scores).abs().mean() / scores.abs().mean()).item()
    assert apart["instance"] < 0.05 < 0.5 < apart["none"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "critic_width is 0"),
        ({"shrink": 0}, "critic_shrink is 0"),
        ({"norm": "batch"}, "instance, none"),
    ],
)
def test_wrong_critics(arguments, message):
    with pytest.raises((UnhazeError, ValueError), match=message):
        PatchCritic(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width is 0"),
        ({"blocks": -1}, "blocks is -1"),
        ({"shrink": 0}, "shrink is 0"),
        ({"norm": "batch"}, "instance, early, none"),
        ({"head": "relu"}, "tanh, haze, veil"),
        ({"airlight": "sky"}, "free, brightest"),
        ({"exposed": True}, "exposed needs head 'haze'"),
        ({"head": "haze", "toe": 0.1}, "toe is 0.1"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(UnhazeError, match=message):
        create_net("cddgan", **arguments)
