"""Layers for training on CPUs equal PyTorch's to the rounding of bfloat16, and else are these."""

import copy

import pytest
import torch
from torch import nn

from unhaze.convolution import layers, winograd
from unhaze.convolution.layers import (
    FastConv2d,
    FastConvTranspose2d,
    FastMean,
    conv3x3,
    is_wide,
    speed_up,
)
from unhaze.losses.vgg import VGG
from unhaze.nets import create_net

needs_kernel = pytest.mark.skipif(not winograd.built(), reason="no C compiler here")
FAST = (FastConv2d, FastConvTranspose2d, FastMean)
LAYERS = [
    (nn.Conv2d(64, 128, 3, padding=1), (2, 64, 9, 12)),
    (nn.Conv2d(128, 64, 3, padding=1, padding_mode="reflect"), (2, 128, 8, 5)),
    (nn.Conv2d(128, 64, 3, bias=False), (1, 128, 7, 10)),
    (nn.Conv2d(3, 64, 7, padding=3, padding_mode="reflect"), (2, 3, 16, 20)),
    (nn.Conv2d(64, 3, 7, padding=(3, 2)), (2, 64, 16, 20)),
    (nn.Conv2d(64, 4, 5, bias=False), (2, 64, 16, 20)),
    (nn.ConvTranspose2d(64, 32, 3, 2, padding=1, output_padding=1), (2, 64, 9, 12)),
    (nn.ConvTranspose2d(64, 32, 4, 2, padding=1, bias=False), (2, 64, 9, 12)),
    (nn.AdaptiveAvgPool2d(1), (2, 16, 9, 12)),
]


@pytest.fixture(autouse=True)
def features_of_any_size(monkeypatch):
    monkeypatch.setattr(layers, "PLACES", 1)


def result_and_gradients(layer, features, arriving, *, automatic=True):
    features = features.clone().requires_grad_()
    layer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=automatic):
        result = layer(features)
    result.backward(arriving.to(result.dtype))
    return [result.detach(), features.grad, *(each.grad for each in layer.parameters())]


def winograd_serves(layer):
    return isinstance(layer, nn.Conv2d) and is_wide(layer)


def difference(made, exact):
    """The norm of the difference, as a share of the norm of the exact tensor."""
    return float((made.double() - exact).norm() / exact.norm())


@needs_kernel
@pytest.mark.parametrize("layer, shape", LAYERS, ids=lambda value: str(value).replace(" ", ""))
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_equals_the_layer_of_pytorch_forward_and_backward(layer, shape, layout):
    torch.manual_seed(0)
    features = torch.randn(shape).to(memory_format=layout)
    exact = copy.deepcopy(layer).double()
    arriving = torch.randn_like(exact(features.double()))
    expected = result_and_gradients(exact, features.double(), arriving, automatic=False)
    quick = copy.deepcopy(layer)
    speed_up(quick)
    assert type(quick) in FAST
    made = result_and_gradients(quick, features, arriving)
    assert made[0].dtype == torch.bfloat16 or type(quick) is FastMean
    for place, (each, sure) in enumerate(zip(made, expected, strict=True)):
        gradient_of_wide_weight = place == 2 and winograd_serves(layer)
        assert difference(each, sure) < (0.03 if gradient_of_wide_weight else 0.008)


@needs_kernel
def test_only_training_in_bfloat16_on_a_cpu_is_changed():
    layer, shape = LAYERS[0]
    quick, features = copy.deepcopy(layer), torch.randn(shape)
    speed_up(quick)
    assert torch.equal(quick(features), layer(features))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(quick(features), layer(features))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not torch.equal(quick(features), layer(features))


@needs_kernel
def test_few_places_are_left_to_pytorch_which_is_faster(monkeypatch):
    layer, shape = LAYERS[0]
    quick, features = copy.deepcopy(layer), torch.randn(shape)
    speed_up(quick)
    for least in (2 * 9 * 12, 2 * 9 * 12 + 1):
        monkeypatch.setattr(layers, "PLACES", least)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            same = torch.equal(quick(features), layer(features))
            same_frozen = torch.equal(
                conv3x3(features, layer.weight, layer.bias),
                torch.nn.functional.conv2d(features, layer.weight, layer.bias, padding=1),
            )
        assert same == same_frozen == (least > 2 * 9 * 12)


@pytest.mark.parametrize("place", [0, 3, 5, 6])
@pytest.mark.parametrize("kind", [torch.float64, torch.complex64])
def test_numbers_that_autocast_leaves_keep_their_precision(place, kind):
    layer, shape = LAYERS[place]
    layer, features = copy.deepcopy(layer).to(kind), torch.randn(shape, dtype=kind)
    quick = copy.deepcopy(layer)
    speed_up(quick)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(quick(features), layer(features))


