"""JPEG XL by imagecodecs (libjxl); size, colours and metadata from the file's own header."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from unhaze.photo import exif, profile
from unhaze.photo.picture import EXIF, ICC, XMP
from unhaze.photo.readers.decoded import Check, Decoded, with_channels

CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
ALPHA, GREY, XYB = 0, 1, 2  # kinds of extra channels; of colours
LINEAR, SRGB_TRANSFER = 8, 13
HEADER = 512  # bytes that always contain the header
RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
QUALITY, EFFORT = 90, 4  # the encoder's default
LARGEST = 1 << 24  # limit of the content of a compressed box
FRAMES = "all but the first frame"
UNKNOWN_COLOURS = "its colours are by an ICC profile that is not read; taken for sRGB"


@dataclass(frozen=True)
class Header:
    """width, height: as stored. numbers: primaries and transfer (H.273); None: an ICC profile.

    transfer_at: the bit at which the transfer function is stored, if it is.
    """

    width: int
    height: int
    floats: bool = False
    numbers: tuple[int, int] | None = profile.SRGB
    transfer_at: int | None = None
    animated: bool = False


def decode(data: bytes, check: Check) -> Decoded:
    """Returns the first frame, upright."""
    import imagecodecs

    whole = list(_boxes(data)) if data.startswith(CONTAINER) else []
    boxes = dict(reversed(whole))
    for kind, content in whole:
        if kind == b"brob" and content[:4] in (b"Exif", b"xml "):
            unpacked = imagecodecs.brotli_decode(content[4:], out=LARGEST)
            boxes[content[:4]] = bytes(unpacked)
    header = header_of(_codestream(data))
    check(header.width, header.height, 4 * (4 if header.floats else 2))
    samples = imagecodecs.jpegxl_decode(data, index=0)
    samples = with_channels(samples[0] if samples.ndim == 4 else samples)
    if samples.dtype not in (np.uint8, np.uint16, np.float32):
        samples = samples.astype(np.float32)
    metadata, notes = {}, ()
    if block := boxes.get(b"Exif", b"")[4:]:
        metadata[EXIF] = exif.edited(block, 1, False, None)
    if b"xml " in boxes:
        metadata[XMP] = boxes[b"xml "]
    linear = samples.dtype == np.float32 and header.numbers == (1, LINEAR)
    if header.numbers is None:
        notes = (UNKNOWN_COLOURS,)
    elif not linear and (made := profile.from_numbers(*header.numbers)) is not None:
        metadata[ICC] = made
    lost = (FRAMES,) if header.animated else ()
    return Decoded(samples, metadata, linear=linear, lost=lost, notes=notes)


def encoded(
    samples: np.ndarray,
    *,
    quality: int | None,
    lossless: bool,
    block: bytes | None,
    packet: bytes | None,
) -> bytes:
    """Returns the bytes of a file of (H,W,C) uint8 or uint16 in sRGB, with EXIF and XMP."""
    import imagecodecs

    how: dict[str, Any] = (
        {"lossless": True} if lossless else {"distance": _distance(quality or QUALITY)}
    )
    deep, colours = samples.dtype == np.uint16, 1 if samples.shape[2] <= 2 else 3
    if deep and not lossless:
        samples = np.concatenate([_linear(samples[..., :colours]), samples[..., colours:]], axis=2)
    shaped = samples[..., 0] if samples.shape[2] == 1 else samples
    photometric = "gray" if colours == 1 else "rgb"
    codestream = bytes(
        imagecodecs.jpegxl_encode(
            shaped, effort=EFFORT, photometric=photometric, usecontainer=False, numthreads=0, **how
        )
    )
    # Lossless samples of 16 bits need a container with a level declaration.
    first = [(b"jxlc", codestream)]
    if codestream.startswith(CONTAINER):
        first = [each for each in _boxes(codestream) if each[0] != b"ftyp"]
    if deep:
        first = [(kind, _as_srgb(each) if kind == b"jxlc" else each) for kind, each in first]
    beside = ((b"Exif", block and bytes(4) + block), (b"xml ", packet))
    boxes = [*first, *(each for each in beside if each[1])]
    head = CONTAINER + struct.pack(">I", 20) + b"ftypjxl " + bytes(4) + b"jxl "
    return head + b"".join(struct.pack(">I", 8 + len(each)) + kind + each for kind, each in boxes)


def _linear(samples: np.ndarray) -> np.ndarray:
    """Undoes the sRGB curve, since imagecodecs takes 16 bits as linear light."""
    table = np.rint(profile.srgb_curve(np.arange(65536) / 65535) * 65535).astype(np.uint16)
    return table[samples]


def _as_srgb(codestream: bytes) -> bytes:
    """Marks the samples of a codestream as encoded with the sRGB curve.

    Lossy coding stores light itself, and the mark determines the decoded form; lossless coding
    stores the samples.
    """
    at = header_of(codestream).transfer_at
    if at is None:
        raise ValueError("the encoder names no transfer function")
    start = 16 + at + 2  # after the signature and the selector, which both numbers share
    bits = int.from_bytes(codestream[:HEADER], "little")
    changed = bits & ~(15 << start) | (SRGB_TRANSFER - 2) << start
    return changed.to_bytes(HEADER, "little")[: len(codestream)] + codestream[HEADER:]


def _distance(quality: int) -> float:
    """Returns Butteraugli's distance, as cjxl derives it from a quality like that of JPEG."""
    if quality >= 30:
        return 0.1 + (100 - quality) * 0.09
    return 53 / 3000 * quality**2 - 23 / 20 * quality + 25


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(CONTAINER)
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = len(data) if size == 0 else at + size
        yield kind, data[start:end]
        if end <= at:
            return
        at = end


