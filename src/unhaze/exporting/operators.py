"""ONNX nodes for operators of a traced network that torch.onnx does not translate."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxscript
import torch
from onnxscript import ir

from unhaze.nets import blocks, deform_conv, fsnet, multiscale

# The first opset with DeformConv. Here its functions trace nodes; their types are for scripts.
OPSET = 19
opset: Any = onnxscript.opset19
LAST = np.iinfo(np.int64).max  # as the end of a slice


def mean_node(features: Any, size: Sequence[int]) -> Any:
    """ONNX `GlobalAveragePool` for `adaptive_avg_pool2d` to one value a channel."""
    if list(size) != [1, 1]:
        raise ValueError(f"adaptive_avg_pool2d to {size} has to be decomposed")
    return opset.GlobalAveragePool(features)


def batch_norm_node(
    features: Any, weight: Any, bias: Any, mean: Any, variance: Any,
    training: bool, momentum: float, eps: float, cudnn_enabled: bool,
) -> Any:  # fmt: skip
    """ONNX `BatchNormalization` for `batch_norm` with running statistics."""
    if training or weight is None or bias is None:
        raise ValueError("batch_norm by the batch's statistics or without weights")
    return opset.BatchNormalization(features, weight, bias, mean, variance, epsilon=eps)


def conv_transpose_node(
    features: Any, weight: Any, bias: Any = None, stride: Any = (1, 1), padding: Any = (0, 0),
    output_padding: Any = (0, 0), groups: int = 1, dilation: Any = (1, 1),
) -> Any:  # fmt: skip
    """ONNX `ConvTranspose` for `conv_transpose2d`."""
    return opset.ConvTranspose(
        features, weight, bias,
        strides=list(stride), pads=[*padding, *padding], output_padding=list(output_padding),
        group=groups, dilations=list(dilation),
    )  # fmt: skip


def identity_node(size: int, *, dtype: int = ir.DataType.FLOAT, **_: Any) -> Any:
    """An ONNX constant for `eye`."""
    matrix = np.eye(size, dtype=ir.DataType(dtype).numpy())
    return opset.Constant(value=onnx.numpy_helper.from_array(matrix))


def rsub_nodes(subtracted: Any, other: float, alpha: float = 1) -> Any:
    """ONNX nodes for `rsub`: other - alpha * subtracted."""
    if alpha != 1:
        subtracted = opset.Mul(subtracted, opset.CastLike(alpha, subtracted))
    return opset.Sub(opset.CastLike(other, subtracted), subtracted)


def deform_conv_node(features: Any, offset: Any, mask: Any, weight: Any, bias: Any) -> Any:
    """ONNX `DeformConv` for `unhaze::deform_conv2d`: the same taps and channel order."""
    kernel = [int(side) for side in weight.shape[2:]]
    pads = [side // 2 for side in kernel] * 2
    return opset.DeformConv(features, weight, offset, bias, mask, kernel_shape=kernel, pads=pads)


def sum_of_taps_nodes(padded: Any, weights: Any, kernel: Sequence[int], dilation: int) -> Any:
    """Three ONNX nodes per tap for `unhaze::sum_of_taps`: window, product with weights, sum."""
    total = None
    pieces = opset.Split(weights, axis=1, num_outputs=kernel[0] * kernel[1])
    for tap, piece in enumerate(pieces):
        places = list(zip(divmod(tap, kernel[1]), kernel))
        starts = [dilation * place for place, _ in places]
        # From the other end, which the last tap's window reaches.
        ends = [dilation * (place - side + 1) or LAST for place, side in places]
        window = opset.Slice(
            padded, *(opset.Constant(value_ints=each) for each in (starts, ends, [2, 3]))
        )
        term = opset.Mul(window, piece)
        total = term if total is None else opset.Add(total, term)
    return total


def sliding_mean_nodes(features: Any, dim: int) -> Any:
    """ONNX nodes for `unhaze::sliding_mean`: differences of cumulative sums."""
    zero, one = (opset.Constant(value_ints=[each]) for each in (0, 1))
    axis = opset.Constant(value_ints=[dim])
    size = opset.Gather(opset.Shape(features), axis)
    window = opset.Div(opset.Mul(size, opset.Constant(value_ints=[210])), [256])
    window = opset.Max(window, one)
    last = opset.Sub(size, window)
    places = opset.Range(0, opset.Squeeze(size), 1)
    start = opset.Sub(places, opset.Div(opset.Sub(window, one), [2]))
    start = opset.Min(opset.Max(start, zero), last)
    # Shifted by one place: the sum before each.
    before = opset.CumSum(features, axis, exclusive=1)
    total = opset.ReduceSum(features, axis)
    sums = opset.Concat(before, total, axis=dim)
    ends = [opset.Gather(sums, each, axis=dim) for each in (opset.Add(start, window), start)]
    return opset.Div(opset.Sub(*ends), opset.CastLike(window, features))


Translations = dict[Callable[..., Any], Callable[..., Any]]
OWN: Translations = {
    blocks.SIZED: lambda images, *_: images,
    deform_conv.OPERATOR: deform_conv_node,
    fsnet.OPERATOR: sliding_mean_nodes,
    multiscale.OPERATOR: sum_of_taps_nodes,
}
# For operators that torch.onnx decomposes first; ValueError for forms that need it.
DIRECT: Translations = {
    torch.ops.aten.adaptive_avg_pool2d.default: mean_node,
    torch.ops.aten.batch_norm.default: batch_norm_node,
    torch.ops.aten.conv_transpose2d.input: conv_transpose_node,
    torch.ops.aten.eye.default: identity_node,
    torch.ops.aten.item.default: lambda value: opset.Squeeze(value),
    torch.ops.aten.rsub.Scalar: rsub_nodes,
    torch.ops.aten.square.default: lambda value: opset.Mul(value, value),
    torch.ops.aten.to.dtype: lambda value, dtype, *_: opset.Cast(value, to=dtype),
}
