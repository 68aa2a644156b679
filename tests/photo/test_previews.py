"""A preview is never taken for the photo, and what is not read is called by its name."""

import struct

import pytest

from unhaze import photo
from unhaze.errors import UnhazeError


def tiff(directories: list[dict[int, tuple[int, int, int]]], pixels: bytes) -> bytes:
    """Little-endian TIFF; tag -> (kind, count, value); the value "next" of 330 is patched in."""
    data = b"II*\0" + struct.pack("<I", 8)
    at = 8
    for index, tags in enumerate(directories):
        size = 2 + 12 * len(tags) + 4
        following = at + size
        lines = b""
        for tag, (kind, count, value) in sorted(tags.items()):
            value = following if (tag == 330 and index == 0) else value
            packed = struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value)
            lines += struct.pack("<HHI", tag, kind, count) + packed
        data += struct.pack("<H", len(tags)) + lines + bytes(4)
        at = following
    return data + pixels


def preview_tags(place: int, **more: int) -> dict[int, tuple[int, int, int]]:
    tags = {256: (4, 1, 160), 257: (4, 1, 112), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
    tags |= {273: (4, 1, place), 277: (3, 1, 1), 278: (4, 1, 112), 279: (4, 1, 160 * 112)}
    return tags | {int(tag[1:]): (4, 1, value) for tag, value in more.items()}


RAW = {
    "dng": [preview_tags(400, t254=1, t330=0, t50706=0x00000401), {262: (3, 1, 32803)}],
    "nef": [preview_tags(400, t254=1, t330=0), {262: (3, 1, 32803)}],
    "linear": [preview_tags(400, t330=0), {262: (3, 1, 34892)}],
    "pyramid, smallest first": [preview_tags(400, t254=1)],
    "a sensor's mosaic": [preview_tags(400) | {262: (3, 1, 32803)}],
}


@pytest.mark.parametrize("name", RAW)
def test_a_preview_is_never_taken_for_the_photo(name, unhaze, tmp_path):
    data = tiff(RAW[name], b"")
    path = tmp_path / "in.tif"
    path.write_bytes(data.ljust(400, b"\0") + bytes(160 * 112))
    with pytest.raises(UnhazeError, match="camera raw|reduced-resolution"):
        photo.read(path)
    done = unhaze("run", path, "-o", tmp_path / "out.tif", "--model", "dcp")
    assert done.returncode == 1 and not (tmp_path / "out.tif").exists()
    assert len(done.stderr.decode().strip().splitlines()) == 1


def test_tiff_whose_first_page_is_the_photo_is_read(tmp_path):
    """Without such tags it is one: the very same file but for NewSubfileType."""
    path = tmp_path / "in.tif"
    path.write_bytes(tiff([preview_tags(400)], b"").ljust(400, b"\0") + bytes(160 * 112))
    assert photo.read(path).pixels.shape == (112, 160, 3)


CUT_OFF = {
    "BMP": b"BM" + bytes(60),
    "JPEG XL": b"\xff\x0a" + bytes(60),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
    "HEIC": b"\0\0\0\x18ftypheic" + bytes(60),
    "PSD": b"8BPS\0\1" + bytes(40),
    "camera raw": b"FUJIFILMCCD-RAW 0201" + bytes(60),
    "QOI": b"qoif" + bytes(60),
    "OpenEXR": b"\x76\x2f\x31\x01" + bytes(60),
    "PNM": b"P6\n5 5\n255\n" + bytes(60),
}


@pytest.mark.parametrize("name", CUT_OFF)
def test_a_file_of_a_known_kind_is_named_whatever_its_suffix(name, tmp_path):
    pytest.importorskip("imagecodecs")
    path = tmp_path / "in.jpg"
    path.write_bytes(CUT_OFF[name])
    with pytest.raises(UnhazeError, match=f"'{path}': this .*{name}.* file"):
        photo.read(path)
