"""Crops, flips and rotations drawn for a whole batch: the same for every tensor of a pair."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unhaze.config import Augment
from unhaze.errors import UnhazeError


def generator_for(seed: int, step: int) -> torch.Generator:
    """The random numbers of one training step, independent of every other step's."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


def crop_batch(
    images: Sequence[Sequence[Tensor] | None],
    augment: Augment,
    generator: torch.Generator,
    device: torch.device,
) -> list[Tensor]:
    """Aligned random crops: `images[k]` are the tensors (C_k,H,W) of sample k, of one H and W.

    None in place of them is a sample of another process: drawn, and left out.

    Returns one (B,C_k,crop,crop) tensor a position, uint8 becoming float32 in [0,1], moved to
    `device` before the arithmetic. One scale is drawn for the whole batch, the rest per sample.
    What is done sample by sample is resizing (`augment.resize`), cutting out and turning, in 8
    bits; the rest is done at once.
    """
    crop = augment.crop
    low, high = augment.scale
    scale = low + (high - low) * torch.rand((), generator=generator).item()
    columns: list[list[Tensor]] = []
    for tensors in images:
        if tensors is None:
            _draw(1, 1, augment, generator)
            continue
        columns = columns or [[] for _ in tensors]
        if augment.resize != (0, 0):
            tensors = [resized(tensor, augment.resize) for tensor in tensors]
        height, width = tensors[0].shape[-2:]
        # A scale under 1 needs a window larger than the crop; it shrinks to what the image has.
        window = min(max(round(crop / scale), 1), height, width)
        if min(height, width) < crop and low == high == 1:
            raise UnhazeError(
                f"crop {crop} does not fit an image of {width}x{height}; set augment.crop lower"
            )
        tops, lefts = height - window + 1, width - window + 1
        top, left, flip, turns = _draw(tops, lefts, augment, generator)
        for column, tensor in zip(columns, tensors):
            piece = tensor[:, top : top + window, left : left + window]
            piece = piece.flip(-1) if flip else piece
            column.append(piece.rot90(turns, (-2, -1)) if turns else piece)
    return [_batch(column, crop, device) for column in columns]


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(C,H,W) -> (C,height,width) of the same type, for `size` = (height, width) in pixels.

    Bilinear, antialiased where it shrinks; uint8 is rounded. A side of 0 follows from the other by
    the aspect ratio, at least 1; with both 0 the image is returned as it is.
    """
    height, width = image.shape[-2:]
    factor = size[0] / height if size[0] else size[1] / width
    target = (
        size[0] or max(1, round(height * factor)),
        size[1] or max(1, round(width * factor)),
    )
    if size == (0, 0) or target == (height, width):
        return image
    result = functional.interpolate(image[None].float(), target, mode="bilinear", antialias=True)[0]
    if image.dtype == torch.uint8:
        return result.round_().clamp_(0, 255).to(torch.uint8)
    return result.to(image.dtype)


def _batch(pieces: list[Tensor], crop: int, device: torch.device) -> Tensor:
    """Square pieces (C,side,side), mostly of one side -> (B,C,crop,crop) float32 on `device`."""
    if len({piece.shape[-1] for piece in pieces}) > 1:
        return torch.cat([_batch([piece], crop, device) for piece in pieces])
    stacked = torch.stack(pieces).to(device)
    batch = stacked.float() / 255 if stacked.dtype == torch.uint8 else stacked.float()
    if batch.shape[-1] == crop:
        return batch
    size = (crop, crop)
    return functional.interpolate(batch, size=size, mode="bilinear", antialias=True).clamp(0, 1)


def _draw(
    tops: int, lefts: int, augment: Augment, generator: torch.Generator
) -> tuple[int, int, bool, int]:
    """A place of so many rows and columns, flip and quarter turns. Takes as many random numbers,
    whatever the limits are."""
    top, left = _integer(tops, generator), _integer(lefts, generator)
    flip = augment.flip and _integer(2, generator) == 1
    return top, left, flip, _integer(4, generator) if augment.rotate else 0


def _integer(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))
