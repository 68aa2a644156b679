"""TIFF files that libvips does not read, by tifffile: 64-bit floats, packed 12 bits, LZMA ..."""

import io
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyvips

from unhaze.errors import UnhazeError
from unhaze.photo import ifd
from unhaze.photo.pages import count_overviews
from unhaze.photo.picture import EXIF, ICC, IPTC, XMP, set_bytes
from unhaze.photo.readers import ycbcr
from unhaze.photo.readers.decoded import Check, Decoded, with_channels

if TYPE_CHECKING:
    from tifffile import TiffPage

XMP_TAG, ICC_TAG = 700, 34675
MOST = 1024  # bands
CONVERTED = "{} became sRGB"


def decode(data: bytes, check: Check) -> Decoded:
    """Returns the first page: (H,W,C) uint8, uint16 or float32. UnhazeError: an unsupported
    depth.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # followed by an error
    try:
        return _decoded(data, check)
    except tifffile.TiffFileError as error:
        raise ValueError(str(error)) from error


def _decoded(data: bytes, check: Check) -> Decoded:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page, count = file.pages.first, len(file.pages)
        bits = page.bitspersample
        if not isinstance(page.imagewidth, int) or not isinstance(page.imagelength, int):
            raise ValueError("its size is no number")
        check(page.imagewidth, page.imagelength, page.samplesperpixel * max(2, bits // 8))
        kind = tifffile.PHOTOMETRIC(page.photometric).name
        most = {"SEPARATED": 5, "RGB": MOST, "MINISBLACK": MOST}.get(kind, 4)
        if kind not in READ or page.samplesperpixel > most:
            raise UnhazeError(
                f"it has {page.samplesperpixel} channels as {kind};"
                " expected grey or RGB, with or without alpha"
            )
        tags = {key: page.tags.valueof(tag) for key, tag in ((XMP, XMP_TAG), (ICC, ICC_TAG))}
        samples = READ[kind](page, tags)
    tags[EXIF], tags[IPTC] = ifd.from_tiff(io.BytesIO(data))
    metadata = {key: bytes(value) for key, value in tags.items() if value}
    linear = samples.dtype == np.float32 and ICC not in metadata
    further = count - 1 - count_overviews(io.BytesIO(data))
    lost = (f"all but the first of {further + 1} pages or frames",) if further > 0 else ()
    notes = (CONVERTED.format(COMPUTED[kind]),) if kind in COMPUTED else ()
    return Decoded(with_channels(samples), metadata, linear=linear, lost=lost, notes=notes)


def _plain(page: "TiffPage", tags: dict[str, bytes | None]) -> np.ndarray:
    return _usual(_stored(page), page.bitspersample, page.sampleformat)


def _stored(page: "TiffPage") -> np.ndarray:
    """Returns (H,W,C) in the machine's byte order."""
    samples = page.asarray()
    separate = page.planarconfig == 2 and samples.ndim == 3
    return with_channels(samples.transpose(1, 2, 0) if separate else samples)


def _inverted(page: "TiffPage", tags: dict[str, bytes | None]) -> np.ndarray:
    samples = _plain(page, tags)
    return samples if samples.dtype == np.float32 else np.invert(samples)


def _by_palette(page: "TiffPage", tags: dict[str, bytes | None]) -> np.ndarray:
    """Applies a table of 16 bits, of which most programs use eight."""
    assert page.colormap is not None  # tifffile requires a palette
    return (page.colormap.T >> 8).astype(np.uint8)[_stored(page)[..., 0]]


def _from_ycbcr(page: "TiffPage", tags: dict[str, bytes | None]) -> np.ndarray:
    return ycbcr.rgb_of(page)


def _from_inks(page: "TiffPage", tags: dict[str, bytes | None]) -> np.ndarray:
    """Converts CMYK by its profile or a usual one."""
    image = pyvips.Image.new_from_array(_plain(page, tags)).copy(interpretation="cmyk")
    icc = tags.pop(ICC)
    if icc:
        set_bytes(image, ICC, bytes(icc))
    depth = 16 if image.format == "ushort" else 8
    options = {"embedded": bool(icc), "input_profile": "cmyk", "depth": depth}
    return image.icc_transform("srgb", **options).numpy()


def _from_lab(page: "TiffPage", tags: dict[str, bytes | None]) -> np.ndarray:
    """Converts L*a*b*. CIE: a and b signed; ICC: 128 added to these, and white at 255 x 256 for 16
    bits.
    """
    import tifffile

    tags.pop(ICC)
    samples = _plain(page, tags)
    by_icc, deep = page.photometric == tifffile.PHOTOMETRIC.ICCLAB, samples.dtype == np.uint16
    step = np.float32(256 if deep else 1)
    colours = samples[..., 1:3].astype(np.float32) / step
    colours = colours - 128 if by_icc else np.where(colours >= 128, colours - 256, colours)
    white = (65280 if by_icc else 65535) if deep else 255
    lightness = samples[..., :1] * np.float32(100 / white)
    lab = np.concatenate([lightness, colours], axis=2).astype(np.float32)
    image = pyvips.Image.new_from_array(lab).copy(interpretation="lab")
    rgb = image.colourspace("rgb16").numpy()
    alpha = samples[..., 3:] if deep else samples[..., 3:].astype(np.uint16) * np.uint16(257)
    return np.concatenate([rgb, alpha], axis=2)


# By tifffile's names of photometric interpretations.
READ: dict[str, Callable[["TiffPage", dict[str, bytes | None]], np.ndarray]] = {
    "MINISWHITE": _inverted,
    "MINISBLACK": _plain,
    "RGB": _plain,
    "PALETTE": _by_palette,
    "SEPARATED": _from_inks,
    "YCBCR": _from_ycbcr,
    "CIELAB": _from_lab,
    "ICCLAB": _from_lab,
}
COMPUTED = {"SEPARATED": "CMYK", "CIELAB": "CIE L*a*b*", "ICCLAB": "ICC L*a*b*"}


def _usual(samples: np.ndarray, bits: int, kind: int) -> np.ndarray:
    """Converts to uint8, uint16 or float32; other numbers of bits are scaled to the full range."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    if samples.dtype.kind != "u" or kind == 2:
        raise UnhazeError(f"its samples are {samples.dtype}; expected unsigned ones or floats")
    if bits in (8, 16):
        return samples
    if bits > 16:  # their range is not stated
        raise UnhazeError(f"its samples have {bits} bits; expected at most 16, or floats")
    full, dtype = (255, np.uint8) if bits < 8 else (65535, np.uint16)
    return np.rint(samples * (full / ((1 << bits) - 1))).astype(dtype)
