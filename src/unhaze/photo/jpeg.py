"""The segments of a JPEG file, read beside libvips, which joins, shortens or drops some of them."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from unhaze.atomic import insert
from unhaze.photo import inventory, xmp

START, END, SCAN, COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
APP = 0xE0
LARGEST = 0xFFFF - 2  # bytes in one segment
EXIF_SIGN, XMP_SIGN = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_SIGN = b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP_SIGN, ICC_SIGN = b"Photoshop 3.0\0", b"ICC_PROFILE\0"
VIEWS_SIGN, GAIN_MAP_SIGN = b"MPF\0", b"urn:iso:std:iso:ts:21496:-1\0"
# Segments that are written again with the pixels, or valid for these only: JFIF with its thumbnail,
# profile, views, C2PA (JUMBF), Adobe's colour transform.
REBUILT = {APP, APP + 2, APP + 11, APP + 14}
LARGEST_MAIN = 1 << 26  # total bytes of segments that are read
INCH, CENTIMETRE = 1, 2  # units of JFIF's density


@dataclass
class Segments:
    """Content of a JPEG file other than its coefficients.

    `exif`, `xmp`, `photoshop`: contents without the signature, with several segments joined.
    `kept`: whole segments that are copied to another JPEG: comments, extended XMP, those of FLIR
    and other makers. `signs`: marker and first bytes of each segment. `behind`: offset of what
    follows the picture, 0 if nothing does. `views`: offset of the TIFF structure of the table of
    pictures, and its content; `gain_map_sign`: the whole segment.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    photoshop: bytes | None = None
    kept: bytes = b""
    signs: list[tuple[int, bytes]] = field(default_factory=list)
    behind: int = 0
    views: tuple[int, bytes] | None = None
    gain_map_sign: bytes = b""


def read_segments(file: BinaryIO) -> Segments:
    """Returns the segments of the first picture, up to the first damaged one."""
    found = Segments()
    for marker, data in _segments(file, found):
        found.signs.append((marker, data[:64]))
        if marker == APP + 1 and data.startswith(EXIF_SIGN) and found.exif is None:
            found.exif = data[len(EXIF_SIGN) :]
        elif marker == APP + 1 and data.startswith(XMP_SIGN) and found.xmp is None:
            found.xmp = data[len(XMP_SIGN) :]
        elif marker == APP + 13 and data.startswith(PHOTOSHOP_SIGN):
            found.photoshop = (found.photoshop or b"") + data[len(PHOTOSHOP_SIGN) :]
        elif marker == APP + 2 and data.startswith(VIEWS_SIGN) and found.views is None:
            place = file.tell() - len(data) + len(VIEWS_SIGN)
            found.views = place, data[len(VIEWS_SIGN) :]
        elif marker == APP + 2 and data.startswith(GAIN_MAP_SIGN):
            found.gain_map_sign = segment(marker, data)
        elif marker == COMMENT or (APP < marker < APP + 16 and marker not in REBUILT):
            found.kept += segment(marker, data)
    return found


def lost_in(found: Segments) -> tuple[str, ...]:
    """Returns names of what no restored JPEG holds, except for what is behind the picture."""
    is_signed = any(marker == APP + 11 and sign.startswith(b"JP") for marker, sign in found.signs)
    return (inventory.CREDENTIALS,) if is_signed else ()


def encoding_of(file: BinaryIO, *, density: bool) -> dict[str, Any]:
    """Returns the quality, estimated, and with `density` that of JFIF, as in `Traits`."""
    found: dict[str, Any] = {}
    file.seek(2)
    while len(marker := file.read(2)) == 2 and marker[0] == 0xFF and marker[1] != 0xDA:
        length = file.read(2)
        if len(length) < 2:
            break
        segment = file.read(max(0, struct.unpack(">H", length)[0] - 2))
        if density and segment.startswith(b"JFIF\0") and len(segment) >= 12:
            unit, across, down = struct.unpack(">BHH", segment[7:12])
            per_mm = {INCH: 1 / 25.4, CENTIMETRE: 0.1}.get(unit)
            if per_mm and across and down:
                found |= {"density": (across * per_mm, down * per_mm), "inches": unit == INCH}
        elif marker[1] == 0xDB and (quality := _quality(segment)) is not None:
            found["quality"] = quality
    return found


def _quality(tables: bytes) -> int | None:
    """Returns 1-100, from the scale of the luminance table (JPEG, annex K.1: the standard sums to
    3694).
    """
    if len(tables) >= 129 and tables[0] == 0x10:
        table = np.frombuffer(tables[1:129], ">u2")
    elif len(tables) >= 65 and tables[0] == 0:
        table = np.frombuffer(tables[1:65], "u1")
    else:
        return None
    percent = 100 * float(table.sum()) / 3694
    quality = 5000 / percent if percent > 100 else (200 - percent) / 2
    return int(np.clip(round(quality), 1, 100))


