"""Random transforms of whole batches, on the training device: crops, flips, rotations and haze."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unhaze.config import Augment
from unhaze.errors import UnhazeError
from unhaze.haze import HazeLaw, add_haze, tint, transmission

GRID = 4  # random values per side from which a smooth map of haze is interpolated


def generator_for(seed: int, step: int) -> torch.Generator:
    """Returns the random generator of one training step, independent of all others."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


def crop_batch(
    images: Sequence[Sequence[Tensor] | None],
    augment: Augment,
    generator: torch.Generator,
    device: torch.device,
) -> list[Tensor]:
    """Aligned random crops: `images[k]` are the tensors (C_k,H,W) of sample k, of one H and W.

    None stands for a sample of another process: its numbers are drawn, and it is left out.

    Returns one (B,C_k,crop,crop) tensor per position; uint8 becomes float32 in [0,1] on `device`.
    One scale is drawn for the whole batch, the rest per sample. Resizing (`augment.resize`),
    cropping and rotation are done per sample, in 8 bits; the rest for the whole batch.
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
        # A scale below 1 needs a window larger than the crop, limited by the image.
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

    Bilinear, antialiased when shrinking; uint8 is rounded. A side of 0 follows from the other by
    the aspect ratio, at least 1; with both 0 the image is returned unchanged.
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
    """Square pieces (C,side,side), mostly of equal sides -> (B,C,crop,crop) float32 on `device`."""
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
    """Draws a position within these rows and columns, a flip and quarter turns. The number of
    random numbers used does not depend on the limits."""
    top, left = _integer(tops, generator), _integer(lefts, generator)
    flip = augment.flip and _integer(2, generator) == 1
    return top, left, flip, _integer(4, generator) if augment.rotate else 0


def _integer(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))


def haze_batch(law: HazeLaw, clear: Tensor, depth: Tensor, generator: torch.Generator) -> Tensor:
    """clear (B,3,H,W) and depth (B,1,H,W), both in [0,1] -> hazy (B,3,H,W).

    `generator` is on the CPU, so that all devices draw the same haze.
    """
    beta, airlight = draw_haze(law, len(clear), generator)
    device = clear.device
    if law.clear_share:
        beta = beta * (torch.rand(len(clear), 1, 1, 1, generator=generator) >= law.clear_share)
    if law.uneven:
        depth = depth * (1 + law.uneven * smooth_maps(clear, generator))
        swing = law.uneven / 2 * smooth_maps(clear, generator)
        airlight = (airlight.to(device) * (1 + swing)).clamp(0, 1)
    beta, airlight = beta.to(device), airlight.to(device)
    lit = tinted(law, clear, airlight, beta, generator)
    if law.dust:
        airlight = dusty_airlight(law.dust, airlight, generator)
    through = transmission(depth, beta)
    if law.veiled:
        through = veiled(law.veiled, through, generator)
    if law.patchy:
        through = through * patches(law.patchy, clear, generator)
    hazy = add_haze(lit, through, airlight)
    if law.camera:
        hazy = adjusted(hazy, clear, law.camera * torch.rand(len(clear), 2, generator=generator))
    return hazy


def tinted(
    law: HazeLaw, clear: Tensor, airlight: Tensor, beta: Tensor, generator: torch.Generator
) -> Tensor:
    """clear (B,3,H,W) in light coloured by dust, with at most `law.dusty` of its colour."""
    if not law.dusty:
        return clear
    share = law.dusty * torch.rand(len(clear), 1, 1, 1, generator=generator).to(clear.device)
    colour = airlight / airlight.amax(1, keepdim=True).clamp(min=1e-3)
    return clear * colour ** (share * (1 - transmission(torch.ones_like(beta), beta)))


def dusty_airlight(share: float, airlight: Tensor, generator: torch.Generator) -> Tensor:
    """`airlight` (B,3,H,W), in `share` of the pictures replaced by that of dust."""
    drawn, light, strength, green = torch.rand(4, len(airlight), 1, 1, 1, generator=generator)
    lost = 0.15 + 0.4 * strength
    shares = torch.cat((torch.ones_like(lost), 1 - lost * (0.35 + 0.2 * green), 1 - lost), 1)
    dust = ((0.65 + 0.35 * light) * shares).to(airlight.device)
    return torch.where((drawn < share).to(airlight.device), dust, airlight)


def veiled(share: float, through: Tensor, generator: torch.Generator) -> Tensor:
    """`through` (B,1,H,W), constant in `share` of the pictures: optical depths from 0 to 4."""
    drawn, depth = torch.rand(2, len(through), 1, 1, 1, generator=generator).to(through.device)
    return torch.where(drawn < share, torch.exp(-4 * depth), through)


def patches(share: float, images: Tensor, generator: torch.Generator) -> Tensor:
    """(B,1,H,W) in (0,1]: transmission of patches of smoke; 1 in all pictures but `share`.

    Its optical depth is turbulence: waves of several scales, each half as strong as the next
    larger one.
    """
    size, count = tuple(images.shape[-2:]), len(images)
    density = torch.zeros(count, 1, *size)
    for cells in (3, 5, 9, 17, 33):
        coarse = 2 * torch.rand(count, 1, cells, cells, generator=generator) - 1
        wave = functional.interpolate(coarse, size=size, mode="bicubic", align_corners=False)
        density += 3 / (cells - 1) * wave
    level, thickness, drawn = torch.rand(3, count, 1, 1, 1, generator=generator)
    density = (density + 1.5 * level - 0.5).clamp(0, 1) * (0.5 + 2 * thickness)
    return torch.exp(-density * (drawn < share)).to(images.device)


def adjusted(hazy: Tensor, clear: Tensor, shares: Tensor) -> Tensor:
    """hazy (B,3,H,W) as taken by a camera that aims at the mean colour of `clear`.

    shares (B,2) in [0,1] of exposure and white balance; both are factors per channel.
    """
    colour = hazy.mean((2, 3), keepdim=True).clamp(min=1e-3)
    wanted = clear.mean((2, 3), keepdim=True).clamp(min=1e-3)
    exposure = wanted.mean(1, keepdim=True) / colour.mean(1, keepdim=True)
    balance = wanted / colour / exposure
    first, second = shares.to(hazy.device)[:, :, None, None].split(1, dim=1)
    return (hazy * exposure**first * balance**second).clamp(0, 1)


def draw_haze(law: HazeLaw, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """beta (size,1,1,1) and airlight (size,3,1,1)."""
    low, high = law.beta
    beta = low + (high - low) * torch.rand(size, 1, 1, 1, generator=generator)
    low, high = law.airlight
    airlight = low + (high - low) * torch.rand(size, 1, 1, 1, generator=generator)
    at_one = torch.rand(size, 1, 1, 1, generator=generator) < law.airlight_at_one
    airlight = torch.where(at_one, 1.0, airlight)
    warm, green = (2 * torch.rand(2, size, 1, 1, 1, generator=generator) - 1).unbind()
    return beta, (airlight + torch.cat(tint(law.airlight_tint, warm, green), 1)).clamp(0, 1)


def smooth_maps(images: Tensor, generator: torch.Generator) -> Tensor:
    """One smooth map for each of `images` (B,3,H,W), on their device: (B,1,H,W) in [-1,1]."""
    coarse = 2 * torch.rand(len(images), 1, GRID, GRID, generator=generator) - 1
    size = tuple(images.shape[-2:])
    return functional.interpolate(coarse.to(images.device), size=size, mode="bicubic").clamp(-1, 1)
