"""What a JPEG file holds beside its picture: read segment by segment, put into the finished file.

Gain maps, videos and further pictures stand behind the end of the picture; MPF, a table of CIPA
DC-007, says where. They are carried as they are, and the table is written anew.
"""

import hashlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from unhaze.photo import exif, iptc, splice, xmp
from unhaze.photo.picture import COMMENTS, EXIF, EXTENDED, IPTC, SEGMENTS, TRAILER, VIEWS, XMP

ROOM = 65_533  # bytes that a segment holds behind its length
COMMENT, APP0, APP1, APP2, APP11, APP13, APP14, APP15 = (
    0xFE, 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE, 0xEF,
)  # fmt: skip
EXIF_MARK, XMP_MARK = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_MARK = b"http://ns.adobe.com/xmp/extension/\0"
EXTENDED_HEAD = len(EXTENDED_MARK) + 40  # an MD5 in hexadecimal, the whole length, the offset
MPF_MARK, JUMBF_MARK, ISO_GAIN_MAP = b"MPF\0", b"JP", b"urn:iso:std:iso:ts:21496:-1\0"
OURS = (b"JFIF\0", b"JFXX\0", b"ICC_PROFILE\0")  # written by libvips, or a small picture
COUNT, ENTRIES = 0xB001, 0xB002  # tags of MPF
VIEW = struct.Struct("<III")  # kind, size, offset: a picture in the trailer
PREVIEWS, SEVERAL_VIEWS = {0x010001, 0x010002}, {0x020001, 0x020002, 0x020003}
GAIN_MAPS = (b"hdrgm:Version", b"hdrgm:version", ISO_GAIN_MAP, b"HDRGainMap")
DEPTHS = (b"apdi:DepthData", b"aux:depth", b"aux:disparity", b"GDepth:", b":Depth")
END_OF_PICTURE = re.compile(rb"\xff([^\0\xd0-\xd7\xff])")
BLOCK = 1 << 20
LARGEST_TRAILER = 1 << 27  # bytes; above, it is not carried


@dataclass
class Contents:
    """`metadata` by its keys; names of the inventory: `extras` that lie in it, `lost` that do not.

    `jfif`: unit and density across and down, as JFIF has them.
    """

    metadata: dict[str, bytes] = field(default_factory=dict)
    extras: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    jfif: tuple[int, int, int] | None = None


def contents(file: BinaryIO) -> Contents:
    """All but the picture and its ICC profile; what is damaged is not there."""
    found, parts, mpf = Contents(), [], None
    blocks = b""
    end = 0
    for marker, body, at in segments(file):
        end = at + len(body)
        if marker == COMMENT:
            _add(found.metadata, COMMENTS, segment(marker, body))
        elif marker == APP1 and body.startswith(EXIF_MARK) and EXIF not in found.metadata:
            found.metadata[EXIF] = body.removeprefix(EXIF_MARK)
        elif marker == APP1 and body.startswith(XMP_MARK):
            found.metadata.setdefault(XMP, body.removeprefix(XMP_MARK))
        elif marker == APP1 and body.startswith(EXTENDED_MARK) and len(body) > EXTENDED_HEAD:
            parts.append(body[len(EXTENDED_MARK) :])
        elif marker == APP2 and body.startswith(MPF_MARK):
            mpf = (body.removeprefix(MPF_MARK), at + len(MPF_MARK))
        elif marker == APP11 and body.startswith(JUMBF_MARK):
            found.lost.append("content credentials")
        elif marker == APP13 and body.startswith(iptc.SIGNATURE):
            blocks += body.removeprefix(iptc.SIGNATURE)
        elif marker == APP0 and body.startswith(b"JFIF\0") and len(body) >= 12:
            found.jfif = struct.unpack(">BHH", body[7:12])
        elif APP0 <= marker <= APP15 and marker != APP14 and not body.startswith(OURS):
            _add(found.metadata, SEGMENTS, segment(marker, body))
            if body.startswith(b"FLIR\0"):
                found.extras.append("thermal data")
    if blocks:
        found.metadata[IPTC] = iptc.SIGNATURE + blocks
    _extended(found, parts)
    _trailer(file, found, mpf, end)
    found.extras, found.lost = (list(dict.fromkeys(each)) for each in (found.extras, found.lost))
    return found


