"""Layers that train faster on CPUs in bfloat16, and round a little more than PyTorch's.

3x3 convolutions of many channels (winograd.py); large ones from or to a picture's few channels, for
which PyTorch's kernels leave most of a vector unit idle; transposed ones and global means, whose
gradients are slow in PyTorch.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from unhaze.convolution import winograd

WIDE = 64  # least channels of each side for `winograd`
PLACES = 1024  # least of a batch for it: the kernel's own transforms take as long for fewer
KINDS = (torch.float32, torch.bfloat16)  # of features; others are left to PyTorch
FEW, MANY = 4, 32  # most channels of one side, least of the other, for `from_few` and `to_few`


def speed_up(net: nn.Module) -> None:
    """Changes the class of each layer of `net` that gains from it; the weights stay."""
    for module in net.modules():
        if type(module) is nn.Conv2d and (is_wide(module) or is_large(module)):
            module.__class__ = FastConv2d
        elif type(module) is nn.ConvTranspose2d and is_plain(module):
            module.__class__ = FastConvTranspose2d
        elif type(module) is nn.AdaptiveAvgPool2d and module.output_size == 1:
            module.__class__ = FastMean


class FastConv2d(nn.Conv2d):
    """`nn.Conv2d`, faster with gradients in bfloat16 on a CPU. Made by `speed_up`."""

    def forward(self, input: Tensor) -> Tensor:
        wide, (rows, columns) = is_wide(self), map(int, self.padding)
        least = min(input.shape[-2] + 2 * rows, input.shape[-1] + 2 * columns)
        gains = torch.is_grad_enabled() and usable(input) and (are_many(input) or not wide)
        if not gains or least < self.kernel_size[0]:  # if so, PyTorch says that it is too small
            return super().forward(input)
        features = input.bfloat16()
        if rows != columns or self.padding_mode != "zeros" or not wide:
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            with torch.autocast("cpu", enabled=False):  # else mirrored in float32
                features = functional.pad(features, (columns, columns, rows, rows), mode)
            rows = 0
        if wide:
            return winograd.convolved(features, self.weight, self.bias, rows)
        convolve = from_few if self.in_channels <= FEW else to_few
        return convolve(features, self.weight, self.bias)


class FastConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d`, with a faster gradient in bfloat16 on a CPU. Made by `speed_up`."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if output_size is not None or not (torch.is_grad_enabled() and usable(input)):
            return super().forward(input, output_size)
        sides = self.stride, self.padding, self.output_padding
        made = Transposed.apply(input.bfloat16(), self.weight.bfloat16(), *sides)
        return made if self.bias is None else made + self.bias.bfloat16().view(-1, 1, 1)


class FastMean(nn.AdaptiveAvgPool2d):
    """The mean over all places, whose gradient is not a tensor of another layout, which takes eight
    times as long to add. Made by `speed_up`."""

    def forward(self, input: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and usable(input)):
            return super().forward(input)
        count = input.shape[-2] * input.shape[-1]
        return input.sum((-2, -1), keepdim=True) / count


class Transposed(torch.autograd.Function):
    """A transposed convolution, whose gradient of the weight is that of the convolution that it is
    the gradient of: PyTorch's own kernel for it takes two to three times as long."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, stride: Any, padding: Any, more: Any
    ) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.sides = stride, padding
        return functional.conv_transpose2d(features, weight, None, stride, padding, more)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (arriving,) = grad_outputs
        features, weight = ctx.saved_tensors
        stride, padding = ctx.sides
        to_features = to_weight = None
        if ctx.needs_input_grad[0]:
            to_features = functional.conv2d(arriving, weight, None, stride, padding)
        if ctx.needs_input_grad[1]:
            to_weight = conv2d_weight(arriving, list(weight.shape), features, stride, padding)
        return to_features, to_weight, None, None, None


