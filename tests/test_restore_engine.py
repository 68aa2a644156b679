"""The engine refuses what is no model, and the shipped models are what their cards say."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from unhaze.errors import UnhazeError
from unhaze.restore import native
from unhaze.restore.engine import DEVICES, Engine
from unhaze.restore.models import FOLDER, ModelCard, find_model, list_models
from unhaze.restore.native import restore_whole

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
FLOAT = onnx.TensorProto.FLOAT
FREE = ("batch", 3, "height", "width")


def make_model(
    path: Path,
    *,
    operator: str = "Identity",
    inputs: tuple[str, ...] = ("hazy",),
    shape: tuple[int | str, ...] = FREE,
    kind: int = FLOAT,
    facts: dict[str, str] | None = None,
    **attributes: int | list[int],
) -> Path:
    """A model of a single operator."""
    given = [onnx.helper.make_tensor_value_info(name, kind, shape) for name in inputs]
    unknown = [None] * len(shape)
    out = onnx.helper.make_tensor_value_info("restored", kind, unknown if attributes else shape)
    node = onnx.helper.make_node(operator, list(inputs), ["restored"], **attributes)
    graph = onnx.helper.make_graph([node], "one", given, [out])
    opset = [onnx.helper.make_opsetid("", 19)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.helper.set_model_props(model, facts or {})
    onnx.save(model, path)
    return path


def picture(height: int = 5, width: int = 7) -> np.ndarray:
    return np.random.default_rng(0).random((1, 3, height, width), dtype=np.float32)


def test_a_model_runs_and_shows_its_card(tmp_path):
    facts = {"net": "aecr", "params": "12", "arguments": '{"width": 8}', "recipe": "tiny.toml"}
    engine = Engine(make_model(tmp_path / "m.onnx", facts=facts), "cpu", threads=1)
    np.testing.assert_array_equal(engine(picture()), picture())
    assert engine.card == facts | {"params": 12, "arguments": {"width": 8}}
    assert engine.device == "cpu"
    assert engine.path == tmp_path / "m.onnx"


def test_auto_takes_what_is_there(tmp_path):
    cuda = DEVICES["cuda"] in onnxruntime.get_available_providers()
    assert Engine(make_model(tmp_path / "m.onnx")).device in (("cpu", "cuda") if cuda else ("cpu",))


def test_a_device_that_is_not_there(tmp_path, monkeypatch):
    path = make_model(tmp_path / "m.onnx")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [DEVICES["cpu"]])
    with pytest.raises(UnhazeError, match="'cuda' needs .*onnxruntime-gpu"):
        Engine(path, "cuda")
    with pytest.raises(UnhazeError, match="no device 'cudo'; did you mean 'cuda'"):
        Engine(path, "cudo")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x09" * 99])
def test_a_file_that_is_no_model(tmp_path, content, capfd):
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(UnhazeError, match="bad.onnx' is no usable ONNX model: [^\n]+$"):
        Engine(tmp_path / "bad.onnx")
    assert capfd.readouterr().err == ""


def test_a_missing_model(tmp_path):
    with pytest.raises(UnhazeError, match="no model file"):
        Engine(tmp_path / "gone.onnx")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"operator": "Add", "inputs": ("hazy", "depth")}, "2 inputs"),
        ({"shape": ("batch", 1, "height", "width")}, "3 channels"),
        ({"shape": (4, 3, "height", "width")}, "batch 1"),
        ({"shape": (1, 3, 256, 256)}, "256 x 256 pixels only"),
        ({"shape": (3, "height", "width")}, r"expected tensor\(float\)"),
        ({"kind": onnx.TensorProto.DOUBLE}, r"tensor\(double\)"),
    ],
)
def test_a_model_with_another_interface(tmp_path, wrong, message):
    with pytest.raises(UnhazeError, match=message):
        Engine(make_model(tmp_path / "m.onnx", **wrong))


def test_answers_are_checked(tmp_path, capfd):
    engine = Engine(make_model(tmp_path / "log.onnx", operator="Log"))
    with pytest.raises(UnhazeError, match=r"log.onnx' holds 3 of 105 values that are NaN"):
        hazy = picture()
        hazy[0, :, 2, 2] = -1
        engine(hazy)
    shrinking = make_model(tmp_path / "pool.onnx", operator="MaxPool", kernel_shape=[2, 2])
    with pytest.raises(UnhazeError, match=r"answered \(1, 3, 4, 6\) to \(1, 3, 5, 7\)"):
        Engine(shrinking)(picture())
    failing = make_model(tmp_path / "pool9.onnx", operator="MaxPool", kernel_shape=[9, 9])
    with pytest.raises(UnhazeError, match="failed on 7 x 5 pixels: [^\n]+$"):
        Engine(failing)(picture())
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "wrong", [picture()[0], picture()[:, :2], picture().astype(float), np.repeat(picture(), 2, 0)]
)
def test_wrong_tensors_are_refused(tmp_path, wrong):
    engine = Engine(make_model(tmp_path / "m.onnx"))
    with pytest.raises(UnhazeError, match=r"expected float32 \(1, 3, H, W\)"):
        engine(wrong)


def test_a_picture_with_nan_is_refused(tmp_path):
    hazy = picture()
    hazy[0, 0, 0, 0] = np.nan
    with pytest.raises(UnhazeError, match="the picture holds 1 of 105 values"):
        Engine(make_model(tmp_path / "m.onnx"))(hazy)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 8), (9, 3)])
def test_the_border_is_mirrored_if_the_card_asks_for_it(tmp_path, size):
    facts = {"multiple": "8"}
    engine = Engine(make_model(tmp_path / "m.onnx", facts=facts))
    seen = []

    def watch(hazy: np.ndarray) -> np.ndarray:
        seen.append(hazy)
        return hazy

    watch.card, watch.device = engine.card, engine.device
    hazy_hwc = picture(*size)[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(restore_whole(watch, hazy_hwc), hazy_hwc)
    height, width = size
    assert seen[0].shape == (1, 3, -(-height // 8) * 8, -(-width // 8) * 8)
    if height == 5:
        np.testing.assert_array_equal(seen[0][:, :, 5, :7], seen[0][:, :, 3, :7])
    np.testing.assert_array_equal(restore_whole(engine, hazy_hwc), hazy_hwc)


def test_a_picture_too_large_for_the_memory_is_refused_before(tmp_path, monkeypatch):
    engine = Engine(make_model(tmp_path / "m.onnx"), "cpu")
    monkeypatch.setattr(native, "_free_memory", lambda: 2000.0 * 100 * 100)
    restore_whole(engine, np.zeros((100, 100, 3), np.float32))
    with pytest.raises(UnhazeError, match="100 x 101 pixels.*leave out --native"):
        restore_whole(engine, np.zeros((101, 100, 3), np.float32))
    light = Engine(make_model(tmp_path / "l.onnx", facts={"bytes_per_pixel": "50"}), "cpu")
    restore_whole(light, np.zeros((101, 100, 3), np.float32))


CARD = """
[small]
file = "small.onnx"
sha256 = "{sha256}"
net = "aecr"
recipe = "recipes/aecr/its.toml"
data = "NYU depth"
licence = "Apache-2.0"
params = 3
purpose = "Tests."

