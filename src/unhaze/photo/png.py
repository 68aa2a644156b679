"""The text chunks of PNG, which libvips shortens and garbles: they are carried as they are."""

import io
import struct
import zlib
from typing import BinaryIO

from unhaze.photo import iptc

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
XMP = b"XML:com.adobe.xmp"  # the text that libvips knows as XMP
LARGEST = 1 << 22  # bytes of all texts: above, they are no description of a photo
END = b"\0\0\0\0IEND\xaeB`\x82"


def texts_of(file: BinaryIO) -> tuple[bytes | None, bytes | None]:
    """(text chunks but that of XMP, IPTC as in JPEG); None where there is none."""
    texts, records = b"", None
    file.seek(len(SIGNATURE))
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind not in TEXTS or size + len(texts) > LARGEST:
            file.seek(size + 4, io.SEEK_CUR)
            continue
        data = file.read(size)
        checksum = file.read(4)
        key, _, value = data.partition(b"\0")
        found = _iptc(kind, value) if key.decode("latin-1") in iptc.PNG_TEXTS else None
        records = found or records
        if found is None and key != XMP and len(checksum) == 4:
            texts += head + data + checksum
    return texts or None, records


def add_texts(file: BinaryIO, texts: bytes, records: bytes | None) -> None:
    """Puts chunks as from `texts_of` before the end of a finished PNG file."""
    if records:
        key = iptc.PNG_TEXTS[0].encode() + b"\0\0"
        texts += chunk(b"zTXt", key + zlib.compress(iptc.text_of(records).encode()))
    file.seek(-len(END), io.SEEK_END)
    file.write(texts + END)


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
