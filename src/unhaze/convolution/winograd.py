"""3x3 convolutions in bfloat16 on CPUs, with 4/9 of the multiplications.

Winograd's minimal filtering F(2x2, 3x3) (Lavin and Gray, arXiv:1509.09308): windows of 4x4 places
and the kernel are transformed to 16 frequencies, whose products are 16 matrix products, and these
back to tiles of 2x2 places. The transforms are a C kernel, which is built at first use. A result
differs from the exact one by 0.4 %, where PyTorch's convolution in bfloat16 differs by 0.2 %; the
gradient of a weight, which F(3x3, 4x4) computes, by 2 %.
"""

import ctypes
import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight
from torch.utils.flop_counter import register_flop_formula

from unhaze.compiled import load_threaded_kernel

SOURCE = Path(__file__).with_suffix(".c")
LANES, MOST = 16, 4096  # numbers of channels are multiples of the one, and at most the other
# Elements of frequencies at once: two such tensors of bfloat16 stay in a cache of 32 MiB.
TOGETHER = 1 << 23
# Transforms of the C file. Each makes frequencies: side of their square, places between tiles.
WINDOWS_OF_4, WINDOWS_OF_6, TILES_OF_4 = range(3)
SIDE, STEP = (4, 6, 6), (2, 4, 4)
# From a column of three weights to four frequencies, and to six.
TO_4 = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
TO_6 = (
    (1.0, 0.0, 0.0),
    (1 / 3, 1 / 3, 1 / 3),
    (-1 / 3, 1 / 3, -1 / 3),
    (-16 / 15, -8 / 15, -4 / 15),
    (1 / 15, -2 / 15, 4 / 15),
    (0.0, 0.0, 1.0),
)
# Places of the frequencies of a kernel in those of the kernel that is turned by 180 degrees.
TURNED = [4 * row + column for row in (3, 1, 2, 0) for column in (3, 1, 2, 0)]
ONES = 7  # place of the frequency that is the sum of a tile


def convolved(features: Tensor, weight: Tensor, bias: Tensor | None, before: int) -> Tensor:
    """Returns the convolution of features (B,C,H,W), bfloat16, with weight (O,C,3,3) and bias (O,),
    stride 1: (B,O,H+2*before-2,W+2*before-2), bfloat16, channels-last.

    before: rows and columns of zeros around the features, 0, 1 or 2. C, O: see LANES and MOST.
    Needs `built`.
    """
    return Convolution.apply(features, weight, bias, before)


