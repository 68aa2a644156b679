"""Imperfections of photos: frames, stamps, blown skies, grey, night, flat fog.

A network that was never trained on white frames mistakes them for haze. Hazy and clear picture are
modified in the same way, so that the network learns to leave these parts unchanged.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from unhaze.data import PairedBatch
from unhaze.errors import UnhazeError


@dataclass(frozen=True)
class Spoiling:
    """Shares of pictures, each in [0,1].

    framed: a white, black or grey border, or one or two strips of it. stamped: a date or a logo.
    blown: a part overexposed to white. grey: no colours. dark: under-exposed, by up to two and a
    half stops. flat: fog of one colour only.
    """

    framed: float = 0.0
    stamped: float = 0.0
    blown: float = 0.0
    grey: float = 0.0
    dark: float = 0.0
    flat: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(self):
            if not 0 <= getattr(self, each.name) <= 1:
                raise UnhazeError(
                    f"{each.name} is {getattr(self, each.name)}; expected a share, 0 to 1"
                )

    def any(self) -> bool:
        """Whether any share is above 0."""
        return any(getattr(self, each.name) for each in fields(self))


def spoiled(batch: PairedBatch, spoiling: Spoiling, generator: torch.Generator) -> PairedBatch:
    """Returns the batch, with each picture modified as `spoiling` draws."""
    count, device = len(batch.hazy), batch.hazy.device
    pictures = torch.stack((batch.hazy, batch.clear))  # (2,B,3,H,W)

    def numbers() -> Tensor:
        return torch.rand(count, generator=generator).view(1, count, 1, 1, 1).to(device)

    def where(share: float, changed: Tensor) -> Tensor:
        return torch.where(numbers() < share, changed, pictures)

    if spoiling.flat:
        colour = (
            0.3
            + 0.7 * numbers()
            + 0.06
            * (numbers() - 0.5)
            * torch.tensor([1.0, 0.0, -1.0], device=device).view(1, 1, 3, 1, 1)
        )
        pictures = where(spoiling.flat, colour.clamp(0, 1).expand_as(pictures))
    if spoiling.dark:
        pictures = where(spoiling.dark, pictures * 2 ** (-2.5 * numbers()))
    if spoiling.grey:
        luma = pictures.new_tensor([0.299, 0.587, 0.114]).view(1, 1, 3, 1, 1)
        pictures = where(spoiling.grey, (pictures * luma).sum(2, keepdim=True).expand_as(pictures))
    if spoiling.blown:
        pictures = where(spoiling.blown, blown(pictures, numbers(), numbers()))
    if spoiling.stamped:
        pictures = where(spoiling.stamped, stamped(pictures, generator))
    if spoiling.framed:
        pictures = where(spoiling.framed, framed(pictures, generator))
    return PairedBatch(*pictures.unbind())


def blown(pictures: Tensor, rows: Tensor, light: Tensor) -> Tensor:
    """(2,B,3,H,W): rising brightness from a row upwards, in half of them at once; clipped at 1."""
    height = pictures.shape[-2]
    above = torch.linspace(1, 0, height, device=pictures.device).view(1, 1, 1, height, 1)
    edge = (above - 0.25 - 0.75 * rows) * torch.where(light < 0.5, 3, 1000)
    return (pictures + (2 * edge).clamp(0, 1)).clamp(0, 1)


def stamped(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """(2,B,3,H,W): a row of small bright blocks, like digits, near a corner."""
    height, width = pictures.shape[-2:]
    size = max(2, min(height, width) // 20)
    digits = (torch.rand(5, 8 * 4, generator=generator) < 0.5).float()
    digits[:, 3::4] = 0  # between two digits
    scale = max(1, size // 5)
    digits = digits.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    digits = digits[: height // 2, : width // 2].to(pictures.device)
    rows, columns = digits.shape
    top = int(torch.randint(height - rows + 1, (), generator=generator))
    left = int(torch.randint(width - columns + 1, (), generator=generator))
    colours = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.6, 0.1], [1.0, 1.0, 0.2]])
    colour = colours[int(torch.randint(3, (), generator=generator))].to(pictures.device)
    result = pictures.clone()
    part = result[..., top : top + rows, left : left + columns]
    part.copy_(torch.where(digits > 0, colour.view(3, 1, 1), part))
    return result


def framed(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """(2,B,3,H,W): borders of up to a tenth of the side; strips are broader, up to a quarter."""
    count, (height, width) = pictures.shape[1], pictures.shape[-2:]
    sides = torch.rand(4, count, generator=generator) < 0.7
    strip = torch.rand(count, generator=generator) < 0.3  # a single broad side
    one = torch.randint(4, (count,), generator=generator)
    sides = torch.where(strip, torch.arange(4)[:, None] == one, sides)
    breadth = torch.where(strip, 0.25, 0.1) * torch.rand(count, generator=generator)
    breadth = (breadth * sides).to(pictures.device).view(4, count, 1, 1, 1) + 1e-6
    down = torch.linspace(0, 1, height, device=pictures.device).view(1, 1, height, 1)
    across = torch.linspace(0, 1, width, device=pictures.device).view(1, 1, 1, width)
    top, bottom, left, right = breadth * sides.to(pictures.device).view(4, count, 1, 1, 1)
    inside = (down >= top) & (down <= 1 - bottom) & (across >= left) & (across <= 1 - right)
    tone = torch.rand(count, generator=generator)
    tone = torch.where(tone < 0.6, 1.0, torch.where(tone < 0.8, 0.0, tone)).to(pictures.device)
    return torch.where(inside, pictures, tone.view(1, count, 1, 1, 1))