def segments(file: BinaryIO) -> Iterator[tuple[int, bytes, int]]:
    """(marker, body, where the body stands) of every segment up to that of the first scan."""
    file.seek(2)
    while len(marker := file.read(2)) == 2 and marker[0] == 0xFF:
        while marker[1] == 0xFF:  # fill bytes
            marker = marker[1:] + file.read(1)
        if len(length := file.read(2)) < 2:
            return
        size = struct.unpack(">H", length)[0] - 2
        at = file.tell()
        body = file.read(max(0, size))
        if size < 0 or len(body) < size:
            return
        yield marker[1], body, at
        if marker[1] == 0xDA:
            return


def segment(marker: int, body: bytes) -> bytes:
    """The bytes of a segment."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def complete(
    file: BinaryIO,
    found: dict[str, bytes],
    *,
    density: tuple[float, float] | None,
    inches: bool,
) -> None:
    """Puts all that `contents` finds into a finished JPEG file that holds no such thing yet.

    density: pixels per millimetre, None for a picture that says nothing of it: nor must JFIF.
    """
    start = 2
    head = _jfif(density, inches) + b"".join(_head(found))
    views = list(VIEW.iter_unpack(found.get(VIEWS, b"")))
    size = splice.end_of(file) + len(head) + (len(_mpf(views, 0, 0)) if views else 0)
    if views:
        head += _mpf(views, size, size - start - len(head))
    splice.replace(file, start, 0, head)
    if TRAILER in found:
        splice.append(file, found[TRAILER])


def without_views(metadata: dict[str, bytes]) -> dict[str, bytes]:
    """Without the pictures that lie behind this one: they do not fit it when it is turned."""
    kept = dict(metadata)
    if VIEWS in kept:
        kept[TRAILER] = _cut(kept[TRAILER], list(VIEW.iter_unpack(kept.pop(VIEWS))))
    return {key: value for key, value in kept.items() if key != TRAILER or value}


def _add(metadata: dict[str, bytes], key: str, value: bytes) -> None:
    metadata[key] = metadata.get(key, b"") + value


def _extended(found: Contents, parts: list[bytes]) -> None:
    """The packet whose parts are spread over segments, if it is all there."""
    name = xmp.extension_of(found.metadata.get(XMP, b""))
    if name is None:
        return
    packet = b""
    for part in sorted((each for each in parts if each[:32] == name), key=lambda each: each[36:40]):
        whole, at = struct.unpack(">II", part[32:40])
        if at == len(packet):
            packet += part[40:]
        if len(packet) == whole:
            found.metadata[EXTENDED] = packet
            return
    found.lost.append("extended XMP")


def _trailer(file: BinaryIO, found: Contents, mpf: tuple[bytes, int] | None, scan: int) -> None:
    """What stands behind the picture: pictures of the table, a video, what makers add."""
    start = _end_of_picture(file, scan)
    size = splice.end_of(file) - start
    if start == scan or size <= 0:
        return
    if size > LARGEST_TRAILER:
        found.lost.append("data behind the picture")
        return
    file.seek(start)
    trailer = file.read(size)
    kept, cut = [], []
    for kind, length, at in _views(mpf, start) if mpf else ():
        if not 0 <= at <= at + length <= size:
            continue
        data = trailer[at : at + min(length, 1 << 16)]
        if kind in PREVIEWS | SEVERAL_VIEWS:
            cut.append((kind, length, at))
            found.lost += [] if kind in PREVIEWS else ["further views"]
            continue
        kept.append((kind, length, at))
        gain = any(mark in data for mark in GAIN_MAPS)
        depth = any(mark in data for mark in DEPTHS)
        found.extras.append("gain map" if gain else "depth" if depth else "further pictures")
    views = [(kind, n, at - sum(c[1] for c in cut if c[2] < at)) for kind, n, at in kept]
    trailer = _cut(trailer, cut)
    rest = _cut(trailer, views)
    if re.search(rb"....ftyp(?:mp4|iso|M4V|qt|avc|hvc|3gp)", rest[: 1 << 20], re.DOTALL):
        found.extras.append("motion video")
    elif rest.strip(b"\0\xff\xd9\r\n "):
        found.extras.append("data behind the picture")
    if trailer.strip(b"\0"):
        found.metadata[TRAILER] = trailer
        if views:
            found.metadata[VIEWS] = b"".join(VIEW.pack(*view) for view in views)


def _views(mpf: tuple[bytes, int], start: int) -> Iterator[tuple[int, int, int]]:
    """(kind, size, offset from `start`) of all pictures in the table but the first."""
    block, base = mpf
    order = "<" if block[:2] == b"II" else ">"
    entries = exif.tags_of(block).get(ENTRIES)
    data = entries[1] if isinstance(entries, tuple) else b""
    for at in range(16, len(data) - 15, 16):
        kind, size, offset = struct.unpack_from(order + "III", data, at)
        yield kind & 0xFFFFFF, size, base + offset - start


def _cut(data: bytes, pieces: list[tuple[int, int, int]]) -> bytes:
    for _, size, at in sorted(pieces, key=lambda piece: -piece[2]):
        data = data[:at] + data[at + size :]
    return data


def _end_of_picture(file: BinaryIO, scan: int) -> int:
    """Behind its marker EOI; `scan` if there is none. `scan`: where the coded pixels start."""
    at = scan
    file.seek(at)
    while data := file.read(BLOCK):
        if match := END_OF_PICTURE.search(data):
            place = at + match.start()
            if match[1] == b"\xd9":
                return place + 2
            file.seek(place + 2)  # tables and scans of a progressive picture
            length = file.read(2)
            at = place + 2 + (struct.unpack(">H", length)[0] if len(length) == 2 else 2)
        elif len(data) < 2:
            break
        else:
            at += len(data) - data.endswith(b"\xff")
        file.seek(at)
    return scan


def _head(found: dict[str, bytes]) -> Iterator[bytes]:
    if EXIF in found:
        yield segment(APP1, EXIF_MARK + found[EXIF])
    if XMP in found:
        yield segment(APP1, XMP_MARK + found[XMP])
    if EXTENDED in found:
        packet = found[EXTENDED]
        name = xmp.extension_of(found.get(XMP, b"")) or digest(packet)
        room = ROOM - EXTENDED_HEAD
        for at in range(0, len(packet), room):
            places = name + struct.pack(">II", len(packet), at)
            yield segment(APP1, EXTENDED_MARK + places + packet[at : at + room])
    if IPTC in found:
        for part in iptc.parts(found[IPTC], ROOM):
            yield segment(APP13, part)
    yield found.get(SEGMENTS, b"")
    yield found.get(COMMENTS, b"")


def digest(packet: bytes) -> bytes:
    """By which the main packet of XMP names an extended one."""
    return hashlib.md5(packet, usedforsecurity=False).hexdigest().upper().encode()


def _jfif(density: tuple[float, float] | None, inches: bool) -> bytes:
    """The first segment, which libvips does not write, if there is a density to tell."""
    scale = 25.4 if inches else 10
    across, down = (round(each * scale) for each in density or (0, 0))
    if not (0 < across <= 0xFFFF and 0 < down <= 0xFFFF):
        return b""
    unit = 1 if inches else 2
    return segment(APP0, b"JFIF\0" + struct.pack(">HBHHBB", 0x0102, unit, across, down, 0, 0))


def _mpf(views: list[tuple[int, int, int]], size: int, trailer: int) -> bytes:
    """The table; `size`: of the first picture; `trailer`: its end, counted from this segment."""
    base = trailer - 4 - len(MPF_MARK)
    entries = struct.pack("<IIIHH", 0x030000, size, 0, 0, 0)
    for kind, length, at in views:
        entries += struct.pack("<IIIHH", kind, length, max(0, base + at), 0, 0)
    count = struct.pack("<I", len(views) + 1)
    tags = {0xB000: (7, b"0100"), COUNT: (4, count), ENTRIES: (7, entries)}
    return segment(APP2, MPF_MARK + exif.block(tags))