[large]
file = "large.onnx"
sha256 = "{sha256}"
net = "aecr"
arguments = {{ width = 16 }}
recipe = "recipes/aecr/its.toml"
data = "NYU depth"
licence = "Apache-2.0"
params = 4
purpose = "Tests."
measured = {{ "psnr on sots-indoor-part (aecr)" = 20.5 }}
default = true
"""


@pytest.fixture
def shelf(tmp_path) -> Path:
    """A folder of two shipped models."""
    for name in ("small", "large"):
        make_model(tmp_path / f"{name}.onnx")
    digest = hashlib.sha256((tmp_path / "small.onnx").read_bytes()).hexdigest()
    (tmp_path / "models.toml").write_text(CARD.format(sha256=digest), encoding="utf-8")
    return tmp_path


def test_models_are_listed_default_first_and_found_by_name(shelf):
    cards = list_models(shelf)
    assert [card.name for card in cards] == ["large", "small"]
    assert cards[0].arguments == {"width": 16}
    assert cards[0].measured["psnr on sots-indoor-part (aecr)"] == 20.5
    assert find_model("auto", folder=shelf) == shelf / "large.onnx"
    assert find_model("small", folder=shelf) == shelf / "small.onnx"
    with pytest.raises(UnhazeError, match="no model 'smal'; did you mean 'small'"):
        find_model("smal", folder=shelf)


def test_damaged_and_missing_shipped_models(shelf):
    with (shelf / "small.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UnhazeError, match="'small' is damaged"):
        find_model("small", folder=shelf)
    (shelf / "small.onnx").unlink()
    with pytest.raises(UnhazeError, match="'small' is missing"):
        find_model("small", folder=shelf)


def test_models_by_path(tmp_path):
    path = make_model(tmp_path / "mine.onnx")
    assert find_model(path) == find_model(str(path)) == path
    with pytest.raises(UnhazeError, match="no model file 'gone.onnx'"):
        find_model("gone.onnx")
    (tmp_path / "weights.safetensors").touch()
    for other in (tmp_path / "weights.safetensors", tmp_path):
        with pytest.raises(UnhazeError, match="unhaze export"):
            find_model(other)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UnhazeError, match="expected a .onnx file"):
        find_model(tmp_path / "photo.jpg")


def test_no_shipped_model_at_all(tmp_path):
    (tmp_path / "models.toml").touch()
    with pytest.raises(UnhazeError, match="give a .onnx file"):
        find_model("auto", folder=tmp_path)


def test_what_is_shipped_is_whole_and_described():
    cards = list_models()
    files = {path.name for path in FOLDER.glob("*.onnx")}
    assert {card.file for card in cards} == files
    assert sum(card.default for card in cards) == (1 if cards else 0)
    for card in cards:
        assert isinstance(card, ModelCard)
        engine = Engine(find_model(card.name), "cpu", threads=1)
        assert (engine.card["net"], engine.card["params"]) == (card.net, card.params)
        assert np.isfinite(engine(picture(33, 50))).all()
