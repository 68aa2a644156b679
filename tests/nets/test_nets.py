"""Every network in every preset keeps the contract; AECR-Net has the paper's counts, switches."""

import copy
import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.nets.variants import EVERY_NET, EVERY_NET_SLOWLY
from unhaze.errors import UnhazeError
from unhaze.haze import add_haze
from unhaze.nets import NETS, create_net
from unhaze.nets.aecr import WhitenedConv2d, inverse_square_root, invert_haze
from unhaze.nets.blocks import pad_to_multiple

SIZES = [(1, 1), (1, 7), (5, 3), (33, 64)]


def small_net(name: str, preset: str | None) -> nn.Module:
    """The preset, made tiny; its parameters are shaken so that none is at a special value."""
    torch.manual_seed(5)
    net = create_net(name, preset=preset, **NETS[name].tiny)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.03 * torch.randn_like(parameter)
    return net


def random_hazy(batch: int, height: int, width: int) -> Tensor:
    random = torch.Generator().manual_seed(height * 1000 + width)
    return torch.rand(batch, 3, height, width, generator=random)


@EVERY_NET
def test_any_size_in_same_size_out(name, preset):
    net = small_net(name, preset).eval()
    with torch.no_grad():
        for height, width in SIZES:
            restored = net(random_hazy(1, height, width))
            assert restored.shape == (1, 3, height, width)
            assert restored.dtype == torch.float32
            assert restored.isfinite().all()


@EVERY_NET
def test_batch_equals_single_pictures(name, preset):
    net = small_net(name, preset).eval()
    hazy = random_hazy(2, 13, 10)
    with torch.no_grad():
        singles = torch.cat([net(hazy[:1]), net(hazy[1:])])
        torch.testing.assert_close(net(hazy), singles, atol=1e-5, rtol=0)


@EVERY_NET
def test_every_parameter_gets_a_gradient(name, preset):
    """But for those that `idle` names: they get none, or what rounding leaves."""
    entry, net = NETS[name], small_net(name, preset).train()
    net(random_hazy(2, 20, 24)).square().mean().backward()
    named = not entry.idle_presets or preset in entry.idle_presets
    idle = re.compile("|".join(entry.idle if named else ()) or "(?!)")
    largest = max(each.grad.abs().max() for each in net.parameters() if each.grad is not None)
    for parameter_name, parameter in net.named_parameters():
        gradient = parameter.grad
        if idle.search(parameter_name):
            assert gradient is None or gradient.abs().max() < 1e-5 * largest, parameter_name
            continue
        assert gradient is not None, parameter_name
        assert gradient.isfinite().all(), parameter_name
        assert gradient.abs().max() > 0, parameter_name


@EVERY_NET
def test_state_dict_is_all_that_the_output_depends_on(name, preset):
    net, other = small_net(name, preset), small_net(name, preset)
    net.train()(random_hazy(2, 16, 16))  # moves running statistics, where there are any
    nn.init.zeros_(next(other.parameters()))
    other.load_state_dict(copy.deepcopy(net.state_dict()))
    hazy = random_hazy(1, 12, 9)
    with torch.no_grad():
        assert torch.equal(net.eval()(hazy), other.eval()(hazy))


@EVERY_NET
def test_channels_last_equals_contiguous(name, preset):
    net = small_net(name, preset).eval()
    hazy = random_hazy(2, 18, 21)
    with torch.no_grad():
        expected = net(hazy)
        net.to(memory_format=torch.channels_last)
        restored = net(hazy.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=0)


