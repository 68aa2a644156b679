"""TIFF files with five and more bands: three become the picture, the others stay as they are."""

import io
import json

import numpy as np
import pytest

import unhaze
from unhaze import UnhazeError, photo
from unhaze.outputs import Output

tifffile = pytest.importorskip("tifffile")


def picture() -> np.ndarray:
    down, across = np.mgrid[0:60, 0:80]
    return np.stack([90 + down, 100 + across, 120 + (down + across) // 2], -1).astype(np.uint8)


def others(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 255, (60, 80, count), dtype=np.uint8)


def encoded(samples: np.ndarray, **settings) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, metadata=None, **settings)
    return file.getvalue()


def seven(dtype=np.uint8, **settings) -> bytes:
    """Two others, blue, green, red, two others: numbers 5, 4, 3 are the picture."""
    both = others(4)
    samples = np.concatenate([both[..., :2], picture()[..., ::-1], both[..., 2:]], axis=2)
    samples = samples.astype(dtype) * (257 if dtype == np.uint16 else 1)
    if settings.get("planarconfig") == "separate":
        samples = samples.transpose(2, 0, 1)
    settings = {"planarconfig": "contig"} | settings
    return encoded(samples, photometric="minisblack", **settings)


def bands_of(data: bytes) -> np.ndarray:
    """(H,W,bands), however they lie in the file."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        samples = page.asarray()
        return samples.transpose(1, 2, 0) if page.planarconfig == 2 else samples


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "settings",
    [{}, {"planarconfig": "separate"}, {"planarconfig": "separate", "tile": (32, 32)}],
    ids=["side by side", "planes", "tiled planes"],
)
def test_those_that_are_asked_for_are_restored_in_their_places(dtype, settings, restorer):
    source = seven(dtype, **settings)
    got = restorer.restore_bytes(source, output=Output(bands="5,4,3"))
    alone = picture().astype(dtype) * (257 if dtype == np.uint16 else 1)
    expected = restorer.restore_pixels(alone)
    before, after = bands_of(source), bands_of(got)
    assert np.array_equal(after[..., [0, 1, 5, 6]], before[..., [0, 1, 5, 6]])
    scale = 257 if dtype == np.uint16 else 1
    assert np.abs(after[..., [4, 3, 2]].astype(int) - expected).mean() < scale
    with tifffile.TiffFile(io.BytesIO(got)) as file:
        page = file.pages.first
        assert page.photometric.name == "MINISBLACK" and set(page.extrasamples) == {0}
    again = photo.read(got, bands=(4, 3, 2))
    assert np.array_equal(again.pixels, after[..., [4, 3, 2]])


@pytest.mark.parametrize("extra, alpha", [((0, 0), False), ((0, 2), True)])
def test_a_file_that_says_rgb_needs_no_option(extra, alpha, restorer):
    more = others(2)
    more[:20, :, 1] = 0
    source = encoded(
        np.concatenate([picture(), more], axis=2), photometric="rgb", extrasamples=extra
    )
    assert (photo.read(source).alpha is not None) == alpha
    assert np.array_equal(photo.read(source).pixels, picture())
    got = restorer.restore_bytes(source)
    assert np.array_equal(bands_of(got)[..., 3:], more)
    assert not np.array_equal(bands_of(got)[..., :3], picture())
    with tifffile.TiffFile(io.BytesIO(got)) as file:
        assert file.pages.first.photometric.name == "RGB"
        assert tuple(file.pages.first.extrasamples) == extra


def test_gdal_names_the_colours():
    roles = ((4, "Red"), (3, "Green"), (2, "Blue"))
    items = "".join(
        f'<Item name="COLORINTERP" sample="{n}" role="colorinterp">{word}</Item>'
        for n, word in roles
    )
    text = f"<GDALMetadata>{items}</GDALMetadata>\0".encode()
    source = seven(extratags=[(42112, 2, len(text), text, True)])
    assert np.array_equal(photo.read(source).pixels, picture())


def test_nothing_is_guessed():
    with pytest.raises(UnhazeError, match="7 channels and does not say which are red.*bands"):
        photo.read(seven())
    with pytest.raises(UnhazeError, match="7 bands; there is no band 9"):
        photo.read(seven(), bands=(8, 0, 1))
    for wrong in ("0,1,2", "1,2", "a", "3,2,1,4", ""):
        with pytest.raises(UnhazeError, match="three numbers from 1"):
            Output(bands=wrong)


def test_one_band_is_grey(restorer):
    got = restorer.restore_bytes(seven(), output=Output(bands="4"))
    before, after = bands_of(seven()), bands_of(got)
    assert np.array_equal(np.delete(after, 3, axis=2), np.delete(before, 3, axis=2))
    assert not np.array_equal(after[..., 3], before[..., 3])


@pytest.mark.parametrize("output", [{"format": "png"}, {"format": "tiff", "bit_depth": 16}])
def test_where_they_cannot_stay_that_is_reported(output, restorer, caplog):
    got = restorer.restore_bytes(seven(), output=Output(bands="5,4,3", **output))
    assert photo.read(got).pixels.shape == (60, 80, 3)
    assert "4 further bands; left out" in caplog.text


def test_other_formats_have_no_bands_to_choose(restorer, caplog):
    hazy = restorer.restore_bytes(seven(), output=Output(bands="5,4,3", format="png"))
    assert "no effect" not in caplog.text
    restorer.restore_bytes(hazy, output=Output(bands="3,2,1"))
    assert "bands is for TIFF; it has no effect on the given bytes" in caplog.text


def test_the_option_of_the_command_and_of_python(tmp_path, capsys):
    from unhaze.cli import main

    source = tmp_path / "a.tif"
    source.write_bytes(seven())
    words = [str(source), "--model", "dcp", "--analysis", "64", "--json"]
    assert main(words) == 1
    (failed,) = json.loads(capsys.readouterr().out)["files"]
    assert "--bands" in failed["error"] or "bands" in failed["error"]
    assert main([*words, "--bands", "5,4,3"]) == 0
    (done,) = json.loads(capsys.readouterr().out)["files"]
    assert done["notes"] == []
    first = (tmp_path / "a.unhazed.tif").read_bytes()
    unhaze.dehaze(source, out=tmp_path / "b.tif", model="dcp", analysis=64, bands="5,4,3")
    assert np.array_equal(bands_of(first), bands_of((tmp_path / "b.tif").read_bytes()))
