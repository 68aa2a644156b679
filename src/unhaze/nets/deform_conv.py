"""Modulated deformable convolution (DCNv2, arXiv:1811.11168): PyTorch, and a kernel on CPUs.

The C kernel is built at first use. Without a compiler, or for tensors of another type, `usable` is
False and PyTorch samples tap by tap.
"""

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.compiled import load_threaded_kernel
from unhaze.nets.blocks import bias_of, full_precision

SOURCE = Path(__file__).with_suffix(".c")
KINDS = (torch.float32, torch.bfloat16)


class ModulatedDeformConv2d(nn.Module):
    """3x3, stride 1, same-size deformable convolution that predicts offsets and mask itself.

    (B,C_in,H,W) -> (B,C_out,H,W). The predicting convolution is initially zero, so that the
    layer starts as a plain convolution with modulation 0.5.

    as_one_node: makes it one node of an exported graph, without gradients. It is set by hand,
        because PyTorch 2.7 to 2.11 wrongly report an export inside torch.compile.
    """

    as_one_node = False

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        bound = (in_channels * 9) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        self.offset_and_mask = nn.Conv2d(in_channels, 27, 3, padding=1)
        nn.init.zeros_(self.offset_and_mask.weight)
        nn.init.zeros_(bias_of(self.offset_and_mask))

    def forward(self, features: Tensor) -> Tensor:
        predicted = self.offset_and_mask(features)
        offset, mask = predicted[:, :18], torch.sigmoid(predicted[:, 18:])
        operator = OPERATOR if self.as_one_node else deform_conv2d
        return operator(features, offset, mask, self.weight, self.bias)

    def as_plain(self, features: Tensor) -> Tensor:
        """Returns the result of `forward` for a zero predicting convolution at a tenth of the cost:
        with offsets 0 and masks sigmoid(0) it is a plain convolution with half the weight."""
        return functional.conv2d(features, 0.5 * self.weight, self.bias, padding=1)