def conv3x3(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns the convolution of features (B,C,H,W) with weight (O,C,3,3) and bias (O,), of the
    same size; in bfloat16 on a CPU by `winograd` where that is faster."""
    if usable(features) and worth(weight) and are_many(features):
        return winograd.convolved(features.bfloat16(), weight, bias, 1)
    return functional.conv2d(features, weight, bias, padding=1)


def usable(features: Tensor) -> bool:
    """Whether these features are (B,C,H,W) and convolved in bfloat16 on a CPU."""
    if features.device.type != "cpu" or features.ndim != 4 or features.dtype not in KINDS:
        return False
    automatic = torch.is_autocast_enabled("cpu")
    kind = torch.get_autocast_dtype("cpu") if automatic else features.dtype
    return kind == torch.bfloat16 and winograd.built()


def are_many(features: Tensor) -> bool:
    """Whether these features (B,C,H,W) have enough places for `winograd` to be faster."""
    return features.shape[0] * features.shape[2] * features.shape[3] >= PLACES


def is_wide(layer: nn.Conv2d) -> bool:
    """Whether `winograd` serves this layer."""
    sides = layer.kernel_size == (3, 3) and layer.padding in ((0, 0), (1, 1))
    plain = is_plain(layer) and layer.stride == (1, 1)
    return sides and plain and worth(layer.weight)


def worth(weight: Tensor) -> bool:
    """Whether `winograd` is faster with this weight (O,C,3,3)."""
    sides = weight.shape[:2]
    lanes = not any(side % winograd.LANES for side in sides)
    return lanes and min(sides) >= WIDE and max(sides) <= winograd.MOST


def is_large(layer: nn.Conv2d) -> bool:
    """Whether `from_few` or `to_few` serves this layer."""
    fewer, more = sorted((layer.in_channels, layer.out_channels))
    height, width = layer.kernel_size
    plain = is_plain(layer) and layer.stride == (1, 1)
    return plain and height == width >= 5 and fewer <= FEW and more >= MANY


def is_plain(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Whether a layer has one group, no dilation, and padding as two numbers."""
    alone = layer.groups == 1 and layer.dilation == (1, 1)
    return alone and isinstance(layer.padding, tuple)


def from_few(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Returns the convolution of features (B,C,H,W) with weight (O,C,k,k), without padding.

    As a k x 1 convolution of k times the channels: those of k neighbours in a row.
    """
    outputs, channels, size, _ = weight.shape
    rows = neighbours(features.permute(0, 2, 3, 1), size).permute(0, 3, 1, 2)
    columns = weight.permute(0, 3, 1, 2).reshape(outputs, size * channels, size, 1)
    return functional.conv2d(rows, columns, bias)


def to_few(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As `from_few`, for few output channels: a k x 1 convolution to k times these, of which each
    place adds those of k neighbours in a row."""
    outputs, channels, size, _ = weight.shape
    columns = weight.permute(3, 0, 1, 2).reshape(size * outputs, channels, size, 1)
    parts = functional.conv2d(features, columns).permute(0, 2, 3, 1)
    total = Added.apply(parts, size).permute(0, 3, 1, 2)
    total = total if bias is None else total + bias.view(-1, 1, 1)
    return total.to(features.dtype)


def neighbours(places: Tensor, size: int) -> Tensor:
    """(B,H,W,C) -> (B,H,W-size+1,size*C): each place with the next ones of its row."""
    width = places.shape[2] - size + 1
    return torch.cat([places[:, :, first : first + width] for first in range(size)], 3)


class Added(torch.autograd.Function):
    """(B,H,W,size*C) -> (B,H,W-size+1,C), float32: each place adds the first C channels, the next C
    of the place after it, and so on. Its own gradient, because that of slices is slow."""

    @staticmethod
    def forward(ctx: Any, parts: Tensor, size: int) -> Tensor:
        ctx.size, ctx.kind = size, parts.dtype
        channels, width = parts.shape[3] // size, parts.shape[2] - size + 1
        lines = parts.unflatten(3, (size, channels)).transpose(2, 3).flatten(3).float()
        total = lines[:, :, 0, : width * channels].clone()
        for place in range(1, size):
            total += lines[:, :, place, place * channels : (place + width) * channels]
        return total.unflatten(2, (width, channels))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (arriving,) = grad_outputs
        more = ctx.size - 1
        wide = functional.pad(arriving.to(ctx.kind), (0, 0, more, more))
        parts = neighbours(wide, ctx.size).unflatten(3, (ctx.size, -1))
        return parts.flip(3).flatten(3), None
