"""JPEG 2000 and QOI by imagecodecs."""

import struct

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.photo import profile
from unhaze.photo.picture import ICC, XMP
from unhaze.photo.readers.decoded import Check, Decoded, with_channels

SIZ = b"\xff\x4f\xff\x51"  # start of a JPEG 2000 codestream, before its size
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
QOI_END = bytes(7) + b"\1"
HEADERS = 1 << 20  # bytes that are searched for the boxes before the pixels


def decode_jp2(data: bytes, check: Check) -> Decoded:
    """Returns (H,W,C) uint8 or uint16; other depths are scaled to the full range of one of
    these.
    """
    import imagecodecs

    at = data.find(SIZ)
    if at < 0:
        raise ValueError("no codestream")
    right, down, left, top = struct.unpack_from(">4I", data, at + 8)
    (channels,) = struct.unpack_from(">H", data, at + 40)
    bits = (data[at + 42] & 0x7F) + 1
    check(right - left, down - top, 4 * max(1, channels))  # OpenJPEG decodes to 32 bits
    samples = with_channels(imagecodecs.jpeg2k_decode(data))
    if samples.dtype not in (np.uint8, np.uint16) or data[at + 42] & 0x80:
        raise UnhazeError(f"its samples have {bits} bits, signed or too many; convert it first")
    if bits not in (8, 16):
        full = np.float32((1 << (8 if bits < 8 else 16)) - 1)
        scaled = samples * (full / np.float32((1 << bits) - 1))
        samples = np.rint(scaled).astype(samples.dtype)
    return Decoded(samples, _boxes_of(data[:HEADERS]))


def _boxes_of(head: bytes) -> dict[str, bytes]:
    """Returns the profile of the box `colr` (method 2 or 3), and XMP in a box of type `uuid`."""
    found = {}
    at = head.find(b"colr")
    if at >= 4 and head[at + 4] in (2, 3):
        (size,) = struct.unpack_from(">I", head, at - 4)
        found[ICC] = head[at + 7 : at - 4 + size]
    at = head.find(XMP_UUID)
    if at >= 8:
        (size,) = struct.unpack_from(">I", head, at - 8)
        found[XMP] = head[at + 16 : at - 8 + size]
    return found


def decode_qoi(data: bytes, check: Check) -> Decoded:
    """Returns (H,W,3 or 4) uint8; linear files get a profile."""
    import imagecodecs

    width, height, channels, linear = struct.unpack_from(">IIBB", data, 4)
    check(width, height, channels)
    if QOI_END not in data[-64:]:
        raise ValueError("its end is missing")
    linear_profile = profile.from_numbers(1, 8) if linear else None
    metadata = {} if linear_profile is None else {ICC: linear_profile}
    return Decoded(with_channels(imagecodecs.qoi_decode(data)), metadata)