def extended_xmp(kept: bytes, packet: bytes) -> bytes | None:
    """Joins the packet that `packet` names as its extension; None if a part is missing.

    `kept`: whole segments, as in `Segments`.
    """
    name, size = xmp.extension_of(packet), len(EXTENDED_SIGN)
    bodies = [body[size:] for body in _bodies(kept) if body.startswith(EXTENDED_SIGN)]
    parts = {body[36:40]: body for body in bodies if body[:32] == name and len(body) > 40}
    joined = b"".join(parts[place][40:] for place in sorted(parts))
    whole = int.from_bytes(next(iter(parts.values()))[32:36], "big") if parts else None
    return joined if len(joined) == whole else None


def without_extended_xmp(kept: bytes) -> bytes:
    """Returns the other segments."""
    at, others = 0, b""
    for body in _bodies(kept):
        whole = kept[at : at + 4 + len(body)]
        others += b"" if body.startswith(EXTENDED_SIGN) else whole
        at += 4 + len(body)
    return others


def _bodies(kept: bytes) -> Iterator[bytes]:
    """Returns the content of complete consecutive segments."""
    at = 0
    while at + 4 <= len(kept):
        size = struct.unpack_from(">H", kept, at + 2)[0] - 2
        yield kept[at + 4 : at + 4 + size]
        at += 4 + size


def segment(marker: int, data: bytes) -> bytes:
    """Returns a segment with its marker and length."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def photoshop_segments(blocks: bytes) -> bytes:
    """Splits Photoshop's resource blocks into as many segments as necessary."""
    room = LARGEST - len(PHOTOSHOP_SIGN)
    parts = [blocks[start : start + room] for start in range(0, len(blocks), room)]
    return b"".join(segment(APP + 13, PHOTOSHOP_SIGN + part) for part in parts)


def insert_segments(file: BinaryIO, segments: bytes) -> None:
    """Inserts segments into a finished file, after its JFIF segment."""
    insert(file, place_of_segments(file), segments)


def place_of_segments(file: BinaryIO) -> int:
    """Returns the offset at which `insert_segments` inserts."""
    file.seek(2)
    head = file.read(4)
    is_jfif = head[:2] == bytes((0xFF, APP))
    return 4 + struct.unpack(">H", head[2:])[0] if is_jfif else 2


def jfif(density: tuple[float, float] | None, inches: bool) -> bytes:
    """Returns the JFIF segment, which libvips does not write, with the pixels per inch or
    centimetre; empty if unknown. `density`: per millimetre.
    """
    across, down = (round(each * (25.4 if inches else 10)) for each in density or (0, 0))
    if not (0 < across <= 0xFFFF and 0 < down <= 0xFFFF):
        return b""
    unit = 1 if inches else 2
    return segment(APP, b"JFIF\0" + struct.pack(">HBHHBB", 0x0102, unit, across, down, 0, 0))


def forget_density(file: BinaryIO) -> None:
    """Marks the pixels of a JFIF file as square and without physical size."""
    file.seek(6)
    if file.read(5) == b"JFIF\0":
        file.seek(13)
        file.write(struct.pack(">BHH", 0, 1, 1))


def _segments(file: BinaryIO, found: Segments) -> Iterator[tuple[int, bytes]]:
    file.seek(2)
    total = 0
    while len(head := file.read(2)) == 2 and head[0] == 0xFF and total < LARGEST_MAIN:
        marker = head[1]
        if marker == 0xFF:  # fill bytes
            file.seek(-1, 1)
            continue
        if marker == END:
            end = file.tell()
            found.behind = end if file.read(1) else 0
            return
        length = file.read(2)
        if len(length) < 2:
            return
        data = file.read(max(0, struct.unpack(">H", length)[0] - 2))
        total += len(data)
        if marker == SCAN:
            _skip_scan(file)
        else:
            yield marker, data


def _skip_scan(file: BinaryIO, block: int = 1 << 20) -> None:
    """Skips entropy-coded data, in which 0xFF is followed by 0 or a restart marker."""
    at, tail = file.tell(), b""
    while data := file.read(block):
        window = tail + data
        match = re.search(rb"\xff[^\x00\xd0-\xd7\xff]", window)
        if match:
            file.seek(at - len(tail) + match.start())
            return
        at, tail = at + len(data), window[-1:]