@pytest.mark.parametrize("layer, shape", LAYERS, ids=lambda value: str(value).replace(" ", ""))
def test_one_picture_needs_no_batch(layer, shape):
    quick, features = copy.deepcopy(layer), torch.randn(shape)
    speed_up(quick)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(quick(features[0]), layer(features[0]))


@pytest.mark.parametrize("sides", [(128, 64, 3), (3, 64, 7), (64, 4, 5)])
def test_features_smaller_than_the_kernel_get_the_error_of_pytorch(sides):
    layer, features = nn.Conv2d(*sides), torch.randn(1, sides[0], sides[2] - 1, 9)
    speed_up(layer)
    error = pytest.raises(RuntimeError, match="can't be greater than actual input size")
    with error, torch.autocast("cpu", dtype=torch.bfloat16):
        layer(features)


def test_without_a_kernel_the_layers_are_those_of_pytorch(monkeypatch):
    monkeypatch.setattr(winograd, "built", lambda: False)
    for layer, shape in LAYERS:
        quick, features = copy.deepcopy(layer), torch.randn(shape)
        speed_up(quick)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(quick(features), layer(features))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(128, 128, 3, stride=2, padding=1),
        nn.Conv2d(128, 128, 3, padding=2, dilation=2),
        nn.Conv2d(128, 128, 3, padding=1, groups=2),
        nn.Conv2d(128, 128, 3, padding="same"),
        nn.Conv2d(48, 64, 3, padding=1),  # gains nothing
        nn.Conv2d(72, 144, 3, padding=1),  # not a multiple of 16 channels
        nn.Conv2d(128, 128, 1),
        nn.Conv2d(3, 16, 7, padding=3),
        nn.ConvTranspose2d(64, 64, 4, 2, groups=2),
        nn.AdaptiveAvgPool2d(2),
    ],
    ids=str,
)
def test_other_layers_stay(layer):
    kind = type(layer)
    speed_up(layer)
    assert type(layer) is kind


def test_aecr_net_keeps_its_weights_and_gets_the_fast_layers():
    net = create_net("aecr", preset="code")
    tensors = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    speed_up(net)
    quick = {name for name, module in net.named_modules() if type(module) in FAST}
    assert {"fa_block.conv1", "fa_block.conv2", "down1", "up1", "up2", "up3"} < quick
    assert "down2" not in quick and "dfe.offset_and_mask" not in quick
    for name, tensor in copy.deepcopy(net).state_dict().items():
        assert torch.equal(tensor, tensors[name])


@needs_kernel
def test_gradients_of_the_whole_network_are_as_near_as_those_of_pytorch():
    torch.manual_seed(1)
    net = create_net("aecr", preset="code", whitening_statistics="running").train()
    hazy, arriving = torch.rand(1, 3, 64, 64), torch.randn(1, 3, 64, 64)

    def gradients(net, automatic):
        found = result_and_gradients(net, hazy, arriving, automatic=automatic)[2:]
        return torch.cat([each.flatten() for each in found])

    exact, plain = gradients(net, False).double(), gradients(net, True)
    quick = copy.deepcopy(net)
    speed_up(quick)
    assert difference(gradients(quick, True), exact) < 1.5 * difference(plain, exact)


@needs_kernel
def test_vgg_uses_it_without_gradients_as_well(monkeypatch):
    calls = []
    monkeypatch.setattr(
        winograd,
        "convolved",
        lambda *given: calls.append(given) or torch.nn.functional.conv2d(*given[:3], padding=1),
    )
    vgg, image = VGG("random", taps=("relu3_1",)), torch.rand(1, 3, 16, 16)
    vgg(image)
    assert calls == []
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        vgg(image)
    assert [given[1].shape[:2] for given in calls] == [(64, 64), (128, 64), (128, 128), (256, 128)]


def test_conv3x3_is_a_convolution_of_the_same_size():
    features, weight, bias = torch.randn(1, 3, 5, 6), torch.randn(4, 3, 3, 3), torch.randn(4)
    expected = torch.nn.functional.conv2d(features, weight, bias, padding=1)
    assert torch.equal(conv3x3(features, weight, bias), expected)


@needs_kernel
def test_the_layers_compile():
    net = nn.Sequential(copy.deepcopy(LAYERS[0][0]), nn.ReLU(), copy.deepcopy(LAYERS[1][0]))
    features, arriving = torch.randn(LAYERS[0][1]), torch.randn(2, 64, 9, 12)
    speed_up(net)
    eager = result_and_gradients(net, features, arriving)
    compiled = result_and_gradients(torch.compile(net), features, arriving)
    for made, expected in zip(compiled, eager, strict=True):
        assert difference(made, expected.double()) < 0.01
