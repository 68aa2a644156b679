"""Turns a stream of stored rows into an upright picture and resets its orientation."""

import re
from dataclasses import replace

import numpy as np

from unhaze.photo import behind, exif, inventory
from unhaze.photo.picture import EXIF, XMP, Photo, Stream, Traits, upright


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
