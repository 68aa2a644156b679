"""Photos: everything that a format can hold survives the round trip."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips

from unhaze import photo
from unhaze.photo import Photo
from unhaze.photo.picture import THUMBNAIL

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'
EXIF = {
    "exif-ifd0-Make": "Maker",
    "exif-ifd0-DateTime": "2020:01:02 03:04:05",
    "exif-ifd0-Copyright": "(c) somebody",
    "exif-ifd2-ExposureTime": "1/250",
    "exif-ifd2-FNumber": "28/10",
    "exif-ifd3-GPSLatitude": "50 30 10",
}


def colours(height: int = 40, width: int = 60, dtype: type = np.uint8) -> np.ndarray:
    """A smooth coloured picture that no two corners of share."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [rows / height, columns / width, (rows + 2 * columns) / (height + 2 * width)]
    return (np.stack(planes, -1) * np.iinfo(dtype).max).astype(dtype)


def profile() -> bytes:
    return pyvips.Operation.call("profile_load", "p3")


def rich(pixels: np.ndarray) -> pyvips.Image:
    """A libvips picture with EXIF, XMP and a wide-gamut ICC profile."""
    space = "rgb16" if pixels.dtype == np.uint16 else "srgb"
    image = pyvips.Image.new_from_array(pixels).copy(interpretation=space)
    for key, text in EXIF.items():
        image.set_type(pyvips.GValue.gstr_type, key, text)
    image.set_type(pyvips.GValue.blob_type, "xmp-data", XMP)
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile())
    return image


def shown(path: Path) -> dict[str, str]:
    """EXIF as libvips shows it."""
    image = pyvips.Image.new_from_file(str(path))
    return {key: image.get(key) for key in image.get_fields() if key.startswith("exif-ifd")}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif"])
def test_exif_xmp_and_icc_survive(tmp_path, suffix):
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    rich(colours()).write_to_file(str(source))
    photo.write(photo.read(source), target)
    assert EXIF.keys() <= shown(source).keys()
    assert shown(target) == shown(source)
    written = photo.read(target)
    assert written.metadata["xmp-data"] == XMP
    assert written.metadata["icc-profile-data"] == profile()


def test_tiff_keeps_icc_xmp_and_density(tmp_path):
    rich(colours()).copy(xres=4.0, yres=5.0).tiffsave(str(tmp_path / "in.tif"))
    photo.write(photo.read(tmp_path / "in.tif"), tmp_path / "out.tif")
    written = photo.read(tmp_path / "out.tif")
    assert written.metadata["icc-profile-data"] == profile()
    assert written.metadata["xmp-data"] == XMP
    assert written.density == pytest.approx((4, 5), rel=1e-3)


def test_iptc_survives_in_jpeg_and_nothing_is_invented(tmp_path, caplog):
    iptc = b"Photoshop 3.0\0008BIM\4\4\0\0\0\0\0\x0b\x1c\x02\x50\0\6Author\0"
    image = pyvips.Image.new_from_array(colours())
    image.set_type(pyvips.GValue.blob_type, "iptc-data", iptc)
    image.jpegsave(str(tmp_path / "in.jpg"), keep="iptc")
    photo.write(photo.read(tmp_path / "in.jpg"), tmp_path / "out.jpg")
    assert photo.read(tmp_path / "out.jpg").metadata["iptc-data"] == iptc
    assert "exif-data" not in photo.read(tmp_path / "out.jpg").metadata
    assert caplog.text == ""
    photo.write(photo.read(tmp_path / "in.jpg"), tmp_path / "out.tif")
    assert "IPTC" in caplog.text


def test_the_thumbnail_in_exif_shows_the_new_picture(tmp_path):
    image = rich(colours(300, 400))
    old = image.thumbnail_image(160).jpegsave_buffer(keep="none")
    image.set_type(pyvips.GValue.blob_type, THUMBNAIL, old)
    image.jpegsave(str(tmp_path / "in.jpg"))
    hazy = photo.read(tmp_path / "in.jpg")
    backwards = dict(reversed(hazy.metadata.items()))
    photo.write(replace(hazy, pixels=255 - hazy.pixels, metadata=backwards), tmp_path / "out.jpg")
    thumbnail = pyvips.Image.new_from_file(str(tmp_path / "out.jpg")).get(THUMBNAIL)
    expected = 255 - photo.read(old).pixels.astype(int)
    assert np.abs(photo.read(thumbnail).pixels - expected).mean() < 4


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_lossless_formats_give_back_every_sample(tmp_path, suffix, dtype, grey, has_alpha):
    pixels = colours(dtype=dtype)
    pixels = np.repeat(pixels[..., 2:], 3, axis=2) if grey else pixels
    alpha = pixels[::-1, :, 0].copy() if has_alpha else None
    photo.write(Photo(pixels, alpha, grey=grey), tmp_path / f"one{suffix}")
    once = photo.read(tmp_path / f"one{suffix}")
    photo.write(once, tmp_path / f"two{suffix}")
    twice = photo.read(tmp_path / f"two{suffix}")
    bands = pyvips.Image.new_from_file(str(tmp_path / f"two{suffix}")).bands
    assert bands == (1 if grey else 3) + has_alpha
    for got in (once, twice):
        assert got.grey == grey
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


def test_floating_point_rgb_becomes_16_bits_and_is_said(tmp_path, caplog):
    pixels = colours()
    image = pyvips.Image.new_from_array(pixels).copy(interpretation="srgb").colourspace("scrgb")
    image.tiffsave(str(tmp_path / "in.tif"))
    got = photo.read(tmp_path / "in.tif")
    assert "16-bit" in caplog.text
    assert np.abs(got.pixels / 257.0 - pixels).max() < 1


def test_only_the_first_page_is_read_and_said(tmp_path, caplog):
    pages = pyvips.Image.new_from_array(np.concatenate([colours(), 255 - colours()]))
    pages.set_type(pyvips.GValue.gint_type, "page-height", 40)
    pages.tiffsave(str(tmp_path / "in.tif"))
    np.testing.assert_array_equal(photo.read(tmp_path / "in.tif").pixels, colours())
    assert "2 pages" in caplog.text


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
    assert got.quality == pytest.approx(quality, abs=1)
    assert got.full_chroma == (chroma == "off")
    again = photo.read(photo.encode(got, ".jpg"))
    assert again.quality == pytest.approx(max(quality, 75), abs=1)
    assert again.full_chroma == got.full_chroma


def test_lossless_webp_stays_lossless(tmp_path):
    pyvips.Image.new_from_array(colours()).webpsave(str(tmp_path / "in.webp"), lossless=True)
    got = photo.read(tmp_path / "in.webp")
    np.testing.assert_array_equal(photo.read(photo.encode(got, ".webp")).pixels, colours())


def test_what_jpeg_cannot_hold_is_said(caplog):
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
        values = photo.to_float(np.array([0, np.iinfo(dtype).max], dtype))
        assert values.dtype == np.float32
        assert values.tolist() == [0, 1]


def test_reading_and_writing_need_no_torch():
    code = "import sys, unhaze.photo, unhaze.restore.restorer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
