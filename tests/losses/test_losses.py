"""Losses by hand: values, gradients, every mode of contrastive regularization, and its guard."""

import math
import re

import pytest
import torch
from torch import Tensor, nn

from unhaze.errors import UnhazeError
from unhaze.losses import LOSSES, create_loss
from unhaze.losses.contrastive import LAYER_WEIGHTS
from unhaze.losses.vgg import TAPS, VGG
from unhaze.metrics.psnr_ssim import ssim_zero_padded

FIRST = (1.0, 0.0, 0.0, 0.0, 0.0)


class Pixels(nn.Module):
    """In place of a VGG: the only feature is the image, so that distances are easily told."""

    def forward(self, image: Tensor) -> list[Tensor]:
        return [image]


def on_pixels(name: str, **arguments) -> nn.Module:
    layers = {"layers": {"relu1_1": 1}} if name == "perceptual" else {"layer_weights": FIRST}
    loss = create_loss(name, weights="random", **layers, **arguments)
    loss.vgg = Pixels()
    return loss


def plain(*values: float) -> Tensor:
    """One 2x2 image a value, in that one colour."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).clone()


@pytest.fixture(scope="module")
def pictures() -> tuple[Tensor, Tensor]:
    """clear, hazy: five soft pictures of 16x16, and what haze of t = 0.4 makes of them."""
    noise = torch.rand(5, 3, 18, 18, generator=torch.Generator().manual_seed(0))
    clear = nn.functional.avg_pool2d(noise, 3, stride=1)
    clear = ((clear - 0.5) * 2.5 + 0.5).clamp(0, 1)
    return clear, 0.4 * clear + 0.6


# Twice 1 - q and twice q of pictures whose haze changes them by 0.75 and by 0.5.
PINBALL = 1 - 0.2 * math.exp(-0.75 / 0.5), 1 + 0.2 * math.exp(-0.5 / 0.5)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("l1", {}, (0.5 + 0.25) / 2),
        ("l2", {}, (0.25 + 0.0625) / 2),
        ("smooth_l1", {}, (0.125 + 0.03125) / 2),
        ("smooth_l1", {"beta": 0.25}, (0.375 + 0.125) / 2),
        ("pinball", {"quantile": 0.6, "haze": 1e9}, (0.8 * 0.5 + 1.2 * 0.25) / 2),
        ("pinball", {"quantile": 0.6, "haze": 1e-9}, (0.5 + 0.25) / 2),
        ("pinball", {"quantile": 0.6, "haze": 0.5}, (PINBALL[0] * 0.5 + PINBALL[1] * 0.25) / 2),
        ("pinball", {"quantile": 0.5}, (0.5 + 0.25) / 2),
    ],
)
def test_pixel_losses(name, arguments, expected):
    restored, clear = plain(0.75, 0.25), plain(0.25, 0.5)
    value = create_loss(name, **arguments)(restored, clear, plain(1.0, 1.0))
    assert value.shape == ()
    assert value.item() == pytest.approx(expected)


def test_ssim_loss_is_one_minus_the_metric(pictures):
    clear, hazy = pictures
    scores = [
        ssim_zero_padded(*(each.permute(1, 2, 0).double().numpy() for each in pair))
        for pair in zip(hazy, clear)
    ]
    loss = create_loss("ssim")
    assert loss(hazy, clear, hazy).item() == pytest.approx(1 - sum(scores) / 5, abs=1e-5)
    assert loss(clear, clear, hazy).item() == pytest.approx(0, abs=1e-6)
    assert loss(plain(0.5), plain(0.25), plain(1)).item() > 0  # smaller than its window


def test_frequency_loss_by_hand():
    """One pixel that is off by d has a flat spectrum: d cos and d sin of its phases."""
    clear = torch.full((1, 3, 4, 4), 0.5)
    corner, moved = clear.clone(), clear.clone()
    corner[..., 0, 0] += 0.25
    moved[..., 0, 1] += 0.25  # phases of 0, -90, -180 and -270 degrees: one of both parts is 0
    loss = create_loss("frequency")
    assert loss(corner, clear, clear).item() == pytest.approx(0.25 / 2)
    assert loss(moved, clear, clear).item() == pytest.approx(0.25 / 2)
    # The same difference everywhere is one coefficient of 16 d among 32 numbers.
    assert loss(clear + 0.25, clear, clear).item() == pytest.approx(16 * 0.25 / 32)


@pytest.mark.parametrize(
    ("distance", "expected"), [("l1", (0.5 + 0.25) / 2), ("l2", (0.25 + 0.0625) / 2)]
)
def test_perceptual_by_hand(distance, expected):
    loss = on_pixels("perceptual", distance=distance)
    assert loss(plain(0.75, 0.25), plain(0.25, 0.5), plain(1, 1)).item() == pytest.approx(expected)


def test_perceptual_is_the_weighted_sum(pictures):
    clear, hazy = pictures
    arguments = {"network": "vgg19", "layers": {"relu4_1": 0.5, "relu1_1": 0, "relu2_1": 2}}
    loss = create_loss("perceptual", weights="random", **arguments)
    assert len(loss.vgg.convolutions) == 9, "no layer after relu4_1 is computed"
    vgg = VGG("random", taps=TAPS)
    pairs = list(zip(vgg(hazy), vgg(clear)))
    expected = 2 * (pairs[1][0] - pairs[1][1]).square().mean()
    expected += 0.5 * (pairs[3][0] - pairs[3][1]).square().mean()
    torch.testing.assert_close(loss(hazy, clear, hazy), expected)


def test_perceptual_is_griddehazenets_by_default(pictures):
    """The mean over three layers of VGG-16, which has three convolutions in its third block."""
    clear, hazy = pictures
    loss = create_loss("perceptual", weights="random")
    assert [each.kernel.shape[0] for each in loss.vgg.convolutions] == 2 * [64] + 2 * [128] + [
        256
    ] * 3
    vgg = VGG("random", network="vgg16", taps=("relu1_2", "relu2_2", "relu3_3"))
    gaps = [(one - other).square().mean() for one, other in zip(vgg(hazy), vgg(clear))]
    torch.testing.assert_close(loss(hazy, clear, hazy), sum(gaps) / 3)


def test_contrastive_by_hand():
    """Anchor 3, positive 1, negative 7: (3-1)/(7-3); its slope 1/4 + 2/16 has both parts."""
    restored, clear, hazy = (plain(value).requires_grad_() for value in (3.0, 1.0, 7.0))
    value = on_pixels("contrastive")(restored, clear, hazy)
    assert value.item() == pytest.approx(0.5)
    value.backward()
    assert restored.grad.sum().item() == pytest.approx(1 / 4 + 2 / 16)
    assert clear.grad is None
    assert hazy.grad is None


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"),
    [
        # Anchors 1, 2, 3; clear 0, 0, 4; hazy 9, 6, 3. Own: ap (1+2+1)/3, an (8+4+0)/3.
        (1, 1, (4 / 3) / (12 / 3)),
        # Second positives 0, 4, 0: (1+2+3)/3. Second negatives 6, 3, 9: (5+1+6)/3.
        (2, 1, ((4 + 6) / 6) / (12 / 3)),
        (1, 2, (4 / 3) / ((12 + 12) / 6)),
        # Third positives 4, 0, 0: (3+2+3)/3. Third negatives 3, 9, 6: (2+7+3)/3.
        (3, 3, ((4 + 6 + 8) / 9) / ((12 + 12 + 12) / 9)),
        (1, 0, 4 / 3),
        (3, 0, (4 + 6 + 8) / 9),
    ],
)
def test_rates_by_hand(positives, negatives, expected):
    loss = on_pixels("contrastive", positives=positives, negatives=negatives, floor=0)
    value = loss(plain(1, 2, 3), plain(0, 0, 4), plain(9, 6, 3))
    assert value.item() == pytest.approx(expected)


@pytest.mark.parametrize(("positives", "negatives"), [(1, 1), (1, 4), (3, 1), (5, 5), (2, 0)])
def test_contrastive_equals_slow_loop(pictures, positives, negatives):
    """One image, one layer, one positive or negative at a time."""
    clear, hazy = pictures
    restored = (0.7 * clear + 0.3 * hazy + 0.05 * hazy.flip(-1)).requires_grad_()
    arguments = {"positives": positives, "negatives": negatives}
    value = create_loss("contrastive", weights="random", floor=0, **arguments)(
        restored, clear, hazy
    )
    (gradient,) = torch.autograd.grad(value, restored)

    vgg = VGG("random")
    anchor_features = [vgg(image[None]) for image in restored]
    clear_features = [vgg(image[None]) for image in clear]
    hazy_features = [vgg(image[None]) for image in hazy]
    expected = 0
    for layer, weight in enumerate((1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)):

        def mean_distance(other_features, count, layer=layer):
            gaps = [
                (anchor_features[i][layer] - other_features[(i + k) % 5][layer]).abs().mean()
                for i in range(5)
                for k in range(count)
            ]
            return sum(gaps) / len(gaps)

        below = mean_distance(hazy_features, negatives) + 1e-7 if negatives else 1
        expected = expected + weight * mean_distance(clear_features, positives) / below
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, restored)[0])


@pytest.mark.parametrize("arguments", [{}, {"floor": 0}, {"negatives": 0}, {"negatives": 5}])
def test_contrastive_falls_from_hazy_to_clear(pictures, arguments):
    clear, hazy = pictures
    loss = create_loss("contrastive", weights="random", **arguments)
    values = [
        loss(hazy + share * (clear - hazy), clear, hazy).item()
        for share in (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0)
    ]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)
    assert values[-1] < 1e-4


def test_layer_weights(pictures):
    """Each is a factor of its layer's term; zeros at the end shorten the network."""
    clear, hazy = pictures
    restored = 0.5 * clear + 0.5 * hazy
    whole = create_loss("contrastive", weights="random")(restored, clear, hazy)
    terms = []
    for layer in range(5):
        weights = [0.0] * 5
        weights[layer] = 1.0
        loss = create_loss("contrastive", weights="random", layer_weights=weights)
        assert len(loss.vgg.convolutions) == (1, 3, 5, 9, 13)[layer]
        terms.append(loss(restored, clear, hazy))
    expected = sum(weight * term for weight, term in zip(LAYER_WEIGHTS, terms))
    torch.testing.assert_close(whole, expected)


