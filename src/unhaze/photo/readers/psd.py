"""Photoshop's PSD and PSB: the flat picture that such files store beside their layers.

Its rows are those of a TIFF file with separate planes, so it is converted to one in memory, for
libvips (Adobe Photoshop File Formats Specification, 2019; TIFF 6.0).
"""

import struct
from typing import Any

import numpy as np
import pyvips

from unhaze.errors import UnhazeError
from unhaze.photo import exif
from unhaze.photo.picture import EXIF, ICC, IPTC, XMP, set_bytes
from unhaze.photo.readers.decoded import Check, Decoded

GREY, RGB, CMYK, LAB = 1, 3, 4, 9  # modes
PHOTOMETRIC = {GREY: 1, RGB: 2, CMYK: 5}
INKS = {GREY: 1, RGB: 3, CMYK: 4}
RAW, PACKBITS = 0, 1  # compression of rows
RESOURCES = {0x0404: IPTC, 0x040F: ICC, 0x0422: EXIF, 0x0424: XMP}
LAYERS = "layers (the picture is the flat one)"


def decode(data: bytes, check: Check) -> Decoded:
    """Returns (H,W,C) uint8 or uint16. UnhazeError: an unsupported mode or depth."""
    version, channels, height, width, bits, mode = struct.unpack_from(">H6xHIIHH", data, 4)
    if mode not in INKS or bits not in (8, 16):
        raise UnhazeError(
            f"this PSD file has mode {mode} and {bits} bits; expected grey, RGB or CMYK of 8 or 16"
        )
    planes = min(channels, INKS[mode] + 1)
    check(width, height, 2 * planes * bits // 8)
    at = 26
    at += 4 + struct.unpack_from(">I", data, at)[0]  # colours of a palette
    (size,) = struct.unpack_from(">I", data, at)
    metadata = _resources(data[at + 4 : at + 4 + size])
    at += 4 + size
    wide = version == 2  # PSB
    (size,) = struct.unpack_from(">Q" if wide else ">I", data, at)
    at += (8 if wide else 4) + size
    tiff = _as_tiff(data, at, (height, width, channels, planes), bits, mode, wide)
    image = pyvips.Image.new_from_buffer(tiff, "", fail_on="error")
    if mode == CMYK:
        image = _to_srgb(image, metadata.pop(ICC, None), bits)
    samples = image.numpy().reshape(height, width, -1)
    lost = (LAYERS,) if size else ()
    return Decoded(np.ascontiguousarray(samples), metadata, lost=lost)


def _as_tiff(
    data: bytes, at: int, shape: tuple[int, int, int, int], bits: int, mode: int, wide: bool
) -> bytes:
    """Returns a big-endian TIFF with a strip for each row of each plane, or for each plane."""
    height, width, channels, planes = shape
    (packing,) = struct.unpack_from(">H", data, at)
    at += 2
    row = width * bits // 8
    if packing == PACKBITS:
        kind = ">u4" if wide else ">u2"
        sizes = np.frombuffer(data, kind, height * channels, at).astype(np.int64)
        at += sizes.size * (4 if wide else 2)
        rows, sizes = 1, sizes[: height * planes]
    elif packing == RAW:
        rows, sizes = height, np.full(planes, row * height, np.int64)
    else:
        raise UnhazeError("this PSD file is packed by ZIP, which flat pictures are not; save again")
    pixels = data[at : at + int(sizes.sum())]
    if len(pixels) < sizes.sum():
        raise ValueError("its rows are cut off")
    starts = 8 + np.concatenate([[0], np.cumsum(sizes)[:-1]])
    tags: list[tuple[int, int, Any]] = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [bits] * planes),
    ]
    tags += [(259, 3, [32773 if packing == PACKBITS else 1]), (262, 3, [PHOTOMETRIC[mode]])]
    tags += [(273, 4, starts), (277, 3, [planes]), (278, 4, [rows]), (279, 4, sizes)]
    tags += [(284, 3, [2])] + ([(338, 3, [2])] if planes > INKS[mode] else [])
    return _tiff(pixels + bytes(len(pixels) % 2), tags)


def _tiff(pixels: bytes, tags: list[tuple[int, int, Any]]) -> bytes:
    start = 8 + len(pixels)
    values_at, lines, values = start + 2 + 12 * len(tags) + 4, b"", b""
    for tag, kind, numbers in tags:
        packed = np.asarray(numbers).astype({3: ">u2", 4: ">u4"}[kind]).tobytes()
        line = struct.pack(">HHI", tag, kind, len(np.asarray(numbers)))
        if len(packed) <= 4:
            lines += line + packed.ljust(4, b"\0")
        else:
            lines += line + struct.pack(">I", values_at + len(values))
            values += packed + bytes(len(packed) % 2)
    head = b"MM\0*" + struct.pack(">I", start)
    return head + pixels + struct.pack(">H", len(tags)) + lines + bytes(4) + values


def _to_srgb(image: pyvips.Image, icc: bytes | None, bits: int) -> pyvips.Image:
    """Converts to sRGB; Photoshop stores inks inverted."""
    image = image.extract_band(0, n=4).invert().copy(interpretation="cmyk")
    if icc:
        set_bytes(image, ICC, icc)
    embedded = bool(icc)
    return image.icc_transform("srgb", embedded=embedded, input_profile="cmyk", depth=bits)


def _resources(blocks: bytes) -> dict[str, bytes]:
    """Returns ICC, EXIF, XMP and IPTC of the image resources."""
    found: dict[str, bytes] = {}
    at = 0
    while blocks[at : at + 4] == b"8BIM" and at + 8 < len(blocks):
        (kind,) = struct.unpack_from(">H", blocks, at + 4)
        at += 6 + (blocks[at + 6] + 2) // 2 * 2
        (size,) = struct.unpack_from(">I", blocks, at)
        if kind in RESOURCES:
            found[RESOURCES[kind]] = blocks[at + 4 : at + 4 + size]
        at += 4 + size + size % 2
    if records := found.pop(IPTC, None):
        block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records
        found[IPTC] = b"Photoshop 3.0\0" + block + bytes(len(records) % 2)
    if EXIF in found:
        found[EXIF] = exif.edited(found[EXIF], 1, False, None)
    return found
