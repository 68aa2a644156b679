"""YCbCr in TIFF files without JPEG compression: planes of any size become RGB (TIFF 6.0, 20-22)."""

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from unhaze.errors import UnhazeError

if TYPE_CHECKING:
    from tifffile import TiffPage

COEFFICIENTS, SUBSAMPLING, REFERENCES = 529, 530, 532
LUMINANCES = (0.299, 0.587, 0.114)  # default: BT.601
ROWS = 256  # converted at once
DECODED_BY_CODEC = {6, 7, 34892, 33007, 50001, 50002, 52546}  # JPEG, WebP, JPEG XL: already RGB
PLAIN = {1, 5, 8, 32946, 32773, 34925, 34926, 50000}  # compression of bytes, not of pictures


def rgb_of(page: "TiffPage") -> np.ndarray:
    """Returns (H,W,3 or 4) of the page's type. UnhazeError: unsupported storage; ValueError:
    truncated.
    """
    import tifffile

    if page.compression in DECODED_BY_CODEC:
        return page.asarray()
    if page.compression not in PLAIN or page.bitspersample not in (8, 16):
        raise UnhazeError(
            f"it is YCbCr of {page.bitspersample} bits with compression"
            f" {tifffile.COMPRESSION(page.compression).name};"
            " expected JPEG, or 8 or 16 bits without it"
        )
    across, down = page.tags.valueof(SUBSAMPLING) or _guessed(page)
    if (across, down) == (1, 1):
        samples = page.asarray()
        samples = samples.transpose(1, 2, 0) if page.planarconfig == 2 else samples
    else:
        samples = _spread(page, across, down)
    result = np.empty_like(samples)
    result[..., 3:] = samples[..., 3:]
    coded = _Coding(page)
    for start in range(0, len(samples), ROWS):
        rows = slice(start, start + ROWS)
        result[rows, :, :3] = coded.to_rgb(samples[rows, :, :3])
    return result


def _guessed(page: "TiffPage") -> tuple[int, int]:
    """Returns the subsampling if the file states none: two, the default, unless there is more
    data.
    """
    pixels = page.tilewidth * page.tilelength if page.is_tiled else page.imagewidth
    pixels *= 1 if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    first = _unpacked(page, page.dataoffsets[0], page.databytecounts[0])
    return (1, 1) if len(first) >= 3 * pixels else (2, 2)


def _unpacked(page: "TiffPage", place: int, size: int) -> bytes:
    """Decompresses a strip or tile."""
    import tifffile

    file = page.parent.filehandle
    file.seek(place)
    return bytes(tifffile.TIFF.DECOMPRESSORS[page.compression](file.read(size)))


class _Coding:
    """How the samples of a page are encoded."""

    def __init__(self, page: "TiffPage") -> None:
        self.most = (1 << page.bitspersample) - 1
        middle = 1 << (page.bitspersample - 1)
        usual = (0, self.most, middle, self.most, middle, self.most)
        references = _numbers(page.tags.valueof(REFERENCES), 6) or usual
        self.black, self.white = np.array(references, np.float32).reshape(3, 2).T
        self.range = np.array([self.most, middle - 1, middle - 1], np.float32)
        self.luminances = _numbers(page.tags.valueof(COEFFICIENTS), 3) or LUMINANCES
        if (self.white == self.black).any() or min(self.luminances) <= 0:
            raise ValueError("its reference values make no sense")

    def to_rgb(self, coded: np.ndarray) -> np.ndarray:
        """Converts (h,W,3) integers to RGB of the same type."""
        scaled = (coded - self.black) * (self.range / (self.white - self.black))
        luma, blueness, redness = np.moveaxis(scaled, 2, 0)
        of_red, of_green, of_blue = self.luminances
        red = luma + redness * (2 - 2 * of_red)
        blue = luma + blueness * (2 - 2 * of_blue)
        green = (luma - of_blue * blue - of_red * red) / of_green
        rgb = np.stack([red, green, blue], axis=2)
        return np.rint(np.clip(rgb, 0, self.most)).astype(coded.dtype)


def _numbers(value: Any, count: int) -> tuple[float, ...]:
    """Returns `count` values, stored as pairs of numerator and denominator, or as numbers."""
    if value is None:
        return ()
    if len(value) == 2 * count:
        pairs = zip(value[::2], value[1::2], strict=True)
        return tuple(float(Fraction(int(a), max(1, int(b)))) for a, b in pairs)
    return tuple(map(float, value))


def _spread(page: "TiffPage", across: int, down: int) -> np.ndarray:
    """Returns (H,W,3) from units: `across` x `down` of luma, then one of each chroma, which is
    repeated.
    """
    rare = page.samplesperpixel != 3 or page.planarconfig != 1 or page.predictor != 1
    if rare or page.bitspersample != 8 or page.fillorder != 1 or not {across, down} <= {1, 2, 4}:
        raise UnhazeError(
            f"it is YCbCr with chroma of {across} x {down} pixels in a rare order; expected 8 bits,"
            " no predictor and samples side by side"
        )
    height, width = page.imagelength, page.imagewidth
    wide, tall = (page.tilewidth, page.tilelength) if page.is_tiled else (width, page.rowsperstrip)
    tall = min(tall, height) if not page.is_tiled else tall
    columns = -(-width // wide)
    units, lines = -(-wide // across), -(-tall // down)
    samples = np.empty((height, width, 3), np.uint8)
    for number, (place, size) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        top, left = number // columns * tall, number % columns * wide
        here = samples[top : top + tall, left : left + wide]
        data = _unpacked(page, place, size)
        rows = lines if page.is_tiled else -(-len(here) // down)
        count = rows * units * (across * down + 2)
        block = np.frombuffer(data, np.uint8, count).reshape(rows, units, -1)
        luma = block[..., :-2].reshape(rows, units, down, across).transpose(0, 2, 1, 3)
        luma = luma.reshape(rows * down, units * across)
        here[..., 0] = luma[: here.shape[0], : here.shape[1]]
        chroma = block[..., -2:].repeat(down, axis=0).repeat(across, axis=1)
        here[..., 1:] = chroma[: here.shape[0], : here.shape[1]]
    return samples
