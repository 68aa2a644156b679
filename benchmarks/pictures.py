"""Pictures for benchmarks, made on the fly: clouds of many sizes, a veil that thickens upwards."""

from pathlib import Path

import pyvips


def write_picture(path: Path, megapixels: float, *, seed: int = 1) -> tuple[int, int]:
    """Writes a hazy 4:3 picture of that size by the suffix of `path`; returns (width, height).

    It is written in strips: the memory of the calling process stays small.
    """
    height = max(3, round((megapixels * 1e6 * 3 / 4) ** 0.5))
    width = max(4, round(megapixels * 1e6 / height))
    channels = [clouds(width, height, seed * 10 + channel) for channel in range(3)]
    clear = channels[0].bandjoin(channels[1:]) + [105, 110, 100]
    transmission = pyvips.Image.xyz(width, height)[1] * (0.6 / height) + 0.3
    hazy = clear * transmission + (1 - transmission) * [205, 210, 215]
    noise = pyvips.Image.gaussnoise(width, height, sigma=2, seed=seed)
    picture = (hazy + noise).cast("uchar").copy(interpretation="srgb")
    options = {"Q": 92} if path.suffix == ".jpg" else {}
    picture.write_to_file(str(path), **options)
    return width, height


def clouds(width: int, height: int, seed: int) -> pyvips.Image:
    """Perlin noise at three scales, about -100 to 100."""
    cells = [max(8, width // parts) for parts in (4, 20, 100)]
    layers = [
        pyvips.Image.perlin(width, height, cell_size=cell, seed=seed + number) * strength
        for number, (cell, strength) in enumerate(zip(cells, (60, 30, 15)))
    ]
    return layers[0] + layers[1] + layers[2]
