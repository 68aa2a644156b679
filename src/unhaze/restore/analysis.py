"""The analysis image: a small version of the photo, which is the input of the network.

Places without data, as in maps and orthophotos, do not influence the result or change.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyvips

from unhaze.image import as_image, check_process, size_within
from unhaze.photo import Photo, Traits
from unhaze.photo.picture import STRIP
from unhaze.restore.field_kernel import kernel, shrink_rows
from unhaze.restore.managed import filled

FINITE = 3e38  # nearly the largest 32-bit float
WHITES = {"uchar": 255, "ushort": 65535, "float": 1}  # of libvips' formats


def analysis_image(picture: np.ndarray | pyvips.Image, long_side: int) -> np.ndarray:
    """Returns (h,w,3) float32 in [0,1] with max(h,w) <= long_side; never enlarges.

    `picture`: (H,W,3) uint8, uint16 or float32, or a libvips picture of these types, not decoded
    yet, grey or RGB. Pixels hidden by alpha take colours of visible ones. Floats of a libvips
    picture are not clamped. Shrinks by means of whole cells, then by libvips' Lanczos-3 on floats,
    so that 8-bit pictures gain the precision of the mean. UnhazeError: a forked process.
    """
    check_process()
    if isinstance(picture, pyvips.Image) and picture.hasalpha():
        return _visible_image(picture, long_side)
    image = picture if isinstance(picture, pyvips.Image) else as_image(picture)
    shape = image.height, image.width
    scale = min(1.0, long_side / max(shape))
    size = size_within(shape, min(long_side, max(shape)))
    small = image[0] if image.bands == 1 else image.extract_band(0, n=3)
    if small.format == "float":  # NaN and infinity are not light
        small = (small.abs() < FINITE).ifthenelse(small, 0)
    cell = int(1 / scale)
    if small.format == "uchar" and 1 < cell <= min(shape) and kernel() is not None:
        small, top = _means(small, cell), WHITES["uchar"]
    else:
        if small.format == "uchar" and cell > 1:
            small = small.linear([257], [0]).cast("ushort")
        top = WHITES[str(small.format)]
        small = small.shrink(min(cell, image.width), min(cell, image.height))
    small = small.cast("float")
    if scale < 1:
        small = small.resize(size[1] / small.width, vscale=size[0] / small.height)
    samples = small.numpy().reshape(*size, -1) / np.float32(top)
    if top > 1 or not isinstance(picture, pyvips.Image):
        samples = np.clip(samples, 0, 1)
    return np.repeat(samples, 3, axis=2) if samples.shape[2] == 1 else samples


def _means(image: pyvips.Image, cell: int) -> pyvips.Image:
    """Returns the means of cells of an 8-bit picture, read once in strips; as large as libvips'."""
    high, wide = (int(side / cell + 0.5) for side in (image.height, image.width))
    rows = max(1, STRIP // (cell * image.width))  # of means
    region, means = pyvips.Region.new(image), np.empty((high, wide, image.bands), np.float32)
    for start in range(0, high, rows):
        count = min(rows, high - start)
        given = min(count * cell, image.height - start * cell)
        data = region.fetch(0, start * cell, image.width, given)
        strip = np.frombuffer(data, np.uint8).reshape(given, image.width, image.bands)
        shrink_rows(strip, cell, means[start : start + count])
    return as_image(means)


def _visible_image(image: pyvips.Image, long_side: int) -> np.ndarray:
    """Returns the analysis image of a picture with alpha: colours weighted by alpha."""
    top = WHITES[str(image.format)]
    # Decoded once: both parts need it, and a stream can be read only once.
    whole = image.copy_memory()
    alpha = whole[whole.bands - 1].cast("float") / top
    seen = whole.extract_band(0, n=whole.bands - 1).cast("float") * alpha
    shares = analysis_image((alpha * 65535).rint().cast("ushort"), long_side)[..., 0]
    weighted = analysis_image(seen / top, long_side)
    samples = weighted / np.maximum(shares, 1 / 65535)[..., None]
    samples = samples if image.format == "float" else np.clip(samples, 0, 1)
    return filled(samples, shares)


def whole_image(photo: Photo) -> pyvips.Image:
    """Returns the samples of a photo, with its alpha, as a libvips image."""
    if photo.alpha is None or photo.traits.extra:
        return as_image(photo.pixels)
    return as_image(np.dstack([photo.pixels, photo.alpha])).copy(interpretation="srgb")


def with_data_only(image: pyvips.Image, traits: Traits) -> pyvips.Image:
    """Hides places without data with alpha; a picture with alpha does not change."""
    if traits.missing is None or image.hasalpha():
        return image
    # For images, == returns an image, unlike pyvips' type stubs.
    empty = image.relational_const("equal", [traits.missing]).bandand()
    alpha = empty.ifthenelse(0, WHITES[str(image.format)]).cast(image.format)
    return image.bandjoin(alpha).copy(interpretation=image.interpretation)


def where_data_is(
    apply: Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]],
    strips: Iterable[np.ndarray],
    traits: Traits,
) -> Iterator[np.ndarray]:
    """Applies `apply` to strips (n,W,C), except where there is no data."""
    if traits.missing is None:
        yield from apply(strips)
        return
    waiting: deque[np.ndarray] = deque()

    def noted() -> Iterator[np.ndarray]:
        for strip in strips:
            waiting.append(strip)
            yield strip

    colours = 1 if traits.grey else 3
    for done in apply(noted()):
        strip = waiting.popleft()
        empty = (strip[..., :colours] == traits.missing).all(axis=2)
        yield np.where(empty[..., None], strip, done) if empty.any() else done
