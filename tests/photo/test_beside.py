"""Small things beside the pixels: each is written once, where it belongs, as it was."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest

from unhaze import photo
from unhaze.outputs import Output
from unhaze.photo import Photo, Traits, exif, ifd, iptc, png
from unhaze.photo.exif import read_directory, read_header, read_number
from unhaze.photo.picture import ABOUT, EXIF, IPTC, XMP

RECORDS = b"\x1c\x02\x19\0\x04haze\x1c\x02Z\0\x04Rome"
DIGEST = b"8BIM\x04\x25\0\0" + struct.pack(">I", 16) + bytes(range(16))
BOTH = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(RECORDS)) + RECORDS + DIGEST
WHITE = np.array([3127, 10000, 3290, 10000], "<u4").tobytes()
PRIMARIES = np.array([64, 100, 33, 100, 30, 100, 60, 100, 15, 100, 6, 100], "<u4").tobytes()
PAGE = struct.pack("<HH", 0, 1)


def colours() -> np.ndarray:
    down, across = np.mgrid[0:40, 0:50]
    return np.stack([90 + down, 100 + across, 120 + down], -1).astype(np.uint8)


def tags_of(tiff: bytes) -> dict[int, object]:
    file = io.BytesIO(tiff)
    header = read_header(file)
    return read_directory(file, header, read_number(file, header, header.pointer))[0]


def test_iptc_stands_once_in_tiff():
    source = Photo(colours(), traits=Traits(metadata={IPTC: iptc.SIGNATURE + BOTH}))
    tiff = photo.encode(source, ".tif")
    assert tiff.count(RECORDS) == 1 and tiff.count(DIGEST) == 1
    assert {ifd.IPTC_RECORDS, ifd.PHOTOSHOP} <= tags_of(tiff).keys()
    found = photo.read(tiff).traits.metadata[IPTC]
    assert iptc.records_of(found) == RECORDS and DIGEST in found
    bare = Photo(colours(), traits=Traits(metadata={IPTC: iptc.from_tags(b"", RECORDS)}))
    assert ifd.PHOTOSHOP not in tags_of(photo.encode(bare, ".tif"))


def described() -> dict[str, bytes]:
    tags = {318: (5, WHITE), 319: (5, PRIMARIES), 297: (3, PAGE)}
    return {EXIF: ifd.block(tags)}


def test_white_point_primaries_and_page_number_of_tiff_stay():
    tiff = photo.encode(Photo(colours(), traits=Traits(metadata=described())), ".tif")
    again = photo.encode(photo.read(tiff), ".tif")
    found = ifd.tags_of(photo.read(again).traits.metadata[EXIF])
    assert (found[318][1], found[319][1], found[297][1]) == (WHITE, PRIMARIES, PAGE)
    assert photo.read(again).traits.metadata.keys() == {EXIF}


def test_they_go_with_the_colours_and_the_pages_that_they_describe(tmp_path):
    tiff = photo.encode(Photo(colours(), traits=Traits(metadata=described())), ".tif")
    other = photo.encode(photo.read(tiff), ".tif", output=Output(color_space="adobe-rgb"))
    found = ifd.tags_of(photo.read(other).traits.metadata[EXIF])
    assert found.keys() & {318, 319, 297} == {297}
    file = io.BytesIO(tiff)  # a second page: the directory once more
    header = read_header(file)
    start = read_number(file, header, header.pointer)
    _, following = read_directory(file, header, start)
    end = file.seek(0, io.SEEK_END)
    file.write(tiff[start:following] + bytes(4))
    file.seek(following)
    file.write(struct.pack("<I", end))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unhaze.photo.reading.pages.count_overviews", lambda file: 0)
        two = photo.read(file.getvalue()).traits
    assert two.lost == ("all but the first of 2 pages or frames",)
    assert ifd.tags_of(two.metadata[EXIF]).keys() & {318, 319, 297} == {318, 319}


def test_lines_of_a_directory_can_be_taken_out():
    block = ifd.block({271: (2, b"A long maker\0"), 318: (5, WHITE), 306: (2, b"2024\0")})
    changed = exif.without(block, {318, 999})
    assert len(changed) == len(block)
    assert ifd.tags_of(changed) == {271: (2, b"A long maker\0"), 306: (2, b"2024\0")}
    assert exif.without(block, {999}) == block and exif.without(b"junk", {1}) == b"junk"


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    return data[:33] + b"".join(chunks) + data[33:]


TIME = struct.pack(">HBBBBB", 2024, 5, 6, 7, 8, 9)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_background_and_date_of_png_stay(dtype):
    pixels = colours().astype(dtype) * (257 if dtype == np.uint16 else 1)
    value = (32, 64, 96) if dtype == np.uint8 else (8224, 16448, 24672)
    chunks = [png.chunk(b"bKGD", struct.pack(">3H", *value)), png.chunk(b"tIME", TIME)]
    source = with_chunks(photo.encode(Photo(pixels), ".png"), *chunks)
    written = photo.encode(photo.read(source), ".png")
    found = png.chunks_of(io.BytesIO(written), (b"bKGD", b"tIME"))
    assert found == {b"bKGD": struct.pack(">3H", *value), b"tIME": TIME}
    assert written.index(b"bKGD") < written.index(b"IDAT")
    deep = photo.encode(photo.read(source), ".png", output=Output(bit_depth=16))
    background = png.chunks_of(io.BytesIO(deep), (b"bKGD",))[b"bKGD"]
    assert background == struct.pack(">3H", 8224, 16448, 24672)


def test_backgrounds_of_grey_and_palettes():
    grey = Photo(np.repeat(colours()[..., :1], 3, 2), traits=Traits(grey=True))
    source = with_chunks(photo.encode(grey, ".png"), png.chunk(b"bKGD", b"\0\x40"))
    written = photo.encode(photo.read(source), ".png")
    assert png.chunks_of(io.BytesIO(written), (b"bKGD",)) == {b"bKGD": b"\0\x40"}
    head = struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0)
    table = png.chunk(b"PLTE", bytes([9, 8, 7, 32, 64, 96]))
    indexed = png.SIGNATURE + png.chunk(b"IHDR", head) + table + png.chunk(b"bKGD", b"\1") + png.END
    about = png.about_of(io.BytesIO(indexed))
    assert about == png.chunk(b"bKGD", struct.pack(">3H", 8224, 16448, 24672))
    broken = indexed.replace(png.chunk(b"bKGD", b"\1"), png.chunk(b"bKGD", b"\7"))
    assert png.about_of(io.BytesIO(broken)) is None


def test_what_another_format_does_not_hold_is_reported(caplog):
    traits = Traits(metadata={ABOUT: png.chunk(b"tIME", TIME)})
    photo.encode(Photo(colours(), traits=traits), ".jpg")
    assert caplog.messages == ["'.jpg' holds no date and background of PNG; left out"]


@pytest.mark.parametrize("size", [4, 90_000])
@pytest.mark.parametrize("packet", [None, b"<x:xmpmeta>" + b" " * 99 + b"</x:xmpmeta>"])
def test_exif_of_webp_begins_with_its_tiff_structure_and_stands_before_xmp(size, packet):
    block = ifd.block({315: (2, b"me\0\0"), 37510: (7, bytes(size))})
    metadata = {EXIF: block} | ({XMP: packet} if packet else {})
    source = photo.read(photo.encode(Photo(colours()), ".webp"))
    traits = replace(source.traits, metadata=metadata)
    data = photo.encode(replace(source, traits=traits), ".webp")
    at = data.index(b"EXIF")
    (length,) = struct.unpack("<I", data[at + 4 : at + 8])
    assert data[at + 8 : at + 8 + length] == block and b"Exif\0\0" not in data
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    assert data[20] & 0x08
    if packet:
        assert at < data.index(b"XMP ") and data[20] & 0x04
    assert photo.read(data).traits.metadata == metadata
