"""Converts a stream to other colours or another depth, to one upright picture, or removes its
metadata.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyvips

from unhaze.errors import UnhazeError
from unhaze.image import to_float
from unhaze.outputs import Output
from unhaze.photo import behind, exif, inventory, profile
from unhaze.photo.picture import (
    COLOURS,
    EXIF,
    ICC,
    NUMBERS,
    XMP,
    Photo,
    Stream,
    Traits,
    upright,
)

D65, D50 = profile.D65, profile.D50
# Chromaticities of red, green, blue and white, and the curve to linear light.
SPACES = {
    "display-p3": (profile.PRIMARIES[12], profile.srgb_curve),
    "adobe-rgb": (
        ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), D65),
        lambda values: values ** (563 / 256),
    ),
    "rec2020": (profile.PRIMARIES[9], profile.bt709_curve),
    "prophoto": (
        ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), D50),
        lambda values: values**1.8,
    ),
}
ONLY_SRGB, LINEAR = {"jxl"}, {"exr"}  # formats that support no other colours
TAGS = {ICC, COLOURS, NUMBERS}


def converted(stream: Stream, output: Output, format: str) -> Stream:
    """Converts as `output` and the format require. UnhazeError: floats to a colour space."""
    floats = stream.dtype == np.float32
    bits = output.bit_depth
    if output.strip_metadata:
        stream = replace(stream, traits=_bare(stream.traits))
    space = "srgb" if format in ONLY_SRGB else output.color_space
    if floats and (format in ONLY_SRGB or (bits is not None and bits < 32)):
        stream, floats = _rounded_floats(stream), False
    if floats and space is not None:
        raise UnhazeError(
            "floating-point pictures keep their colour space; use --bit-depth 16 with --color-space"
        )
    if space is not None:
        stream = _in_space(stream, space)
    if format in LINEAR or bits == 32:
        return _linear(stream)
    if bits is not None:
        stream = widened(stream, bits) if bits > 8 else _narrowed(stream)
    return stream


def widened(stream: Stream, bits: int) -> Stream:
    """Converts to 16 bits per channel if `bits` are more than 8 and the stream has 8."""
    if bits == 8 or stream.dtype != np.uint8:
        return stream
    missing = stream.traits.missing and stream.traits.missing * 257
    return _each(
        stream, np.uint16, lambda strip: strip.astype(np.uint16) * np.uint16(257), missing=missing
    )


def _narrowed(stream: Stream) -> Stream:
    if stream.dtype == np.uint8:
        return stream
    return _each(stream, np.uint8, lambda strip: np.rint(strip / 257).astype(np.uint8))


def _each(
    stream: Stream, dtype: type, change: Callable[[np.ndarray], np.ndarray], **traits: object
) -> Stream:
    strips = (change(strip) for strip in stream.strips)
    return replace(
        stream, strips=strips, dtype=np.dtype(dtype), traits=replace(stream.traits, **traits)
    )


def _bare(traits: Traits) -> Traits:
    """Returns only what is needed to display the pixels."""
    kept = {key: value for key, value in traits.metadata.items() if key in TAGS}
    return replace(traits, metadata=kept, lost=(), held=(), density=None)


def _without_tags(traits: Traits, icc: bytes | None) -> dict[str, bytes]:
    rest = {key: value for key, value in traits.metadata.items() if key not in TAGS}
    if EXIF in rest:
        rest[EXIF] = exif.without(rest[EXIF], exif.COLOURS)
    return rest if icc is None else rest | {ICC: icc}


def _in_space(stream: Stream, space: str) -> Stream:
    """Converts with LittleCMS, relative colorimetric; grey pictures do not change."""
    traits = stream.traits
    if traits.grey or (space == "srgb" and traits.profile is None):
        return stream
    target = None if space == "srgb" else profile.matrix_profile(*SPACES[space], name=space)
    depth = 8 * stream.dtype.itemsize

    def strips() -> Iterator[np.ndarray]:
        import tempfile  # which loads much

        with tempfile.TemporaryDirectory(prefix="unhaze-") as folder:
            names = {"source": traits.profile, "target": target}
            for name, data in names.items():
                Path(folder, name).write_bytes(data or b"")
            paths = {
                name: str(Path(folder, name)) if data else "srgb" for name, data in names.items()
            }
            for strip in stream.strips:
                image = pyvips.Image.new_from_array(np.ascontiguousarray(strip[..., :3]))
                image = image.copy(interpretation="rgb16" if depth == 16 else "srgb")
                options = {"input_profile": paths["source"], "intent": "relative", "depth": depth}
                colours = image.icc_transform(paths["target"], **options).numpy()
                yield np.concatenate([colours[..., :3], strip[..., 3:]], axis=2)

    changed = replace(traits, metadata=_without_tags(traits, target), profile=target)
    return replace(stream, strips=strips(), traits=changed)


def _linear(stream: Stream) -> Stream:
    """Returns floats proportional to light, with the primaries of sRGB; 1 is white."""
    if stream.dtype == np.float32:
        top = stream.traits.top
        return (
            stream
            if top in (None, 1.0)
            else _each(stream, np.float32, lambda strip: strip / np.float32(top), top=None)
        )
    stream = _in_space(widened(stream, 16), "srgb")
    colours = 1 if stream.traits.grey else 3

    def light(strip: np.ndarray) -> np.ndarray:
        samples = to_float(strip)
        linear = profile.srgb_curve(samples[..., :colours]).astype(np.float32)
        return np.concatenate([linear, samples[..., colours:]], axis=2)

    linear_light = profile.from_numbers(1, 8)
    return _each(stream, np.float32, light, profile=linear_light)


def _rounded_floats(stream: Stream) -> Stream:
    """Converts to 16 bits, linear light through the sRGB curve."""
    traits = stream.traits
    colours = 1 if traits.grey else 3
    encoded = traits.top is not None or ICC in traits.metadata
    top = np.float32(traits.top or 1)

    def samples(strip: np.ndarray) -> np.ndarray:
        values = np.clip(np.nan_to_num(strip / top), 0, 1)
        if not encoded:
            curved = 1.055 * np.maximum(values, 0.0031308) ** np.float32(1 / 2.4) - 0.055
            whole = np.where(values <= 0.0031308, 12.92 * values, curved)
            values = np.concatenate([whole[..., :colours], values[..., colours:]], axis=2)
        return np.rint(values * 65535).astype(np.uint16)

    seen_by = traits.metadata.get(ICC)
    return _each(stream, np.uint16, samples, top=None, profile=seen_by)


def whole(stream: Stream) -> Photo:
    """Returns all strips as one upright picture, with the orientation in EXIF and XMP reset."""
    samples = np.empty(stream.shape, stream.dtype)
    start = 0
    for strip in stream.strips:
        samples[start : start + len(strip)] = strip
        start += len(strip)
    samples = upright(samples, stream.traits.orientation)
    grey = stream.traits.grey
    pixels = np.repeat(samples[..., :1], 3, axis=2) if grey else samples[..., :3]
    alpha = np.ascontiguousarray(samples[..., -1]) if samples.shape[2] in (2, 4) else None
    return Photo(np.ascontiguousarray(pixels), alpha, _turned(stream.traits))


def _turned(traits: Traits) -> Traits:
    if traits.orientation == 1:
        return traits
    metadata = dict(traits.metadata)
    if EXIF in metadata:
        metadata[EXIF] = exif.edited(metadata[EXIF], 1, traits.orientation > 4, None)
    if XMP in metadata:
        tag = rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[1-8]"
        metadata[XMP] = re.sub(tag, rb"\g<1>1", metadata[XMP])
    pictures = tuple(each for each in traits.held if each != inventory.VIDEO)
    if pictures:
        metadata = behind.without_pictures(metadata)
    if pictures and XMP in metadata:
        pictures += inventory.correct_xmp(metadata, pictures)
    lost, held = traits.lost + pictures, tuple(each for each in traits.held if each not in pictures)
    density = traits.density
    if density is not None and traits.orientation > 4:
        density = density[::-1]
    if traits.bands is not None:
        lost += (traits.bands.words,)
    changed = {"metadata": metadata, "density": density, "lost": lost, "held": held, "bands": None}
    return replace(traits, orientation=1, **changed)
