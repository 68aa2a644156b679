"""What the network sees of a photo, a small picture in sRGB, and the way back to its own colours.

Networks expect sRGB. The analysis image is converted by the photo's profile and the result
converted back; the field is fitted, and applied, in the photo's own encoding. Places without data,
as in maps and orthophotos, do not influence the result or change.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyvips

from unhaze.image import as_image, check_process, size_within, to_float, window_mean
from unhaze.photo import Photo, Traits, as_stored
from unhaze.photo.picture import ICC, STRIP
from unhaze.restore.field import apply_to_strips, kernel, shrink_rows

FINITE = 3e38  # nearly the largest 32-bit float
WHITES = {"uchar": 255, "ushort": 65535, "float": 1}  # of libvips' formats
# Largest samples of camera data in 16-bit files: if none is above, it is white.
NARROW = (255, 1023, 4095, 16383)
FLOAT_WHITES = (1.0, 255.0, 65535.0)
BRIGHT = 4.0  # limit of floats above white: lamps and the sun
VISIBLE = 0.5 / 255  # of alpha


def analysis_image(picture: np.ndarray | Photo | pyvips.Image, long_side: int) -> np.ndarray:
    """Returns (h,w,3) float32 in [0,1] with max(h,w) <= long_side; never enlarges.

    `picture`: (H,W,3) uint8, uint16 or float32, whose floats are clamped; a photo; or a libvips
    picture of these types, not decoded yet, grey or RGB. Pixels hidden by alpha take colours of
    visible ones. Shrinks by means of whole cells, then by libvips' Lanczos-3 on floats, so that
    8-bit pictures gain the precision of the mean. UnhazeError: a forked process.
    """
    check_process()
    if isinstance(picture, Photo) and picture.alpha is not None and not picture.traits.extra:
        samples = np.dstack([picture.pixels, picture.alpha])
        picture = as_image(samples).copy(interpretation="srgb")
    elif isinstance(picture, Photo):
        picture = as_image(picture.pixels)
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


def with_data_only(image: pyvips.Image, traits: Traits) -> pyvips.Image:
    """Returns the colours with their alpha, or with one that hides places without data."""
    if traits.extra and image.bands in (2, 4):
        image = image.extract_band(0, n=image.bands - 1)
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


@dataclass(frozen=True)
class Colours:
    """Converts samples of one photo to sRGB in [0,1] and back; the field is fitted in between.

    profile: ICC, or None for sRGB. grey: it has one channel. top: the sample that is white, as a
    share of the largest of the type (of 1, for floats). linear: the samples are proportional to
    light. Haze is affine in linear light as well, but vision, and thus the fit, is not; they are
    encoded with the sRGB curve first.
    """

    profile: bytes | None = None
    grey: bool = False
    top: float = 1.0
    linear: bool = False

    @property
    def plain(self) -> bool:
        """Returns whether it is sRGB in the full range of its type."""
        return self.profile is None and self.top == 1

    def encoded(self, samples: np.ndarray) -> np.ndarray:
        """Returns samples divided by the largest of their type, as float32, in which the field is
        fitted: 1 is white, and brighter floats exceed it.
        """
        values = np.maximum(samples / np.float32(self.top), 0)
        return encode(values) if self.linear else values

    def decoded(self, values: np.ndarray) -> np.ndarray:
        """Undoes `encoded`."""
        values = decode(np.maximum(values, 0)) if self.linear else values
        return values * np.float32(self.top)

    def as_stored(self, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Converts `values`, as returned by `encoded`, to samples of the type of the photo."""
        own = self.decoded(values)
        if dtype == np.float32:
            return own
        return np.rint(np.clip(own, 0, self.top) * np.iinfo(dtype).max).astype(dtype)

    def to_srgb(self, values: np.ndarray) -> np.ndarray:
        """Converts (h,w,3), as returned by `encoded`, to sRGB in [0,1]."""
        bounded = np.clip(values, 0, 1)
        return bounded if self.profile is None else self._converted(bounded, inwards=True)

    def from_srgb(self, restored: np.ndarray, seen: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Returns the result (h,w,3) in the encoding of `values`; `seen`: what the network saw of
        these.

        Colours of the photo outside sRGB are preserved.
        """
        if self.profile is None:
            return restored
        outside = np.clip(values, 0, 1) - self._converted(seen, inwards=False)
        return self._converted(np.clip(restored, 0, 1), inwards=False) + outside

    def _converted(self, values: np.ndarray, *, inwards: bool) -> np.ndarray:
        """Converts with LittleCMS in 16 bits, relative colorimetric; unchanged if the profile is
        broken.
        """
        import tempfile  # which loads much

        bands = 1 if self.grey else 3
        if inwards and self.linear:
            values = decode(values)
        image = pyvips.Image.new_from_array(np.rint(values * 65535).astype(np.uint16))
        intent = {"intent": "relative", "depth": 16}
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "profile.icc"
                path.write_bytes(self.profile or b"")
                if inwards:
                    image = image[0:bands] if bands == 3 else image[0]
                    image = image.copy(interpretation="grey16" if self.grey else "rgb16")
                    done = image.icc_transform("srgb", input_profile=str(path), **intent).numpy()
                else:
                    image = image.copy(interpretation="rgb16")
                    done = image.icc_transform(str(path), input_profile="srgb", **intent).numpy()
        except pyvips.Error:
            return values
        done = done.reshape(*values.shape[:2], -1).astype(np.float32) / 65535
        if self.linear and not inwards:
            done = encode(done)
        return np.repeat(done, 3, axis=2) if done.shape[2] == 1 else done[..., :3]


def apply_managed(
    colours: Colours,
    maps: np.ndarray,
    strips: Iterable[np.ndarray],
    height: int,
    *,
    strength: float,
    threads: int,
) -> Iterator[np.ndarray]:
    """`apply_to_strips` with a field fitted to samples in the encoding of `colours`."""
    settings = {"strength": strength, "threads": threads}
    if colours.top == 1 and not colours.linear:
        yield from apply_to_strips(maps, strips, height, **settings)
        return
    waiting: deque[np.ndarray] = deque()

    def encoded() -> Iterator[np.ndarray]:
        for strip in strips:
            waiting.append(strip)
            yield colours.encoded(to_float(strip[..., : len(maps)]))

    for done in apply_to_strips(maps, encoded(), height, bounded=False, **settings):
        strip = waiting.popleft()
        rest = strip[..., len(maps) :]
        yield np.concatenate([colours.as_stored(done, strip.dtype), rest], axis=2)


def colours_of(
    traits: Traits, dtype: np.dtype, small: np.ndarray, most: Callable[[], float]
) -> Colours:
    """Returns the colours of a photo with samples of this type; `small`: its analysis image.

    most: returns the largest colour sample of the whole photo; called only if that may be camera
    data of 10, 12 or 14 bits in 16, of which no sample exceeds their white.
    """
    largest = float(small.max())
    top = 1.0
    if traits.top:
        top = traits.top
    elif dtype == np.float32 and traits.profile and ICC not in traits.metadata:  # linear light
        top = 1.0
    elif dtype == np.float32:
        top = next((each for each in FLOAT_WHITES if largest <= each * BRIGHT), FLOAT_WHITES[-1])
    elif dtype == np.uint16 and largest <= NARROW[-1] / 65535:
        found = most()
        top = next((each for each in NARROW if found <= each), 65535) / 65535
    return colours_by(traits, top)


def colours_by(traits: Traits, top: float = 1.0) -> Colours:
    """Returns the colours of samples whose white is `top`, a share of their type's maximum."""
    icc = managed(traits)
    return Colours(icc, traits.grey, top, icc is not None and is_linear(icc, traits.grey))


def managed(traits: Traits) -> bytes | None:
    """Returns the profile of the photo; None if it is equivalent to sRGB."""
    return None if traits.profile is None or is_srgb(traits.profile) else traits.profile


def is_srgb(profile: bytes) -> bool:
    """Returns whether a profile equals sRGB to one level of 8 bits."""
    steps = np.linspace(0, 1, 5, dtype=np.float32)
    probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(25, 5, 3)
    seen = Colours(profile)._converted(probe, inwards=True)
    return bool(np.abs(seen - probe).max() < 1.5 / 255)


def is_linear(profile: bytes, grey: bool) -> bool:
    """Returns whether samples are proportional to light: a tenth then looks like a third of
    white.
    """
    probe = np.full((1, 1, 3), 0.1, np.float32)
    return bool(Colours(profile, grey)._converted(probe, inwards=True).mean() > 0.25)


def encode(light: np.ndarray) -> np.ndarray:
    """Applies the sRGB curve (IEC 61966-2-1), extended beyond 1; float32."""
    with np.errstate(over="ignore"):  # for highlights, infinity is acceptable
        curved = 1.055 * np.power(np.maximum(light, 0.0031308), np.float32(1 / 2.4)) - 0.055
        return np.where(light <= 0.0031308, 12.92 * light, curved).astype(np.float32)


def decode(values: np.ndarray) -> np.ndarray:
    """Undoes `encode`."""
    with np.errstate(over="ignore"):
        curved = np.power((np.maximum(values, 0.04045) + 0.055) / 1.055, np.float32(2.4))
    return np.where(values <= 0.04045, values / 12.92, curved).astype(np.float32)


def filled(samples: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns (h,w,3) of the same type whose hidden pixels, alpha (h,w) of 0, take the colours of
    visible ones nearby.

    Hidden pixels would otherwise look like haze or night.
    """
    weight = (alpha > VISIBLE).astype(np.float32)
    if weight.all() or not weight.any():
        return samples
    planes = np.where(weight[..., None] > 0, samples, 0).astype(np.float32).transpose(2, 0, 1)
    radius, known = 2, weight.copy()
    result = planes.copy()
    while not known.all():
        around = window_mean(weight, radius)
        means = window_mean(planes, radius) / np.maximum(around, 1e-9)
        fresh = (known == 0) & (around > 1e-6)
        result[:, fresh] = means[:, fresh]
        known[fresh] = 1
        if radius >= 2 * max(alpha.shape):
            break
        radius *= 2
    result = np.ascontiguousarray(result.transpose(1, 2, 0))
    return result if samples.dtype == np.float32 else np.rint(result).astype(samples.dtype)


def turned_back(maps: np.ndarray, traits: Traits) -> np.ndarray:
    """Returns the field of the upright photo, turned to match the stored rows and channels."""
    turned = as_stored(maps.transpose(2, 3, 0, 1), traits.orientation).transpose(2, 3, 0, 1)
    return np.ascontiguousarray(turned[:1] if traits.grey else turned)
