"""Files as cameras and phones write them, made by heif-enc and tifffile."""

import io
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyvips

ALPHA = b"urn:mpeg:hevc:2015:auxid:1"
DEPTH = b"urn:mpeg:hevc:2015:auxid:2"


def phone_photo(path: Path, picture: Path) -> None:
    """Writes `picture` as a phone would: HEIC of 10 bits in Display P3, EXIF, lying on its side
    (orientation 6), with a depth map beside it. Needs heif-enc; CalledProcessError if that fails.
    """
    image = pyvips.Image.new_from_file(str(picture))
    depth = (pyvips.Image.xyz(image.width, image.height)[1] * (255 / image.height)).cast("uchar")
    beside = image.bandjoin(depth).cast("ushort") * 257
    beside = beside.cast("ushort").copy(interpretation="rgb16")
    profile = pyvips.Operation.call("profile_load", "p3")
    beside.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    beside.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Make", "Maker")
    beside.set_type(pyvips.GValue.gint_type, "orientation", 6)
    source = path.with_suffix(".png")
    beside.pngsave(str(source), compression=1)
    words = ["heif-enc", "-q", "90", "-b", "10", str(source), "-o", str(path)]
    subprocess.run(words, check=True, capture_output=True)
    source.unlink()
    path.write_bytes(renamed(path.read_bytes(), DEPTH))


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        yield kind, start, size
        start += size


def renamed(data: bytes, kind: bytes) -> bytes:
    """The transparency is called something else; all that is behind its name moves."""
    at, grown = data.index(ALPHA), len(kind) - len(ALPHA)
    changed = bytearray(data)

    def grow(start: int, end: int) -> None:
        for name, place, size in boxes(data, start, end):
            if place <= at < place + size:
                struct.pack_into(">I", changed, place, size + grown)
                if name in (b"meta", b"iprp", b"ipco"):
                    grow(place + (12 if name == b"meta" else 8), place + size)

    grow(0, len(data))
    place = data.index(b"iloc") + 4
    version, sizes = data[place], struct.unpack_from(">H", data, place + 4)[0]
    offset, length, base = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    (count,) = struct.unpack_from(">H", data, place + 6)
    place += 8
    for _ in range(count):
        place += 2 + 2 * (version > 0) + 2
        first = int.from_bytes(data[place : place + base])
        if first > at:
            changed[place : place + base] = (first + grown).to_bytes(base)
        place += base
        (extents,) = struct.unpack_from(">H", data, place)
        place += 2
        for _ in range(extents):
            start = int.from_bytes(data[place : place + offset])
            if not first and start > at:
                changed[place : place + offset] = (start + grown).to_bytes(offset)
            place += offset + length
    changed[at : at + len(ALPHA)] = kind
    return bytes(changed)


def dng(light: np.ndarray, balance: tuple[float, float, float]) -> bytes:
    """A DNG of 14 bits with a small preview first, of linear sRGB and a sensor that sees it so."""
    height, width, _ = light.shape
    seen = light / np.array(balance)
    mosaic = seen[..., 1].copy()
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = seen[0::2, 0::2, 0], seen[1::2, 1::2, 2]
    mosaic = np.rint(512 + np.clip(mosaic, 0, 1) * (16383 - 512)).astype(np.uint16)
    to_rgb = np.array(
        [[3.2405, -1.5371, -0.4985], [-0.9693, 1.876, 0.0416], [0.0556, -0.204, 1.0572]]
    )

    def rationals(values: np.ndarray) -> list[int]:
        return [part for each in values.ravel() for part in (round(each * 10000), 10000)]

    to_camera = to_rgb / np.array(balance)[:, None]
    about = [(271, 2, 0, "Maker", True), (306, 2, 0, "2024:01:02 03:04:05", True)]
    about += [(50706, 1, 4, bytes([1, 4, 0, 0]), True), (50708, 2, 0, "Maker Test", True)]
    about += [(50721, 10, 9, rationals(to_camera), True), (50778, 3, 1, 21, True)]
    about += [(50728, 5, 3, rationals(1 / np.array(balance)), True)]
    sensor = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, bytes([0, 1, 1, 2]), True)]
    sensor += [(50714, 4, 1, 512, True), (50717, 4, 1, 16383, True)]
    import tifffile

    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        small = np.full((16, 24, 3), 90, np.uint8)
        settings = {"extratags": about, "subfiletype": 1, "metadata": None}
        writer.write(small, photometric="rgb", subifds=1, **settings)
        writer.write(mosaic, photometric=32803, extratags=sensor, metadata=None)
    return file.getvalue()
