"""Small photos with metadata for the web tests, and what must come back of them."""

import numpy as np

from unhaze import photo
from unhaze.photo.picture import EXIF, ICC

# Little-endian TIFF: one entry, Make = "Acme".
ACME = b"II*\x00\x08\x00\x00\x00\x01\x00\x0f\x01\x02\x00\x05\x00\x00\x00\x1a\x00\x00\x00"
ACME += b"\x00\x00\x00\x00Acme\x00"


def hazy_photo(
    suffix: str = ".jpg", *, size: tuple[int, int] = (60, 80), kind: str = "uint8", seed: int = 0
) -> bytes:
    """The bytes of a hazy picture with EXIF; size: height, width; kind: of its samples."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : 1 : size[0] * 1j, 0 : 1 : size[1] * 1j]
    waves = np.dstack([rows, columns, (rows + columns) / 2])
    hazy = 0.45 + 0.4 * waves + 0.02 * random.standard_normal((*size, 3))
    top = np.iinfo(kind).max
    pixels = np.rint(np.clip(hazy, 0, 1) * top).astype(kind)
    traits = photo.Traits(metadata={EXIF: ACME}, quality=92)
    return photo.encode(photo.Photo(pixels, traits=traits), suffix)


def same_but_colours(before: bytes, after: bytes) -> bool:
    """Whether format, size, bit depth, EXIF and profile are the same, and the colours are not."""
    with photo.open_photo(before) as hazy, photo.open_photo(after) as restored:
        facts = [
            (
                each.shape,
                each.dtype,
                each.traits.format,
                each.traits.orientation,
                each.traits.metadata.get(ICC),
                b"Acme" in each.traits.metadata[EXIF],
            )
            for each in (hazy, restored)
        ]
    changed = not np.array_equal(photo.read(before).pixels, photo.read(after).pixels)
    return facts[0] == facts[1] and facts[0][-1] and changed


def bomb() -> bytes:
    """A tiny PNG whose header promises 60,000 x 60,000 pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
