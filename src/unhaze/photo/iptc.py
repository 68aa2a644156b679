"""IPTC records in the three forms in which files hold them; in memory, that of JPEG is used.

JPEG: "Photoshop 3.0" and resource blocks, one of which contains the records. TIFF: a tag for the
records and one for the blocks. PNG: a text of hexadecimal digits, introduced by ImageMagick and
read by ExifTool. WebP, AVIF and GIF cannot hold them.
"""

import struct
from collections.abc import Iterator

SIGNATURE = b"Photoshop 3.0\0"
RECORDS, THUMBNAILS = 0x0404, (0x0409, 0x040C)
PNG_TEXTS = ("Raw profile type iptc", "Raw profile type 8bim")
DIGITS = 72  # in a line of this text


def from_tags(blocks: bytes, records: bytes) -> bytes | None:
    """Returns IPTC as in JPEG, from TIFF's Photoshop and IPTC tags; either may be empty."""
    if any(kind == RECORDS for kind, _, _ in _resources(blocks)) or not records:
        return SIGNATURE + blocks if blocks else None
    head = b"8BIM" + struct.pack(">HHI", RECORDS, 0, len(records))
    return SIGNATURE + blocks + head + records + bytes(len(records) % 2)


def from_text(text: str) -> bytes | None:
    """Returns IPTC as in JPEG, from PNG's text; None if it is damaged."""
    words = text.split()
    try:
        data = bytes.fromhex("".join(words[2:]))
    except ValueError:
        return None
    if data.startswith(b"\x1c"):
        return from_tags(b"", data)
    return SIGNATURE + data if data.startswith(b"8BIM") else None


def text_of(iptc: bytes) -> str:
    """Returns PNG's text."""
    digits = resources_of(iptc).hex()
    lines = [digits[i : i + DIGITS] for i in range(0, len(digits), DIGITS)]
    return "\n".join(["", "iptc", f"{len(digits) // 2:8d}", *lines, ""])


def for_tiff(iptc: bytes) -> tuple[bytes, bytes]:
    """Returns (Photoshop's blocks, the records) for two tags; each record is in one of them
    only.
    """
    rest = [whole for kind, _, whole in _resources(resources_of(iptc)) if kind != RECORDS]
    return b"".join(rest), records_of(iptc)


def resources_of(iptc: bytes) -> bytes:
    """Returns the resource blocks, as in TIFF's Photoshop tag."""
    return iptc.removeprefix(SIGNATURE)


def records_of(iptc: bytes) -> bytes:
    """Returns the bare records, as in TIFF's IPTC tag."""
    found = [data for kind, data, _ in _resources(resources_of(iptc)) if kind == RECORDS]
    return found[0].rstrip(b"\0") if found else b""


def without_thumbnails(iptc: bytes) -> bytes:
    """Removes Photoshop's thumbnails, which would show the haze."""
    blocks = list(_resources(resources_of(iptc)))
    if not any(kind in THUMBNAILS for kind, _, _ in blocks):
        return iptc
    return SIGNATURE + b"".join(whole for kind, _, whole in blocks if kind not in THUMBNAILS)


def _resources(blocks: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yields (kind, data, whole block) of every resource, up to the first invalid block."""
    at = 0
    while blocks[at : at + 4] == b"8BIM" and len(blocks) >= at + 12:
        (kind,) = struct.unpack_from(">H", blocks, at + 4)
        name = blocks[at + 6] + 1
        start = at + 6 + name + name % 2
        if len(blocks) < start + 4:
            return
        (size,) = struct.unpack_from(">I", blocks, start)
        end = start + 4 + size
        yield kind, blocks[start + 4 : end], blocks[at : end + size % 2]
        at = end + size % 2
