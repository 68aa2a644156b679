"""The deformable convolution equals torchvision's, and behaves in every mode that it is used in."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from unhaze.nets.deform_conv import ModulatedDeformConv2d, deform_conv2d

RECORDED = Path(__file__).parents[1] / "data" / "deform_conv_torchvision.npz"
INPUTS = ("features", "offset", "mask", "weight", "bias")


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(RECORDED) as file:
        return dict(file)


def recorded_cases() -> list[str]:
    with np.load(RECORDED) as file:
        return file["cases"].tolist()


def random_inputs(
    *,
    batch: int = 2,
    channels: tuple[int, int] = (4, 3),
    size: tuple[int, int] = (6, 7),
    spread: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> list[Tensor]:
    """features, offset, mask, weight, bias; offsets are normal with deviation `spread` pixels."""
    random = torch.Generator().manual_seed(7)
    shapes = {
        "features": (batch, channels[0], *size),
        "offset": (batch, 18, *size),
        "mask": (batch, 9, *size),
        "weight": (channels[1], channels[0], 3, 3),
        "bias": (channels[1],),
    }
    inputs = {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}
    inputs["offset"] *= spread
    inputs["mask"] = inputs["mask"].sigmoid()
    return [inputs[name].to(dtype) for name in INPUTS]


def output_and_gradients(operator, inputs: list[Tensor], arriving: Tensor) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    output = operator(*leaves)
    return [output.detach(), *torch.autograd.grad(output, leaves, arriving)]


@pytest.mark.parametrize("case", recorded_cases())
def test_equals_torchvision_forward_and_backward(recorded, case):
    read = {name: torch.from_numpy(recorded[f"{case}.{name}"]) for name in INPUTS}
    arriving = torch.from_numpy(recorded[f"{case}.output_gradient"])
    results = output_and_gradients(deform_conv2d, list(read.values()), arriving)
    names = ["output"] + [f"{name}_gradient" for name in INPUTS]
    for name, result in zip(names, results):
        expected = recorded[f"{case}.{name}"]
        # Relative to the size of the tensor: a sum of products that cancel keeps their rounding.
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(
            result.numpy() / scale, expected / scale, atol=2e-5, err_msg=name
        )


def test_recorded_cases_are_not_trivial(recorded):
    for case in recorded_cases():
        assert np.abs(recorded[f"{case}.output"]).max() > 0.1, case
    assert np.abs(recorded["far_outside.offset"]).max() > 100


@pytest.mark.parametrize("size", [(6, 7), (1, 1), (1, 9), (5, 1)])
def test_without_offset_it_is_a_plain_convolution(size):
    features, offset, mask, weight, bias = random_inputs(size=size)
    plain = functional.conv2d(features, weight, bias, padding=1)
    deformed = deform_conv2d(features, 0 * offset, torch.ones_like(mask), weight, bias)
    torch.testing.assert_close(deformed, plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("down, right", [(1, 0), (0, 2), (-2, 1)])
def test_whole_pixel_offsets_shift_the_picture(down, right):
    """The 18 channels are (dy, dx) for each tap in turn, not all dy first."""
    features, offset, mask, weight, bias = random_inputs(size=(8, 9))
    offset = torch.tensor([down, right] * 9).view(1, 18, 1, 1).expand(offset.shape).float()
    roomy = functional.pad(features, (4, 4, 4, 4))
    shifted = roomy[..., 3 + down : 13 + down, 3 + right : 14 + right]
    expected = functional.conv2d(shifted, weight, bias)
    deformed = deform_conv2d(features, offset, torch.ones_like(mask), weight, bias)
    torch.testing.assert_close(deformed, expected, atol=1e-5, rtol=0)


def test_one_tap_alone_moves_with_its_own_two_channels():
    features, offset, mask, weight, bias = random_inputs(batch=1, size=(9, 9))
    tap = 5  # row 1, column 2 of the kernel: it looks at the pixel to the right
    offset, mask = torch.zeros_like(offset), torch.zeros_like(mask)
    offset[:, 2 * tap], offset[:, 2 * tap + 1] = 2, -3
    mask[:, tap] = 0.25
    kernel = torch.zeros_like(weight)
    kernel[:, :, 1, 1] = 0.25 * weight[:, :, 1, 2]
    moved = torch.zeros_like(features)
    moved[..., :7, 2:] = features[..., 2:, :7]
    expected = functional.conv2d(moved, kernel, bias, padding=1)
    deformed = deform_conv2d(features, offset, mask, weight, bias)
    torch.testing.assert_close(deformed, expected, atol=1e-5, rtol=0)


def test_far_offsets_see_zero():
    features, offset, mask, weight, bias = random_inputs()
    for distance in (100.0, 1e6, -1e9):
        deformed = deform_conv2d(features, offset * 0 + distance, mask, weight, bias)
        torch.testing.assert_close(deformed, bias.view(1, -1, 1, 1).expand_as(deformed))


def test_gradients_equal_finite_differences_in_float64():
    inputs = random_inputs(batch=1, channels=(2, 2), size=(3, 4), spread=0.6, dtype=torch.float64)
    assert deform_conv2d(*inputs).dtype == torch.float64
    leaves = [tensor.requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(deform_conv2d, leaves, atol=1e-6, rtol=1e-4)


def test_bf16_autocast_keeps_positions_exact():
    """At 300 pixels, bf16 steps by 2: positions rounded to it would read wrong pixels."""
    torch.manual_seed(3)
    layer = ModulatedDeformConv2d(4, 4)
    torch.nn.init.normal_(layer.offset_and_mask.weight, std=0.05)
    features = torch.rand(1, 4, 3, 300)
    exact = layer(features)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(features)
    assert rounded.isfinite().all()
    torch.testing.assert_close(rounded.float(), exact, atol=0.02, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        layer(features).float().square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_bf16_features_give_bf16_output_near_float32():
    features, offset, mask, weight, bias = random_inputs(size=(9, 8))
    exact = deform_conv2d(features, offset, mask, weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = deform_conv2d(features.bfloat16(), offset.bfloat16(), mask, weight, bias)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().mean() < 0.02 * exact.abs().mean() + 0.02


def test_compiles_as_one_graph_with_free_sizes():
    compiled = torch.compile(deform_conv2d, fullgraph=True, dynamic=True, backend="eager")
    for size in [(6, 7), (9, 5)]:
        inputs = random_inputs(size=size)
        arriving = torch.ones_like(deform_conv2d(*inputs))
        eager = output_and_gradients(deform_conv2d, inputs, arriving)
        for result, expected in zip(output_and_gradients(compiled, inputs, arriving), eager):
            torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_layer_starts_as_half_a_plain_convolution():
    """Offsets start at zero and the mask at sigmoid(0): initial values of the authors' code."""
    layer = ModulatedDeformConv2d(3, 5)
    features = torch.randn(2, 3, 6, 5)
    expected = functional.conv2d(features, 0.5 * layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(features), expected, atol=1e-6, rtol=0)
    assert sum(parameter.numel() for parameter in layer.parameters()) == 5 * 28 + 27 * 28


def test_graph_node_is_a_sound_operator():
    inputs = random_inputs()
    node = torch.ops.unhaze.deform_conv2d.default
    torch.testing.assert_close(node(*inputs), deform_conv2d(*inputs))
    torch.library.opcheck(node, tuple(inputs))
