"""Formats that the page reads and writes by libvips and libheif: as the command line does."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.site.page import (
    CASES,
    TURNED,
    choose,
    encoded,
    expected_and_saved,
    given,
    save,
    scene,
    slope,
    wait_until_shown,
    wide_gamut,
)
from unhaze import dehaze, photo
from unhaze.image import to_float
from unhaze.metrics import psnr
from unhaze.photo.picture import EXIF, ICC

pytestmark = pytest.mark.slow


def ten_bits() -> bytes:
    import pyvips

    pixels = pyvips.Image.new_from_array(scene()).cast("ushort") * 257
    image = pixels.cast("ushort").copy(interpretation="rgb16")
    return image.heifsave_buffer(compression="av1", bitdepth=10, Q=90)


FORMATS: dict[str, Callable[[], bytes]] = {
    "plain.tif": lambda: encoded(".tif"),
    "wide.tiff": lambda: encoded(".tif", wide=True, **wide_gamut()),
    "turned.tif": lambda: encoded(".tif", exif=TURNED, orientation=6),
    "alpha.tif": lambda: encoded(".tif", alpha=slope()),
    "grey.tif": lambda: encoded(".tif", grey=True),
    "plain.avif": lambda: encoded(".avif", format="avif"),
    "p3.avif": lambda: encoded(".avif", format="avif", **wide_gamut()),
    "deep.avif": ten_bits,
    "still.gif": lambda: encoded(".gif"),
}
# Decibels: a rounding may decide which of 256 colours GIF gets, and how AV1 codes a block.
LEAST = {".gif": 40, ".avif": 43}


@pytest.mark.parametrize("name", FORMATS)
def test_the_download_is_what_the_command_line_writes(page, name):
    content = FORMATS[name]()
    expected, result = expected_and_saved(page, name, content)
    with photo.open_photo(expected) as by_python, photo.open_photo(result) as by_page:
        for trait in ("format", "orientation", "lossless", "full_chroma", "grey", "density"):
            assert getattr(by_page.traits, trait) == getattr(by_python.traits, trait), trait
        assert (by_page.shape, by_page.dtype) == (by_python.shape, by_python.dtype)
        kept = by_python.traits.metadata
        assert by_page.traits.metadata.get(ICC) == kept.get(ICC)
        assert (EXIF in by_page.traits.metadata) == (EXIF in kept)
        if b"Acme" in kept.get(EXIF, b""):
            assert b"Acme" in by_page.traits.metadata[EXIF]
    before, right, found = (photo.read(each) for each in (content, expected, result))
    floats = [to_float(each.pixels) for each in (before, right, found)]
    assert psnr(floats[2], floats[0]) < 35  # it did clear something
    assert psnr(floats[2], floats[1]) >= LEAST.get(Path(name).suffix, 45)
    if right.alpha is not None:
        assert (found.alpha == right.alpha).all()


def heic(tmp_path: Path, **traits: object) -> bytes:
    """What a phone writes: EXIF and a profile, by heif-enc."""
    if shutil.which("heif-enc") is None:
        pytest.skip("heif-enc is not installed; on Debian: apt-get install libheif-examples")
    pytest.importorskip("pi_heif")
    (tmp_path / "a.png").write_bytes(encoded(".png", **traits))
    words = ["heif-enc", "-q", "92", tmp_path / "a.png", "-o", tmp_path / "a.heic"]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    return (tmp_path / "a.heic").read_bytes()


@pytest.mark.parametrize("traits", [{}, wide_gamut(), {"exif": TURNED}], ids=["srgb", "p3", "exif"])
def test_heic_becomes_the_jpeg_of_the_command_line(page, tmp_path, traits):
    content = heic(tmp_path, **traits)
    (tmp_path / "in.heic").write_bytes(content)
    expected = dehaze(content, model="photo-fast")
    choose(page, given("IMG_1.HEIC", content))
    wait_until_shown(page)
    expect(page.locator("#facts")).to_contain_text("Saved as JPEG")
    saved, result = save(page)
    assert saved == "IMG_1.unhazed.jpg"
    with photo.open_photo(expected) as by_python, photo.open_photo(result) as by_page:
        for trait in ("format", "quality", "orientation", "full_chroma"):
            assert getattr(by_page.traits, trait) == getattr(by_python.traits, trait), trait
        kept = by_python.traits.metadata
        assert b"Acme" in by_page.traits.metadata[EXIF] and b"Acme" in kept[EXIF]
        assert by_page.traits.metadata.get(ICC) == kept.get(ICC)
    right, found = (to_float(photo.read(each).pixels) for each in (expected, result))
    assert psnr(found, right) >= 45


def test_without_threads_a_format_that_needs_them_says_so(open_page):
    page = open_page()
    assert not page.evaluate("crossOriginIsolated")
    choose(page, given("a.tif", FORMATS["plain.tif"]()), given("a.jpg", CASES["grey.jpg"]()))
    expect(page.locator("#list .state")).to_have_text(["failed", "cleared"], timeout=60_000)
    expect(page.locator(".problem")).to_contain_text("needs the command line or a server")
