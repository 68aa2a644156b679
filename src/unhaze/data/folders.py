"""Pairs of hazy and clear files: each used once per epoch, in an order given by seed and step."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unhaze import photo
from unhaze.config import Augment
from unhaze.data import Pair, PairedBatch
from unhaze.data.catalog import fit_clear
from unhaze.data.check import size_of
from unhaze.data.pairing import PairFiles
from unhaze.data.transforms import crop_batch, generator_for
from unhaze.errors import UnhazeError
from unhaze.image import channels_first, to_float
from unhaze.processes import world

DELAY = 2.0  # seconds after which reading is worth a progress bar

T = TypeVar("T")
U = TypeVar("U")


class PairedFolders:
    """PairedData over files; a clear picture is cropped by its declared border and never resized.

    cache: keep decoded pictures in memory (H*W*3 bytes each, twice that for 16 bits).
    """

    def __init__(self, pairs: list[PairFiles], *, cache: bool = False):
        blind = [pair.name for pair in pairs if pair.clear is None]
        if blind:
            raise UnhazeError(f"'{blind[0]}' has no clear picture; paired training needs one")
        if not pairs:
            raise UnhazeError("there are no pairs to train on")
        self.pairs = pairs
        self.decode = lru_cache(maxsize=None)(photo.read_rgb) if cache else photo.read_rgb

    def __len__(self) -> int:
        return len(self.pairs)

    def check_crop(self, crop: int) -> None:
        """UnhazeError naming the first picture that is smaller than a crop of `crop` pixels."""
        check_crop([pair.hazy for pair in self.pairs], crop)

    def pair(self, index: int) -> Pair:
        """Returns pair `index` at full size."""
        hazy, clear = self.pixels(index)
        name = self.pairs[index].name
        return Pair(name, as_tensor(to_float(hazy)), as_tensor(to_float(clear)))

    def draw(
        self,
        seed: int,
        step: int,
        *,
        size: int,
        augment: Augment,
        device: torch.device,
        own: slice = slice(None),
    ) -> PairedBatch:
        """Returns the next `size` pairs of the sequence of shuffled epochs, decoded in threads.

        own: those that are read and returned; the random numbers are the same for any `own`.
        """
        indices = [pair_at(seed, step * size + place, len(self)) for place in range(size)]
        with ThreadPoolExecutor(min(size, 16)) as pool:
            decoded = list(pool.map(self.pixels, indices[own]))
        images: list[list[Tensor] | None] = [None] * size
        images[own] = [[as_tensor(small(picture)) for picture in pair] for pair in decoded]
        return PairedBatch(*crop_batch(images, augment, generator_for(seed, step), device))

    def pixels(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns hazy and clear of pair `index`, (H,W,3) as decoded, of equal size."""
        pair = self.pairs[index]
        hazy, clear = self.decode(pair.hazy), self.decode(pair.partner)
        return hazy, fit_clear(pair, clear, hazy)


def check_crop(files: list[Path], crop: int) -> None:
    """Raises UnhazeError for pictures smaller than the crop, by their headers."""
    with ThreadPoolExecutor(16) as pool:
        sizes = list(pool.map(size_of, files))
    small_ones = [place for place, size in enumerate(sizes) if min(size) < crop]
    if small_ones:
        width, height = sizes[small_ones[0]]
        more = f" ({len(small_ones)} such pictures)" if len(small_ones) > 1 else ""
        raise UnhazeError(
            f"crop {crop} does not fit '{files[small_ones[0]]}', {width}x{height}{more};"
            " set augment.crop lower, or leave it out"
        )


def read_all(read: Callable[[T], U], places: Sequence[T], what: str) -> list[U]:
    """Returns `read` of each place, in threads, with a progress bar on stderr if it takes long.

    `what` is read, as in "scenes of 'data/nyu'". In a log file, the bar is a line now and then.
    """
    pause = 0.1 if sys.stderr.isatty() else 10.0
    bar = {"desc": f"unhaze: reading {what}", "delay": DELAY, "mininterval": pause, "unit": ""}
    first, _ = world()
    with ThreadPoolExecutor() as pool:
        return [*tqdm(pool.map(read, places), total=len(places), disable=first != 0, **bar)]


def pair_at(seed: int, place: int, count: int) -> int:
    """Returns the pair at `place` in the sequence of epochs, each a permutation of `count`."""
    epoch, within = divmod(place, count)
    return permutation(seed, epoch, count)[within]


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, count: int) -> list[int]:
    """Returns the order of the `count` pairs in epoch `epoch`."""
    # Not the generator of a step, or the first crop would depend on the order.
    generator = generator_for(~seed, epoch)
    return torch.randperm(count, generator=generator).tolist()


def small(pixels: np.ndarray) -> np.ndarray:
    """8-bit pixels unchanged, a quarter of float32; 16-bit ones as float32 in [0, 1]."""
    return pixels if pixels.dtype == np.uint8 else to_float(pixels)


def as_tensor(hwc: np.ndarray) -> Tensor:
    """(H,W,C) -> (C,H,W) of the same type."""
    return torch.from_numpy(channels_first(hwc))
