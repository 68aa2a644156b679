"""Samples the columns of a deformable convolution on a CPU by a small C kernel, built at first use.

Where there is no C compiler, or tensors are of another kind, `usable` is False and the caller takes
the plain way.
"""

import ctypes
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from unhaze.compiled import FLAGS, load_kernel

SOURCE = Path(__file__).with_suffix(".c")
WIDE = (*FLAGS, "-mprefer-vector-width=512")
T = TypeVar("T")
KINDS = (torch.float32, torch.bfloat16)


class Shape(ctypes.Structure):
    """The struct of the same name in the C file."""

    _fields_ = [
        (name, ctypes.c_int64) for name in ("batch", "channels", "height", "width", "size", "bf16")
    ]


def usable(features: Tensor) -> bool:
    """Whether the kernel can sample from these features; it is built at first use."""
    return features.device.type == "cpu" and features.dtype in KINDS and built()


@torch.compiler.assume_constant_result
def built() -> bool:
    """Whether the kernel is there, or could be built; a constant to torch.compile."""
    return library() is not None


@torch.library.custom_op("unhaze::sample_columns", mutates_args=())
def sample_columns(features: Tensor, offset: Tensor, mask: Tensor, size: int) -> Tensor:
    """What each tap of a deformable convolution sees, weighted by its mask.

    features (B,H,W,C), float32 or bfloat16; offset (B,2K,H,W) and mask (B,K,H,W), float32, as in
    `deform_conv2d`; size: side of the kernel, K = size**2 -> (B,H,W,K,C) of the features' kind.
    """
    features, offset, mask = features.contiguous(), offset.contiguous(), mask.contiguous()
    batch, height, width, channels = features.shape
    columns = features.new_empty(batch, height, width, size * size, channels)
    inputs = shape_of(features, size), *map(Tensor.data_ptr, (features, offset, mask, columns))
    run = kernel().sample_columns
    in_parts(lambda first, last: run(*inputs, first, last), batch * height)
    return columns


@sample_columns.register_fake
def _(features: Tensor, offset: Tensor, mask: Tensor, size: int) -> Tensor:
    batch, height, width, channels = features.shape
    return features.new_empty(batch, height, width, size * size, channels)


@torch.library.custom_op("unhaze::sample_columns_backward", mutates_args=())
def sample_columns_backward(
    features: Tensor, offset: Tensor, mask: Tensor, arriving: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of features, offset and mask from that of the columns; float32."""
    features, offset, mask = features.contiguous(), offset.contiguous(), mask.contiguous()
    arriving = arriving.contiguous()
    to_features = torch.zeros(features.shape)

    def run(first: int, last: int) -> tuple[Tensor, Tensor]:
        # Each thread has gradients of its own where the channels are summed over.
        part = torch.zeros(offset.shape), torch.zeros(mask.shape)
        inputs = map(Tensor.data_ptr, (features, offset, mask, arriving, to_features, *part))
        kernel().sample_columns_backward(shape_of(features, size), *inputs, first, last)
        return part

    (to_offset, to_mask), *others = in_parts(run, features.shape[-1])
    for offset_part, mask_part in others:
        to_offset, to_mask = to_offset + offset_part, to_mask + mask_part
    return to_features, to_offset, to_mask


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
    """Gradients of the arguments of `sample_columns`; None for `size`."""
    features, offset, mask = ctx.saved_tensors
    arriving = arriving.to(features.dtype)
    to_features, *others = sample_columns_backward(features, offset, mask, arriving, ctx.size)
    return to_features.to(features.dtype), *others, None


sample_columns.register_autograd(backward, setup_context=keep_inputs)


def shape_of(features: Tensor, size: int) -> Shape:
    """The struct that the kernel reads, of features (B,H,W,C)."""
    batch, height, width, channels = features.shape
    return Shape(batch, channels, height, width, size, features.dtype == torch.bfloat16)


def in_parts(work: Callable[[int, int], T], count: int) -> list[T]:
    """work(first, last) over 0..count, in as many equal parts as PyTorch has threads."""
    threads = max(1, min(torch.get_num_threads(), count))
    edges = [count * part // threads for part in range(threads + 1)]
    if threads == 1:
        return [work(0, count)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, edges, edges[1:]))


@functools.cache
def library() -> ctypes.CDLL | None:
    """The built kernel; None where there is no compiler, or it fails."""
    loaded = load_kernel(SOURCE, WIDE)
    if loaded is None:
        return None
    for function, arrays in ((loaded.sample_columns, 4), (loaded.sample_columns_backward, 7)):
        pointers = [ctypes.c_void_p] * arrays
        function.argtypes = [ctypes.POINTER(Shape), *pointers, ctypes.c_int64, ctypes.c_int64]
        function.restype = None
    return loaded


def kernel() -> ctypes.CDLL:
    """The built kernel, for where it is `usable`."""
    loaded = library()
    assert loaded is not None
    return loaded
