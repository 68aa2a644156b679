"""`unhaze.dehaze` answers in the type it was given."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unhaze
from unhaze import UnhazeError, photo

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def half(tmp_path_factory) -> str:
    """A model that halves every value: its effect is easily told."""
    tensor, shape = onnx.TensorProto.FLOAT, (1, 3, "height", "width")
    hazy = onnx.helper.make_tensor_value_info("hazy", tensor, shape)
    restored = onnx.helper.make_tensor_value_info("restored", tensor, shape)
    factor = onnx.helper.make_tensor("factor", tensor, [], [0.5])
    node = onnx.helper.make_node("Mul", ["hazy", "factor"], ["restored"])
    graph = onnx.helper.make_graph([node], "half", [hazy], [restored], [factor])
    opset = onnx.helper.make_opsetid("", 19)
    path = tmp_path_factory.mktemp("model") / "half.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    return str(path)


def colours(*shape: int) -> np.ndarray:
    """Smooth values from 0 to 1."""
    return np.linspace(0, 1, int(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4), (1, 1, 3)])
def test_arrays(half: str, shape: tuple[int, ...], dtype: str, native: bool):
    top = 1 if dtype.startswith("float") else np.iinfo(dtype).max
    hazy = (colours(*shape) * top).astype(dtype)
    kept = hazy.copy()
    restored = unhaze.dehaze(hazy, model=half, native=native)
    assert (restored.shape, restored.dtype) == (hazy.shape, hazy.dtype)
    assert np.array_equal(hazy, kept)
    if len(shape) == 3 and shape[2] == 4:
        assert np.array_equal(restored[..., 3], hazy[..., 3])
    colour = (slice(None), slice(None), slice(0, 3))[: len(shape)]
    difference = np.abs(restored[colour].astype(float) - hazy[colour].astype(float) / 2) / top
    assert difference.mean() < (0.003 if native else 0.02)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("RGB", "RGB"), ("RGBA", "RGBA")]
    + [("CMYK", "RGB"), ("YCbCr", "RGB")],
)
def test_pil_images(half: str, mode: str, expected: str):
    hazy = Image.fromarray((colours(20, 30, 4) * 255).astype(np.uint8)).convert("RGB").convert(mode)
    hazy.info["dpi"] = (300, 300)
    restored = unhaze.dehaze(hazy, model=half, native=True)
    assert (restored.size, restored.mode) == (hazy.size, expected)
    assert restored.info["dpi"] == (300, 300)
    before, after = (np.asarray(each.convert("L"), float) for each in (hazy, restored))
    assert np.abs(after - before / 2).mean() < 2


def test_tensors(half: str):
    import torch

    hazy = torch.linspace(0, 1, 2 * 3 * 20 * 30).view(2, 3, 20, 30)
    batch = unhaze.dehaze(hazy, model=half, native=True)
    assert torch.allclose(batch, hazy / 2, atol=1e-6)
    assert torch.equal(unhaze.dehaze(hazy[1], model=half, native=True), batch[1])
    assert unhaze.dehaze(hazy.bfloat16(), model=half, native=True).dtype == torch.bfloat16
    bytes_ = unhaze.dehaze((hazy * 255).byte(), model=half, native=True)
    assert bytes_.dtype == torch.uint8
    assert abs(bytes_.float().mean() - 63.5) < 1


def test_paths_and_bytes(half: str, tmp_path: Path):
    pixels = (colours(20, 30, 3) * 255).astype(np.uint8)
    path = tmp_path / "photo.png"
    photo.write_rgb(path, pixels)
    written = unhaze.dehaze(path, model=half, native=True)
    assert written == tmp_path / "photo.unhazed.png"
    assert np.abs(photo.read_rgb(written) - pixels / 2).max() <= 0.5
    with pytest.raises(UnhazeError, match="exists"):
        unhaze.dehaze(path, model=half)
    assert unhaze.dehaze(str(path), model=half, overwrite=True) == str(written)
    assert unhaze.dehaze(path, model=half, out=tmp_path / "b.jpg") == tmp_path / "b.jpg"
    encoded = unhaze.dehaze(path.read_bytes(), model=half, native=True)
    assert isinstance(encoded, bytes)
    assert np.abs(photo.read(encoded).pixels - pixels / 2).max() <= 0.5


def test_strength_zero_is_the_input(half: str):
    hazy = (colours(20, 30, 3) * 255).astype(np.uint8)
    assert np.array_equal(unhaze.dehaze(hazy, model=half, strength=0), hazy)


@pytest.mark.parametrize(
    ("picture", "settings", "message"),
    [
        (np.zeros((4, 4, 2), np.uint8), {}, r"\(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), {}, r"\(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.int32), {}, "int32"),
        (np.full((4, 4, 3), 255.0), {}, "from 255 to 255"),
        (np.full((4, 4, 3), np.nan), {}, "from nan to nan"),
        (np.zeros((4, 4, 3), np.uint8), {"out": "b.png"}, "out is for a picture given by its path"),
        (np.zeros((4, 4, 3), np.uint8), {"strength": 2}, "strength"),
        (np.zeros((4, 4, 3), np.uint8), {"strength": float("nan")}, "strength"),
        (np.zeros((4, 4, 3), np.uint8), {"model": "fotoo"}, "fotoo"),
        (b"no picture", {}, "no picture"),
        ("absent.jpg", {}, "no file 'absent.jpg'"),
        (Path(__file__).parent, {}, "is a folder"),
        (Path(__file__), {}, "test_dehaze.py"),
        ([1, 2, 3], {}, "cannot dehaze a list; expected a path, bytes"),
        (Image.new("F", (4, 4)), {}, "mode F"),
    ],
)
def test_mistakes(half: str, picture, settings: dict, message: str):
    with pytest.raises(UnhazeError, match=message) as caught:
        unhaze.dehaze(picture, **{"model": half} | settings)
    assert "\n" not in str(caught.value)


def test_later_calls_share_the_model(half: str):
    from unhaze.dehaze import restorer_for

    unhaze.dehaze(np.zeros((4, 4, 3), np.uint8), model=half)
    hits = restorer_for.cache_info().hits
    unhaze.dehaze(np.zeros((4, 4, 3), np.uint8), model=half)
    assert restorer_for.cache_info().hits == hits + 1
