"""A picture of which the header is known, and the rows when they are asked for."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import pyvips

from unhaze.photo import kinds
from unhaze.photo.picture import (
    ABOUT,
    BEHIND,
    COLOURS,
    EXIF,
    ICC,
    IPTC,
    NUMBERS,
    SEGMENTS,
    TEXTS,
    XMP,
    Stream,
    Traits,
    one_line_errors,
)

# Names of `Traits.metadata` in messages.
WORDS = {EXIF: "EXIF", XMP: "XMP", ICC: "ICC profile", IPTC: "IPTC", TEXTS: "texts"}
WORDS |= {ABOUT: "date or background"}
WORDS |= {SEGMENTS: "comments", COLOURS: "colour tags", NUMBERS: "colour tags"}
WORDS |= {BEHIND: "gain map or video"}
STRIP = 1 << 18  # pixels decoded at once
CELL = 8  # pixels along a block of JPEG, which stores its mean


@dataclass(frozen=True)
class Opened:
    """A picture of which only the header has been read; its pixels can be read repeatedly.

    `shape` (H,W,channels) as stored: grey or RGB, then alpha if there is one. `image()`: the
    picture, not decoded yet, to be read from its first row to its last. `guess`: why that may fail.
    `cells`: the same by means of CELL x CELL pixels, which is faster to decode; None if the format
    has none.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    traits: Traits
    image: Callable[[], pyvips.Image]
    guess: str = kinds.DAMAGED
    cells: Callable[[], pyvips.Image] | None = None

    def stream(self) -> Stream:
        """Returns the rows as stored. Reading them raises UnhazeError if the file is damaged or
        truncated.
        """
        return Stream(self._strips(), self.shape, self.dtype, self.traits)

    def to_shrink(self, long_side: int) -> pyvips.Image:
        """`image()`, or the same in cells where nothing of what `long_side` pixels show is lost."""
        short, long = sorted(self.shape[:2])
        large = long >= CELL * long_side and short >= CELL
        return self.cells() if large and self.cells else self.image()

    def words(self) -> list[str]:
        """Returns size, depth and metadata in words."""
        height, width, channels = self.shape
        bits = 8 * self.dtype.itemsize
        depth = f"{bits}-bit floats" if self.dtype.kind == "f" else f"{bits} bits"
        found = [f"{width} x {height}", depth] + ["transparency"] * (channels in (2, 4))
        return found + [WORDS[key] for key in WORDS if key in self.traits.metadata]

    def reading(self) -> AbstractContextManager[None]:
        """Turns libvips' errors inside the block into one line that names the picture."""
        return one_line_errors(f"cannot read {self.name}", self.guess)

    def _strips(self) -> Iterator[np.ndarray]:
        height, width, channels = self.shape
        rows = max(1, STRIP // width)
        with self.reading():
            region = pyvips.Region.new(self.image())
        for start in range(0, height, rows):
            count = min(rows, height - start)
            with self.reading():
                data = region.fetch(0, start, width, count)
            yield np.frombuffer(data, self.dtype).reshape(count, width, channels)