@EVERY_NET
def test_bf16_autocast_is_finite_and_near(name, preset):
    net = small_net(name, preset).train()
    hazy = random_hazy(2, 24, 32)
    exact = copy.deepcopy(net)(hazy)
    with torch.autocast("cpu", torch.bfloat16):
        restored = net(hazy)
    # Shaken networks without a last activation answer far more than 1.
    assert (restored.float() - exact).abs().mean() < 0.01 * exact.abs().max().clamp(min=1)
    restored.float().square().mean().backward()
    gradients = [each.grad for each in net.parameters() if each.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


@EVERY_NET_SLOWLY
def test_compiled_equals_eager(name, preset):
    """One graph, forward and backward, running statistics included."""
    net = small_net(name, preset).train()
    twin = copy.deepcopy(net)
    # Two thirds of the time are AOT autograd's; it has to know what a network changes, and its
    # own operators. All others have only PyTorch's. How it divides the graph is PyTorch's own.
    own = name == "aecr" or any(True for _ in net.buffers())
    backend = "aot_eager_default_partitioner" if own else "eager"
    compiled = torch.compile(twin, fullgraph=True, backend=backend)
    hazy = random_hazy(2, 13, 10)
    expected, restored = net(hazy), compiled(hazy)
    # 4KDehazing: bicubic enlargement is rounded otherwise when compiled (by 1e-6; both are as near
    # to float64), its U-net makes twenty times as much of it, and the grid that this looks up more.
    bound = 1e-3 if name == "4kdehazing" else 1e-5
    torch.testing.assert_close(restored, expected, atol=bound, rtol=0)
    expected.square().mean().backward()
    restored.square().mean().backward()
    for parameter, other in zip(net.parameters(), twin.parameters()):
        torch.testing.assert_close(other.grad, parameter.grad, atol=bound, rtol=10 * bound)
    for buffer, other in zip(net.buffers(), twin.buffers()):
        torch.testing.assert_close(other, buffer, atol=bound, rtol=10 * bound)


# Rows of Table 2 and presets: arguments, parameters at the paper's width.
COUNTED = {
    "code": ({}, 2_614_229),
    "paper": ({"whitening": False}, 2_614_145),
    "base, code": ({"dfe": "none", "fusion": "none"}, 1_961_912),
    "base": ({"dfe": "none", "fusion": "none", "whitening": False}, 1_961_828),
    "base + mixup": ({"dfe": "none", "whitening": False}, 1_961_830),
    "base + DFE": ({"fusion": "none", "whitening": False}, 2_614_143),
    "base + DFE + skip": ({"fusion": "sum", "whitening": False}, 2_614_143),
    "DFE before FA": ({"dfe": "before", "whitening": False}, 2_614_145),
}


@pytest.mark.parametrize("row", COUNTED)
def test_published_parameter_counts(row):
    arguments, count = COUNTED[row]
    net = create_net("aecr", **arguments)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_presets_are_the_counted_networks():
    for preset in ("code", "paper"):
        net = create_net("aecr", preset=preset)
        assert sum(parameter.numel() for parameter in net.parameters()) == COUNTED[preset][1]


@pytest.mark.parametrize("row", COUNTED)
def test_every_row_of_table_2_runs_and_learns(row):
    arguments, _ = COUNTED[row]
    net = create_net("aecr", width=8, **arguments).train()
    hazy = random_hazy(1, 12, 16)
    restored = net(hazy)
    assert restored.shape == hazy.shape
    restored.sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(
    "one, other",
    [
        ({"dfe": "after"}, {"dfe": "before"}),
        ({"fusion": "none"}, {"fusion": "sum"}),
        ({"fa_blocks": 6}, {"fa_blocks": 7}),
    ],
)
def test_switches_without_parameters_change_the_output(one, other):
    """They take the same weights: the FA block and the deformable convolution are shared."""
    net, switched = create_net("aecr", width=8, **one), create_net("aecr", width=8, **other)
    switched.load_state_dict(net.state_dict())
    hazy = random_hazy(1, 8, 8)
    assert (switched.eval()(hazy) - net.eval()(hazy)).abs().max() > 1e-6


def test_mixup_is_the_shallow_share_of_equation_2():
    net = create_net("aecr", width=8)
    shallow, deep = torch.rand(1, 4, 3, 3), torch.rand(1, 4, 3, 3)
    share = 1 / (1 + np.exp(0.6))
    mixed = net.fuse(shallow, deep, net.mix2)
    torch.testing.assert_close(mixed, share * shallow + (1 - share) * deep)
    assert net.mix1.item() == -1.0


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        ("aecrnet", {}, "did you mean 'aecr'"),
        ("aecr", {"preset": "papr"}, "did you mean 'paper'"),
        ("aecr", {"widht": 8}, "did you mean 'width'"),
        ("aecr", {"width": 7}, "width is 7"),
        ("aecr", {"width": "wide"}, "aecr"),
        ("aecr", {"fa_blocks": -1}, "fa_blocks is -1"),
        ("aecr", {"dfe": "befor"}, "one of after, before, none"),
        ("aecr", {"fusion": "mix"}, "one of mixup, sum, none"),
        ("aecr", {"head": "linear"}, "one of tanh, haze"),
    ],
)
def test_wrong_names_and_values_say_what_to_do(name, arguments, message):
    with pytest.raises(UnhazeError, match=message) as raised:
        create_net(name, **arguments)
    assert "\n" not in str(raised.value)


