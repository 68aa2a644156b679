"""TIFF files that libvips does not read, by tifffile: 64-bit floats, 12 packed bits, LZMA ..."""

import io

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.photo import exif
from unhaze.photo.pages import count_overviews
from unhaze.photo.picture import EXIF, ICC, IPTC, XMP
from unhaze.photo.readers.decoded import Check, Decoded, with_channels

MINIMUM_IS_WHITE, YCBCR = 0, 6
READ = ("MINISWHITE", "MINISBLACK", "RGB", "YCBCR")
XMP_TAG, ICC_TAG = 700, 34675


def decode(data: bytes, check: Check) -> Decoded:
    """The first page: (H,W,C) uint8, uint16 or float32. UnhazeError: a depth that is not read."""
    import tifffile

    try:
        return _decoded(data, check)
    except tifffile.TiffFileError as error:
        raise ValueError(str(error)) from error


def _decoded(data: bytes, check: Check) -> Decoded:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page, count = file.pages.first, len(file.pages)
        bits, kind = page.bitspersample, page.sampleformat
        check(page.imagewidth, page.imagelength, page.samplesperpixel * max(2, bits // 8))
        meaning = tifffile.PHOTOMETRIC(page.photometric).name
        if meaning not in READ or page.samplesperpixel > 4:
            raise UnhazeError(
                f"it has {page.samplesperpixel} channels as {meaning};"
                " expected grey or RGB, with alpha or not"
            )
        samples = page.asarray()
        if page.planarconfig == 2 and samples.ndim == 3:
            samples = samples.transpose(1, 2, 0)
        tags = {key: page.tags.valueof(tag) for key, tag in ((XMP, XMP_TAG), (ICC, ICC_TAG))}
    samples = _usual(with_channels(samples), bits, kind)
    if page.photometric == MINIMUM_IS_WHITE and samples.dtype != np.float32:
        samples = np.invert(samples)
    tags[EXIF], tags[IPTC] = exif.from_tiff(io.BytesIO(data))
    metadata = {key: bytes(value) for key, value in tags.items() if value}
    linear = samples.dtype == np.float32 and ICC not in metadata
    further = count - 1 - count_overviews(io.BytesIO(data))
    lost = (f"all but the first of {further + 1} pages or frames",) if further > 0 else ()
    return Decoded(samples, metadata, linear=linear, lost=lost)


def _usual(samples: np.ndarray, bits: int, kind: int) -> np.ndarray:
    """In uint8, uint16 or float32, fewer or more bits at full range."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    if samples.dtype.kind != "u" or kind == 2:
        raise UnhazeError(f"its samples are {samples.dtype}; expected unsigned ones or floats")
    if bits in (8, 16):
        return samples
    full, dtype = (255, np.uint8) if bits < 8 else (65535, np.uint16)
    return np.rint(samples * (full / ((1 << bits) - 1))).astype(dtype)
