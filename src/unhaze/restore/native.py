"""The network on every pixel: on the whole picture if memory allows, otherwise on blended tiles.

A tile is run with a margin of `context` pixels, the receptive field of the network, so that it
comes out as in the whole picture. Means over the whole picture (channel attention and the like) are
computed beforehand, first on the picture shrunk until it fits at once, then over all tiles, and
each tile is run with them. Neighbours blend over 2 FEATHER pixels.

Measured on three real photos, tiles of 256 pixels against the whole picture: AECR-Net slim differs
by 0.001/255 at most; a training of it that depends on its channel attention by 0.2/255, where plain
tiles, each with means of its own, differ by 40/255.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from unhaze.image import LUMA, channels_first, to_float
from unhaze.restore.engine import EVERYTHING, OutOfMemory, Part
from unhaze.restore.models import Model
from unhaze.restore.resources import free_memory

# For models whose card lacks them; `unhaze export` measures both.
BYTES_PER_PIXEL = 2000  # memory at run time
CONTEXT = 128  # receptive field in pixels

PICTURE_BYTES = 36  # per pixel of the hazy and the restored picture and a copy, as float32
ROW_BYTES = 24  # per pixel of a row of restored tiles, and of a copy
SHARE = 0.7  # share of the free memory that a run may use; other programs need some
STEP = 64  # tiles start at multiples, so that networks with strides align with the whole picture
FEATHER = 32
SMALLEST = 128  # side of a tile below which an error is raised
ROUNDS = 3  # rounds for the means on tiles; each divides their error by about ten
SETTLED = 0.01  # relative change of the means after which no further round is needed


@dataclass(frozen=True)
class Tile:
    """Rows top...bottom and columns left...right of a picture."""

    top: int
    bottom: int
    left: int
    right: int


@runtime_checkable
class Tileable(Model, Protocol):
    """A model whose means over the whole picture can be computed, and set for runs on its tiles."""

    def __call__(self, hazy: np.ndarray, pools: Sequence[np.ndarray] = ()) -> np.ndarray: ...

    def pools(
        self, hazy: np.ndarray, pools: Sequence[np.ndarray] = (), part: Part = EVERYTHING
    ) -> tuple[list[np.ndarray], list[int]]:
        """See `Engine.pools`."""
        ...


def restore_whole(model: Model, pixels: np.ndarray, *, memory: float | None = None) -> np.ndarray:
    """Maps (H,W,3) uint8, uint16 or float32 in [0,1] to restored (H,W,3) float32, not clamped.

    `memory`: bytes that may be used; by default the free memory less a reserve. OutOfMemory: not
    even small tiles fit, or the whole picture does not and the model works only on that (a prior).
    """
    try:
        restored = np.empty(pixels.shape, np.float32)
        for top, strip in restore_strips(model, pixels, memory=memory):
            restored[top : top + len(strip)] = strip
    except MemoryError as error:
        height, width = pixels.shape[:2]
        raise OutOfMemory(
            f"not enough memory to hold {width} x {height} pixels as floats"
        ) from error
    return restored


@contextmanager
def advising(*, native: bool, memory: float | None) -> Iterator[None]:
    """Adds to the error of too little memory which settings of a `Restorer` need less."""
    try:
        yield
    except OutOfMemory as error:
        way = "leave out --native" if native else "choose a smaller --analysis"
        more = "" if memory is None else ", or allow more --memory"
        raise OutOfMemory(f"{error}; {way}{more}") from error


def restore_pixels(
    model: Model,
    pixels: np.ndarray,
    strength: float,
    *,
    grey: bool = False,
    memory: float | None = None,
) -> np.ndarray:
    """(H,W,3) uint8, uint16 or float32 in [0,1] -> the same type and size, restored.

    `strength` in [0,1] blends with `pixels`. `grey`: three equal channels.
    """
    done = np.empty_like(pixels)
    for top, restored in restore_strips(model, pixels, memory=memory):
        rows = slice(top, top + len(restored))
        hazy = to_float(pixels[rows])
        if grey:
            restored = np.repeat(restored @ LUMA[:, None], 3, axis=2)
        blended = np.clip(hazy + np.float32(strength) * (restored - hazy), 0, 1)
        if pixels.dtype != np.float32:
            blended = np.rint(blended * np.iinfo(pixels.dtype).max)
        done[rows] = blended
    return done


def restore_strips(
    model: Model, pixels: np.ndarray, *, memory: float | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields strips (first row, (n,W,3) float32) from top to bottom, to be used at once.

    Besides `pixels`, nothing of the size of the picture is held unless it is restored in one run.
    """
    height, width = pixels.shape[:2]
    side = _largest_side(model, height, width, memory)
    done = 0
    while done < height:
        try:
            if side is None:
                yield 0, _run(model, pixels, Tile(0, height, 0, width))
                return
            for top, strip in _restore_tiles(model, pixels, side, done):
                yield top, strip
                done = top + len(strip)
        except OutOfMemory:
            # The estimate was too low, or the memory is a graphics card's: smaller tiles, from the
            # first row that is not done.
            if model.card.get("context", CONTEXT) is None or side == SMALLEST:
                raise
            side = max(SMALLEST, (side or max(height, width)) // 2 // STEP * STEP)
            if side >= max(height, width):
                raise


def _largest_side(model: Model, height: int, width: int, memory: float | None) -> int | None:
    """Returns the side of tiles in pixels, a multiple of STEP; None if the whole picture fits at
    once.
    """
    per_pixel = int(model.card.get("bytes_per_pixel", BYTES_PER_PIXEL))
    if memory is None:
        # The free memory of a graphics card is unknown: try, and use smaller tiles if that fails.
        memory = SHARE * free_memory() if model.device == "cpu" else math.inf
    needed = height * width * (per_pixel + PICTURE_BYTES)
    if needed <= memory:
        return None
    context = model.card.get("context", CONTEXT)
    if context is not None:
        for side in range(max(height, width) // STEP * STEP, SMALLEST - STEP, -STEP):
            around = side + 2 * (FEATHER + context) + STEP
            tile = min(around, height) * min(around, width)
            row = min(side + 2 * FEATHER, height) * width  # of tiles, restored
            needed = tile * (per_pixel + PICTURE_BYTES) + row * ROW_BYTES
            if needed <= memory:
                return side
    way = "as a whole, which this model must see," if context is None else "in small tiles"
    raise OutOfMemory(
        f"running the model on {width} x {height} pixels {way} needs about {needed / 1e6:,.0f} MB,"
        f" but only {memory / 1e6:,.0f} MB are available"
    )


def _restore_tiles(
    model: Model, pixels: np.ndarray, side: int, done: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields strips of restored rows from row `done` on, blended from the tiles."""
    height, width = pixels.shape[:2]
    pools = _find_pools(model, pixels, side)
    rows, columns = _edges(height, side), _edges(width, side)
    tail = np.zeros((0, width, 3), np.float32)  # contribution of the strip above to the first rows
    for top, bottom in zip(rows, rows[1:]):
        if bottom + FEATHER <= done:
            continue
        end = min(height, bottom + FEATHER)
        start = max(0, top - FEATHER)
        band = np.zeros((end - start, width, 3), np.float32)
        for left, right in zip(columns, columns[1:]):
            tile = Tile(start, end, max(0, left - FEATHER), min(width, right + FEATHER))
            restored = _run(model, pixels, tile, pools)
            restored *= _weights(tile.left, tile.right, left, right, width)[None, :, None]
            band[:, tile.left : tile.right] += restored
        band *= _weights(start, end, top, bottom, height)[:, None, None]
        band[: len(tail)] += tail
        finished = bottom - FEATHER if bottom < height else height
        first = max(start, done)
        if finished > first:
            yield first, band[first - start : finished - start]
        tail = band[finished - start :].copy()


def _edges(length: int, side: int) -> list[int]:
    """Divides 0 ... length into nearly equal parts of at most `side`, all but the last multiples of
    STEP.
    """
    parts = math.ceil(length / side)
    step = math.ceil(length / parts / STEP) * STEP
    return [*range(0, length, step), length]


def _weights(start: int, end: int, first: int, last: int, length: int) -> np.ndarray:
    """Returns a tile's weights at start...end, with a cosine ramp at the edges `first` and `last`.

    The weights of neighbours add up to 1; there are no neighbours at 0 and `length`.
    """
    position = np.arange(start, end) + 0.5
    weights = np.ones(end - start)
    for edge, outside in ((first, first - position), (last, position - last)):
        if 0 < edge < length:
            share = np.clip((outside + FEATHER) / (2 * FEATHER), 0, 1)
            weights *= 0.5 + 0.5 * np.cos(np.pi * share)
    return weights.astype(np.float32)


def _find_pools(model: Model, pixels: np.ndarray, side: int) -> list[np.ndarray]:
    """Returns the network's means over the whole picture, without running it as a whole."""
    if not isinstance(model, Tileable):
        return []
    pools, _ = model.pools(_prepared(model, _shrunk(pixels, side)))
    if not pools:
        return []
    rows, columns = (_edges(length, side) for length in pixels.shape[:2])
    for _ in range(ROUNDS):
        sums, counts = [np.zeros_like(each) for each in pools], [0] * len(pools)
        for top, bottom in zip(rows, rows[1:]):
            for left, right in zip(columns, columns[1:]):
                means, sizes = _means(model, pixels, Tile(top, bottom, left, right), pools)
                for number, (mean, size) in enumerate(zip(means, sizes)):
                    sums[number] += mean * np.float32(size)
                    counts[number] += size
        found = [each / np.float32(count) for each, count in zip(sums, counts)]
        change = max(_change(new, old) for new, old in zip(found, pools))
        pools = found
        if change < SETTLED:
            break
    return pools


def _change(new: np.ndarray, old: np.ndarray) -> float:
    """Returns the largest change relative to the largest value."""
    return float(np.abs(new - old).max() / max(np.abs(new).max(), 1e-12))


def _shrunk(pixels: np.ndarray, side: int) -> np.ndarray:
    """Returns means of k x k pixels, (h,w,3) float32 with at most side x side pixels."""
    height, width = pixels.shape[:2]
    factor = min(math.ceil(math.sqrt(height * width) / side), height, width)
    columns = width // factor
    rows = [
        to_float(pixels[top : top + factor, : columns * factor])
        .reshape(factor, columns, factor, 3)
        .mean((0, 2))
        for top in range(0, height // factor * factor, factor)
    ]
    return np.stack(rows)


def _run(
    model: Model, pixels: np.ndarray, tile: Tile, pools: list[np.ndarray] | None = None
) -> np.ndarray:
    """Returns the restored tile, (n,m,3) float32, run with its context."""
    hazy, (top, left) = _with_context(model, pixels, tile)
    restored = model(hazy, pools) if pools and isinstance(model, Tileable) else model(hazy)
    rows, columns = slice(tile.top - top, tile.bottom - top), slice(tile.left - left, None)
    return restored[0, :, rows, columns][..., : tile.right - tile.left].transpose(1, 2, 0)


def _means(
    model: Tileable, pixels: np.ndarray, tile: Tile, pools: list[np.ndarray]
) -> tuple[list[np.ndarray], list[int]]:
    """Returns the means that the network computes, and their counts, over this tile run with its
    context.
    """
    height, width = pixels.shape[:2]
    hazy, (top, left) = _with_context(model, pixels, tile)
    # At the end of the picture, up to the end of the network's features, padding included.
    bottom = tile.bottom - top if tile.bottom < height else EVERYTHING[2]
    right = tile.right - left if tile.right < width else EVERYTHING[3]
    return model.pools(hazy, pools, (tile.top - top, tile.left - left, bottom, right))


def _with_context(
    model: Model, pixels: np.ndarray, tile: Tile
) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns (1,3,n,m) float32 around the tile, and its first row and column, multiples of STEP.

    Networks with strides are thereby aligned as in the whole picture.
    """
    context = model.card.get("context", CONTEXT) or 0
    top, left = (max(0, edge - context) // STEP * STEP for edge in (tile.top, tile.left))
    part = pixels[top : tile.bottom + context, left : tile.right + context]
    return _prepared(model, to_float(part)), (top, left)


def _prepared(model: Model, hazy_hwc: np.ndarray) -> np.ndarray:
    """Returns (1,3,H,W), mirrored at the bottom and right if the model's card requires a
    `multiple`.
    """
    height, width = hazy_hwc.shape[:2]
    multiple = int(model.card.get("multiple", 1))
    margin = ((0, -height % multiple), (0, -width % multiple), (0, 0))
    padded = np.pad(hazy_hwc, margin, "reflect") if any(map(any, margin)) else hazy_hwc
    return channels_first(padded)[None]