def test_guard_bounds_an_identity_at_the_start(pictures):
    """Output equal to the hazy image: the authors' ratio explodes, the guarded one is 1 / floor."""
    clear, hazy = pictures
    slopes = {}
    for floor in (0, 0.25):
        restored = (hazy + 1e-6 * (clear - hazy)).requires_grad_()
        loss = create_loss("contrastive", weights="random", floor=floor)
        value = loss(restored, clear, hazy)
        (gradient,) = torch.autograd.grad(value, restored)
        slopes[floor] = gradient.abs().max().item()
        if floor:
            assert value.item() == pytest.approx(sum(LAYER_WEIGHTS) / floor, rel=1e-4)
        else:
            assert value.item() > 1e4
    assert slopes[0] > 1e4 * slopes[0.25] > 0


def test_guard_leaves_the_rest_alone(pictures):
    """The bound of its docstring: nothing changes where d_ap < (1 - floor) * d(clear, hazy)."""
    clear, hazy = pictures
    authors, guarded = (create_loss("contrastive", weights="random", floor=f) for f in (0, 0.5))
    near, far = 0.7 * clear + 0.3 * hazy, torch.zeros_like(clear)
    for restored in (near, far):
        assert torch.equal(guarded(restored, clear, hazy), authors(restored, clear, hazy))
    barely = 0.1 * clear + 0.9 * hazy
    assert guarded(barely, clear, hazy) < authors(barely, clear, hazy) / 2


