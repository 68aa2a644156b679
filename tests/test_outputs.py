"""How results are written: format, quality, depth, colours, metadata, names; and what is told."""

import inspect
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import pyvips

import unhaze as package
from tests.photo.test_readers import difference, dng, scene
from unhaze import formats, photo
from unhaze.errors import UnhazeError, counted
from unhaze.outputs import OPTIONS, Output
from unhaze.photo import Photo, Traits, exif, ifd
from unhaze.photo.picture import EXIF, ICC, XMP

imagecodecs = pytest.importorskip("imagecodecs")

DISPLAY_P3 = pyvips.Operation.call("profile_load", "p3")
GPS = {exif.GPS_TAGS: {1: (2, b"N\0")}, 271: (2, b"Maker\0"), 274: (3, b"\6\0")}


def held(suffix: str, dtype: type = np.uint8, **more: object) -> Photo:
    """A photo read from a file with this suffix, with EXIF that has a place."""
    traits = Traits(metadata={EXIF: ifd.block(GPS), XMP: b"<x:xmpmeta/>"}, **more)
    return photo.read(photo.encode(Photo(scene(dtype), traits=traits), suffix))


def seen(encoded: bytes, tmp_path: Path) -> np.ndarray:
    """The colours in sRGB, by the profile in the file."""
    got = photo.read(encoded)
    if got.pixels.dtype == np.float32:
        (tmp_path / "floats").write_bytes(encoded)
        return photo.read_rgb(tmp_path / "floats")
    if got.traits.profile is None:
        return got.pixels
    image = pyvips.Image.new_from_array(got.pixels)
    image = image.copy(interpretation="rgb16" if got.pixels.dtype == np.uint16 else "srgb")
    image.set_type(pyvips.GValue.blob_type, ICC, got.traits.profile)
    options = {"embedded": True, "intent": "relative", "depth": 16}
    return image.icc_transform("srgb", **options).numpy()


@pytest.mark.parametrize("suffix", [each for each in formats.NAMED.values() if each != ".gif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_format_keeps_colours_and_the_depth_it_can(suffix, dtype, tmp_path):
    if suffix == ".exr":
        pytest.importorskip("OpenEXR")
    has_quality = formats.FORMATS[formats.SUFFIXES[suffix]].quality
    output = Output(quality=97 if has_quality else None)
    encoded = photo.encode(held(".png", dtype), suffix, output=output)
    assert difference(seen(encoded, tmp_path), scene(dtype)) < 1
    got = photo.read(encoded)
    assert got.traits.format == formats.SUFFIXES[suffix]
    deep = suffix in (".png", ".tif", ".avif", ".jxl") and dtype == np.uint16
    wanted = np.float32 if suffix == ".exr" else np.uint16 if deep else np.uint8
    assert got.pixels.dtype == wanted
    if suffix != ".exr":
        assert ifd.tags_of(got.traits.metadata[EXIF])[271][1] == b"Maker\0"


@pytest.mark.parametrize("suffix", [".webp", ".avif", ".jxl"])
def test_lossless_is_without_loss(suffix):
    got = photo.read(photo.encode(held(".png"), suffix, output=Output(lossless=True)))
    assert np.array_equal(got.pixels, scene())


def test_jpeg_xl_of_16_bits_is_what_djxl_says(tmp_path):
    if shutil.which("djxl") is None:
        pytest.skip("djxl is not installed")
    for output, most in ((Output(lossless=True), 0), (Output(quality=97), 1)):
        encoded = photo.encode(held(".png", np.uint16), ".jxl", output=output)
        (tmp_path / "a.jxl").write_bytes(encoded)
        command = ["djxl", tmp_path / "a.jxl", tmp_path / "b.png"]
        subprocess.run(command, check=True, capture_output=True)
        got = photo.read(tmp_path / "b.png")
        assert difference(got.pixels, scene(np.uint16)) <= most
        assert difference(seen((tmp_path / "b.png").read_bytes(), tmp_path), scene(np.uint16)) < 1


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".jxl"])
def test_quality_makes_files_small(suffix):
    sizes = [
        len(photo.encode(held(".png"), suffix, output=Output(quality=quality)))
        for quality in (20, 60, 95)
    ]
    assert sizes == sorted(sizes) and sizes[0] < 0.7 * sizes[2]


@pytest.mark.parametrize("space", OPTIONS["color_space"].choices)
@pytest.mark.parametrize("profile", [None, DISPLAY_P3], ids=["from sRGB", "from P3"])
def test_another_colour_space_looks_the_same(space, profile, tmp_path):
    metadata = {} if profile is None else {ICC: profile}
    before = Photo(scene(np.uint16), traits=Traits(metadata=metadata, profile=profile))
    encoded = photo.encode(before, ".tif", output=Output(color_space=space))
    got, source = photo.read(encoded), photo.encode(before, ".tif")
    assert (got.traits.profile is None) == (space == "srgb")
    if profile is None or space != "srgb":
        assert difference(seen(encoded, tmp_path), seen(source, tmp_path)) < 1