def reference_patches(image: np.ndarray, stride: int) -> np.ndarray:
    """Zero-padded 3x3 patches of (B,3,H,W): (B, rows, columns, 27) by channel, row, column."""
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride].transpose(0, 2, 3, 1, 4, 5)
    return windows.reshape(*windows.shape[:3], 27)


def reference_statistics(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and five Newton-Schulz iterations towards the inverse square root, in float64."""
    patches = reference_patches(image.astype(np.float64), 3).reshape(-1, 27)
    covariance = np.cov(patches, rowvar=False, bias=True) + 1e-5 * np.eye(27)
    norm = np.linalg.norm(covariance)
    root, inverse_root = covariance / norm, np.eye(27)
    for _ in range(5):
        step = 0.5 * (3 * np.eye(27) - inverse_root @ root)
        root, inverse_root = root @ step, step @ inverse_root
    return patches.mean(0), inverse_root / np.sqrt(norm)


def whitened_convolution(layer: WhitenedConv2d, image: np.ndarray, mean, whitening) -> np.ndarray:
    patches = reference_patches(image.astype(np.float64), 1)
    weight = layer.conv.weight.detach().flatten(1).numpy()
    output = (patches - mean) @ whitening.T @ weight.T + layer.conv.bias.detach().numpy()
    return output.transpose(0, 3, 1, 2)


def test_whitening_trains_with_batch_and_evaluates_with_running_statistics():
    torch.manual_seed(1)
    layer = WhitenedConv2d()
    # Neighbouring pixels alike, as in photos: plain noise would be white already.
    image = functional.interpolate(random_hazy(2, 9, 11), size=(31, 40), mode="bilinear")
    mean, whitening = reference_statistics(image.numpy())

    trained = layer.train()(image).detach().numpy()
    expected = whitened_convolution(layer, image.numpy(), mean, whitening)
    np.testing.assert_allclose(trained, expected, atol=1e-3)

    running_mean, running_whitening = 0.1 * mean, 0.9 * np.eye(27) + 0.1 * whitening
    np.testing.assert_allclose(layer.running_mean, running_mean, atol=1e-6)
    np.testing.assert_allclose(layer.running_whitening, running_whitening, atol=1e-3)

    evaluated = layer.eval()(image).detach().numpy()
    expected = whitened_convolution(layer, image.numpy(), running_mean, running_whitening)
    np.testing.assert_allclose(evaluated, expected, atol=1e-3)
    np.testing.assert_allclose(layer.running_mean, running_mean, atol=1e-6)
    assert np.abs(evaluated - trained).max() > 0.1


def test_newton_schulz_reaches_the_inverse_square_root():
    random = np.random.default_rng(4)
    factor = random.normal(size=(6, 6))
    matrix = factor @ factor.T + 4 * np.eye(6)
    values, vectors = np.linalg.eigh(matrix)
    expected = vectors / np.sqrt(values) @ vectors.T
    found = inverse_square_root(torch.from_numpy(matrix).float(), 20)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_whitening_stays_float32_under_autocast():
    layer = WhitenedConv2d().train()
    image = random_hazy(2, 16, 16)
    expected = copy.deepcopy(layer)(image)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(image), expected)


@pytest.mark.parametrize("multiple", [1, 4, 8, 32])
def test_padding_mirrors_as_often_as_needed(multiple):
    for height, width in [(1, 1), (2, 3), (1, 6), (4, 8), (9, 33)]:
        image = random_hazy(1, height, width)
        amounts = [(0, 0), (0, 0), (0, -height % multiple), (0, -width % multiple)]
        expected = np.pad(image.numpy(), amounts, mode="reflect")
        np.testing.assert_array_equal(pad_to_multiple(image, multiple), expected)


def test_haze_head_inverts_the_scattering_model():
    """Fed the true gain 1/t and airlight, it gives back the clear picture."""
    clear = random_hazy(2, 5, 6)
    transmission = 0.1 + 0.85 * torch.rand(2, 1, 5, 6)
    airlight = 0.6 + 0.39 * torch.rand(2, 3, 5, 6)
    gain = torch.log(torch.expm1(1 / transmission - 1))  # the inverse of softplus
    predicted = torch.cat([gain, torch.logit(airlight)], dim=1)
    restored = invert_haze(add_haze(clear, transmission, airlight), predicted)
    torch.testing.assert_close(restored, clear, atol=1e-5, rtol=0)