def test_guarded_gradient_pulls_to_the_clear_image_only():
    restored = plain(6.5).requires_grad_()
    value = on_pixels("contrastive", floor=0.5)(restored, plain(1.0), plain(7.0))
    assert value.item() == pytest.approx(5.5 / 3)
    value.backward()
    assert restored.grad.sum().item() == pytest.approx(1 / 3)


def test_nothing_to_restore_is_finite():
    """Clear, hazy and restored the same: no haze in the whole batch."""
    restored = plain(0.5, 0.5).requires_grad_()
    value = on_pixels("contrastive")(restored, plain(0.5, 0.5), plain(0.5, 0.5))
    value.backward()
    assert value.item() == 0
    assert restored.grad.isfinite().all()


def test_vgg_runs_once_for_clear_and_hazy(pictures):
    """More positives and negatives reuse features; CR* does not look at the hazy images."""
    clear, hazy = pictures
    for arguments, expected in (
        ({"positives": 5, "negatives": 5}, [10, 5]),
        ({"negatives": 0}, [5, 5]),
    ):
        loss = create_loss("contrastive", weights="random", **arguments)
        seen = []
        loss.vgg.register_forward_pre_hook(lambda _, images, seen=seen: seen.append(len(images[0])))
        loss(hazy, clear, hazy)
        assert seen == expected


def test_more_negatives_than_images(pictures):
    clear, hazy = pictures
    loss = create_loss("contrastive", weights="random", negatives=6)
    with pytest.raises(UnhazeError, match="negatives = 6 .* batch here has 5 images"):
        loss(hazy, clear, hazy)


def test_losses_do_not_draw_random_numbers(pictures):
    clear, hazy = pictures
    loss = create_loss("contrastive", weights="random", negatives=3, positives=3)
    before = torch.get_rng_state()
    first, second = loss(0.9 * hazy, clear, hazy), loss(0.9 * hazy, clear, hazy)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


ARGUMENTS = {"contrastive": {"weights": "random"}, "perceptual": {"weights": "random"}}


