"""The local affine field: the effect of a network on a small picture, applied at full size.

Haze is locally affine, J = I/t + A(1 - 1/t), so where restored = gain * hazy + offset holds in a
window of the small picture, it holds there at any size. The maps are those of a guided filter of
each channel of restored, guided by the same channel of hazy (He, Sun and Tang, "Guided Image
Filtering", TPAMI 2013, eq. 5, 6 and 8).

Differs: the ridge draws the gains towards the gain common to all channels and the latter towards 1,
not towards 0, so that detail too fine for the small picture is kept. A colour guide, whose channels
mix (eq. 19), was measured: the same to 0.1 dB at twice the cost (docs/roofline.md).
"""

import ctypes
import functools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from numbers import Real
from pathlib import Path

import numpy as np

from unhaze.compiled import load_kernel
from unhaze.errors import UnhazeError
from unhaze.image import LUMA
from unhaze.restore import field_numpy
from unhaze.restore.field_numpy import EPSILON
from unhaze.restore.resources import count_threads

BAND = 64  # rows fitted at once
STRIP = 1 << 18  # pixels that one thread restores at once
PARTS = 4  # pixels per thread, if it is compiled
KINDS = {np.dtype(np.uint8): 0, np.dtype(np.uint16): 1, np.dtype(np.float32): 2}
WHOLE, FLOAT, POINTER = ctypes.c_int64, ctypes.c_float, ctypes.c_void_p


def fit_field(
    hazy_hwc: np.ndarray, restored_hwc: np.ndarray, *, grey: bool = False, threads: int = 0
) -> np.ndarray:
    """Returns maps (3,2,h,w) float32: restored[i] ~ maps[i,0] * hazy[i] + maps[i,1].

    hazy, restored: (h,w,3) float32, hazy in [0,1], restored not clamped. `grey`: the three restored
    channels become equal (their luma). `threads`: 0 for one per core.
    """
    height, width = hazy_hwc.shape[:2]
    maps = np.empty((3, 2, height, width), np.float32)
    if kernel() is not None:
        fit_band = fit_rows
        hazy = np.ascontiguousarray(hazy_hwc, np.float32)
        restored = np.ascontiguousarray(restored_hwc, np.float32)
    else:
        fit_band = field_numpy.fit_rows
        hazy, restored = field_numpy.padded(hazy_hwc), field_numpy.padded(restored_hwc)

    def fit(start: int) -> None:
        fit_band(hazy, restored, maps, (start, min(start + BAND, height)))

    _in_parallel(fit, range(0, height, BAND), threads)
    if grey:
        maps[:] = np.tensordot(LUMA, maps, 1)
    return maps


def apply_field(
    maps: np.ndarray, pixels: np.ndarray, *, strength: float = 1.0, threads: int = 0
) -> np.ndarray:
    """Returns the restored picture, a new (H,W,3) array of the type of `pixels` (uint8, uint16 or
    float32).

    `maps` (3,2,h,w) as from `fit_field`, of any size. `strength` in [0,1] blends with the identity.
    Float pixels are in [0,1], and so is the result. Memory besides the result is small and
    constant.
    """
    if kernel() is not None:
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
    maps, restore = blend(maps, strength), apply_rows
    if kernel() is None:
        maps, restore = maps.transpose(2, 1, 3, 0), field_numpy.apply_rows  # as pixels are stored
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
        apply_rows(maps, strip, start, len(pixels), **settings)

    _in_parallel(apply, range(0, len(pixels), rows), threads)
    return restored


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


class Apply(ctypes.Structure):
    """The struct of the same name in field_kernel.c."""

    _fields_ = [
        ("maps", POINTER),
        *((name, WHOLE) for name in ("map_height", "map_width", "colours")),
        *((name, WHOLE) for name in ("width", "height", "channels", "kind")),
        *((name, FLOAT) for name in ("top", "high")),
    ]


class Yuv(ctypes.Structure):
    """The struct of the same name in field_kernel.c."""

    _fields_ = [
        ("maps", POINTER),
        *((name, WHOLE) for name in ("map_height", "map_width")),
        *((name, WHOLE) for name in ("width", "height", "across", "down", "deep", "top")),
        ("given", POINTER * 3),
        ("out", POINTER * 3),
        ("in_step", WHOLE * 3),
        ("out_step", WHOLE * 3),
        *((name, FLOAT) for name in ("black", "luma", "chroma", "red", "blue")),
    ]


@functools.cache
def kernel() -> ctypes.CDLL | None:
    """Returns the compiled kernel; None if there is no C compiler."""
    library = load_kernel(Path(__file__).with_name("field_kernel.c"))
    if library is not None:
        apply, fit, yuv = library.apply_rows, library.fit_rows, library.apply_yuv
        apply.argtypes = [ctypes.POINTER(Apply), POINTER, POINTER, WHOLE, WHOLE]
        fit.argtypes = [POINTER, POINTER, POINTER, WHOLE, WHOLE, FLOAT, WHOLE, WHOLE]
        yuv.argtypes = [ctypes.POINTER(Yuv), WHOLE, WHOLE]
        library.shrink_rows.argtypes = [POINTER, POINTER, *[WHOLE] * 6]
    return library


def built_kernel() -> ctypes.CDLL:
    """Returns the library, for callers that have checked that there is one."""
    library = kernel()
    assert library is not None
    return library


def shrink_rows(strip: np.ndarray, cell: int, means: np.ndarray) -> None:
    """Fills `means` (h,w,channels), float32, contiguous, by cells of a strip (n,W,channels) uint8.

    Cells that reach beyond the strip repeat its last row and column. MemoryError: for a row.
    """
    strip = np.ascontiguousarray(strip)
    pointers = (each.ctypes.data for each in (strip, means))
    _check(built_kernel().shrink_rows(*pointers, *strip.shape, cell, *means.shape[:2]))


def apply_rows(
    maps: np.ndarray,
    strip: np.ndarray,
    start: int,
    height: int,
    *,
    bounded: bool,
    restored: np.ndarray | None = None,
) -> np.ndarray:
    """Restores rows `start`... of a picture of `height` rows: (n,W,channels) -> same type.

    maps (colours,2,h,w) float32, contiguous, of samples in [0,1]. `bounded`: clamp floats to 1.
    `restored`: target, contiguous, else a new array. MemoryError: for a few hundred kilobytes.
    """
    strip = np.ascontiguousarray(strip)
    restored = np.empty_like(strip) if restored is None else restored
    top = 1.0 if strip.dtype == np.float32 else float(np.iinfo(strip.dtype).max)
    told = Apply(
        maps.ctypes.data,
        *(*maps.shape[2:], maps.shape[0]),
        *(strip.shape[1], height, strip.shape[2], KINDS[strip.dtype]),
        *(top, top if bounded or top > 1 else math.inf),
    )
    apply = built_kernel().apply_rows
    _check(apply(told, strip.ctypes.data, restored.ctypes.data, start, len(strip)))
    return restored


def fit_rows(
    hazy_hwc: np.ndarray,
    restored_hwc: np.ndarray,
    maps: np.ndarray,
    rows: tuple[int, int],
) -> None:
    """Fills `rows` (first, last) of maps (3,2,h,w). Pictures (h,w,3), float32, contiguous."""
    pointers = (each.ctypes.data for each in (hazy_hwc, restored_hwc, maps))
    _check(built_kernel().fit_rows(*pointers, *hazy_hwc.shape[:2], EPSILON, *rows))


def _check(status: int) -> None:
    if status:
        raise MemoryError
