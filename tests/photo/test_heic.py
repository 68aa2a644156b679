"""HEIC as phones write it: ten bits, Display P3, a gain map, depth and masks beside the picture."""

import io
import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import pyvips

from benchmarks.camera_files import ALPHA, DEPTH, phone_photo, renamed
from unhaze import photo
from unhaze.photo import exif, ifd, inventory
from unhaze.photo.picture import BEHIND, EXIF, ICC, VIEWS, XMP
from unhaze.restore.restorer import Restorer

pi_heif = pytest.importorskip("pi_heif")
if shutil.which("heif-enc") is None:
    pytest.skip("no heif-enc here; on Debian: apt-get install libheif-examples", True)

GAIN_MAP = b"urn:com:apple:photo:2020:aux:hdrgainmap"
MASK = b"urn:com:apple:photo:2019:aux:semanticskymatte"


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer("dcp", "cpu", analysis=64, threads=1)


def scene() -> np.ndarray:
    down, across = np.mgrid[0:96, 0:128].astype(float)
    planes = [60 + across, 150 - down / 2, 110 + 40 * np.sin(across / 20)]
    return np.rint(np.stack(planes, axis=2)).astype(np.uint8)


def encoded(folder: Path, image: pyvips.Image, *options: object) -> bytes:
    image.pngsave(str(folder / "a.png"))
    words = ["heif-enc", "-q", 95, *options, folder / "a.png", "-o", folder / "a.heic"]
    done = subprocess.run([str(each) for each in words], capture_output=True, timeout=120)
    if done.returncode:
        pytest.skip("this heif-enc has no encoder for HEVC")
    return (folder / "a.heic").read_bytes()


def with_beside(folder: Path, kind: bytes) -> bytes:
    """A picture and, where heif-enc puts its transparency, another one of the same size."""
    beside = np.full((96, 128, 1), 40, np.uint8)
    beside[:40] = 220
    image = pyvips.Image.new_from_array(np.dstack([scene(), beside])).copy(interpretation="srgb")
    return renamed(encoded(folder, image), kind)


def test_a_gain_map_goes_into_jpeg_as_phones_put_it_there(restorer, tmp_path, caplog):
    source = with_beside(tmp_path, GAIN_MAP)
    traits = photo.read(source).traits
    assert traits.held == (inventory.GAIN_MAP,) and traits.lost == ()
    got = restorer.restore_bytes(source)
    assert got.startswith(b"\xff\xd8") and caplog.messages == []
    found = photo.read(got).traits
    assert found.held == (inventory.GAIN_MAP,)
    gain_map = photo.read(found.metadata[BEHIND])
    assert GAIN_MAP in gain_map.traits.metadata[XMP] and gain_map.traits.grey
    assert abs(gain_map.pixels[:36].mean() - 220) < 2
    assert abs(gain_map.pixels[44:].mean() - 40) < 2
    _, size, at = struct.unpack("<III", found.metadata[VIEWS])
    assert (size, at) == (len(found.metadata[BEHIND]), 0)
    if shutil.which("exiftool"):
        (tmp_path / "b.jpg").write_bytes(got)
        words = ["exiftool", "-b", "-MPImage2", str(tmp_path / "b.jpg")]
        assert subprocess.check_output(words) == found.metadata[BEHIND]


def test_a_picture_that_is_not_a_jpeg_says_that_it_lacks_the_gain_map(restorer, tmp_path, caplog):
    restorer.restore_bytes(with_beside(tmp_path, GAIN_MAP), ".png")
    assert caplog.messages == [f"'.png' holds no {inventory.GAIN_MAP}; left out"]


@pytest.mark.parametrize("kind, words", [(DEPTH, inventory.DEPTH), (MASK, inventory.MASKS)])
def test_what_else_stands_beside_is_reported(kind, words, tmp_path, capsys):
    from unhaze.cli import main

    (tmp_path / "b.heic").write_bytes(with_beside(tmp_path, kind))
    assert main([str(tmp_path / "b.heic"), "--model", "dcp", "--analysis", "32", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["files"]
    assert entry["notes"] == [f"left out: {words}"]


def test_transparency_is_none_of_these(tmp_path):
    got = photo.read(with_beside(tmp_path, ALPHA))
    assert got.alpha is not None and got.traits.lost == () and got.traits.held == ()


def test_a_photo_of_a_phone_keeps_depth_colours_exif_and_stands_upright(restorer, tmp_path):
    pyvips.Image.new_from_array(scene()).pngsave(str(tmp_path / "a.png"))
    try:
        phone_photo(tmp_path / "a.heic", tmp_path / "a.png")
    except subprocess.CalledProcessError:
        pytest.skip("this heif-enc has no encoder for HEVC")
    source = (tmp_path / "a.heic").read_bytes()
    got = photo.read(source)
    assert got.pixels.shape == scene().shape  # HEIC has its own turning; EXIF's does not count
    assert np.abs(got.pixels / 257 - scene()).mean() < 1.5
    assert len(np.unique(got.pixels & 63)) > 8, "only eight bits came through"
    tags = ifd.tags_of(got.traits.metadata[EXIF])
    assert tags[271][1] == b"Maker\0" and exif.orientation_of(got.traits.metadata[EXIF]) == 1
    assert got.traits.metadata[ICC] == pyvips.Operation.call("profile_load", "p3")
    assert got.alpha is None and got.traits.lost == (inventory.DEPTH,)
    written = restorer.restore_bytes(source, ".tif")
    kept = photo.read(written)
    assert kept.pixels.dtype == np.uint16 and kept.traits.metadata[ICC] == got.traits.metadata[ICC]
    container = pi_heif.open_heif(io.BytesIO(source), convert_hdr_to_8bit=False)
    assert container[container.primary_index].info["bit_depth"] == 10


def test_ten_bits_become_sixteen_at_full_range():
    from unhaze.photo.readers import heif

    codes = np.arange(1024, dtype=np.uint16).reshape(32, 32)
    got = heif._at_full_range(codes, 10)[..., 0].ravel()
    assert got[0] == 0 and got[-1] == 65535
    assert np.array_equal(got >> 6, np.arange(1024))
    assert np.abs(got - np.arange(1024) * (65535 / 1023)).max() < 64
    assert heif._at_full_range(codes.astype(np.uint8), 8).dtype == np.uint8
