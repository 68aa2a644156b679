"""Several datasets in one batch, through a simulated camera: training data for photo models."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unhaze.config import Augment
from unhaze.data import Pair, PairedBatch, PairedData
from unhaze.data.checked import draw
from unhaze.data.spoiling import Spoiling, spoiled
from unhaze.data.transforms import generator_for
from unhaze.errors import UnhazeError

# Luminance table of JPEG (ITU-T T.81, annex K.1), which is used for chroma as well.
TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


@dataclass(frozen=True)
class Camera:
    """The camera's processing. gamma: range of the exponent, applied to hazy and clear;
    noise: largest standard deviation, on [0,1]; jpeg: lowest quality, 100 for no JPEG.
    """

    gamma: tuple[float, float] = (1.0, 1.0)
    noise: float = 0.0
    jpeg: int = 100


class Mixed:
    """PairedData that draws every batch from `parts`, in proportion to `shares`."""

    def __init__(
        self,
        parts: Sequence[PairedData],
        shares: Sequence[float],
        camera: Camera,
        spoiling: Spoiling | None = None,
    ):
        if len(parts) != len(shares) or not shares or min(shares) <= 0:
            raise UnhazeError(f"shares are {list(shares)}; expected a positive one for each part")
        self.parts, self.camera = list(parts), camera
        self.spoiling = spoiling or Spoiling()
        self.shares = torch.tensor(shares, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.parts) * min(len(part) for part in self.parts)

    def pair(self, index: int) -> Pair:
        """The parts alternate; the camera is not applied."""
        return self.parts[index % len(self.parts)].pair(index // len(self.parts))

    def draw(
        self, seed: int, step: int, *, size: int, augment: Augment, device: torch.device
    ) -> PairedBatch:
        """Draws the part of each sample, then the samples of each part, then the camera."""
        generator = generator_for(seed, step)
        chosen = torch.multinomial(self.shares, size, replacement=True, generator=generator)
        batches = [
            draw(part, seed + number, step, size=count, augment=augment, device=device)
            for number, part in enumerate(self.parts)
            if (count := int((chosen == number).sum()))
        ]
        hazy = torch.cat([batch.hazy for batch in batches])
        clear = torch.cat([batch.clear for batch in batches])
        if self.spoiling.any():
            batch = spoiled(PairedBatch(hazy, clear), self.spoiling, generator)
            hazy, clear = batch.hazy, batch.clear
        return photograph(hazy, clear, self.camera, generator)


def photograph(
    hazy: Tensor, clear: Tensor, camera: Camera, generator: torch.Generator
) -> PairedBatch:
    """Both (B,3,H,W) in [0,1] through the camera; noise and JPEG affect the hazy one only."""
    low, high = camera.gamma
    drawn = torch.rand(len(hazy), 3, 1, 1, generator=generator).to(hazy.device)
    gamma, noise, strength = drawn.split(1, dim=1)
    if low != high:
        exponent = low * (high / low) ** gamma
        hazy, clear = hazy**exponent, clear**exponent
    if camera.noise:
        hazy = (hazy + camera.noise * noise**2 * grain(hazy, generator)).clamp(0, 1)
    if camera.jpeg < 100:
        hazy = jpeg(hazy, camera.jpeg + (100 - camera.jpeg) * strength)
    return PairedBatch(hazy, clear)


def grain(image: Tensor, generator: torch.Generator) -> Tensor:
    """Normal random numbers in the shape of `image`, drawn on its device: transfers from the CPU
    would be slow, so each kind of device has its own numbers."""
    if image.device.type == "cpu":
        return torch.randn(image.shape, generator=generator)
    own = torch.Generator(image.device)
    own.manual_seed(int(torch.randint(2**62, (), generator=generator)))
    return torch.randn(image.shape, device=image.device, generator=own)


def jpeg(image: Tensor, quality: Tensor) -> Tensor:
    """Quantises 8x8 blocks of (B,3,H,W) like JPEG; `quality` (B,1,1,1) from 1 to 100.

    With JPEG's colour transform, without chroma subsampling. Incomplete blocks at the border are
    not changed.
    """
    height, width = (side // 8 * 8 for side in image.shape[-2:])
    inner = image[..., :height, :width]
    scale = torch.where(quality < 50, 50 / quality, (100 - quality) / 50)
    steps = torch.tensor(TABLE, device=image.device) * scale.clamp(min=1e-3)  # (B,1,8,8)
    basis = cosine_basis().to(image.device)
    transform = torch.tensor(
        [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]],
        device=image.device,
    )
    colours = functional.conv2d(inner * 255 - 128, transform[:, :, None, None])
    blocks = colours.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)
    steps = steps[:, :, None, None]
    frequencies = basis @ blocks @ basis.T
    blocks = basis.T @ (torch.round(frequencies / steps) * steps) @ basis
    colours = blocks.transpose(-3, -2).flatten(-4, -3).flatten(-2)
    back = torch.linalg.inv(transform)[:, :, None, None]
    restored = (functional.conv2d(colours, back) + 128).div(255).clamp(0, 1)
    result = image.clone()
    result[..., :height, :width] = restored
    return result


def cosine_basis() -> Tensor:
    """(8,8) orthonormal DCT-II: row k holds the k-th cosine."""
    place = torch.arange(8) + 0.5
    basis = torch.cos(math.pi / 8 * torch.arange(8)[:, None] * place) / 2
    basis[0] /= math.sqrt(2)
    return basis
