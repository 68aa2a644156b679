"""Orthophotos: tiles, overviews, georeference, BigTIFF and places without data."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import pyvips

from tests.photo.test_readers import difference, scene
from unhaze import photo
from unhaze.photo import pages
from unhaze.restore.restorer import Restorer

tifffile = pytest.importorskip("tifffile")

PIXEL_SCALE, TIE_POINT, NO_DATA = 33550, 33922, 42113
TAGS = [
    (PIXEL_SCALE, 12, 3, (0.5, 0.5, 0.0), True),
    (TIE_POINT, 12, 6, (0.0, 0.0, 0.0, 5e5, 5e6, 0.0), True),
    (NO_DATA, 2, 0, "0", True),
]


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer("dcp", analysis=64)


def ortho(pixels: np.ndarray, *, big: bool = False, overviews: int = 2) -> bytes:
    """Tiled, with overviews behind it, as GDAL writes them."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=big) as writer:
        tiles = {"tile": (32, 32), "photometric": "rgb", "metadata": None}
        writer.write(pixels, extratags=TAGS, **tiles)
        for level in range(1, overviews + 1):
            writer.write(pixels[:: 2**level, :: 2**level].copy(), subfiletype=1, **tiles)
    return file.getvalue()


def with_hole() -> np.ndarray:
    pixels = np.maximum(scene(), 1)
    pixels[20:60, 30:90] = 0
    return pixels


@pytest.mark.parametrize("big", [False, True])
def test_tiles_overviews_and_georeference_stay(big, restorer, tmp_path, caplog):
    (tmp_path / "a.tif").write_bytes(ortho(with_hole(), big=big))
    restorer.restore_file(tmp_path / "a.tif", tmp_path / "b.tif")
    assert not caplog.messages, "overviews are no pages that are lost"
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        first = file.pages[0]
        assert (first.tilewidth, first.tilelength) == (32, 32)
        for tag, _, _, value, _ in TAGS:
            found = first.tags.valueof(tag)
            assert found == value
        small = [page for page in file.pages[1:] if page.subfiletype & 1]
        assert small[0].shape[:2] == (48, 64), "no overview of half the size"
        halved = pyvips.Image.new_from_array(first.asarray()).shrink(2, 2).numpy()
        assert difference(small[0].asarray(), halved.astype(np.uint8)) < 1.5


def test_places_without_data_stay_and_have_no_influence(restorer, tmp_path):
    results = []
    for name, outside in (("zeros", 0), ("whole", None)):
        pixels = with_hole() if outside == 0 else np.maximum(scene(), 1)
        (tmp_path / f"{name}.tif").write_bytes(ortho(pixels))
        restorer.restore_file(tmp_path / f"{name}.tif", tmp_path / f"{name}.out.tif")
        results.append(photo.read(tmp_path / f"{name}.out.tif").pixels)
    holed, whole = results
    assert (holed[20:60, 30:90] == 0).all()
    far = np.s_[70:, :]
    assert np.abs(holed[far].astype(int) - whole[far]).mean() < 12
    assert (holed[:15] != with_hole()[:15]).any(), "nothing was restored"


def test_pages_that_are_no_overviews_are_still_said(restorer, tmp_path, caplog):
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for _ in range(3):
            writer.write(scene(), photometric="rgb", metadata=None)
    (tmp_path / "a.tif").write_bytes(file.getvalue())
    restorer.restore_file(tmp_path / "a.tif", tmp_path / "b.tif")
    assert any("all but the first of 3" in line for line in caplog.messages)


@pytest.mark.parametrize("text", ["nan", "", "x", "-9999"])
def test_what_gdal_may_say_of_missing_data(text):
    from unhaze.photo import ifd

    block = ifd.block({NO_DATA: (2, text.encode() + b"\0")})
    assert pages.missing_data(block) == (-9999 if text == "-9999" else None)


def test_gdal_reads_the_result(restorer, tmp_path: Path):
    if shutil.which("gdalinfo") is None:
        pytest.skip("gdalinfo is not installed")
    (tmp_path / "a.tif").write_bytes(ortho(with_hole()))
    restorer.restore_file(tmp_path / "a.tif", tmp_path / "b.tif")
    told = subprocess.run(["gdalinfo", tmp_path / "b.tif"], capture_output=True, text=True)
    assert told.returncode == 0 and "Warning" not in told.stderr
    for words in ("Origin = (500000", "Overviews: 64x48", "NoData Value=0", "Block=32x32"):
        assert words in told.stdout, words