@pytest.mark.parametrize(
    ("suffix", "bits", "dtype"),
    [(".png", 16, np.uint16), (".png", 8, np.uint8), (".tif", 32, np.float32)],
)
@pytest.mark.parametrize("source", [np.uint8, np.uint16])
def test_bit_depth(suffix, bits, dtype, source, tmp_path):
    encoded = photo.encode(held(".png", source), suffix, output=Output(bit_depth=bits))
    assert photo.read(encoded).pixels.dtype == dtype
    assert difference(seen(encoded, tmp_path), scene(source)) < 0.3


def test_16_bits_of_8_are_filled_by_the_restoration():
    from unhaze.restore.restorer import Restorer

    restorer = Restorer("dcp", analysis=64)
    encoded = photo.encode(Photo(scene()), ".png")
    done = photo.read(restorer.restore_bytes(encoded, output=Output(bit_depth=16))).pixels
    assert done.dtype == np.uint16
    assert len(np.unique(done)) > 300, "only the levels of 8 bits are used"


def test_ten_bits_of_avif():
    encoded = photo.encode(held(".png", np.uint16), ".avif", output=Output(bit_depth=10))
    at = encoded.index(b"pixi")
    assert encoded[at + 9 : at + 12] == bytes([10, 10, 10])


def test_stripped_is_upright_and_tells_of_nobody(tmp_path):
    turned = held(".jpg", orientation=1)
    (tmp_path / "a.jpg").write_bytes(photo.encode(turned, ".jpg"))
    if shutil.which("exiftool"):
        command = ["exiftool", "-q", "-overwrite_original", "-n", "-Orientation=6"]
        subprocess.run([*command, tmp_path / "a.jpg"], check=True)
        with photo.open_photo(tmp_path / "a.jpg") as opened:
            encoded = photo.encode(opened.stream(), ".jpg", output=Output(strip_metadata=True))
        got = photo.read(encoded)
        assert got.pixels.shape == (scene().shape[1], scene().shape[0], 3)
        assert b"Maker" not in encoded and b"xmpmeta" not in encoded
    profiled = Photo(scene(), traits=Traits(metadata={ICC: DISPLAY_P3}, profile=DISPLAY_P3))
    stripped = photo.read(photo.encode(profiled, ".png", output=Output(strip_metadata=True)))
    assert stripped.traits.metadata.keys() == {ICC}, "without it the colours would be others"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"format": "jpgg"}, "did you mean 'jpg'"),
        ({"format": "jpg", "bit_depth": 16}, "JPEG holds 8 bits a channel, not 16"),
        ({"format": "png", "quality": 80}, "PNG has no quality"),
        ({"format": "jpg", "lossless": True}, "JPEG cannot be lossless"),
        ({"quality": 0}, "from 1 to 100"),
        ({"quality": True}, "from 1 to 100"),
        ({"bit_depth": 9}, "8, 10, 12, 16, 32"),
        ({"lossless": True, "quality": 5}, "leave out quality or lossless"),
        ({"color_space": "p3"}, "display-p3"),
        ({"suffix": "../up"}, "part of a file name"),
        ({"strip_metadata": "yes"}, "expected bool"),
    ],
)
def test_what_is_contradictory_is_refused_before_anything_runs(given, said):
    with pytest.raises(UnhazeError, match=said):
        Output(**given)


def test_python_and_the_command_have_all_options():
    arguments = inspect.signature(package.dehaze).parameters
    assert set(OPTIONS) <= set(arguments)
    assert list(OPTIONS) == list(inspect.signature(Output).parameters)