def deform_conv2d(
    features: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """Stride 1, "same" padding, one offset group; equal to torchvision's operator of that shape.

    features (B,C,H,W); offset (B,2K,H,W) as (dy,dx) for each of the K kernel taps, in pixels;
    mask (B,K,H,W); weight (O,C,k,k) with odd k and K = k*k; bias (O,). Outside is zero.
    Positions are computed in at least float32, also under autocast, because 8 bits of mantissa
    would move samples by whole pixels.
    """
    if usable(features):
        return multiply_columns(features, offset, mask, weight, bias)
    return multiply_taps(features, offset, mask, weight, bias)


def multiply_columns(
    features: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """Samples all taps with the CPU kernel, then computes one matrix product."""
    columns = sample_columns(
        features.permute(0, 2, 3, 1), offset.float(), mask.float(), weight.shape[-1]
    )
    matrix = weight.permute(0, 2, 3, 1).flatten(1)
    total = functional.linear(columns.flatten(3), matrix, bias)
    return total.to(features.dtype).permute(0, 3, 1, 2)


def multiply_taps(
    features: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """Samples and multiplies tap by tap: on any device, with 1/K of the memory."""
    height, width = features.shape[-2:]
    size = weight.shape[-1]
    precision = torch.promote_types(features.dtype, torch.float32)
    with full_precision(features):
        offset, mask = offset.to(precision), mask.to(precision)
        rows = torch.arange(height, device=features.device, dtype=precision)[:, None]
        columns = torch.arange(width, device=features.device, dtype=precision)
        sampled_from = features.to(precision)
    total = bias.view(1, -1, 1, 1)
    for tap in range(size * size):
        with full_precision(features):
            row = rows + (tap // size - size // 2) + offset[:, 2 * tap]
            column = columns + (tap % size - size // 2) + offset[:, 2 * tap + 1]
            # The unnormalised form of align_corners=False: it is defined for a side of one pixel.
            grid = torch.stack(((2 * column + 1) / width - 1, (2 * row + 1) / height - 1), dim=-1)
            sampled = functional.grid_sample(sampled_from, grid, align_corners=False)
            sampled = sampled * mask[:, tap : tap + 1]
        weights = weight[:, :, tap // size, tap % size, None, None]
        total = total + functional.conv2d(sampled, weights)
    return total.to(features.dtype)


@torch.library.custom_op("unhaze::deform_conv2d", mutates_args=())
def _deform_conv2d_operator(
    features: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """One graph node, which exporting/operators.py translates to ONNX `DeformConv`."""
    return deform_conv2d(features, offset, mask, weight, bias).contiguous()


@_deform_conv2d_operator.register_fake
def _(features: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return features.new_empty(features.shape[0], weight.shape[0], *features.shape[2:])


OPERATOR = torch.ops.unhaze.deform_conv2d.default


class Shape(ctypes.Structure):
    """The struct of the same name in the C file."""

    _fields_ = [
        (name, ctypes.c_int64) for name in ("batch", "channels", "height", "width", "size", "bf16")
    ]


def usable(features: Tensor) -> bool:
    """Returns whether the kernel can sample from these features; it is built at first use."""
    return features.device.type == "cpu" and features.dtype in KINDS and built()


@torch.compiler.assume_constant_result
def built() -> bool:
    """Returns whether the kernel exists or could be built; a constant for torch.compile."""
    return library() is not None


@torch.library.custom_op("unhaze::sample_columns", mutates_args=())
def sample_columns(features: Tensor, offset: Tensor, mask: Tensor, size: int) -> Tensor:
    """Returns the samples of each tap of a deformable convolution, weighted by its mask.

    features (B,H,W,C), float32 or bfloat16; offset (B,2K,H,W) and mask (B,K,H,W), float32, as in
    `deform_conv2d`; size: side of the kernel, K = size**2 -> (B,H,W,K,C) of the features' type.
    """
    features, offset, mask = features.contiguous(), offset.contiguous(), mask.contiguous()
    batch, height, width, channels = features.shape
    columns = features.new_empty(batch, height, width, size * size, channels)
    pointers = map(Tensor.data_ptr, (features, offset, mask, columns))
    kernel().sample_columns(shape_of(features, size), *pointers, torch.get_num_threads())
    return columns


@sample_columns.register_fake
def _(features: Tensor, offset: Tensor, mask: Tensor, size: int) -> Tensor:
    batch, height, width, channels = features.shape
    return features.new_empty(batch, height, width, size * size, channels)


@torch.library.custom_op("unhaze::sample_columns_backward", mutates_args=())
def sample_columns_backward(
    features: Tensor, offset: Tensor, mask: Tensor, arriving: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns gradients of features, offset and mask from that of the columns; float32."""
    features, offset, mask = features.contiguous(), offset.contiguous(), mask.contiguous()
    arriving = arriving.contiguous()
    threads = torch.get_num_threads()
    blocks = min(-(-threads // max(1, features.shape[0])), features.shape[-1])
    to_features = torch.zeros(features.shape)
    parts = torch.zeros(blocks, *offset.shape), torch.zeros(blocks, *mask.shape)
    pointers = map(Tensor.data_ptr, (features, offset, mask, arriving, to_features, *parts))
    kernel().sample_columns_backward(shape_of(features, size), *pointers, blocks, threads)
    return to_features, parts[0].sum(0), parts[1].sum(0)


@sample_columns_backward.register_fake
def _(
    features: Tensor, offset: Tensor, mask: Tensor, arriving: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    def empty(given: Tensor) -> Tensor:
        return given.new_empty(given.shape, dtype=torch.float32)

    return empty(features), empty(offset), empty(mask)


def keep_inputs(ctx: Any, inputs: tuple, output: Tensor) -> None:
    """For `backward`; PyTorch passes arguments by these names."""
    *tensors, ctx.size = inputs
    ctx.save_for_backward(*tensors)


def backward(ctx: Any, arriving: Tensor) -> tuple[Tensor | None, ...]:
    """Returns gradients of the arguments of `sample_columns`; None for `size`."""
    features, offset, mask = ctx.saved_tensors
    arriving = arriving.to(features.dtype)
    to_features, *others = sample_columns_backward(features, offset, mask, arriving, ctx.size)
    return to_features.to(features.dtype), *others, None


sample_columns.register_autograd(backward, setup_context=keep_inputs)


def shape_of(features: Tensor, size: int) -> Shape:
    """Returns the struct that the kernel reads, for features (B,H,W,C)."""
    batch, height, width, channels = features.shape
    return Shape(batch, channels, height, width, size, features.dtype == torch.bfloat16)


@functools.cache
def library() -> ctypes.CDLL | None:
    """Returns the built kernel; None if there is no compiler or it fails."""
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    functions = {
        "sample_columns": [pointer] * 4,
        "sample_columns_backward": [pointer] * 7 + [count],
    }
    return load_threaded_kernel(SOURCE, Shape, functions)


def kernel() -> ctypes.CDLL:
    """Returns the built kernel; call it only if `usable`."""
    loaded = library()
    assert loaded is not None
    return loaded
