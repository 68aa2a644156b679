"""The CPU's kernel for 3x3 convolutions equals PyTorch's convolution, forwards and backwards."""

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from unhaze.convolution import winograd
from unhaze.convolution.winograd import convolved

pytestmark = pytest.mark.skipif(not winograd.built(), reason="no C compiler here")


def random_inputs(batch, height, width, channels, outputs):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(batch, channels, height, width, generator=generator).bfloat16()
    weight = torch.randn(outputs, channels, 3, 3, generator=generator) / (3 * channels**0.5)
    return features, weight, torch.randn(outputs, generator=generator)


def exact(features, weight, bias, before):
    return functional.conv2d(features.double(), weight.double(), bias.double(), padding=before)


def difference(made, expected):
    return float((made.double() - expected).norm() / expected.norm())


SIDES = [(2, 8, 8), (1, 7, 9), (3, 3, 4), (1, 33, 2), (2, 1, 5)]  # batch, height, width


@pytest.mark.parametrize(
    "sides, before",
    [(each, before) for each in SIDES for before in range(3) if min(each[1:]) + 2 * before >= 3],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_equals_the_convolution_and_its_gradients(sides, before, threads):
    inputs = [each.requires_grad_() for each in random_inputs(*sides, 32, 48)]
    truth = [each.detach().double().requires_grad_() for each in inputs]
    expected = exact(*truth, before)
    arriving = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    expected.backward(arriving.double())
    torch.set_num_threads(threads)
    made = convolved(*inputs, before)
    made.backward(arriving)
    torch.set_num_threads(1)
    assert made.shape == expected.shape and made.dtype == torch.bfloat16
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert difference(made, expected) < 0.006
    limits = (0.008, 0.03, 0.006)  # features, weight by 6x6 frequencies, bias
    for given, sure, limit in zip(inputs, truth, limits, strict=True):
        assert given.grad.dtype == given.dtype
        assert difference(given.grad, sure.grad) < limit


def test_whole_numbers_are_exact():
    """Small ones, which bfloat16 holds and whose sums it does not round."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randint(-1, 2, (1, 16, 6, 6), generator=generator).bfloat16()
    weight = 4.0 * torch.randint(-1, 2, (16, 16, 3, 3), generator=generator)
    weight *= torch.rand(weight.shape, generator=generator) < 0.03
    expected = exact(features, weight, torch.zeros(16), 1)
    assert expected.abs().max() > 8
    assert torch.equal(convolved(features, weight, None, 1).double(), expected)


def test_groups_of_images_give_the_same(monkeypatch):
    features, weight, bias = random_inputs(5, 6, 6, 16, 32)
    weight.requires_grad_()
    whole = convolved(features, weight, bias, 1)
    whole.sum().backward()
    gradient = weight.grad.clone()
    monkeypatch.setattr(winograd, "TOGETHER", 1)
    weight.grad = None
    parts = convolved(features, weight, bias, 1)
    parts.sum().backward()
    assert torch.equal(parts, whole)
    assert difference(weight.grad, gradient.double()) < 0.03


def test_only_the_gradients_asked_for_are_computed(monkeypatch):
    features, weight, bias = random_inputs(1, 6, 6, 16, 16)

    def never(*_):
        raise AssertionError("nobody asked")

    monkeypatch.setattr(winograd, "winograd_to_kernel", never)
    convolved(features.requires_grad_(), weight, bias, 1).sum().backward()
    assert features.grad.any()


def test_the_bias_learns_where_the_weight_is_frozen():
    features, weight, bias = random_inputs(2, 6, 5, 16, 32)
    convolved(features, weight, bias.requires_grad_(), 1).sum().backward()
    assert torch.equal(bias.grad, torch.full((32,), 2.0 * 6 * 5))


@pytest.mark.parametrize("before", [0, 1, 2])
def test_gradients_have_gradients(before):
    """As a penalty on the gradient of the features needs them."""

    def gradients(convolve, inputs):
        inputs = [each.detach().requires_grad_() for each in inputs]
        result = convolve(*inputs, before).square().sum()
        firsts = torch.autograd.grad(result, inputs, create_graph=True)
        return torch.autograd.grad(sum(each.double().square().sum() for each in firsts), inputs)

    inputs = random_inputs(2, 6, 5, 16, 32)
    expected = gradients(exact, [each.double() for each in inputs])
    for made, sure in zip(gradients(convolved, inputs), expected, strict=True):
        assert difference(made, sure) < 0.03


def test_operations_are_counted_as_those_of_a_convolution():
    """`hardware.measure_peak` divides them by what the machine can do."""

    def count(convolve, features, weight, bias):
        counter = FlopCounterMode(display=False)
        with counter:
            convolve(features.requires_grad_(), weight.requires_grad_(), bias, 1).sum().backward()
        return counter.get_total_flops()

    inputs = random_inputs(2, 12, 10, 128, 64)
    assert count(convolved, *inputs) == pytest.approx(count(exact, *inputs), rel=0.05)


def test_an_empty_batch_has_empty_results():
    features, weight, bias = random_inputs(0, 6, 6, 16, 32)
    weight.requires_grad_()
    result = convolved(features, weight, bias, 1)
    result.sum().backward()
    assert result.shape == (0, 32, 6, 6) and not weight.grad.any()


def test_operators_are_sound():
    features, weight, bias = random_inputs(2, 5, 6, 16, 32)
    given = (features, winograd.of_kernel(weight), bias, 1)
    torch.library.opcheck(torch.ops.unhaze.winograd.default, given)
    arriving = convolved(features, weight, bias, 1)
    backward = torch.ops.unhaze.winograd_to_kernel.default
    torch.library.opcheck(backward, (features, arriving, 1))


def test_under_autocast_it_is_the_same():
    """Its own products are no products of a network."""
    features, weight, bias = random_inputs(2, 6, 6, 16, 32)
    weight.requires_grad_()
    found = []
    for automatic in (False, True):
        weight.grad = None
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=automatic):
            result = convolved(features, weight, bias, 1)
            result.sum().backward()
        found.append((result.detach(), weight.grad))
    assert all(torch.equal(*each) for each in zip(*found, strict=True))