def test_dehaze_writes_as_asked(tmp_path):
    photo.write(Photo(scene()), tmp_path / "a.png")
    made = package.dehaze(tmp_path / "a.png", model="dcp", format="webp", suffix="-web")
    assert made == tmp_path / "a-web.webp" and photo.read(made).traits.format == "webp"
    encoded = (tmp_path / "a.png").read_bytes()
    assert package.dehaze(encoded, model="dcp", format="jpg")[:3] == b"\xff\xd8\xff"
    with pytest.raises(UnhazeError, match="options of files"):
        package.dehaze(scene(), model="dcp", format="jpg")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of 13 formats, three broken files, four that are no pictures, and two more."""
    made = tmp_path / "photos"
    (made / "inner").mkdir(parents=True)
    whole = held(".png")
    for suffix in (".jpg", ".png", ".tif", ".webp", ".avif", ".gif", ".jxl"):
        (made / f"w{suffix[1:]}{suffix}").write_bytes(photo.encode(whole, suffix))
    (made / "ppm.ppm").write_bytes(b"P6\n128 96\n255\n" + scene().tobytes())
    (made / "pgm.pgm").write_bytes(b"P5\n128 96\n255\n" + scene()[..., 0].tobytes())
    (made / "qoi.qoi").write_bytes(imagecodecs.qoi_encode(scene()))
    (made / "inner" / "jp2.jp2").write_bytes(imagecodecs.jpeg2k_encode(scene(), level=0))
    (made / "j2k.j2k").write_bytes(imagecodecs.jpeg2k_encode(scene(), level=0))
    (made / "broken.jxl").write_bytes(b"\xff\x0a")
    (made / "broken.qoi").write_bytes(imagecodecs.qoi_encode(scene())[:200])
    (made / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name in ("notes.txt", "table.csv", "song.mp3", "drawing.svg"):
        (made / name).write_text("no picture")
    (made / ".hidden.png").write_bytes(b"?")
    (made / "no-suffix").write_bytes(photo.encode(whole, ".png"))
    return made


def test_a_folder_reports_every_file(unhaze, folder, tmp_path):
    done = unhaze("run", folder, "-o", tmp_path / "out", "--model", "dcp", "--json")
    told = json.loads(done.stdout)
    names = [each["source"] for each in (*told["files"], *told["passed_over"])]
    assert sorted(names) == sorted(str(each) for each in folder.rglob("*") if each.is_file())
    assert done.returncode == 1
    assert {Path(each["source"]).name for each in told["files"] if each["error"]} == {
        "broken.jxl",
        "broken.qoi",
        "broken.png",
    }
    reasons = {Path(each["source"]).name: each["reason"] for each in told["passed_over"]}
    assert reasons["notes.txt"] == "no picture" and "not read" in reasons["drawing.svg"]
    assert "PNG by its content" in reasons["no-suffix"] and reasons[".hidden.png"] == "hidden"
    for each in told["files"]:
        if each["error"] is None:
            assert photo.read(each["target"]).pixels.shape == scene().shape, each
            assert each["kept"][0] == "128 x 96"


def test_quiet_says_errors_only_and_verbose_what_was_kept(unhaze, folder, tmp_path):
    quiet = unhaze("run", folder, "-o", tmp_path / "a", "--model", "dcp", "-q").stderr.decode()
    assert all("error: " in line for line in quiet.strip().splitlines()) and "broken" in quiet
    verbose = unhaze("run", folder / "wjpg.jpg", "-o", tmp_path / "b.jpg", "--model", "dcp", "-v")
    assert "kept 128 x 96, 8 bits, EXIF, XMP" in verbose.stderr.decode()


@pytest.mark.parametrize("verb", ["run", "batch"])
def test_a_dry_run_does_nothing(verb, unhaze, tmp_path):
    (tmp_path / "in").mkdir()
    photo.write(Photo(scene()), tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.dng").write_bytes(b"?")
    out = ["-o", tmp_path / "out"] if verb == "run" else [tmp_path / "out"]
    done = unhaze(verb, tmp_path / "in", *out, "--dry-run", "--suffix", "-x", "--model", "dcp")
    assert done.returncode == 0, done.stderr
    lines = sorted(
        Path(line.partition(" -> ")[2]).name for line in done.stdout.decode().splitlines()
    )
    assert lines == ["a-x.png", "b-x.tif"] and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["webp", "exr", "jxl"])  # of which libvips reads the first
def test_batch_writes_as_asked(unhaze, tmp_path, name):
    if name != "webp":
        pytest.importorskip({"exr": "OpenEXR", "jxl": "imagecodecs"}[name])
    (tmp_path / "in").mkdir()
    photo.write(Photo(scene()), tmp_path / "in" / "a.png")
    options = ["--format", name, "--suffix", "-web", "--model", "dcp", "--json"]
    options += ["--quality", 50] if name == "webp" else []
    done = unhaze("batch", tmp_path / "in", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["megapixels_per_second"] > 0
    assert photo.read(tmp_path / "out" / f"a-web.{name}").pixels.shape == scene().shape


def test_a_name_and_a_format_that_differ_are_refused(unhaze, tmp_path):
    photo.write(Photo(scene()), tmp_path / "a.png")
    done = unhaze("run", tmp_path / "a.png", "-o", tmp_path / "b.jpg", "--format", "png")
    assert done.returncode == 2 and b"not named like the format png" in done.stderr


def test_raw_becomes_tiff_or_what_is_asked(unhaze, tmp_path):
    pytest.importorskip("rawpy")
    (tmp_path / "a.dng").write_bytes(dng(scene() / 255.0, (2.0, 1.0, 1.5)))
    for options, name in (([], "a.unhazed.tif"), (["--format", "jpg"], "a.unhazed.jpg")):
        done = unhaze("run", tmp_path / "a.dng", "--model", "dcp", *options)
        assert done.returncode == 0, done.stderr
        got = photo.read(tmp_path / name)
        assert ifd.tags_of(got.traits.metadata[EXIF])[271][1] == b"Maker\0"
    assert photo.read(tmp_path / "a.unhazed.tif").pixels.dtype == np.uint16


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 frames"), (1, "1 frame"), (2, "2 frames"), (3000, "3000 frames")]
)
def test_one_thing_is_named_in_the_singular(count, words):
    assert counted(count, "frame") == words
