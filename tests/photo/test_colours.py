"""Pixels mean what the file says: one photo in many encodings gives one result."""

import struct
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import pyvips

import unhaze
from unhaze import photo
from unhaze.photo import Photo, Traits, profile
from unhaze.photo.picture import ICC
from unhaze.restore.restorer import Restorer

ADOBE = (0.64, 0.33), (0.21, 0.71), (0.15, 0.06), profile.D65
PROPHOTO = (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), profile.D50
GAMMA = {"adobe": (ADOBE, 563 / 256), "prophoto": (PROPHOTO, 1.8)}
ROWS, COLUMNS = 192, 256


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer("photo", "cpu", threads=1)  # what `auto` takes for photos


def scene() -> np.ndarray:
    """(H,W,3) uint16 sRGB: hazy hills of several colours under a pale sky."""
    random = np.random.default_rng(4)
    down, across = np.mgrid[0:ROWS, 0:COLUMNS] / (ROWS, COLUMNS)[0]
    blocks = np.kron(random.random((ROWS // 8, COLUMNS // 8, 3)), np.ones((8, 8, 1)))
    fine = random.normal(0, 0.02, (ROWS, COLUMNS, 1))
    clear = np.clip(0.15 + 0.55 * blocks + fine, 0, 1)
    transmission = (0.25 + 0.65 * down)[..., None]
    hazy = clear * transmission + np.array([0.82, 0.84, 0.87]) * (1 - transmission)
    return np.rint(np.clip(hazy, 0, 1) * 65535).astype(np.uint16)


def converted(pixels: np.ndarray, icc: bytes, folder: Path) -> np.ndarray:
    path = folder / "to.icc"
    path.write_bytes(icc)
    image = pyvips.Image.new_from_array(pixels).copy(interpretation="rgb16")
    options = {"intent": "relative", "depth": 16}
    return image.icc_transform(str(path), input_profile="srgb", **options).numpy()


def linear(pixels: np.ndarray) -> np.ndarray:
    return profile.srgb_curve(pixels / 65535)


def profiles() -> dict[str, bytes]:
    made = {
        name: profile.matrix_profile(xy, lambda values, power=power: values**power)
        for name, (xy, power) in GAMMA.items()
    }
    made["p3"] = profile.from_numbers(12, 13)
    made["rec2020"] = profile.from_numbers(9, 1)
    made["linear"] = profile.from_numbers(1, 8)
    return made


def written(encoding: str, folder: Path) -> Path:
    """The scene as a TIFF in that encoding."""
    pixels, path = scene(), folder / f"{encoding}.tif"
    if path.exists():
        return path
    if encoding in profiles():
        icc = profiles()[encoding]
        traits = Traits(metadata={ICC: icc})
        photo.write(Photo(converted(pixels, icc, folder), traits=traits), path)
    elif encoding == "8 bits":
        photo.write(Photo((pixels / 257).round().astype(np.uint8)), path)
    elif encoding == "12 in 16 bits":
        photo.write(Photo((pixels / 65535 * 4095).round().astype(np.uint16)), path)
    elif encoding == "float":
        image = pyvips.Image.new_from_array(linear(pixels).astype(np.float32))
        image.copy(interpretation="scrgb").tiffsave(str(path))
    elif encoding.startswith("lab"):
        image = pyvips.Image.new_from_array(pixels).copy(interpretation="rgb16").colourspace("lab")
        if encoding == "lab16":
            image.colourspace("labs").tiffsave(str(path))
        else:
            lab = image.numpy()
            stored = np.stack([lab[..., 0] * 2.55, lab[..., 1] % 256, lab[..., 2] % 256], -1)
            tifffile = pytest.importorskip("tifffile")
            kind = "icclab" if encoding == "icclab8" else "cielab"
            offset = np.uint8([0, 128, 128] if kind == "icclab" else [0, 0, 0])
            stored = np.rint(stored).astype(np.uint8) ^ offset
            tifffile.imwrite(path, stored, photometric=kind)
    else:
        photo.write(Photo(pixels), path)
    return path


def lab_of(path: Path) -> np.ndarray:
    """The picture as it is to be seen, in CIE L*a*b*."""
    got = photo.read(path)
    pixels, traits = got.pixels, got.traits
    if path.stem == "12 in 16 bits-out":
        pixels = (pixels.astype(float) * 65535 / 4095).round().astype(np.uint16)
    image = pyvips.Image.new_from_array(pixels)
    if pixels.dtype == np.float32:
        image = image.copy(interpretation="scrgb")
    else:
        image = image.copy(interpretation="srgb" if pixels.dtype == np.uint8 else "rgb16")
        if traits.profile:
            icc = path.with_suffix(".icc")
            icc.write_bytes(traits.profile)
            image = image.icc_import(input_profile=str(icc), intent="relative")
    # Lab under D50 here, D65 there: both from 16-bit sRGB.
    if image.interpretation == "lab":
        image = image.icc_export(output_profile="srgb", depth=16, intent="relative")
    return image.colourspace("lab").numpy()


ENCODINGS = ["8 bits", "p3", "adobe", "prophoto", "rec2020", "linear", "float", "lab16", "lab8"]
ENCODINGS += ["12 in 16 bits", "icclab8"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_one_photo_in_many_encodings_gives_one_result(encoding, restorer, tmp_path):
    results = []
    for name in ("srgb", encoding):
        source, target = written(name, tmp_path), tmp_path / f"{name}-out.tif"
        restorer.restore_file(source, target)
        results.append(lab_of(target))
    before = lab_of(written("srgb", tmp_path))
    done = np.linalg.norm(results[0] - before, axis=-1).mean()
    assert done > 5, "little was done"
    difference = np.linalg.norm(results[1] - results[0], axis=-1)
    assert difference.mean() < 1.3  # of L*a*b*; 2.3 is just noticeable
    assert np.quantile(difference, 0.95) < 3.7


@pytest.mark.parametrize("encoding", ENCODINGS[:7] + ENCODINGS[9:10])
def test_strength_0_is_the_same_picture(encoding, restorer, tmp_path):
    source, target = written(encoding, tmp_path), tmp_path / "out.tif"
    restorer.restore_file(source, target, strength=0)
    before, after = photo.read(source), photo.read(target)
    np.testing.assert_array_equal(before.pixels, after.pixels)
    assert before.pixels.dtype == after.pixels.dtype
    assert before.traits.metadata.get(ICC) == after.traits.metadata.get(ICC)


def test_floats_with_a_profile_are_encoded_by_it(restorer, tmp_path):
    """Half of grey stays half at strength 0, and its profile stays."""
    icc = profile.matrix_profile(ADOBE, lambda values: values**2.2)
    image = pyvips.Image.black(64, 64, bands=3).cast("float") + 0.5
    image = image.copy(interpretation="scrgb")
    image.set_type(pyvips.GValue.blob_type, ICC, icc)
    image.tiffsave(str(tmp_path / "in.tif"))
    restorer.restore_file(tmp_path / "in.tif", tmp_path / "out.tif", strength=0)
    got = photo.read(tmp_path / "out.tif")
    assert got.pixels.dtype == np.float32 and (got.pixels == 0.5).all()
    assert got.traits.metadata[ICC] == icc


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_floats_of_any_range_are_seen_alike(white, restorer, tmp_path):
    icc = profile.matrix_profile(profile.PRIMARIES[1], profile.srgb_curve)
    pixels = (scene() / 65535 * white).astype(np.float32)
    image = pyvips.Image.new_from_array(pixels).copy(interpretation="scrgb")
    image.set_type(pyvips.GValue.blob_type, ICC, icc)
    image.tiffsave(str(tmp_path / "in.tif"))
    restorer.restore_file(tmp_path / "in.tif", tmp_path / "out.tif")
    plain = restorer.restore_pixels(scene()) / 65535
    assert np.abs(photo.read(tmp_path / "out.tif").pixels / white - plain).mean() < 0.004


def test_lamps_of_a_float_scene_stay_brighter_than_white(restorer, tmp_path):
    pixels = linear(scene()).astype(np.float32)
    pixels[100:110, 100:110] = 3.5
    image = pyvips.Image.new_from_array(pixels).copy(interpretation="scrgb")
    image.tiffsave(str(tmp_path / "in.tif"))
    restorer.restore_file(tmp_path / "in.tif", tmp_path / "out.tif")
    assert photo.read(tmp_path / "out.tif").pixels[102:108, 102:108].min() > 2


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_hidden_colours_have_no_influence(suffix, restorer, tmp_path):
    pixels = (scene() / 257).round().astype(np.uint8)
    alpha = np.full(pixels.shape[:2], 255, np.uint8)
    alpha[:, 2 * COLUMNS // 3 :] = 0
    means = []
    for beneath in (pixels, 0 * pixels, 0 * pixels + 255):
        under = np.where(alpha[..., None] > 0, pixels, beneath)
        photo.write(
            Photo(under, alpha, Traits(format="webp", lossless=True)),
            tmp_path / f"in{suffix}",
            overwrite=True,
        )
        restorer.restore_file(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", overwrite=True)
        got = photo.read(tmp_path / f"out{suffix}")
        np.testing.assert_array_equal(got.alpha, alpha)
        means.append(got.pixels[:, : 2 * COLUMNS // 3].mean())
        restorer.restore_file(
            tmp_path / f"in{suffix}", tmp_path / f"same{suffix}", strength=0, overwrite=True
        )
        np.testing.assert_array_equal(photo.read(tmp_path / f"same{suffix}").pixels, under)
    assert max(means) - min(means) < 0.5


def test_hidden_colours_have_no_influence_with_native():
    native = Restorer("photo-fast", "cpu", threads=1, native=True)
    pixels = (scene() / 257).round().astype(np.uint8)
    alpha = np.full(pixels.shape[:2], 255, np.uint8)
    alpha[:, COLUMNS // 2 :] = 0
    results = []
    for beneath in (0, 255):
        under = np.where(alpha[..., None] > 0, pixels, np.uint8(beneath))
        got = native.restore(Photo(under, alpha)).pixels
        np.testing.assert_array_equal(got[:, COLUMNS // 2 :], under[:, COLUMNS // 2 :])
        results.append(got[:, : COLUMNS // 2])
    assert np.abs(results[0].astype(float) - pixels[:, : COLUMNS // 2]).mean() > 5
    np.testing.assert_array_equal(*results)


def test_srgb_profiles_and_none_give_the_same_bytes(restorer, tmp_path):
    pixels = (scene() / 257).round().astype(np.uint8)
    srgb = profile.matrix_profile(profile.PRIMARIES[1], profile.srgb_curve)
    results = []
    for metadata in ({}, {ICC: srgb}):
        photo.write(
            Photo(pixels, traits=Traits(metadata=metadata)), tmp_path / "in.png", overwrite=True
        )
        restorer.restore_file(tmp_path / "in.png", tmp_path / "out.png", overwrite=True)
        results.append(photo.read(tmp_path / "out.png").pixels)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], restorer.restore_pixels(pixels))


def test_native_goes_by_way_of_srgb(tmp_path):
    native = Restorer("photo-fast", "cpu", threads=1, native=True)
    results = []
    for encoding in ("srgb", "prophoto"):
        source, target = written(encoding, tmp_path), tmp_path / f"{encoding}-out.tif"
        native.restore_file(source, target)
        results.append(lab_of(target))
    assert np.linalg.norm(results[1] - results[0], axis=-1).mean() < 1.0


def test_a_broken_profile_is_passed_over(restorer, tmp_path):
    pixels = (scene() / 257).round().astype(np.uint8)
    photo.write(
        Photo(pixels, traits=Traits(metadata={ICC: b"no profile" * 40})), tmp_path / "in.png"
    )
    restorer.restore_file(tmp_path / "in.png", tmp_path / "out.png")
    got = photo.read(tmp_path / "out.png").pixels
    np.testing.assert_array_equal(got, restorer.restore_pixels(pixels))


@pytest.mark.parametrize("primaries, transfer", [(12, 13), (9, 16), (9, 18), (1, 8)])
def test_profiles_agree_with_their_formula(primaries, transfer, tmp_path):
    """LittleCMS takes them to XYZ under D50 as the matrix and curve do."""
    icc = profile.from_numbers(primaries, transfer)
    (tmp_path / "a.icc").write_bytes(icc)
    values = 0.35 + 0.15 * np.random.default_rng(0).random((8, 8, 3))
    image = pyvips.Image.new_from_array(np.rint(values * 65535).astype(np.uint16))
    image = image.copy(interpretation="rgb16")
    got = image.icc_import(input_profile=str(tmp_path / "a.icc"), intent="relative").numpy()
    light = profile.CURVES[transfer](values)
    xyz = light @ profile.colorants(profile.PRIMARIES[primaries]).T
    ratio = xyz / profile.colorants(profile.PRIMARIES[primaries]).sum(1)
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    expected = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
    np.testing.assert_allclose(got, expected, atol=0.5)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("native", [False, True])
def test_hidden_colours_of_an_array_have_no_influence(kind, native):
    white = 1 if kind == np.float32 else np.iinfo(kind).max
    pixels = (scene() / 65535 * white).astype(kind)
    alpha = np.full((ROWS, COLUMNS, 1), white, kind)
    alpha[:, COLUMNS // 2 :] = 0
    results = []
    for beneath in (0, white):
        given = np.dstack([np.where(alpha > 0, pixels, kind(beneath)), alpha])
        got = unhaze.dehaze(given, model="photo-fast", device="cpu", native=native)
        np.testing.assert_array_equal(got[..., 3:], alpha)
        results.append(got[:, : COLUMNS // 2, :3] / white)
    assert np.abs(results[0] - pixels[:, : COLUMNS // 2] / white).mean() > 0.02
    assert abs(results[0].mean() - results[1].mean()) < 0.5 / 255


def test_pil_images_are_seen_by_their_profile(tmp_path):
    icc = profiles()["linear"]
    given = {"srgb": scene(), "linear": converted(scene(), icc, tmp_path)}
    seen = {}
    for name, pixels in given.items():
        image = PIL.Image.fromarray(np.rint(pixels / 257).astype(np.uint8))
        image.info = {"icc_profile": icc} if name == "linear" else {}
        got = unhaze.dehaze(image, model="photo-fast", device="cpu")
        assert got.info == image.info
        seen[name] = np.asarray(got)
    (tmp_path / "rounded").mkdir()
    linear = converted(seen["srgb"] * np.uint16(257), icc, tmp_path / "rounded")
    seen["rounded"] = np.rint(linear / 257).astype(np.uint8)
    labs = {}
    for name, pixels in seen.items():
        metadata = {} if name == "srgb" else {ICC: icc}
        photo.write(Photo(pixels, traits=Traits(metadata=metadata)), tmp_path / f"{name}.png")
        labs[name] = lab_of(tmp_path / f"{name}.png")
    linear, rounded = (
        np.linalg.norm(labs[name] - labs["srgb"], axis=-1).mean() for name in ("linear", "rounded")
    )
    assert linear < rounded + 0.5  # 8 bits of linear light are coarse where it is dark


@pytest.mark.parametrize("white", [255.0, 65535.0])
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_floats_of_the_range_of_integers_are_encoded(white, suffix, restorer, tmp_path):
    pixels = (scene() / 65535 * white).astype(np.float32)
    image = pyvips.Image.new_from_array(pixels).copy(interpretation="scrgb")
    image.tiffsave(str(tmp_path / "in.tif"))
    plain = restorer.restore_pixels(scene()) / 65535
    for strength, expected in ((1, plain), (0, scene() / 65535)):
        target = tmp_path / f"{strength}{suffix}"
        restorer.restore_file(tmp_path / "in.tif", target, strength=strength)
        got = photo.read(target).pixels / (white if suffix == ".tif" else 65535)
        assert np.abs(got - expected).mean() < 1 / 255
    np.testing.assert_allclose(photo.read_rgb(tmp_path / "in.tif"), scene(), atol=1)


@pytest.mark.parametrize("native", [False, True])
def test_infrared_is_not_transparency(native, tmp_path):
    """An extra sample of no stated kind: it hides nothing, and stays what it is."""
    tifffile = pytest.importorskip("tifffile")
    restorer = Restorer("photo-fast", "cpu", threads=1, native=native)
    pixels = (scene() / 257).round().astype(np.uint8)
    infrared = np.where(np.arange(COLUMNS) < COLUMNS // 2, 0, 255).astype(np.uint8)
    four = np.dstack([pixels, np.tile(infrared, (ROWS, 1))])
    tifffile.imwrite(tmp_path / "in.tif", four, photometric="rgb", extrasamples=[0])
    expected = restorer.restore_pixels(pixels)
    for suffix in (".tif", ".png"):
        restorer.restore_file(tmp_path / "in.tif", tmp_path / f"out{suffix}")
        got = photo.read(tmp_path / f"out{suffix}")
        np.testing.assert_array_equal(got.pixels, expected)
        if suffix == ".tif":
            np.testing.assert_array_equal(got.alpha, four[..., 3])
            with tifffile.TiffFile(tmp_path / "out.tif") as file:
                assert [int(each) for each in file.pages[0].extrasamples] == [0]
        else:
            assert got.alpha is None


def one_way_profile() -> bytes:
    """Of a table that swaps red and blue, and leads only to colours: so are those of XYB JPEGs."""
    whole = profile.matrix_profile(profile.PRIMARIES[1], profile.srgb_curve)
    grid = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    light = np.rint(profile.srgb_curve(np.linspace(0, 1, 256)) * 65535).astype(">u2").tobytes()
    table = grid[:, ::-1] @ profile.colorants(profile.PRIMARIES[1]).T * 32768
    identity = np.array([0, 65535], ">u2").tobytes()
    unit = (np.eye(3, dtype=int) * 65536).ravel()
    lut = struct.pack(">4s4x4B9i2H", b"mft2", 3, 3, 2, 0, *unit, 256, 2) + light * 3
    lut += np.rint(table).clip(0, 65535).astype(">u2").tobytes() + identity * 3
    tags = [(b"A2B0", lut)]
    for at in range(132, 132 + 12 * 3, 12):
        kind, start, size = struct.unpack_from(">4sII", whole, at)
        tags.append((kind, whole[start : start + size]))
    start, lines, data = 132 + 12 * len(tags), b"", b""
    for kind, value in tags:
        lines += struct.pack(">4sII", kind, start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    body = struct.pack(">I", len(tags)) + lines + data
    return struct.pack(">I", 128 + len(body)) + whole[4:128] + body


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_profile_that_only_reads_is_converted_and_said(dtype, restorer, tmp_path, caplog):
    white = np.iinfo(dtype).max
    pixels = np.rint(scene() / 65535 * white).astype(dtype)
    swapped = np.ascontiguousarray(pixels[..., ::-1])
    traits = Traits(metadata={ICC: one_way_profile()})
    photo.write(Photo(swapped, traits=traits), tmp_path / "in.tif")
    restorer.restore_file(tmp_path / "in.tif", tmp_path / "out.tif")
    assert caplog.text.count("has an input-only colour profile; converted to sRGB") == 1
    got = photo.read(tmp_path / "out.tif")
    assert ICC not in got.traits.metadata and got.pixels.dtype == dtype
    expected = restorer.restore_pixels(pixels)
    assert np.abs(got.pixels.astype(float) - expected).mean() / white < 0.02
