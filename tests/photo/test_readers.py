"""Every format that is read: colours of a reference decoder, EXIF, profile, depth, orientation."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import pyvips

from benchmarks.camera_files import dng
from unhaze import formats, photo
from unhaze.errors import UnhazeError
from unhaze.image import to_float
from unhaze.metrics.color_difference import lab_from_srgb
from unhaze.photo import Photo, Traits, ifd
from unhaze.photo.picture import EXIF, ICC, XMP
from unhaze.photo.profile import srgb_curve

PIL = pytest.importorskip("PIL.Image")
imagecodecs = pytest.importorskip("imagecodecs")
tifffile = pytest.importorskip("tifffile")

SHAPE = (96, 128)


def scene(dtype: type = np.uint8) -> np.ndarray:
    """Smooth, so that lossy formats keep it, and coloured."""
    rows, columns = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    waves = [np.sin(rows / 17), np.cos(columns / 23), np.sin((rows + columns) / 31)]
    full = np.iinfo(dtype).max
    return np.rint((0.5 + 0.4 * np.stack(waves, axis=2)) * full).astype(dtype)


@cache
def imagemagick() -> bool:
    """Whether `convert` is ImageMagick's: other programs are called that, too."""
    done = subprocess.run(["convert", "-version"], capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.startswith("Version: ImageMagick")


def run(*command: object) -> None:
    program = str(command[0])
    if shutil.which(program) is None or (program == "convert" and not imagemagick()):
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """The mean dE76 of two sRGB pictures of any depth."""
    labs = [lab_from_srgb(to_float(each).astype(np.float32)) for each in (one, other)]
    return float(np.sqrt(np.square(labs[0] - labs[1]).sum(axis=-1)).mean())


def png(path: Path, pixels: np.ndarray, **metadata: bytes) -> Path:
    traits = Traits(metadata={EXIF: ifd.block({271: (2, b"Maker\0")})} | metadata)
    photo.write(Photo(pixels, traits=traits), path, overwrite=True)
    return path


@pytest.mark.parametrize("kind", ["bmp", "tga", "ppm", "psd", "jp2"])
def test_what_imagemagick_writes_is_read_to_the_sample(kind, tmp_path):
    source, path = png(tmp_path / "a.png", scene()), tmp_path / f"a.{kind}"
    run("convert", source, path)
    turned = kind == "tga"  # version 6 of it says that the lowest row is first, and it is not
    got = photo.read(path)
    assert np.array_equal(got.pixels[::-1] if turned else got.pixels, scene())
    assert got.traits.format == formats.SUFFIXES[path.suffix]


@pytest.mark.parametrize("kind", ["ppm", "psd"])
def test_sixteen_bits_stay(kind, tmp_path):
    source, path = png(tmp_path / "a.png", scene(np.uint16)), tmp_path / f"a.{kind}"
    run("convert", source, "-depth", 16, path)
    assert np.array_equal(photo.read(path).pixels, scene(np.uint16))


def test_jpeg_2000_of_openjpeg_with_sixteen_bits(tmp_path):
    source = tmp_path / "a.ppm"
    source.write_bytes(b"P6\n128 96\n65535\n" + scene(np.uint16).astype(">u2").tobytes())
    run("opj_compress", "-i", source, "-o", tmp_path / "a.j2k")
    assert np.array_equal(photo.read(tmp_path / "a.j2k").pixels, scene(np.uint16))


def test_qoi():
    assert np.array_equal(photo.read(imagecodecs.qoi_encode(scene())).pixels, scene())


@pytest.mark.parametrize("distance, most", [(0, 0.0), (1, 1.0)])
def test_jpeg_xl_of_cjxl_as_djxl_decodes_it(distance, most, tmp_path):
    display_p3 = pyvips.Operation.call("profile_load", "p3")
    source = png(tmp_path / "a.png", scene(), **{ICC: display_p3})
    run("cjxl", source, tmp_path / "a.jxl", "-d", distance)
    run("djxl", tmp_path / "a.jxl", tmp_path / "b.png")
    got, expected = photo.read(tmp_path / "a.jxl"), photo.read(tmp_path / "b.png")
    assert difference(got.pixels, expected.pixels) <= most
    seen = [photo.read(photo.encode(each, ".gif")).pixels for each in (got, expected)]
    if got.traits.profile is not None:  # both are taken to sRGB by their profiles
        assert difference(*seen) < 1


def test_exif_and_xmp_of_jpeg_xl_that_cjxl_has_packed(tmp_path):
    packet = b"<x:xmpmeta>" + b" " * 3000 + b"</x:xmpmeta>"
    source = png(tmp_path / "a.jpg", scene(), **{XMP: packet})
    run("cjxl", source, tmp_path / "a.jxl")
    found = photo.read(tmp_path / "a.jxl").traits.metadata
    assert ifd.tags_of(found[EXIF])[271][1] == b"Maker\0" and found[XMP] == packet


@pytest.mark.parametrize("bits", [8, 10])
def test_heic_as_heif_convert_decodes_it(bits, tmp_path):
    pytest.importorskip("pi_heif")
    source = png(tmp_path / "a.png", scene(np.uint16 if bits > 8 else np.uint8))
    run("heif-enc", "-q", 95, "-b", bits, source, "-o", tmp_path / "a.heic")
    run("heif-convert", tmp_path / "a.heic", tmp_path / "b.png")
    got, expected = photo.read(tmp_path / "a.heic"), photo.read(tmp_path / "b.png")
    assert got.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert difference(got.pixels, expected.pixels) < 1
    assert ifd.tags_of(got.traits.metadata[EXIF])[271][1] == b"Maker\0"


def test_two_heic_files_do_not_share_memory(tmp_path):
    """The pixels of one were once what another had left there."""
    pytest.importorskip("pi_heif")
    paths = []
    for name, pixels in (("a", scene()), ("b", 255 - scene())):
        source = png(tmp_path / f"{name}.png", pixels)
        paths.append(tmp_path / f"{name}.heic")
        run("heif-enc", "-q", 95, source, "-o", paths[-1])
    first = photo.read(paths[0]).pixels
    before = first.copy()
    photo.read(paths[1])
    assert np.array_equal(first, before) and difference(first, scene()) < 2


def test_raw_has_the_balance_of_the_camera_16_bits_and_its_exif(tmp_path):
    pytest.importorskip("rawpy")
    light = srgb_curve(scene() / 255.0)
    (tmp_path / "a.jpg").write_bytes(dng(light, (2.0, 1.0, 1.5)))
    got = photo.read(tmp_path / "a.jpg")  # whatever it is called
    assert got.pixels.shape == scene().shape and got.pixels.dtype == np.uint16
    assert got.traits.format == "raw" and photo.kept_suffix(got.traits) == ".tif"
    tags = ifd.tags_of(got.traits.metadata[EXIF])
    assert tags[271][1] == b"Maker\0" and 50706 not in tags
    image = pyvips.Image.new_from_array(got.pixels).copy(interpretation="rgb16")
    image.set_type(pyvips.GValue.blob_type, ICC, got.traits.metadata[ICC])
    seen = image.icc_transform("srgb", embedded=True, depth=8).numpy()
    assert difference(seen[4:-4, 4:-4], scene()[4:-4, 4:-4]) < 2.5
    written = photo.encode(got, ".tif")
    assert photo.read(written).traits.format == "tiff", "the result passes for a raw file"


def test_highlights_of_raw_keep_their_shape(tmp_path):
    """Green clips first; red and blue still tell of a ramp up to twice white."""
    pytest.importorskip("rawpy")
    ramp = np.linspace(0.2, 1.9, 128)[None, :, None] * np.ones((96, 1, 3))
    got = photo.read(dng(ramp, (2.0, 1.0, 2.0))).pixels.astype(int)[48, 8:-8]
    middle = got[60:].mean(axis=1)
    assert (np.diff(middle[::8]) > 100).all() and got.max() < 65535


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_tiff_is_linear_light_brighter_than_white_too(dtype, tmp_path):
    light = srgb_curve(scene() / 255.0).astype(dtype)
    light[:8, :8] *= 9
    tifffile.imwrite(tmp_path / "a.tif", light, photometric="rgb")
    got = photo.read(tmp_path / "a.tif")
    assert np.array_equal(got.pixels, light.astype(np.float32)) and got.pixels.max() > 2
    assert difference(photo.read_rgb(tmp_path / "a.tif")[8:], scene()[8:]) < 0.01


def test_exr_is_linear_light_brighter_than_white_too(tmp_path):
    openexr = pytest.importorskip("OpenEXR")
    light = srgb_curve(scene() / 255.0).astype(np.float32)
    light[:8, :8] *= 9
    openexr.File({}, {"RGB": light}).write(str(tmp_path / "a.exr"))
    got = photo.read(tmp_path / "a.exr")
    assert np.array_equal(got.pixels, light)
    assert difference(photo.read_rgb(tmp_path / "a.exr")[8:], scene()[8:]) < 0.01


@pytest.mark.parametrize(
    "text, expected",
    [
        (b"P1\n# two\n3 1\n1 0 1\n", [[0, 255, 0]]),
        (b"P2 3 1 15\n0 15 5\n", [[0, 255, 85]]),
        (b"P4\n3 1\n\xa0", [[0, 255, 0]]),
        (b"P5\n3 1\n255\n\x00\xff\x55", [[0, 255, 85]]),
        (b"P5\n2 1\n1023\n\x03\xff\x00\x00", [[65535, 0]]),
    ],
    ids=["text bits", "text", "bits", "bytes", "10 of 16 bits"],
)
def test_portable_maps(text, expected):
    got = photo.read(text)
    assert got.traits.grey and got.pixels[..., 0].tolist() == expected


def test_a_missing_library_is_one_line_with_its_command(tmp_path):
    (tmp_path / "a.png").write_bytes(imagecodecs.jpegxl_encode(scene()))
    program = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "from unhaze.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, tmp_path / "a.png", "--model", "dcp"]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1 and len(lines) == 1, done.stderr
    assert 'JPEG XL file needs imagecodecs: pip install "unhaze[formats]"' in lines[0]


def test_a_header_that_promises_gigabytes_is_refused_before_they_are_taken():
    with pytest.raises(UnhazeError, match="60000 x 60000"):
        photo.read(b"P6\n60000 60000\n255\n" + bytes(99))
    with pytest.raises(UnhazeError, match="GB"):
        photo.read(b"PF\n19000 19000\n-1.0\n" + bytes(99))


def test_further_frames_and_pages_are_reported(tmp_path):
    frames = np.stack([scene(), 255 - scene()])
    animated = imagecodecs.jpegxl_encode(frames, photometric="rgb", lossless=True)
    assert photo.read(animated).traits.lost == ("all but the first frame",)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for each in frames:
            writer.write(each, photometric="rgb", compression="lzma")
    lost = photo.read(tmp_path / "a.tif").traits.lost
    assert lost == ("all but the first of 2 pages or frames",)
