"""ONNX models of others run as they are: ranges, layouts, sizes and outputs are found."""

from pathlib import Path

import numpy as np
import pytest

from unhaze.errors import UnhazeError
from unhaze.restore.conventions import probe_picture
from unhaze.restore.engine import Engine
from unhaze.restore.foreign import ForeignModel
from unhaze.restore.models import FOLDER, open_model, open_onnx
from unhaze.restore.restorer import Restorer

onnx = pytest.importorskip("onnx")

FLOAT, HALF, INT64 = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64)
SHIPPED = FOLDER / "photo.onnx"


def wrapped(
    out: Path,
    *,
    low: float = 0,
    high: float = 1,
    out_range: tuple[float, float] | None = None,
    bgr: bool = False,
    nhwc: bool = False,
    half: bool = False,
    extra: bool = False,
    size: tuple[int, int] | None = None,
    multiple: int = 1,
) -> Path:
    """The shipped model `photo` as another program could have exported it, without its card."""
    model = onnx.load(SHIPPED)
    del model.metadata_props[:]
    graph = model.graph
    first, last = graph.input[0].name, graph.output[0].name
    before, after = [], []

    def constant(name, value):
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(where, kind, *inputs, **attributes):
        name = f"wrap_{len(before)}_{len(after)}"
        where.append(onnx.helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    flip = constant("flip", np.array([2, 1, 0])) if bgr else ""
    value = node(before, "Cast", "picture", to=FLOAT)
    value = node(before, "Transpose", value, perm=[0, 3, 1, 2]) if nhwc else value
    value = node(before, "Gather", value, flip, axis=1) if bgr else value
    if multiple > 1:  # Folding and unfolding fails for other sizes, as in many networks.
        value = node(before, "SpaceToDepth", value, blocksize=multiple)
        value = node(before, "DepthToSpace", value, blocksize=multiple)
    value = node(before, "Sub", value, constant("low", np.float32(low)))
    value = node(before, "Div", value, constant("width", np.float32(high - low)))
    before.append(onnx.helper.make_node("Identity", [value], [first]))
    low, high = out_range or (low, high)
    value = node(after, "Mul", last, constant("out_width", np.float32(high - low)))
    value = node(after, "Add", value, constant("out_low", np.float32(low)))
    value = node(after, "Gather", value, flip, axis=1) if bgr else value
    value = node(after, "Transpose", value, perm=[0, 2, 3, 1]) if nhwc else value
    kind = HALF if half else FLOAT
    after.append(onnx.helper.make_node("Cast", [value], ["clean"], to=kind))
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    sides = list(size or ("h", "w"))
    shape = [1, *sides, 3] if nhwc else [1, 3, *sides]
    graph.input.append(onnx.helper.make_tensor_value_info("picture", kind, shape))
    if extra:
        graph.output.append(onnx.helper.make_tensor_value_info(first, FLOAT, [None] * 4))
    graph.output.append(onnx.helper.make_tensor_value_info("clean", kind, [None] * 4))
    onnx.save(model, out)
    return out


@pytest.mark.parametrize(
    "made, told",
    [
        ({"low": -1}, "RGB -1..1, any size; gives -1..1"),
        ({"high": 255}, "RGB 0..255, any size; gives 0..255"),
        ({"high": 255, "out_range": (0, 1)}, "RGB 0..255, any size; gives 0..1"),
        ({"high": 255, "nhwc": True}, "takes nhwc float RGB 0..255"),
        ({"low": -1, "half": True}, "nchw float16 RGB -1..1"),
        ({"low": -1, "extra": True}, "as output 'clean'"),
        ({"multiple": 4}, "sizes that are multiples of 4"),
        ({"multiple": 32, "low": -1}, "multiples of 32; gives -1..1"),
    ],
)
def test_what_a_model_takes_is_found_and_told_in_one_line(made, told, tmp_path, caplog):
    model = open_onnx(wrapped(tmp_path / "other.onnx", **made), "cpu", threads=1)
    assert isinstance(model, ForeignModel)
    assert [told in line for line in caplog.messages] == [True]
    assert "RGB is assumed" in caplog.text and "'other.toml' beside it may set this" in caplog.text
    height, width = (96, 128) if "multiple" in made else (101, 77)
    hazy, _ = probe_picture(height, width)
    expected = Engine(SHIPPED, "cpu", threads=1)(hazy)
    np.testing.assert_allclose(model(hazy), expected, atol=2e-3 if "half" in made else 1e-5)


def test_any_size_goes_into_a_model_of_multiples(tmp_path):
    model = open_onnx(wrapped(tmp_path / "other.onnx", multiple=32), "cpu", threads=1)
    for height, width in ((1, 1), (33, 47), (64, 96)):
        hazy, _ = probe_picture(height, width)
        assert model(hazy).shape == hazy.shape


def test_a_model_as_ours_stays_one(tmp_path, caplog):
    path = wrapped(tmp_path / "plain.onnx")
    assert isinstance(open_model(path, "cpu", threads=1), Engine)
    assert not caplog.messages


def test_a_fixed_size_restores_photos_of_every_size(tmp_path):
    path = wrapped(tmp_path / "fixed.onnx", size=(192, 256), low=-1)
    hazy = (probe_picture(384, 512)[0][0].transpose(1, 2, 0) * 255).astype(np.uint8)
    expected = Restorer(SHIPPED, "cpu", analysis=256, threads=1).restore_pixels(hazy)
    restored = Restorer(path, "cpu", analysis=256, threads=1).restore_pixels(hazy)
    assert restored.shape == hazy.shape
    np.testing.assert_allclose(restored.astype(float), expected.astype(float), atol=2)
    larger = Restorer(path, "cpu", analysis=512, threads=1).restore_pixels(hazy)
    change = np.abs(larger.astype(float) - hazy).mean()
    assert np.abs(larger.astype(float) - expected).mean() < 0.5 * change


def test_a_toml_beside_it_says_what_cannot_be_found(tmp_path, caplog):
    path = wrapped(tmp_path / "bgr.onnx", bgr=True, high=255)
    path.with_suffix(".toml").write_text('channels = "bgr"\n')
    hazy, _ = probe_picture(64, 96)
    expected = Engine(SHIPPED, "cpu", threads=1)(hazy)
    np.testing.assert_allclose(open_onnx(path, "cpu", threads=1)(hazy), expected, atol=1e-5)
    assert "BGR 0..255" in caplog.messages[0] and "assumed" not in caplog.messages[0]
    path.with_suffix(".toml").write_text('range_in = "0..255"\n')
    open_onnx(path, "cpu", threads=1)
    assert "RGB is assumed" in caplog.messages[1] and "probed" not in caplog.messages[1]


@pytest.mark.parametrize(
    "text, message",
    [
        ('chanels = "bgr"', "has a key 'chanels'; did you mean 'channels'"),
        ('channels = "gbr"', "channels is 'gbr'; it must be one of rgb, bgr"),
        ("multiple = 0", "multiple is 0; expected 1 to 1024"),
        ('output = "depth"', "is 'depth'; it must be one of clean"),
        ("channels", "not valid TOML"),
    ],
)
def test_a_wrong_toml_is_named(text, message, tmp_path):
    path = wrapped(tmp_path / "other.onnx", low=-1)
    path.with_suffix(".toml").write_text(text)
    with pytest.raises(UnhazeError, match=message):
        open_onnx(path, "cpu", threads=1)


def test_a_model_that_gives_no_picture_is_refused(tmp_path):
    shape = [1, 3, 64, 64]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("GlobalAveragePool", ["picture"], ["mean"])],
        "classifier",
        [onnx.helper.make_tensor_value_info("picture", FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("mean", FLOAT, [1, 3, 1, 1])],
    )
    opset = [onnx.helper.make_opsetid("", 19)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "c.onnx")
    with pytest.raises(UnhazeError, match="gives no picture of the size of its input"):
        open_onnx(tmp_path / "c.onnx", "cpu", threads=1)
