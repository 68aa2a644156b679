"""The local affine field: the effect of a network on a small picture, applied at full size.

Haze is locally affine, J = I/t + A(1 - 1/t), so where restored = gain * hazy + offset holds in a
window of the small picture, it holds there at any size. The maps are those of a guided filter of
each channel of restored, guided by the same channel of hazy (He, Sun and Tang, "Guided Image
Filtering", TPAMI 2013, eq. 5, 6 and 8).

Differs: the ridge draws the gains towards the gain common to all channels and the latter towards 1,
not towards 0, so that detail too fine for the small picture is kept. A colour guide, whose channels
mix (eq. 19), was measured: the same to 0.1 dB at twice the cost (docs/roofline.md).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from numbers import Real

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.image import LUMA, window_sum
from unhaze.restore import field_kernel
from unhaze.restore.resources import count_threads

RADIUS = 2  # window of 5 x 5: 49 dB on SOTS-indoor pictures at 1x where 8 gives 41
EPSILON = 1e-4  # variance (contrast of 2.5/255) below which a window is too flat to be reliable
BAND = 64  # rows fitted at once
STRIP = 1 << 18  # pixels that one thread restores at once
PARTS = 4  # pixels per thread, if it is compiled
TILE = 4096  # pixels of a row restored at once


def fit_field(
    hazy_hwc: np.ndarray, restored_hwc: np.ndarray, *, grey: bool = False, threads: int = 0
) -> np.ndarray:
    """Returns maps (3,2,h,w) float32: restored[i] ~ maps[i,0] * hazy[i] + maps[i,1].

    hazy, restored: (h,w,3) float32, hazy in [0,1], restored not clamped. `grey`: the three restored
    channels become equal (their luma). `threads`: 0 for one per core.
    """
    height, width = hazy_hwc.shape[:2]
    maps = np.empty((3, 2, height, width), np.float32)
    if field_kernel.kernel() is not None:
        hazy = np.ascontiguousarray(hazy_hwc, np.float32)
        restored = np.ascontiguousarray(restored_hwc, np.float32)

        def fit_compiled(start: int) -> None:
            rows = start, min(start + BAND, height)
            field_kernel.fit_rows(hazy, restored, maps, rows, epsilon=EPSILON)

        _in_parallel(fit_compiled, range(0, height, BAND), threads)
    else:
        _fit_in_numpy(hazy_hwc, restored_hwc, maps, threads)
    if grey:
        maps[:] = np.tensordot(LUMA, maps, 1)
    return maps


def _fit_in_numpy(
    hazy_hwc: np.ndarray, restored_hwc: np.ndarray, maps: np.ndarray, threads: int
) -> None:
    height = len(hazy_hwc)
    margin = ((2 * RADIUS, 2 * RADIUS), (2 * RADIUS, 2 * RADIUS), (0, 0))
    hazy = np.pad(hazy_hwc, margin, "symmetric").transpose(2, 0, 1)
    restored = np.pad(restored_hwc, margin, "symmetric").transpose(2, 0, 1)

    def fit(start: int) -> None:
        stop = min(start + BAND, height)
        rows = slice(start, stop + 4 * RADIUS)
        maps[:, :, start:stop] = _fit_band(hazy[:, rows], restored[:, rows])

    _in_parallel(fit, range(0, height, BAND), threads)


def apply_field(
    maps: np.ndarray, pixels: np.ndarray, *, strength: float = 1.0, threads: int = 0
) -> np.ndarray:
    """Returns the restored picture, a new (H,W,3) array of the type of `pixels` (uint8, uint16 or
    float32).

    `maps` (3,2,h,w) as from `fit_field`, of any size. `strength` in [0,1] blends with the identity.
    Float pixels are in [0,1], and so is the result. Memory besides the result is small and
    constant.
    """
    if field_kernel.kernel() is not None:
        return _apply_compiled(maps, pixels, strength, threads)
    restored = np.empty_like(pixels)
    rows = max(1, STRIP // pixels.shape[1])
    strips = (pixels[start : start + rows] for start in range(0, len(pixels), rows))
    start = 0
    for strip in apply_to_strips(maps, strips, len(pixels), strength=strength, threads=threads):
        restored[start : start + len(strip)] = strip
        start += len(strip)
    return restored


def apply_to_strips(
    maps: np.ndarray,
    strips: Iterable[np.ndarray],
    height: int,
    *,
    strength: float = 1.0,
    threads: int = 0,
    bounded: bool = True,
) -> Iterator[np.ndarray]:
    """Yields the restored strips of a picture of `height` rows, from its first row to its last.

    `bounded`: clamp floats to 1; otherwise values brighter than white are preserved.

    strips: (n,W,channels) uint8, uint16 or float32. The first channels are the colours of `maps`:
    three with (3,2,h,w), grey with (1,2,h,w); further channels do not change. Results are in order;
    the next strips are read and processed meanwhile.
    """
    check_strength(strength)
    if strength == 0:
        yield from strips
        return
    maps, restore = blend(maps, strength), field_kernel.apply_rows
    if field_kernel.kernel() is None:
        maps, restore = maps.transpose(2, 1, 3, 0), _apply_to_rows  # as pixels are stored
    maps = np.ascontiguousarray(maps)
    workers = count_threads(threads)
    waiting: deque[Future[np.ndarray]] = deque()
    start = 0
    if workers == 1:
        for strip in strips:
            yield restore(maps, strip, start, height, bounded=bounded)
            start += len(strip)
        return
    with ThreadPoolExecutor(workers) as pool:
        for strip in strips:
            waiting.append(pool.submit(restore, maps, strip, start, height, bounded=bounded))
            start += len(strip)
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def blend(maps: np.ndarray, strength: float) -> np.ndarray:
    """Returns maps (3,2,h,w) interpolated between identity (strength 0) and `maps` (1)."""
    if strength == 1:
        return maps
    identity = np.array([1, 0], np.float32)[:, None, None]
    return identity + np.float32(strength) * (maps - identity)


def check_strength(strength: float) -> None:
    """Raises UnhazeError unless `strength` is a number in [0,1]."""
    if not isinstance(strength, Real) or not 0 <= strength <= 1:
        raise UnhazeError(f"strength is {strength!r}; expected 0 (no change) to 1 (full)")


def _apply_compiled(
    maps: np.ndarray, pixels: np.ndarray, strength: float, threads: int
) -> np.ndarray:
    """Implements `apply_field` with the compiled kernel."""
    check_strength(strength)
    if strength == 0:
        return pixels.copy()
    maps = np.ascontiguousarray(blend(maps, strength))
    pixels = np.ascontiguousarray(pixels)
    restored = np.empty_like(pixels)
    rows = max(1, -(-len(pixels) // (PARTS * count_threads(threads))))

    def apply(start: int) -> None:
        strip, target = pixels[start : start + rows], restored[start : start + rows]
        settings = {"bounded": True, "restored": target}
        field_kernel.apply_rows(maps, strip, start, len(pixels), **settings)

    _in_parallel(apply, range(0, len(pixels), rows), threads)
    return restored


def _apply_to_rows(
    maps: np.ndarray, strip: np.ndarray, start: int, height: int, *, bounded: bool
) -> np.ndarray:
    """Restores rows `start`... of a picture of `height` rows: (n,W,channels) -> same type.

    maps (h,2,w,colours).
    """
    colours, width = maps.shape[3], strip.shape[1]
    restored = np.empty_like(strip)
    restored[..., colours:] = strip[..., colours:]
    rows = [each[start : start + len(strip)] for each in _lerp(maps.shape[0], height)]
    columns = _lerp(maps.shape[2], width)
    for left in range(0, width, TILE):
        tile = slice(left, left + TILE)
        inside = [each[tile] for each in columns]
        hazy, target = strip[:, tile, :colours], restored[:, tile, :colours]
        _apply_to_tile(maps, hazy, rows, inside, target, bounded)
    return restored


def _apply_to_tile(
    maps: np.ndarray,
    hazy_hwc: np.ndarray,
    rows: Sequence[np.ndarray],
    columns: Sequence[np.ndarray],
    restored_hwc: np.ndarray,
    bounded: bool,
) -> None:
    """Fills `restored_hwc`; `rows`, `columns`: positions of its pixels in the maps (see `_lerp`).

    The maps (h,2,w,colours) are interpolated bilinearly: along the rows once for all pixels between
    two map rows, then down the columns. All arrays fit into the processor's cache.
    """
    row_shape = hazy_hwc.shape[1:]
    is_float = hazy_hwc.dtype == np.float32
    top = np.float32(1 if is_float else np.iinfo(hazy_hwc.dtype).max)
    half = np.float32(0 if is_float else 0.5)  # conversion to integers truncates
    highest = top + half if bounded or not is_float else None
    upper, lower, slope, mixed = np.empty((4, 2, *row_shape), np.float32)
    hazy = np.empty(row_shape, np.float32)
    left, right, share = columns
    shares = np.broadcast_to(share[:, None], row_shape).copy()
    gain, value = mixed

    def widen(map_row: int, wide: np.ndarray) -> None:
        line = maps[map_row].copy()
        line[1] *= top
        line[1] += half
        np.take(line, left, 1, wide, "clip")
        np.take(line, right, 1, mixed, "clip")
        np.subtract(mixed, wide, out=mixed)
        np.multiply(mixed, shares, out=mixed)
        np.add(wide, mixed, out=wide)

    current = -2
    for row, (above, below, share) in enumerate(zip(*rows)):
        if above != current:
            if above == current + 1:
                upper, lower = lower, upper
            else:
                widen(above, upper)
            widen(below, lower)
            np.subtract(lower, upper, out=slope)
            current = above
        np.multiply(slope, share, out=mixed)
        np.add(mixed, upper, out=mixed)
        np.copyto(hazy, hazy_hwc[row], casting="unsafe")
        np.multiply(hazy, gain, out=hazy)
        np.add(hazy, value, out=hazy)
        np.clip(hazy, 0, highest, out=hazy)
        np.copyto(restored_hwc[row], hazy, casting="unsafe")


def _fit_band(hazy: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Returns maps (3,2,n,w) from planes (3,n+4r,w+4r), whose margins of 2r two windows consume."""
    mean_hazy, mean_restored = _window_mean(hazy), _window_mean(restored)
    variance = _window_mean(hazy * hazy) - mean_hazy * mean_hazy
    covariance = _window_mean(hazy * restored) - mean_hazy * mean_restored
    shared = (covariance.sum(0) + EPSILON) / (variance.sum(0) + EPSILON)
    gain = (covariance + EPSILON * shared) / (variance + EPSILON)
    return _window_mean(np.stack([gain, mean_restored - gain * mean_hazy], axis=1))


def _window_mean(planes: np.ndarray) -> np.ndarray:
    """Returns means over (2r+1) x (2r+1) windows fully inside: the last two axes lose 2r each."""
    windows = window_sum(planes, RADIUS)
    windows /= (2 * RADIUS + 1) ** 2
    return windows


def _lerp(count: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns, for each of `size` pixels over `count` map pixels: the one before, the one after, a
    share.
    """
    centre = np.clip((np.arange(size) + 0.5) * (count / size) - 0.5, 0, count - 1)
    before = np.floor(centre).astype(np.intp)
    return before, np.minimum(before + 1, count - 1), (centre - before).astype(np.float32)


def _in_parallel(work: Callable[[int], None], starts: Sequence[int], threads: int) -> None:
    """Runs `work` in threads; NumPy releases the interpreter lock inside its loops.

    A single band runs without a thread, because starting one takes longer.
    """
    workers = min(count_threads(threads), len(starts))
    if workers == 1:
        for start in starts:
            work(start)
        return
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(work, starts):
            pass
