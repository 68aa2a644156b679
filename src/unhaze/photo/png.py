"""PNG chunks that libvips shortens, garbles, skips or drops, copied unchanged."""

import io
import struct
import zlib
from collections.abc import Collection, Iterator
from typing import BinaryIO

from unhaze.atomic import insert
from unhaze.photo import inventory, iptc

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
XMP = b"XML:com.adobe.xmp"  # the text that libvips reads as XMP
LARGEST = 1 << 22  # bytes of all texts: more is no description of a photo
RGB, PALETTE, RGB_ALPHA = 2, 3, 6  # types of colour
HEADER = 25  # bytes of the first chunk, IHDR
END = b"\0\0\0\0IEND\xaeB`\x82"
# Colour encoding of the samples (PNG, third edition, 11.3.2), and its name before it was final.
COLOURS = (b"cICP", b"gAMA", b"cHRM", b"sRGB", b"mDCV", b"cLLI", b"mDCv", b"cLLi")


def chunks_of(file: BinaryIO, kinds: Collection[bytes]) -> dict[bytes, bytes]:
    """Returns the data of the first chunk of each of these kinds, wherever it is in the file."""
    found: dict[bytes, bytes] = {}
    for kind, size in _walk(file):
        if kind in kinds and kind not in found and size <= LARGEST:
            found[kind] = file.read(size)
    return found


def has_chunk(file: BinaryIO, wanted: bytes) -> bool:
    """Returns whether there is a chunk of this kind."""
    return any(kind == wanted for kind, _ in _walk(file))


def count_frames(file: BinaryIO) -> int:
    """Returns the number of frames of an animation; 1 for any other file."""
    counted = chunks_of(file, (b"acTL",)).get(b"acTL", b"")
    return max(1, int.from_bytes(counted[:4])) if len(counted) == 8 else 1


def insert_chunks(file: BinaryIO, chunks: bytes) -> None:
    """Inserts chunks directly after the header of a finished file."""
    insert(file, len(SIGNATURE) + HEADER, chunks)


def forget_density(file: BinaryIO) -> None:
    """Marks the pixels of a PNG file as square and without physical size."""
    for kind, _ in _walk(file):
        if kind == b"IDAT":
            return
        if kind == b"pHYs":
            file.seek(-8, io.SEEK_CUR)
            file.write(chunk(b"pHYs", struct.pack(">IIB", 1, 1, 0)))
            return


def _walk(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yields kind and size of each chunk, with the file positioned at its data."""
    at = len(SIGNATURE)
    file.seek(at)
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        yield kind, size
        at += size + 12
        file.seek(at)


def about_of(file: BinaryIO) -> bytes | None:
    """Returns the chunks with the time of the last change and the background colour."""
    kinds = (b"IHDR", b"PLTE", b"bKGD", b"tIME")
    found = chunks_of(file, kinds)
    chunks = chunk(b"tIME", found[b"tIME"]) if len(found.get(b"tIME", b"")) == 7 else b""
    if (behind := found.get(b"bKGD")) and len(found.get(b"IHDR", b"")) == 13:
        bits, kind = found[b"IHDR"][8:10]
        if kind == PALETTE:
            colours = found.get(b"PLTE", b"")[3 * behind[0] : 3 * behind[0] + 3]
            values = [257 * each for each in colours]
        else:
            full = (1 << bits) - 1
            codes = struct.unpack(f">{len(behind) // 2}H", behind[: len(behind) // 2 * 2])
            values = [round(each * 65535 / full) for each in codes]
        values = values * 3 if len(values) == 1 else values
        if len(values) == 3 and max(values) <= 65535:
            chunks += chunk(b"bKGD", struct.pack(">3H", *values))
    return chunks or None


def add_about(file: BinaryIO, about: bytes) -> None:
    """Adds the chunks of `about_of` to a finished file, converted to its depth and colours."""
    found = chunks_of(io.BytesIO(SIGNATURE + about), (b"bKGD", b"tIME"))
    bits, kind = chunks_of(file, (b"IHDR",))[b"IHDR"][8:10]
    chunks = chunk(b"tIME", found[b"tIME"]) if b"tIME" in found else b""
    if b"bKGD" in found and kind != PALETTE:
        values = struct.unpack(">3H", found[b"bKGD"])
        codes = [round(each * ((1 << bits) - 1) / 65535) for each in values]
        codes = codes if kind in (RGB, RGB_ALPHA) else codes[1:2]
        chunks += chunk(b"bKGD", struct.pack(f">{len(codes)}H", *codes))
    insert_chunks(file, chunks)


def texts_of(file: BinaryIO) -> tuple[bytes | None, bytes | None]:
    """Returns (text chunks except XMP, IPTC as in JPEG); None if there is none."""
    texts, records = b"", None
    for kind, size in _walk(file):
        if kind not in TEXTS or size + len(texts) > LARGEST:
            continue
        data = file.read(size)
        key, _, value = data.partition(b"\0")
        found = _iptc(kind, value) if key.decode("latin-1") in iptc.PNG_TEXTS else None
        records = found or records
        if found is None and key != XMP and len(data) == size:
            texts += chunk(kind, data)
    return texts or None, records


def add_texts(file: BinaryIO, texts: bytes, records: bytes | None) -> None:
    """Inserts chunks of `texts_of` before the end of a finished PNG file."""
    if records:
        key = iptc.PNG_TEXTS[0].encode() + b"\0\0"
        texts += chunk(b"zTXt", key + zlib.compress(iptc.text_of(records).encode()))
    file.seek(-len(END), io.SEEK_END)
    file.write(texts + END)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Returns a chunk with its length and checksum."""
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def lost_in(file: BinaryIO) -> tuple[str, ...]:
    """Returns names of what no restored PNG holds; libvips counts frames."""
    return (inventory.CREDENTIALS,) if has_chunk(file, b"caBX") else ()


def _iptc(kind: bytes, value: bytes) -> bytes | None:
    """Returns the value of such a text; that of zTXt starts with a byte for deflate."""
    try:
        text = zlib.decompressobj().decompress(value[1:], LARGEST) if kind == b"zTXt" else value
    except zlib.error:
        return None
    return iptc.from_text(text.decode("latin-1"))
