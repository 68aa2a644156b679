"""Photos: every pixel that a format can hold survives the round trip."""

import subprocess
import sys

import numpy as np
import pytest
import pyvips

from unhaze import photo
from unhaze.image import to_float
from unhaze.photo import Photo, Traits


def colours(height: int = 40, width: int = 60, dtype: type = np.uint8) -> np.ndarray:
    """A smooth coloured picture that no two corners of share."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [rows / height, columns / width, (rows + 2 * columns) / (height + 2 * width)]
    return (np.stack(planes, -1) * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_lossless_formats_give_back_every_sample(tmp_path, suffix, dtype, grey, has_alpha):
    pixels = colours(dtype=dtype)
    pixels = np.repeat(pixels[..., 2:], 3, axis=2) if grey else pixels
    alpha = pixels[::-1, :, 0].copy() if has_alpha else None
    photo.write(Photo(pixels, alpha, Traits(grey=grey)), tmp_path / f"one{suffix}")
    once = photo.read(tmp_path / f"one{suffix}")
    photo.write(once, tmp_path / f"two{suffix}")
    twice = photo.read(tmp_path / f"two{suffix}")
    bands = pyvips.Image.new_from_file(str(tmp_path / f"two{suffix}")).bands
    assert bands == (1 if grey else 3) + has_alpha
    for got in (once, twice):
        assert got.traits.grey == grey
        assert got.pixels.dtype == dtype
        np.testing.assert_array_equal(got.pixels, pixels)
        assert (got.alpha is None) != has_alpha
        if has_alpha:
            np.testing.assert_array_equal(got.alpha, alpha)


@pytest.mark.parametrize(("suffix", "error"), [(".jpg", 3), (".webp", 4), (".avif", 3)])
def test_lossy_formats_stay_close(suffix, error):
    pixels = colours(120, 160)
    got = photo.read(photo.encode(Photo(pixels), suffix))
    assert np.abs(got.pixels.astype(int) - pixels).mean() < error


def test_avif_keeps_more_than_8_bits():
    pixels = colours(64, 64, np.uint16) // 64 + 20000
    got = photo.read(photo.encode(Photo(pixels), ".avif"))
    assert got.pixels.dtype == np.uint16
    assert len(np.unique(got.pixels)) > 20


def test_palette_becomes_true_colour(tmp_path):
    pixels = colours() // 64 * 64
    pyvips.Image.new_from_array(pixels).pngsave(str(tmp_path / "in.png"), palette=True, dither=0)
    assert pyvips.Image.new_from_file(str(tmp_path / "in.png")).get("palette")
    np.testing.assert_array_equal(photo.read(tmp_path / "in.png").pixels, pixels)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_its_tag_reset(tmp_path, orientation, suffix):
    image = pyvips.Image.new_from_array(colours(30, 50))
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    image.write_to_file(str(tmp_path / f"in{suffix}"))
    upright = pyvips.Image.new_from_file(str(tmp_path / f"in{suffix}")).autorot().numpy()
    got = photo.read(tmp_path / f"in{suffix}")
    np.testing.assert_array_equal(got.pixels, upright)
    photo.write(got, tmp_path / f"out{suffix}")
    written = pyvips.Image.new_from_file(str(tmp_path / f"out{suffix}"))
    assert "orientation" not in written.get_fields() or written.get("orientation") == 1
    np.testing.assert_array_equal(photo.read(tmp_path / f"out{suffix}").pixels, upright)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_is_converted_and_said(tmp_path, caplog, suffix):
    pixels = colours() // 2 + 64
    image = pyvips.Image.new_from_array(pixels).icc_export(output_profile="cmyk")
    image.write_to_file(str(tmp_path / f"in{suffix}"))
    got = photo.read(tmp_path / f"in{suffix}")
    assert "CMYK" in caplog.text
    assert got.pixels.shape == pixels.shape
    assert np.abs(got.pixels.astype(int) - pixels).mean() < 12


def test_floating_point_stays_so_in_tiff_and_becomes_16_bits_elsewhere(tmp_path, caplog):
    pixels = colours()
    image = pyvips.Image.new_from_array(pixels).copy(interpretation="srgb").colourspace("scrgb")
    image.tiffsave(str(tmp_path / "in.tif"))
    got = photo.read(tmp_path / "in.tif")
    assert got.pixels.dtype == np.float32
    np.testing.assert_array_equal(got.pixels, image.numpy())
    assert np.abs(photo.read_rgb(tmp_path / "in.tif") / 257.0 - pixels).max() < 1
    assert caplog.text == ""
    photo.write(got, tmp_path / "out.png")
    assert "rounded to 16 bits" in caplog.text
    assert np.abs(photo.read(tmp_path / "out.png").pixels / 257.0 - pixels).max() < 1


def test_only_the_first_page_is_read_and_said(tmp_path, caplog):
    pages = pyvips.Image.new_from_array(np.concatenate([colours(), 255 - colours()]))
    pages.set_type(pyvips.GValue.gint_type, "page-height", 40)
    pages.tiffsave(str(tmp_path / "in.tif"))
    got = photo.read(tmp_path / "in.tif")
    np.testing.assert_array_equal(got.pixels, colours())
    photo.write(got, tmp_path / "out.tif")
    assert "all but the first of 2 pages" in caplog.text


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (2000, 1)])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_extreme_shapes(shape, suffix):
    pixels = np.full((*shape, 3), 77, np.uint8)
    got = photo.read(photo.encode(Photo(pixels), suffix)).pixels
    assert got.shape == pixels.shape
    assert np.abs(got.astype(int) - 77).max() <= 2


@pytest.mark.parametrize(
    "name", ["münchen 東京.png", "100%.png", "a%20b%s.png", "a[1].png", "line\nbreak.png", "-.PNG"]
)
def test_odd_names(tmp_path, name):
    photo.write(Photo(colours()), tmp_path / name)
    np.testing.assert_array_equal(photo.read_rgb(tmp_path / name), colours())
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("quality", [40, 75, 90, 98])
@pytest.mark.parametrize("chroma", ["on", "off"])
def test_jpeg_quality_and_chroma_are_seen_and_kept(tmp_path, quality, chroma):
    image = pyvips.Image.new_from_array(colours(64, 64))
    image.jpegsave(str(tmp_path / "in.jpg"), Q=quality, subsample_mode=chroma)
    got = photo.read(tmp_path / "in.jpg")
    assert got.traits.quality == pytest.approx(quality, abs=1)
    assert got.traits.full_chroma == (chroma == "off")
    again = photo.read(photo.encode(got, ".jpg"))
    assert again.traits.quality == pytest.approx(max(quality, 75), abs=1)
    assert again.traits.full_chroma == got.traits.full_chroma


@pytest.mark.parametrize("quality", [20, 60, 75, 85, 95])
@pytest.mark.parametrize("effort", [0, 4])
def test_webp_quality_is_seen_and_kept(quality, effort):
    noise = np.random.default_rng(0).integers(-20, 20, (90, 120, 3))
    image = pyvips.Image.new_from_array((colours(90, 120) * 0.8 + 25 + noise).astype(np.uint8))
    got = photo.read(image.webpsave_buffer(Q=quality, effort=effort))
    assert got.traits.quality == pytest.approx(quality, abs=4)
    again = photo.read(photo.encode(got, ".webp"))
    assert again.traits.quality == pytest.approx(max(quality, 75), abs=4)
    assert photo.read(photo.encode(got, ".jpg")).traits.quality == pytest.approx(92, abs=1)


@pytest.mark.parametrize("chroma", ["on", "off"])
def test_avif_keeps_its_chroma(chroma):
    image = pyvips.Image.new_from_array(colours(64, 64))
    got = photo.read(image.heifsave_buffer(compression="av1", Q=90, subsample_mode=chroma))
    assert got.traits.full_chroma == (chroma == "off")
    assert photo.read(photo.encode(got, ".avif")).traits.full_chroma == got.traits.full_chroma


def test_lossless_webp_stays_lossless(tmp_path):
    pyvips.Image.new_from_array(colours()).webpsave(str(tmp_path / "in.webp"), lossless=True)
    got = photo.read(tmp_path / "in.webp")
    np.testing.assert_array_equal(photo.read(photo.encode(got, ".webp")).pixels, colours())


def test_what_jpeg_cannot_hold_is_reported(caplog):
    alpha = np.full((40, 60), 65535, np.uint16)
    alpha[:20] = 0
    got = photo.read(photo.encode(Photo(colours(dtype=np.uint16), alpha), ".jpg"))
    assert "transparency" in caplog.text
    assert "16 bits" in caplog.text
    assert got.pixels.dtype == np.uint8
    assert got.pixels[:16].min() >= 250  # transparent: white
    assert np.abs(got.pixels[22:].astype(int) - colours()[22:]).mean() < 3


def test_bare_pixels(tmp_path):
    photo.write_rgb(tmp_path / "out.png", colours())
    photo.write_rgb(tmp_path / "out.png", colours()[:, ::-1])
    np.testing.assert_array_equal(photo.read_rgb(tmp_path / "out.png"), colours()[:, ::-1])


def test_to_float_spans_zero_to_one():
    for dtype in (np.uint8, np.uint16):
        values = to_float(np.array([0, np.iinfo(dtype).max], dtype))
        assert values.dtype == np.float32
        assert values.tolist() == [0, 1]


def test_reading_and_writing_need_no_torch():
    code = "import sys, unhaze.photo, unhaze.restore.restorer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
