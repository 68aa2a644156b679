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
    images: Sequence[Sequence[Tensor]],
    augment: Augment,
    generator: torch.Generator,
    device: torch.device,
) -> list[Tensor]:
    """Aligned random crops: `images[k]` are the tensors (C_k,H,W) of sample k, of one H and W.

    Returns one (B,C_k,crop,crop) tensor a position, uint8 becoming float32 in [0,1], moved to
    `device` before the arithmetic. One scale is drawn for the whole batch, the rest per sample.
    """
    crop = augment.crop
    low, high = augment.scale
    scale = low + (high - low) * torch.rand((), generator=generator).item()
    columns = []
    for tensors in images:
        height, width = tensors[0].shape[-2:]
        # A scale under 1 needs a window larger than the crop; it shrinks to what the image has.
        window = min(max(round(crop / scale), 1), height, width)
        if min(height, width) < crop and low == high == 1:
            raise UnhazeError(
                f"crop {crop} does not fit an image of {width}x{height}; set augment.crop lower"
            )
        top = _integer(height - window + 1, generator)
        left = _integer(width - window + 1, generator)
        flip = augment.flip and _integer(2, generator) == 1
        turns = _integer(4, generator) if augment.rotate else 0
        sample = []
        for tensor in tensors:
            piece = tensor[:, top : top + window, left : left + window].to(device)
            piece = piece.float() / 255 if piece.dtype == torch.uint8 else piece.float()
            if window != crop:
                piece = functional.interpolate(
                    piece[None], size=(crop, crop), mode="bilinear", antialias=True
                )[0].clamp(0, 1)
            piece = piece.flip(-1) if flip else piece
            sample.append(piece.rot90(turns, (-2, -1)) if turns else piece)
        columns.append(sample)
    return [torch.stack(column) for column in zip(*columns)]


def _integer(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))