def _codestream(data: bytes) -> bytes:
    """Returns the codestream, or at least its beginning."""
    if not data.startswith(CONTAINER):
        return data
    for kind, content in _boxes(data):
        if kind == b"jxlc":
            return content
        if kind == b"jxlp":
            return content[4:]
    raise ValueError("no codestream")


class Bits:
    """Reads numbers of a given number of bits, lowest first."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = int.from_bytes(data[:4096], "little"), 0
        self.enumerated_at: int | None = None

    def take(self, count: int) -> int:
        """Returns the next bits as a number."""
        found = self.data >> self.place & (1 << count) - 1
        self.place += count
        return found

    def choice(self, *ways: tuple[int, int]) -> int:
        """Returns one of four (bits, offset), chosen by a selector of two bits."""
        count, offset = ways[self.take(2)]
        return offset + self.take(count)

    def enumerated(self) -> int:
        """Returns a code point."""
        return self.choice((0, 0), (0, 1), (4, 2), (6, 18))


def header_of(codestream: bytes) -> Header:
    """Returns size, sample type and colours. ValueError: not a header."""
    if codestream[:2] != b"\xff\x0a":
        raise ValueError("no JPEG XL codestream")
    bits = Bits(codestream[2:])
    height, width = _size(bits)
    if bits.take(1):  # all defaults: 8 bits, sRGB
        return Header(width, height)
    animated = False
    if bits.take(1):
        bits.take(3)  # orientation
        if bits.take(1):
            _size(bits)
        if bits.take(1):
            _preview(bits)
        if animated := bool(bits.take(1)):
            _animation(bits)
    floats = _depth(bits)
    bits.take(1)  # bits needed for buffers
    for _ in range(bits.choice((0, 0), (0, 1), (4, 2), (12, 1))):
        _extra_channel(bits)
    bits.take(1)  # whether pixels are coded as XYB, which the decoder undoes
    numbers = _colours(bits)
    return Header(width, height, floats, numbers, bits.enumerated_at, animated)


def _size(bits: Bits) -> tuple[int, int]:
    ways = ((9, 1), (13, 1), (18, 1), (30, 1))
    small = bits.take(1)
    height = 8 * (bits.take(5) + 1) if small else bits.choice(*ways)
    if ratio := bits.take(3):
        across, down = RATIOS[ratio]
        return height, height * across // down
    return height, 8 * (bits.take(5) + 1) if small else bits.choice(*ways)


def _preview(bits: Bits) -> None:
    eighths = bits.take(1)
    ways = (
        ((0, 16), (0, 32), (5, 1), (9, 33)) if eighths else ((6, 1), (8, 65), (10, 321), (12, 1345))
    )
    bits.choice(*ways)
    if not bits.take(3):
        bits.choice(*ways)


def _animation(bits: Bits) -> None:
    bits.choice((0, 100), (0, 1000), (10, 1), (30, 1))
    bits.choice((0, 1), (0, 1001), (8, 1), (10, 1))
    bits.choice((0, 0), (3, 0), (16, 0), (32, 0))
    bits.take(1)


def _depth(bits: Bits) -> bool:
    """Returns whether samples are floats."""
    if not bits.take(1):
        bits.choice((0, 8), (0, 10), (0, 12), (6, 1))
        return False
    bits.choice((0, 32), (0, 16), (0, 24), (6, 1))
    bits.take(4)
    return True


def _extra_channel(bits: Bits) -> None:
    if bits.take(1):  # all defaults: 8 bits of alpha
        return
    kind = bits.enumerated()
    _depth(bits)
    bits.choice((0, 0), (0, 3), (0, 4), (3, 1))
    bits.take(8 * bits.choice((0, 0), (4, 0), (5, 16), (10, 48)))
    if kind == ALPHA:
        bits.take(1)
    elif kind == 2:  # a spot colour
        bits.take(4 * 16)
    elif kind == 5:  # a colour filter array
        bits.choice((0, 1), (2, 0), (4, 3), (8, 19))


def _colours(bits: Bits) -> tuple[int, int] | None:
    if bits.take(1):  # all defaults
        return profile.SRGB
    by_icc, kind = bits.take(1), bits.enumerated()
    if by_icc:
        return None
    primaries = 1
    if kind != XYB:
        white = bits.enumerated()
        if white == 2:
            _chromaticity(bits)
        if kind != GREY:
            primaries = bits.enumerated()
            if primaries == 2:
                for _ in range(3):
                    _chromaticity(bits)
            if primaries == 11 and white == 1:
                primaries = 12  # P3 with the white of screens
    if bits.take(1):  # a power, in ten millionths
        power = bits.take(24) / 1e7
        return primaries, 4 if abs(power - 1 / 2.2) < 0.01 else LINEAR if power > 0.99 else 5
    bits.enumerated_at = bits.place
    return primaries, bits.enumerated()


def _chromaticity(bits: Bits) -> None:
    for _ in range(2):
        bits.choice((19, 0), (19, 524_288), (20, 1_048_576), (21, 2_097_152))
