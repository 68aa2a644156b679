"""Layered scenes with exact depth edges: sky, ridges, towers.

Measured or estimated depth is inexact along edges, and a network that learns from it produces glows
beside towers. Here parts of clear photos are laid over each other, each at its own depth, with
masks that are exact to a fraction of a pixel. The hazy layers are blended, not their depths. Sky is
infinitely far, shows the light of the haze, and is the same in the target.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from unhaze.data import PairedBatch
from unhaze.data.transforms import adjusted, draw_haze, tinted
from unhaze.haze import HazeLaw, add_haze, transmission

LAYERS = 4  # before the background
SKIES = 0.6  # share of scenes with sky
# Colours of the zenith: clear, overcast, dusk.
ZENITHS = ((0.25, 0.45, 0.8), (0.45, 0.6, 0.85), (0.7, 0.72, 0.75), (0.5, 0.45, 0.55))


def collage_batch(
    law: HazeLaw, clear: Tensor, depth: Tensor, generator: torch.Generator
) -> PairedBatch:
    """Makes scenes from photos (B,3,H,W) and their depth (B,1,H,W), both in [0,1].

    The photo is the ground or the background; layers are parts of the other photos of the batch.
    """
    count, device = len(clear), clear.device

    def uniform(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)).to(device)

    beta, airlight = (each.to(device) for each in draw_haze(law, count, generator))
    beta = beta * (uniform(0, 1) >= law.clear_share)
    far = transmission(0.4 + 0.6 * depth, beta)
    scene = tinted(law, clear, airlight, beta, generator)
    hazy, target = add_haze(scene, far, airlight), clear
    skies = (uniform(0, 1) < SKIES).float()
    if skies.any():
        sky, ground = sky_of(airlight, clear, generator), ridge(clear, generator)
        behind = skies * (1 - ground)
        hazy, target = (torch.lerp(each, sky, behind) for each in (hazy, target))
    for number in range(1, LAYERS + 1):
        mask = drawn_mask(clear, generator)
        # Later layers are nearer and hide earlier ones.
        nearness = number / LAYERS
        distance = uniform(0.0, 1.0) * (1.1 - nearness) + uniform(-0.1, 0.1) * depth
        through = transmission(distance.clamp(0, 1), beta)
        source = clear.roll(number, 0) if count > 1 else clear.flip(3)
        source = source * uniform(0.5, 1.2).clamp(max=1)
        lit = tinted(law, source, airlight, beta, generator)
        hazy = torch.lerp(hazy, add_haze(lit, through, airlight), mask)
        target = torch.lerp(target, source, mask)
    if law.camera:
        hazy = adjusted(hazy, target, law.camera * torch.rand(count, 2, generator=generator))
    return PairedBatch(hazy, target)


def sky_of(airlight: Tensor, like: Tensor, generator: torch.Generator) -> Tensor:
    """(B,3,H,W): the airlight (B,3,1,1) at the horizon, fading into a colour above, and clouds."""
    count, _, height, _ = like.shape
    chosen = torch.randint(len(ZENITHS), (count,), generator=generator)
    zenith = torch.tensor(ZENITHS)[chosen].view(count, 3, 1, 1).to(like.device)
    numbers = torch.rand(4, count, 1, 1, 1, generator=generator).to(like.device)
    share, power, clouds, light = numbers.unbind()
    above = torch.linspace(1, 0, height, device=like.device).view(1, 1, height, 1)
    zenith = torch.lerp(zenith, airlight, 0.3 * light) * (0.7 + 0.5 * light)
    sky = torch.lerp(airlight.expand(-1, -1, height, 1), zenith, share * above ** (0.5 + power))
    veil = turbulence(like, generator, octaves=4).clamp(min=0)
    return (sky + 0.25 * clouds**2 * veil * (1 - sky)).clamp(0, 1)


def ridge(like: Tensor, generator: torch.Generator) -> Tensor:
    """(B,1,H,W) in [0,1]: 1 below a horizon, from smooth hills to tree tops."""
    count, _, height, width = like.shape
    line, rough = torch.rand(2, count, 1, 1, 1, generator=generator).to(like.device)
    tops = turbulence(
        like[..., :1, :], generator, octaves=6, fading=0.5 + 0.3 * float(rough.mean())
    )
    rows = torch.arange(height, device=like.device).view(1, 1, height, 1)
    return (rows - height * (0.2 + 0.6 * line + 0.15 * tops) + 0.5).clamp(0, 1)


def drawn_mask(like: Tensor, generator: torch.Generator) -> Tensor:
    """(B,1,H,W) in [0,1], 1 inside: a blob, a tower, a pole or wire, or foliage; one kind each."""
    kinds = (blob, tower, pole, foliage)
    return kinds[int(torch.randint(len(kinds), (), generator=generator))](like, generator)


def blob(like: Tensor, generator: torch.Generator) -> Tensor:
    """Returns a mask of the places where a smooth random height is above a level."""
    return sharp(turbulence(like, generator, octaves=3) - 0.25)


def foliage(like: Tensor, generator: torch.Generator) -> Tensor:
    """A blob with holes like those between leaves."""
    inside = turbulence(like, generator, octaves=3) - 0.15
    leaves = turbulence(like, generator, octaves=7, fading=0.9)
    return sharp(torch.minimum(inside, leaves + 0.35))


def tower(like: Tensor, generator: torch.Generator) -> Tensor:
    """A slightly tilted rectangle on the lower edge."""
    across, down = coordinates(like)
    height, width = like.shape[-2:]
    place, breadth, top, lean = torch.rand(4, len(like), 1, 1, 1, generator=generator).to(
        like.device
    )
    centre = width * place + (lean - 0.5) * 0.2 * (down - height)
    side = width * (0.02 + 0.2 * breadth) - (across - centre).abs()
    return (torch.minimum(side, down - height * (0.05 + 0.7 * top)) + 0.5).clamp(0, 1)


def pole(like: Tensor, generator: torch.Generator) -> Tensor:
    """A line across the picture, 1 to 8 pixels wide, at any angle."""
    across, down = coordinates(like)
    height, width = like.shape[-2:]
    numbers = torch.rand(4, len(like), 1, 1, 1, generator=generator).to(like.device)
    column, row, angle, breadth = numbers.unbind()
    turned = math.pi * angle
    away = (across - width * column) * turned.sin() - (down - height * row) * turned.cos()
    return (0.5 + 3.5 * breadth**2 - away.abs() + 0.5).clamp(0, 1)


def coordinates(like: Tensor) -> tuple[Tensor, Tensor]:
    """(1,1,1,W) and (1,1,H,1): pixels from the left and from the top."""
    height, width = like.shape[-2:]
    across = torch.arange(width, device=like.device, dtype=like.dtype).view(1, 1, 1, width)
    return across, torch.arange(height, device=like.device, dtype=like.dtype).view(1, 1, height, 1)


def turbulence(
    like: Tensor, generator: torch.Generator, *, octaves: int, fading: float = 0.5
) -> Tensor:
    """(B,1,H,W) around 0, mostly in [-1,1]: noise of 2, 4, 8 ... waves per side, each `fading`
    times as strong as the previous one.
    """
    size = tuple(like.shape[-2:])
    total = torch.zeros(len(like), 1, *size, device=like.device)
    for octave in range(octaves):
        cells = [min(2 ** (octave + 1) + 1, side) for side in size]
        coarse = 2 * torch.rand(len(like), 1, *cells, generator=generator) - 1
        wave = functional.interpolate(
            coarse.to(like.device), size=size, mode="bicubic", align_corners=False
        )
        total = total + fading**octave * wave
    return total


def sharp(level: Tensor) -> Tensor:
    """(B,1,H,W) in [0,1]: 1 where `level` is above 0, with an edge one pixel wide."""
    down = functional.pad(level[..., 1:, :] - level[..., :-1, :], (0, 0, 0, 1))
    across = functional.pad(level[..., :, 1:] - level[..., :, :-1], (0, 1))
    slope = (down**2 + across**2).sqrt().clamp(min=1e-4)
    return (level / slope + 0.5).clamp(0, 1)