@pytest.mark.parametrize("name", LOSSES)
def test_contract(name, pictures):
    """Scalar, finite, gradient to the restored image only, for outputs beyond [0,1] and in bf16."""
    clear, hazy = (image.clone().requires_grad_() for image in pictures)
    restored = (1.4 * hazy.detach() - 0.3).requires_grad_()
    loss = create_loss(name, **ARGUMENTS.get(name, {}))
    value = loss(restored, clear.detach(), hazy)
    assert value.shape == ()
    assert value.item() > 0
    value.backward()
    assert restored.grad.abs().max() > 0
    assert restored.grad.isfinite().all()
    assert hazy.grad is None
    with torch.autocast("cpu", torch.bfloat16):
        half = loss(restored.detach().bfloat16(), clear.detach(), hazy.detach())
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(value.item(), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("perceptual", {"weights": "random"}),
        ("contrastive", {"weights": "random", "positives": 2, "negatives": 3}),
    ],
)
def test_compiles_without_graph_breaks(name, arguments, pictures):
    clear, hazy = pictures
    loss = create_loss(name, **arguments)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    values, gradients = [], []
    for each in (loss, compiled):
        restored = (0.5 * clear + 0.4 * hazy).requires_grad_()
        value = each(restored, clear, hazy)
        values.append(value.detach())
        gradients.append(torch.autograd.grad(value, restored)[0])
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("gram", {}, "no loss 'gram'; there are: l1, l2"),
        ("contrastiv", {}, "did you mean 'contrastive'?"),
        ("l1", {"beta": 1}, "loss 'l1' has no argument 'beta'"),
        ("smooth_l1", {"beta": 0}, "beta is 0; it must be positive"),
        ("smooth_l1", {"beta": "wide"}, "loss 'smooth_l1'"),
        ("pinball", {"quantile": 1.0}, "quantile is 1.0; it must be between 0 and 1"),
        ("pinball", {"haze": 0.0}, "haze is 0.0; it must be positive"),
        ("contrastive", {"negative": 4}, "did you mean 'negatives'?"),
        ("contrastive", {"positives": 0}, "positives is 0"),
        ("contrastive", {"negatives": 1.5}, "'negatives' must be of type int, not 1.5"),
        ("contrastive", {"layer_weights": [1, 1]}, "expected 5 numbers"),
        ("contrastive", {"layer_weights": [0] * 5}, "not all 0"),
        ("contrastive", {"layer_weights": [1, 1, 1, 1, -1]}, "at least 0"),
        ("contrastive", {"layer_weights": 1}, "loss 'contrastive'"),
        ("contrastive", {"floor": 1}, "floor 1"),
        ("contrastive", {"epsilon": -1}, "epsilon is -1"),
        ("contrastive", {"weights": "nowhere/vgg.pth"}, "there is no such file"),
        ("contrastive", {"weights": 19}, "loss 'contrastive'"),
        ("perceptual", {"distance": "l3"}, "must be one of l1, l2"),
        ("perceptual", {"network": "vgg11"}, "must be one of vgg16, vgg19"),
        ("perceptual", {"layers": {"relu3_4": 1}}, "layer of vgg16 is 'relu3_4'"),
        ("perceptual", {"layers": {"relu1_1": -1}}, "relu1_1 has weight -1"),
        ("perceptual", {"layers": {"relu1_1": 0}}, "give at least one"),
        ("perceptual", {"layers": {"relu1_1": "all"}}, "'layers' must be of type"),
        ("perceptual", {"layers": 5}, "'layers' must be of type dict[str, float], not 5"),
    ],
)
def test_mistakes_have_one_line_each(name, arguments, message):
    with pytest.raises(UnhazeError, match=re.escape(message)) as error:
        create_loss(name, **arguments)
    assert "\n" not in str(error.value)


def test_true_weights_prefer_clear_over_blur_over_haze(shared_data, pictures):
    """With the published VGG: the ordering that the loss is for."""
    clear, hazy = pictures
    weights = str(shared_data / "weights" / "vgg19_features_to_conv5_1.safetensors")
    for name in ("contrastive", "perceptual"):
        arguments = {"network": "vgg19"} if name == "perceptual" else {}
        loss = create_loss(name, weights=weights, **arguments)
        blurred = nn.functional.avg_pool2d(clear, 3, stride=1, padding=1, count_include_pad=False)
        order = (clear, 0.8 * clear + 0.2 * blurred, blurred, 0.2 * clear + 0.8 * hazy, hazy)
        values = [loss(restored, clear, hazy).item() for restored in order]
        assert values == sorted(values), name
        assert values[0] == 0 < values[1]
