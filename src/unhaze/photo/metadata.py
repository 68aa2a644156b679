"""What is written beside the pixels: some of it by libvips, the rest into the finished file.

libvips writes EXIF anew, without the tags that it does not know and with others that it invents. So
for AVIF it is given a block of the right size that says nothing, in whose place ours is then put.
"""

import functools
import io
import secrets
from typing import BinaryIO

import numpy as np
import pyvips

from unhaze.errors import UnhazeError
from unhaze.photo import exif, iptc, jpeg, png, webp
from unhaze.photo.inventory import Fates, settle
from unhaze.photo.picture import EXIF, ICC, IPTC, XMP, Stream, Traits

# What libvips writes rightly; all else is added to the finished file. AVIF's EXIF is libvips' too.
BY_LIBVIPS = {
    "jpeg": {ICC},
    "png": {ICC, XMP},
    "tiff": {ICC, XMP},
    "webp": {ICC},
    "avif": {ICC, XMP, EXIF},
}
TOKEN = secrets.token_bytes(16)  # by which the block is found again
THUMBNAIL_SIDE, THUMBNAIL_QUALITIES = 160, (90, 75, 60, 40, 20)
BLOCK = 1 << 20


def to_write(stream: Stream, suffix: str, format: str, fates: Fates) -> dict[str, bytes]:
    """What goes into a file of that format; what does not is said, and adds to `fates`."""
    traits = stream.traits
    found = settle(traits, format, suffix, fates)
    if stream.preview is not None and EXIF in found:
        make = functools.partial(_thumbnail, stream.preview)
        found[EXIF] = exif.edited(found[EXIF], traits.orientation, False, make)
    if stream.preview is not None and IPTC in found:
        found[IPTC] = iptc.without_thumbnails(found[IPTC])
    return found


def attach(image: pyvips.Image, found: dict[str, bytes], format: str) -> pyvips.Image:
    """A copy of the picture with its metadata, as libvips takes it."""
    image = image.copy()
    for key in found.keys() & BY_LIBVIPS.get(format, set()):
        block = _placeholder(len(found[key])) if key == EXIF else found[key]
        image.set_type(pyvips.GValue.blob_type, key, block)
    return image


def complete(file: BinaryIO, found: dict[str, bytes], format: str, traits: Traits) -> None:
    """Puts into the finished file what libvips could not, and takes out what it invents."""
    has_density = traits.density is not None
    if format == "jpeg":
        jpeg.complete(file, found, density=traits.density, inches=traits.inches)
    elif format == "png":
        png.complete(file, found, has_density=has_density)
    elif format == "tiff":
        exif.add_to_tiff(file, found.get(EXIF), found.get(IPTC), has_density=has_density)
    elif format == "webp":
        webp.complete(file, found)
    elif format == "avif" and EXIF in found:
        _replace_placeholder(file, found[EXIF])


def _thumbnail(preview: np.ndarray, largest: int) -> bytes | None:
    """A small JPEG of at most so many bytes, if that can be."""
    image = pyvips.Image.new_from_array(np.ascontiguousarray(preview)).copy(interpretation="srgb")
    image = image.thumbnail_image(THUMBNAIL_SIDE, size="down")
    for quality in THUMBNAIL_QUALITIES:
        encoded = image.jpegsave_buffer(Q=quality, keep="none")
        if len(encoded) <= largest:
            return encoded
    return None


def _placeholder(size: int) -> bytes:
    """EXIF which libvips makes into `size` bytes, or some more if that is very few."""
    return exif.opaque(TOKEN + bytes(max(0, size - _overhead())))


@functools.cache
def _overhead() -> int:
    """Bytes that libvips makes of the smallest placeholder, the token included."""
    image = pyvips.Image.black(1, 1)
    image.set_type(pyvips.GValue.blob_type, EXIF, exif.opaque(TOKEN))
    encoded = io.BytesIO(image.jpegsave_buffer(keep="exif"))
    _, token = _find_placeholder(encoded)
    return token + len(TOKEN)


def _replace_placeholder(file: BinaryIO, block: bytes) -> None:
    start, before = _find_placeholder(file)
    room = before + len(TOKEN) + max(0, len(block) - _overhead())
    file.seek(start)
    file.write(block.ljust(room, b"\0"))


def _find_placeholder(file: BinaryIO) -> tuple[int, int]:
    """Where its TIFF structure starts, and how many bytes before the token that is."""
    at, before = file.seek(0), b""
    while block := file.read(BLOCK):
        window = before + block
        if (token := window.find(TOKEN)) >= 0:
            start = window.rindex(b"II*\0", 0, token)
            return at - len(before) + start, token - start
        at, before = at + len(block), window[-4096:]
    raise UnhazeError("this libvips writes no EXIF; install the package pyvips[binary]")
