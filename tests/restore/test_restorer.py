"""The affine field and the Restorer: a small estimate, a big picture, only its colours changed."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips

from unhaze import photo
from unhaze.errors import UnhazeError
from unhaze.haze import add_haze
from unhaze.image import to_float
from unhaze.photo import Photo, Traits
from unhaze.restore import analysis, field, models, resources, restorer
from unhaze.restore.restorer import Restorer, analysis_image

onnx = pytest.importorskip("onnx")
FLOAT = onnx.TensorProto.FLOAT


def affine_model(path: Path, matrix: np.ndarray, offset: list[float]) -> Path:
    """A network that maps all pixels alike: restored = matrix @ hazy + offset."""
    shape = ["batch", 3, "height", "width"]
    values = [onnx.helper.make_tensor_value_info(name, FLOAT, shape) for name in ("hazy", "out")]
    weight = onnx.numpy_helper.from_array(matrix.astype(np.float32)[:, :, None, None], "weight")
    bias = onnx.numpy_helper.from_array(np.array(offset, np.float32), "bias")
    node = onnx.helper.make_node("Conv", ["hazy", "weight", "bias"], ["out"])
    graph = onnx.helper.make_graph([node], "affine", values[:1], values[1:], [weight, bias])
    opset = [onnx.helper.make_opsetid("", 19)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def dehazer(tmp_path_factory) -> Path:
    """Undoes a haze of transmission 0.5 and airlight 0.8 everywhere."""
    path = tmp_path_factory.mktemp("model") / "dehazer.onnx"
    return affine_model(path, 2 * np.eye(3), [-0.8, -0.8, -0.8])


@pytest.fixture(scope="module")
def tinter(tmp_path_factory) -> Path:
    """Mixes the channels, so that a grey picture gets a tint."""
    path = tmp_path_factory.mktemp("model") / "tinter.onnx"
    return affine_model(path, np.array([[1, 0.1, 0], [0, 0.8, 0], [0, 0.1, 0.5]]), [0, 0, 0.1])


def scene(height: int, width: int) -> np.ndarray:
    """Textured colours (H,W,3) float32 in [0.1, 0.9] with hard edges, the same at any size."""
    rows = ((np.arange(height) + 0.5) / height)[:, None, None]
    columns = ((np.arange(width) + 0.5) / width)[None, :, None]
    phases = np.array([0.0, 1.0, 2.0])
    waves = np.sin(40 * rows + phases) * np.cos(50 * columns + 2 * phases)
    blocks = np.where((rows * 5 % 1 < 0.5) ^ (columns * 5 % 1 < 0.5), 0.25, -0.1) * np.cos(phases)
    return np.clip(0.5 + 0.2 * waves + blocks, 0.1, 0.9).astype(np.float32)


def depth_transmission(height: int, width: int) -> np.ndarray:
    """Smoothly from 0.3 to 0.9."""
    rows = (np.arange(height) + 0.5) / height
    columns = (np.arange(width) + 0.5) / width
    return (0.3 + 0.3 * rows[:, None] + 0.3 * columns[None, :])[..., None].astype(np.float32)


def psnr(restored: np.ndarray, clear: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((restored.astype(float) - clear) ** 2)))


def test_the_field_follows_smooth_haze_at_the_same_size():
    clear = scene(120, 160)
    hazy = add_haze(clear, depth_transmission(120, 160), 0.85)
    restored = field.apply_field(field.fit_field(hazy, clear), hazy)
    assert restored.dtype == np.float32
    assert psnr(restored, clear) > 50


@pytest.mark.parametrize("times", [2, 5])
def test_a_field_from_a_small_picture_fits_the_big_one(times):
    clear = scene(120 * times, 160 * times)
    hazy = add_haze(clear, depth_transmission(120 * times, 160 * times), 0.85)
    small = analysis_image(hazy, 160)
    assert small.shape == (120, 160, 3)
    maps = field.fit_field(small, analysis_image(clear, 160))
    restored = field.apply_field(maps, hazy)
    assert psnr(restored, clear) > 35
    # A halo would be a bright or dark seam along hard edges: bound the worst pixel, too.
    assert np.abs(restored - clear).max() < 0.15


def test_edges_of_depth_get_no_halo():
    """Near things with hard edges before a far background, four times the size of the field."""
    rows, columns = np.mgrid[0:480, 0:640]
    near = ((rows - 240) ** 2 + (columns - 320) ** 2 < 120**2) | (columns % 160 < 8)
    clear = np.where(near[..., None], 0.4 * scene(480, 640), 0.3 + 0.6 * scene(480, 640))
    clear = clear.astype(np.float32)
    hazy = add_haze(clear, np.where(near, 0.9, 0.35)[..., None].astype(np.float32), 0.9)
    maps = field.fit_field(analysis_image(hazy, 160), analysis_image(clear, 160))
    error = field.apply_field(maps, hazy) - clear
    around = np.zeros_like(near)
    for shift in range(-8, 9):
        around |= np.roll(near, shift, 0) | np.roll(near, shift, 1)
    assert abs(error[around & ~near].mean()) < 0.01
    assert np.quantile(np.abs(error[around & ~near]), 0.95) < 0.12
    assert psnr(clear + error, clear) > 35


def test_detail_too_fine_for_the_small_picture_is_kept():
    texture = np.random.default_rng(0).uniform(-0.02, 0.02, (400, 400, 1)).astype(np.float32)
    hazy = np.full((400, 400, 3), 0.5, np.float32) + texture
    small = analysis_image(hazy, 50)
    restored = field.apply_field(field.fit_field(small, small - 0.2), hazy)
    assert np.abs(restored - (hazy - 0.2)).max() < 0.01


def test_the_field_on_real_haze_loses_little(shared_data):
    names = ("1400_5", "1419_1", "1443_9")
    for name in names:
        folder = shared_data / "data" / "sots-indoor-part"
        hazy = to_float(photo.read_rgb(folder / "hazy" / f"{name}.png"))
        clear = to_float(photo.read_rgb(folder / "clear" / f"{name[:4]}.png"))
        restored = field.apply_field(field.fit_field(hazy, clear), hazy)
        assert psnr(np.clip(restored, 0, 1), clear) > 45
        quarter = field.fit_field(analysis_image(hazy, 155), analysis_image(clear, 155))
        assert psnr(field.apply_field(quarter, hazy), clear) > 36


def test_strips_and_threads_do_not_show(monkeypatch):
    clear = scene(90, 130)
    hazy = add_haze(clear, depth_transmission(90, 130), 0.8)
    maps = field.fit_field(hazy, clear)
    whole = field.apply_field(maps, hazy)
    monkeypatch.setattr(field, "BAND", 7)
    monkeypatch.setattr(field, "STRIP", 500)
    monkeypatch.setattr(field.field_numpy, "TILE", 37)
    banded = field.fit_field(hazy, clear, threads=3)
    np.testing.assert_allclose(banded, maps, atol=1e-5)
    np.testing.assert_array_equal(field.apply_field(maps, hazy, threads=3), whole)


def test_maps_are_interpolated_between_pixel_centres():
    maps = np.zeros((3, 2, 1, 2), np.float32)
    maps[:, 1, 0, 1] = 1
    pixels = np.zeros((2, 8, 3), np.float32)
    expected = [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1]
    np.testing.assert_allclose(field.apply_field(maps, pixels)[1, :, 2], expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_identity_field_and_strength_zero_change_nothing(dtype):
    pixels = scene(50, 70) if dtype == np.float32 else integers(50, 70, dtype)
    identity = np.zeros((3, 2, 20, 30), np.float32)
    identity[:, 0] = 1
    np.testing.assert_array_equal(field.apply_field(identity, pixels), pixels)
    unchanged = field.apply_field(identity * 3, pixels, strength=0)
    np.testing.assert_array_equal(unchanged, pixels)
    assert unchanged is not pixels


def integers(height: int, width: int, dtype: type) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, top + 1, (height, width, 3), dtype=dtype)


def test_strength_is_linear_and_bounded():
    clear = scene(40, 40)
    hazy = add_haze(clear, depth_transmission(40, 40), 0.8)
    maps = field.fit_field(hazy, clear)
    half = field.apply_field(maps, hazy, strength=0.5)
    np.testing.assert_allclose(half, (hazy + field.apply_field(maps, hazy)) / 2, atol=1e-5)
    for strength in (-0.1, 1.1, float("nan"), "1", None):
        with pytest.raises(UnhazeError, match="expected 0 .* to 1"):
            field.apply_field(maps, hazy, strength=strength)


def test_values_outside_the_range_are_clipped_not_wrapped():
    maps = np.zeros((3, 2, 1, 1), np.float32)
    maps[:, 1, 0, 0] = [-0.5, 0.5, 1.5]
    for dtype, middle in ((np.uint8, 128), (np.uint16, 32768)):
        pixels = np.zeros((3, 3, 3), dtype)
        assert field.apply_field(maps, pixels)[1, 1].tolist() == [0, middle, np.iinfo(dtype).max]


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_restoring_undoes_the_haze(dehazer, native, dtype):
    clear = scene(150, 200)
    hazy = add_haze(clear, np.float32(0.5), 0.8)
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = hazy if dtype == np.float32 else np.rint(hazy * top).astype(dtype)
    restored = Restorer(dehazer, analysis=100, native=native).restore_pixels(pixels)
    assert restored.dtype == dtype
    assert np.abs(restored / top - clear).mean() < 0.004
    assert psnr(restored / top, clear) > 38


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (2000, 1), (2, 3), (17, 33), (300, 16)])
@pytest.mark.parametrize("native", [False, True])
def test_any_shape(dehazer, shape, native):
    pixels = np.full((*shape, 3), 180, np.uint8)
    restored = Restorer(dehazer, analysis=64, native=native).restore_pixels(pixels)
    assert restored.shape == pixels.shape
    assert np.abs(restored.astype(int) - 156).max() <= 1  # 2 * 180 - 0.8 * 255


def test_all_but_the_colours_is_kept(dehazer):
    pixels = integers(30, 40, np.uint16)
    hazy = Photo(
        pixels,
        pixels[..., 0].copy(),
        Traits(metadata={"xmp-data": b"<x/>"}, format="tiff", density=(4.0, 4.0)),
    )
    restored = Restorer(dehazer).restore(hazy)
    assert not np.array_equal(restored.pixels, pixels)
    assert restored.pixels.dtype == np.uint16
    assert restored.alpha is hazy.alpha
    assert replace(restored, pixels=pixels) == hazy
    untouched = Restorer(dehazer).restore(hazy, strength=0)
    np.testing.assert_array_equal(untouched.pixels, pixels)


@pytest.mark.parametrize("native", [False, True])
def test_grey_stays_grey(tinter, native):
    pixels = np.repeat(integers(40, 50, np.uint8)[..., :1], 3, axis=2)
    restorer = Restorer(tinter, native=native)
    coloured = restorer.restore(Photo(pixels)).pixels
    grey = restorer.restore(Photo(pixels, traits=Traits(grey=True))).pixels
    assert np.ptp(coloured.astype(int), axis=2).max() > 20
    assert np.ptp(grey, axis=2).max() == 0
    assert np.abs(grey[..., 0] - coloured @ field.LUMA).mean() < 1


def test_the_analysis_image_is_small_exact_and_never_enlarged():
    pixels = np.repeat(np.repeat(integers(20, 30, np.uint8), 8, axis=0), 8, axis=1)
    small = analysis_image(pixels, 60)
    assert small.shape == (40, 60, 3)
    assert small.dtype == np.float32
    assert abs(small.mean() - pixels.mean() / 255) < 1e-3
    assert analysis_image(pixels, 1000).shape == pixels.shape
    assert analysis_image(pixels[:1], 100).shape == (1, 100, 3)
    np.testing.assert_array_equal(analysis_image(pixels, 240), to_float(pixels))


@pytest.mark.skipif(field.kernel() is None, reason="no C compiler here")
@pytest.mark.parametrize("size", [(90, 200, 3), (7, 201, 1), (203, 5, 3), (149, 130, 3)])
def test_compiled_means_of_cells_are_those_of_libvips(size, monkeypatch):
    pixels = integers(*size[:2], np.uint8)[..., : size[2]]
    compiled = analysis_image(pyvips.Image.new_from_array(pixels), 50)
    monkeypatch.setattr(analysis, "kernel", lambda: None)
    plain = analysis_image(pyvips.Image.new_from_array(pixels), 50)
    np.testing.assert_allclose(compiled, plain, atol=4e-5)  # libvips rounds to 16 bits, twice


def test_auto_goes_by_the_size_of_each_picture(dehazer, tinter, monkeypatch):
    def find(name: str | Path, *, picture_size: tuple[int, int] | None = None, **_: str) -> Path:
        if name != "auto":
            return Path(name)
        return tinter if picture_size and picture_size[0] * picture_size[1] > 1000 else dehazer

    monkeypatch.setattr(restorer, "find_model", find)
    monkeypatch.setattr(models, "find_model", find)
    automatic = Restorer("auto", analysis=16)
    for height, path in ((20, dehazer), (40, tinter), (30, dehazer), (50, tinter)):
        pixels = integers(height, 30, np.uint8)
        expected = Restorer(path, analysis=16).restore_pixels(pixels)
        np.testing.assert_array_equal(automatic.restore_pixels(pixels), expected)
    assert len(automatic.others) == 1


def test_wrong_settings_are_refused(dehazer):
    with pytest.raises(UnhazeError, match="at least 16"):
        Restorer(dehazer, analysis=8)
    with pytest.raises(UnhazeError, match="analysis is '64'"):
        Restorer(dehazer, analysis="64")
    with pytest.raises(UnhazeError, match="threads is -1"):
        Restorer(dehazer, threads=-1)
    for pixels in (None, np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(UnhazeError, match="pixels are"):
            Restorer(dehazer).restore_pixels(pixels)
    with pytest.raises(UnhazeError, match="strength is 2"):
        Restorer(dehazer).restore(Photo(integers(4, 4, np.uint8)), strength=2)


def test_too_little_memory_is_answered_with_the_settings_of_this_call(dehazer):
    pixels = np.zeros((400, 500, 3), np.uint8)
    given = {"memory": 1e6}
    with pytest.raises(UnhazeError, match="available; choose a smaller --analysis, or allow more"):
        Restorer(dehazer, **given).restore_pixels(pixels)
    with pytest.raises(UnhazeError, match="available; leave out --native, or allow more --memory$"):
        Restorer(dehazer, native=True, **given).restore_pixels(pixels)


def test_the_cost_told_is_that_of_the_picture_not_of_the_largest(dehazer, monkeypatch, caplog):
    monkeypatch.setattr(resources, "told", set())
    dear = Restorer(dehazer, analysis=100_000)
    dear.model.card |= {"macs_per_pixel": 10_000_000, "bytes_per_pixel": 1000}
    dear.restore_pixels(scene(100, 200))
    assert caplog.messages == []
    dear.restore_pixels(scene(200, 300))
    (told,) = caplog.messages
    assert "and 0.1 GB of memory for an input of 300 x 200 pixels (600 GMAC" in told


def test_memory_beyond_input_and_output_does_not_grow():
    maps = np.ones((3, 2, 24, 32), np.float32)
    extra = []
    for height in (2000, 8000):
        pixels = np.full((height, 1000, 3), 100, np.uint8)
        tracemalloc.start()
        restored = field.apply_field(maps, pixels, threads=2)
        extra.append(tracemalloc.get_traced_memory()[1] - restored.nbytes)
        tracemalloc.stop()
    assert max(extra) < 16 * 2**20
    assert extra[1] < 1.2 * extra[0]
