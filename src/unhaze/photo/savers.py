"""Savers: one table by suffix, and the options of each encoder."""

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyvips

from unhaze.outputs import Output
from unhaze.photo.picture import (
    ABOUT,
    COLOURS,
    EXIF,
    ICC,
    IPTC,
    NUMBERS,
    SEGMENTS,
    TEXTS,
    XMP,
    Traits,
)

QUICK_FROM = 2_000_000  # pixels
LARGEST_TILE = 2048  # of TIFF, a side


def _jpeg_options(traits: Traits, image: pyvips.Image, output: Output) -> dict[str, Any]:
    # Optimal codes would save two percent, but need all coefficients in memory.
    chroma = "off" if traits.full_chroma else "on"
    return {"Q": _quality(traits, output, "jpeg", 92), "subsample_mode": chroma}


def _quality(traits: Traits, output: Output, format: str, usual: int) -> int:
    """Returns the requested quality, or the source's if it has the same encoding.

    A very low one is raised, because removing haze amplifies artefacts.
    """
    if output.quality is not None:
        return output.quality
    if traits.quality is None or traits.format != format:
        return usual
    return min(max(traits.quality, 75), 98)


def _png_options(traits: Traits, image: pyvips.Image, output: Output) -> dict[str, Any]:
    return {"compression": 6}


def _tiff_options(traits: Traits, image: pyvips.Image, output: Output) -> dict[str, Any]:
    bytes_of = {"uchar": 1, "ushort": 2, "float": 4}
    size = image.width * image.height * image.bands * bytes_of[str(image.format)]
    return {
        "compression": "lzw",
        "predictor": "float" if image.format == "float" else "horizontal",
        "bigtiff": size * (1.4 if traits.overviews else 1) > 3_500_000_000,  # ends at 4 GiB
        "resunit": "inch" if traits.inches else "cm",
    } | _tiles(traits)


def _tiles(traits: Traits) -> dict[str, Any]:
    """Returns the tiling of the source; overviews are built again, down to one tile."""
    if traits.format != "tiff" or not (traits.tile or traits.overviews):
        return {}
    width, height = (min(side, LARGEST_TILE) for side in traits.tile or (256, 256))
    tiles = {"tile": True, "tile_width": width, "tile_height": height}
    return tiles | ({"pyramid": True, "depth": "onetile"} if traits.overviews else {})


def _webp_options(traits: Traits, image: pyvips.Image, output: Output) -> dict[str, Any]:
    quality = _quality(traits, output, "webp", 90)
    lossless = output.lossless or (traits.lossless and output.quality is None)
    return {"lossless": lossless, "exact": True, "Q": quality, "smart_subsample": True}


def _avif_options(traits: Traits, image: pyvips.Image, output: Output) -> dict[str, Any]:
    depth = output.bit_depth or (12 if image.format == "ushort" else 8)
    options = {"compression": "av1", "bitdepth": depth, "effort": _effort(image)}
    if output.lossless:
        return options | {"lossless": True, "subsample_mode": "off"}
    chroma = "off" if traits.full_chroma else "on"
    return options | {"Q": output.quality or 80, "subsample_mode": chroma}


def _effort(image: pyvips.Image) -> int:
    """Returns the effort of the AV1 encoder; less for large pictures, which take seconds."""
    return 3 if image.width * image.height <= QUICK_FROM else 0


def _encode_jxl(samples: np.ndarray, output: Output, metadata: dict[str, bytes]) -> bytes:
    from unhaze.photo.readers import jxl

    return jxl.encoded(
        samples,
        quality=output.quality,
        lossless=output.lossless,
        block=metadata.get(EXIF),
        packet=metadata.get(XMP),
    )


def _encode_exr(samples: np.ndarray, output: Output, metadata: dict[str, bytes]) -> bytes:
    from unhaze.photo.readers import exr

    return exr.encoded(samples, output.bit_depth or 32)


def _gif_options(traits: Traits, image: pyvips.Image, output: Output) -> dict[str, Any]:
    return {"dither": 1.0}


def _no_options(traits: Traits, image: pyvips.Image, output: Output) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Saver:
    """libvips' saver; whether it supports transparency and 16 bits per channel; which metadata.

    encode: replaces libvips' saver, for the whole picture (H,W,C) with its metadata.
    """

    format: str
    operation: str
    alpha: bool
    wide: bool
    options: Callable[[Traits, pyvips.Image, Output], dict[str, Any]]
    holds: Set[str]
    encode: Callable[[np.ndarray, Output, dict[str, bytes]], bytes] | None = None


MODERN = {EXIF, XMP, ICC}
JPEG = Saver("jpeg", "jpegsave_target", False, False, _jpeg_options, MODERN | {IPTC, SEGMENTS})
TIFF = Saver("tiff", "tiffsave_target", True, True, _tiff_options, MODERN | {IPTC})
SAVERS = {
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".png": Saver(
        "png", "pngsave_target", True, True, _png_options, MODERN | {IPTC, TEXTS, COLOURS, ABOUT}
    ),
    ".tif": TIFF,
    ".tiff": TIFF,
    ".webp": Saver("webp", "webpsave_target", True, False, _webp_options, MODERN),
    ".avif": Saver("avif", "heifsave_target", True, True, _avif_options, MODERN | {NUMBERS}),
    ".gif": Saver("gif", "gifsave_target", True, False, _gif_options, set()),
    ".jxl": Saver("jxl", "", True, True, _no_options, {EXIF, XMP}, _encode_jxl),
    ".exr": Saver("exr", "", True, True, _no_options, set(), _encode_exr),
}
