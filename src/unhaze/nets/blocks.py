"""Parts that several networks share."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


def pad_to_multiple(image: Tensor, multiple: int, *, smallest: int = 1) -> Tensor:
    """Mirrors `image` (B,C,H,W) at the bottom and right to the next multiple of `multiple`.

    A side becomes at least `smallest` pixels, for networks that mirror again on a coarse level.
    Works from 1x1 up, mirroring repeatedly if necessary, and exports with free sizes, because it is
    a gather instead of a padding with data-dependent amounts. Crop with `[..., :H, :W]`.
    """
    height, width = image.shape[-2:]
    rows = mirrored(height, multiple, smallest, image.device)
    columns = mirrored(width, multiple, smallest, image.device)
    return image.index_select(-2, rows).index_select(-1, columns)


def mirrored(size: int, multiple: int, smallest: int, device: torch.device) -> Tensor:
    """Indices 0, 1 ... size-1, size-2 ... up to a multiple of `multiple`, `smallest` or more."""
    # A tensor, because torch.onnx does not support a remainder by a symbolic number.
    period = torch.full((1,), 2 * size - 2, device=device).clamp(min=1)
    padded = torch.sym_max((size + multiple - 1) // multiple * multiple, smallest)
    position = torch.arange(padded, device=device) % period
    return torch.minimum(position, period - position)


def bias_of(layer: nn.Conv1d | nn.Conv2d | nn.Linear) -> Tensor:
    """Returns the bias of a layer that has one."""
    assert layer.bias is not None
    return layer.bias


def sized(images: Tensor, rows: int, columns: int) -> Tensor:
    """Returns `images` (B,C,rows,columns) unchanged; declares their size to an exporter.

    In export, sizes are formulas that nest from level to level, which takes minutes or does not
    finish for networks with many levels.
    """
    return SIZED(images, rows, columns) if is_exporting() else images


@torch.library.custom_op("unhaze::sized", mutates_args=())
def _sized_operator(images: Tensor, rows: int, columns: int) -> Tensor:
    """One graph node, which exporting/operators.py removes."""
    return images.clone()


@_sized_operator.register_fake
def _(images: Tensor, rows: int, columns: int) -> Tensor:
    return images.new_empty(*images.shape[:2], rows, columns)


SIZED = torch.ops.unhaze.sized.default


def plain_size(size: int, least: int) -> int:
    """Returns `size` unchanged, at least `least`; for an exporter it becomes a new number.

    In export, a size is a formula of the picture's size. One with a maximum, as from
    `pad_to_multiple` with `smallest`, takes minutes if it occurs in every layer.
    """
    if not is_exporting():
        return size
    plain = torch.full((1,), size).item()
    torch._check(plain >= least)
    return plain  # pyright: ignore[reportReturnType]  # an integer, of a tensor of integers


def full_precision(images: Tensor) -> AbstractContextManager[object]:
    """Context without autocast; in export, which has none, a context would become a subgraph."""
    if is_exporting():
        return nullcontext()
    return torch.autocast(images.device.type, enabled=False)


def is_exporting() -> bool:
    """Whether `torch.export` is running (PyTorch 2.7 to 2.11 also report it in torch.compile)."""
    return torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()


def joint_shares(channels: int, squeezed: int) -> nn.Sequential:
    """(B,channels,H,W) -> (B,channels,1,1) in [0,1]: channel attention with a bottleneck."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(channels, squeezed, 1),
        nn.ReLU(),
        nn.Conv2d(squeezed, channels, 1),
        nn.Sigmoid(),
    )


def fuse(shares_of: nn.Module, depths: Sequence[Tensor]) -> Tensor:
    """Returns the sum of feature maps (B,C,H,W), weighted by `shares_of` all of them.

    shares_of: (B,n*C,H,W), all n concatenated -> n parts, each broadcast to a map.
    """
    shares = shares_of(torch.cat(list(depths), dim=1)).chunk(len(depths), dim=1)
    fused = shares[0] * depths[0]
    for share, features in zip(shares[1:], depths[1:]):
        fused = fused + share * features
    return fused


class FABlock(nn.Module):
    """Feature attention block of FFA-Net (arXiv:1911.07559): conv, channel and pixel attention.

    (B,C,H,W) -> (B,C,H,W); `channels` must be divisible by `reduction`.
    """

    def __init__(self, channels: int, *, reduction: int = 8):
        super().__init__()
        squeezed = channels // reduction
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.channel_attention = joint_shares(channels, squeezed)
        self.pixel_attention = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, 1, 1), nn.Sigmoid()
        )

    def forward(self, features: Tensor) -> Tensor:
        inner = torch.relu(self.conv1(features)) + features
        inner = self.conv2(inner)
        inner = inner * self.channel_attention(inner)
        inner = inner * self.pixel_attention(inner)
        return inner + features