class Convolution(torch.autograd.Function):
    """`convolved`; gradients that are to have gradients themselves are PyTorch's."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, before: int
    ) -> Tensor:
        frequencies = of_kernel(weight)
        kept = features if ctx.needs_input_grad[1] else None
        ctx.save_for_backward(kept, weight, frequencies)
        ctx.before = before
        added = frequencies.new_zeros(len(weight)) if bias is None else bias
        return winograd(features, frequencies, added, before)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, frequencies = ctx.saved_tensors
        arriving, before = grad_outputs[0].bfloat16(), ctx.before
        to_features = to_weight = to_bias = None
        again = torch.is_grad_enabled()
        if ctx.needs_input_grad[0] and again:
            to_features = functional.conv_transpose2d(arriving, weight.bfloat16(), padding=before)
        elif ctx.needs_input_grad[0]:
            turned = frequencies[TURNED].transpose(1, 2)
            none = frequencies.new_zeros(turned.shape[1])
            to_features = winograd(arriving, turned, none, 2 - before)
        if ctx.needs_input_grad[1] and again:
            to_weight = conv2d_weight(features, list(weight.shape), arriving, padding=before)
        elif ctx.needs_input_grad[1]:
            to_weight, to_bias = winograd_to_kernel(features, arriving, before)
        if ctx.needs_input_grad[2] and to_bias is None:
            to_bias = arriving.sum((0, 2, 3), dtype=torch.float32)
        return to_features, to_weight, to_bias if ctx.needs_input_grad[2] else None, None


@torch.library.custom_op("unhaze::winograd", mutates_args=())
def winograd(features: Tensor, frequencies: Tensor, bias: Tensor, before: int) -> Tensor:
    """As `convolved`, with the frequencies of a kernel (16,O,C); without gradients."""
    places, added = by_places(features), bias.float().contiguous()
    result = empty_result(features, frequencies, bias, before)
    to = result.permute(0, 2, 3, 1)
    matrices = frequencies.transpose(1, 2)
    for some in together(places, to, 4):
        planes = planes_of(to[some], WINDOWS_OF_4)
        products = torch.bmm(to_frequencies(places[some], planes, WINDOWS_OF_4, before), matrices)
        pointers = products.data_ptr(), added.data_ptr(), to[some].data_ptr()
        kernel().from_frequencies(planes, *pointers, torch.get_num_threads())
    return result


@winograd.register_fake
def empty_result(features: Tensor, frequencies: Tensor, bias: Tensor, before: int) -> Tensor:
    """Returns a tensor of the shape, kind and layout of the result."""
    batch, _, height, width = features.shape
    more = 2 * before - 2
    sides = batch, frequencies.shape[1], height + more, width + more
    return torch.empty(sides, dtype=features.dtype, memory_format=torch.channels_last)


@torch.library.custom_op("unhaze::winograd_to_kernel", mutates_args=())
def winograd_to_kernel(features: Tensor, arriving: Tensor, before: int) -> tuple[Tensor, Tensor]:
    """Returns the gradients of weight (O,C,3,3) and bias (O,), float32, from features (B,C,H,W) and
    the gradient of the result `arriving` (B,O,H',W'), both bfloat16."""
    places, arriving = by_places(features), by_places(arriving)
    outputs, inputs = arriving.shape[3], places.shape[3]
    total, sums = torch.zeros(36, outputs, inputs), torch.zeros(outputs)
    for some in together(places, arriving, 6):
        planes = planes_of(arriving[some], TILES_OF_4)
        spread = to_frequencies(arriving[some], planes, TILES_OF_4, 0)
        seen = to_frequencies(places[some], planes, WINDOWS_OF_6, before)
        total += torch.bmm(spread.transpose(1, 2), seen)
        sums += spread[ONES].sum(0, dtype=torch.float32)
    with torch.autocast("cpu", enabled=False):
        weights = kernel_transform(TO_6).T @ total.flatten(1)
    return weights.view(3, 3, outputs, inputs).permute(2, 3, 0, 1).contiguous(), sums


@winograd_to_kernel.register_fake
def _(features: Tensor, arriving: Tensor, before: int) -> tuple[Tensor, Tensor]:
    outputs = arriving.shape[1]
    return torch.empty(outputs, features.shape[1], 3, 3), torch.empty(outputs)


@register_flop_formula(torch.ops.unhaze.winograd)
def _(features: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    """Operations of the plain convolution: what is done, not how."""
    return 2 * 9 * features[1] * math.prod(out_shape)


@register_flop_formula(torch.ops.unhaze.winograd_to_kernel)
def _(features: Sequence[int], arriving: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * 9 * features[1] * math.prod(arriving)


def by_places(features: Tensor) -> Tensor:
    """(B,C,H,W) -> (B,H,W,C), contiguous; not a copy where the layout is channels-last."""
    return features.permute(0, 2, 3, 1).contiguous()


def together(features: Tensor, result: Tensor, side: int) -> Iterator[slice]:
    """The images of a batch, in groups whose frequencies stay in the processor's cache."""
    batch, height, width, channels = result.shape
    tiles = -(-height // (side - 2)) * -(-width // (side - 2))
    each = side**2 * tiles * max(channels, features.shape[3])
    count = max(1, TOGETHER // max(1, each))
    return (slice(first, first + count) for first in range(0, batch, count))


class Planes(ctypes.Structure):
    """The struct of the same name in the C file."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("batch", "height", "width", "channels", "rows", "columns", "before")
    ]


def planes_of(result: Tensor, transform: int) -> Planes:
    """Returns the struct for a result (B,H,W,C) in the tiles of a transform."""
    _, height, width, _ = result.shape
    rows, columns = (-(-side // STEP[transform]) for side in (height, width))
    return Planes(*result.shape, rows, columns, 0)


def to_frequencies(places: Tensor, tiles: Planes, transform: int, before: int) -> Tensor:
    """Returns the frequencies (n,tiles,C) of (B,H,W,C), with as many tiles as in `tiles`."""
    planes = Planes(*places.shape, tiles.rows, tiles.columns, before)
    count = planes.batch * planes.rows * planes.columns
    frequencies = places.new_empty(SIDE[transform] ** 2, count, planes.channels)
    pointers = places.data_ptr(), frequencies.data_ptr()
    kernel().to_frequencies(planes, *pointers, transform, torch.get_num_threads())
    return frequencies


def of_kernel(weight: Tensor) -> Tensor:
    """Returns the frequencies (16,O,C), bfloat16, of weight (O,C,3,3)."""
    planes = weight.float().permute(2, 3, 0, 1).reshape(9, -1)
    with torch.autocast("cpu", enabled=False):  # else the transform is bfloat16 as well
        frequencies = kernel_transform(TO_4) @ planes
    return frequencies.bfloat16().view(16, *weight.shape[:2])


@functools.cache
def kernel_transform(column: Sequence[Sequence[float]]) -> Tensor:
    """Returns the matrix (n*n,9) from 3x3 weights to n x n frequencies."""
    single = torch.tensor(column)
    return torch.kron(single, single)


@torch.compiler.assume_constant_result
def built() -> bool:
    """Returns whether the kernel exists or could be built; a constant for torch.compile."""
    return library() is not None


@functools.cache
def library() -> ctypes.CDLL | None:
    """Returns the built kernel; None if there is no compiler or it fails."""
    pointer = ctypes.c_void_p
    functions = {
        "to_frequencies": (pointer, pointer, ctypes.c_int),
        "from_frequencies": (pointer, pointer, pointer),
    }
    return load_threaded_kernel(SOURCE, Planes, functions)


def kernel() -> ctypes.CDLL:
    """Returns the built kernel; call it only if `built`."""
    loaded = library()
    assert loaded is not None
    return loaded
