"""Chunks of PNG that libvips does not see, shortens or garbles: they are carried as they are."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from unhaze.photo import iptc, splice
from unhaze.photo.picture import COMMENTS, EXIF, IPTC
from unhaze.photo.picture import TEXTS as TEXTS_KEY

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
XMP = b"XML:com.adobe.xmp"  # the text that libvips knows as XMP
LARGEST = 1 << 22  # bytes of all texts: above, they are no description of a photo
LOST_CHUNKS = {b"acTL": "animation", b"caBX": "content credentials"}
METRE = 1  # a unit of density
BEHIND_HEADER = 33  # bytes: the signature and the chunk IHDR
END = b"\0\0\0\0IEND\xaeB`\x82"


@dataclass
class Contents:
    """`metadata` by its keys; `lost`: names of the inventory that are not carried.

    `density`: pixels per millimetre, None where the file says nothing of it.
    """

    metadata: dict[str, bytes] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    density: tuple[float, float] | None = None


def contents(file: BinaryIO) -> Contents:
    """EXIF wherever it stands, IPTC, all texts but that of XMP, density."""
    found, texts = Contents(), b""
    file.seek(len(SIGNATURE))
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind in LOST_CHUNKS:
            found.lost.append(LOST_CHUNKS[kind])
        if kind not in (*TEXTS, b"eXIf", b"pHYs") or size + len(texts) > LARGEST:
            file.seek(size + 4, io.SEEK_CUR)
            continue
        data = file.read(size)
        checksum = file.read(4)
        if kind == b"eXIf":
            found.metadata.setdefault(EXIF, data.removeprefix(b"Exif\0\0"))
        elif kind == b"pHYs" and len(data) == 9:
            across, down, unit = struct.unpack(">IIB", data)
            found.density = (
                (across / 1000, down / 1000) if unit == METRE and across * down else None
            )
        elif kind in TEXTS and len(checksum) == 4:
            key, _, value = data.partition(b"\0")
            is_iptc = key.decode("latin-1") in iptc.PNG_TEXTS
            if is_iptc and (records := _iptc(kind, value)) is not None:
                found.metadata.setdefault(IPTC, records)
            elif key != XMP:
                texts += head + data + checksum
    if texts:
        found.metadata[TEXTS_KEY] = texts
    return found


def complete(file: BinaryIO, found: dict[str, bytes], *, has_density: bool) -> None:
    """Puts EXIF, which programs look for before the pixels, texts and IPTC into a finished file."""
    if not has_density and (place := _place_of(file, b"pHYs")) is not None:
        splice.replace(file, place, 9 + 12, b"")
    if EXIF in found:
        splice.replace(file, BEHIND_HEADER, 0, chunk(b"eXIf", found[EXIF]))
    texts = found.get(TEXTS_KEY, b"")
    for comment in comments_of(found.get(COMMENTS, b"")):
        texts += chunk(b"iTXt", b"Comment\0\0\0\0\0" + comment)
    if IPTC in found:
        key = iptc.PNG_TEXTS[0].encode() + b"\0\0"
        texts += chunk(b"zTXt", key + zlib.compress(iptc.text_of(found[IPTC]).encode()))
    file.seek(-len(END), io.SEEK_END)
    file.write(texts + END)


def comments_of(segments: bytes) -> Iterator[bytes]:
    """UTF-8, of JPEG's segments of comments, which do not say how they are encoded."""
    while len(segments) >= 4:
        size = struct.unpack(">H", segments[2:4])[0]
        words, segments = segments[4 : 2 + size], segments[2 + size :]
        try:
            text = words.decode()
        except UnicodeDecodeError:
            text = words.decode("latin-1")
        yield text.replace("\0", "").encode()


def _place_of(file: BinaryIO, wanted: bytes) -> int | None:
    """Where such a chunk starts, if it stands before the pixels."""
    at = len(SIGNATURE)
    file.seek(at)
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind == wanted:
            return at
        if kind == b"IDAT":
            return None
        at += size + 12
        file.seek(at)
    return None


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk with its length and checksum."""
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def _iptc(kind: bytes, value: bytes) -> bytes | None:
    """What such a text says; zTXt's value starts with a byte that means deflate."""
    try:
        text = zlib.decompressobj().decompress(value[1:], LARGEST) if kind == b"zTXt" else value
    except zlib.error:
        return None
    return iptc.from_text(text.decode("latin-1"))
