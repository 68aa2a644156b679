"""The engine runs what is a model, on the device that works, and refuses all else in one line."""

import logging
from pathlib import Path

import numpy as np
import pytest

from unhaze.errors import UnhazeError
from unhaze.restore import resources as table
from unhaze.restore.engine import Engine, OutOfMemory
from unhaze.restore.models import FOLDER, list_models
from unhaze.restore.resources import DEVICES, choose_device

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


def offer(monkeypatch, *devices: str) -> None:
    """Lets this look like an installation with these devices."""
    providers = [DEVICES[name].provider for name in devices]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["Azure", *providers])
    monkeypatch.setattr(table, "has_openvino", lambda: "openvino" in devices)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (("cpu",), "cpu"),
        (("cpu", "cuda"), "cuda"),
        (("cpu", "directml", "cuda"), "cuda"),
        (("directml", "cpu"), "directml"),
        # These compile anew for each size of picture, or are not exact: only on request.
        (("rocm", "openvino", "coreml", "cpu"), "cpu"),
    ],
)
def test_auto_takes_the_best_that_suits_pictures(monkeypatch, offered, chosen):
    offer(monkeypatch, *offered)
    assert choose_device("auto") == chosen
    for name in offered:
        assert choose_device(name) == name


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_that_is_not_there(tmp_path, monkeypatch, device):
    path = make_model(tmp_path / "m.onnx")
    offer(monkeypatch)
    provider = DEVICES[device].provider
    missing = f".*{provider}; install [^\n]+$" if provider else "OpenVINO: pip install "
    with pytest.raises(UnhazeError, match=f"^device '{device}' needs {missing}"):
        Engine(path, device)


def test_an_unknown_device(tmp_path):
    with pytest.raises(UnhazeError, match="no device 'cudo'; did you mean 'cuda'"):
        Engine(make_model(tmp_path / "m.onnx"), "cudo")


@pytest.mark.filterwarnings("ignore:Specified provider")  # it is made up
def test_auto_continues_with_the_cpu_and_says_so_where_a_device_does_not_start(
    tmp_path, monkeypatch, caplog, capfd
):
    path = make_model(tmp_path / "m.onnx")
    offer(monkeypatch, "cuda", "cpu")
    with caplog.at_level(logging.WARNING):
        engine = Engine(path)
    assert engine.device == "cpu"
    np.testing.assert_array_equal(engine(picture()), picture())
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("device 'cuda' failed (") and line.endswith("; continuing on the CPU")
    assert "\n" not in line
    assert capfd.readouterr().out == ""


@pytest.mark.filterwarnings("ignore:Specified provider")  # it is made up
def test_a_device_that_was_asked_for_is_not_replaced(tmp_path, monkeypatch):
    offer(monkeypatch, "cuda", "cpu")
    with pytest.raises(UnhazeError, match="cannot use device 'cuda': .*; use --device cpu$"):
        Engine(make_model(tmp_path / "m.onnx"), "cuda")


@pytest.mark.parametrize("card", list_models(), ids=lambda card: card.name)
def test_openvino_gives_the_picture_of_onnx_runtime(card):
    pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")
    usual, other = (Engine(FOLDER / card.file, name, threads=1) for name in ("cpu", "openvino"))
    assert other.card == usual.card and other.device == "openvino"
    for height, width in ((61, 90), (40, 33)):  # one session, pictures of any size
        hazy = 0.5 + 0.5 * picture(height, width)
        difference = other(hazy).clip(0, 1) - usual(hazy).clip(0, 1)
        assert 10 * np.log10(1 / (difference**2).mean()) > 55
    found, _ = other.pools(hazy)  # what tiles need
    np.testing.assert_allclose(other(hazy, found), usual(hazy, found), atol=0.01)


def test_what_openvino_cannot_run_is_reported_in_one_line(tmp_path):
    pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(UnhazeError, match="cannot use device 'openvino': [^\n]+$"):
        Engine(path, "openvino")


class Failing:
    """A session of a device that starts and then fails with `error`."""

    def __init__(self, session: onnxruntime.InferenceSession, error: Exception) -> None:
        self.get_inputs, self.error = session.get_inputs, error

    def run(self, *_: object) -> None:
        raise self.error


def failing_engine(path: Path, error: Exception, *, free: bool) -> Engine:
    """As if its device had been chosen by "auto" (`free`) or by name."""
    engine = Engine(path, "cpu", threads=1)
    engine.device, engine.device_is_free = "cuda", free
    engine.sessions["closed"] = Failing(engine.sessions["closed"], error)
    return engine


def test_auto_continues_with_the_cpu_where_a_device_fails_at_work(tmp_path, caplog):
    path = make_model(tmp_path / "m.onnx")
    broken = RuntimeError("CUDA failure 700:\nillegal address")
    engine = failing_engine(path, broken, free=True)
    np.testing.assert_array_equal(engine(picture()), picture())
    assert engine.device == "cpu"
    assert "device 'cuda' failed (CUDA failure 700: illegal address)" in caplog.text
    with pytest.raises(UnhazeError, match="on 7 x 5 pixels failed: CUDA failure 700"):
        failing_engine(path, broken, free=False)(picture())


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error 2: out of memory"),
        RuntimeError("Failed to allocate memory for requested buffer of size 123"),
        RuntimeError("BFCArena::AllocateRawInternal ... Available memory of 0"),
        RuntimeError("DmlExecutionProvider: 8007000E Not enough memory resources"),
    ],
)
def test_the_end_of_memory_is_no_failure_of_the_device(tmp_path, error):
    engine = failing_engine(make_model(tmp_path / "m.onnx"), error, free=True)
    with pytest.raises(OutOfMemory, match="^not enough memory to run the model on 7 x 5 pixels"):
        engine(picture())
    assert engine.device == "cuda"


@pytest.mark.parametrize("threads", [-1, 1.5, "2", True, None])
def test_threads_that_make_no_sense(tmp_path, threads):
    with pytest.raises(UnhazeError, match="^threads is .*; expected a whole number"):
        Engine(make_model(tmp_path / "m.onnx"), threads=threads)


def test_a_session_has_the_threads_that_were_asked_for(tmp_path):
    engine = Engine(make_model(tmp_path / "m.onnx"), "cpu", threads=3)
    options = engine.sessions["closed"].get_session_options()
    assert options.intra_op_num_threads == engine.threads == 3


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x09" * 99])
def test_a_file_that_is_no_model(tmp_path, content, capfd):
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(UnhazeError, match="bad.onnx' is not a usable ONNX model: [^\n]+$"):
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
    with pytest.raises(UnhazeError, match=r"3 of 105 values of the output of '.*log.onnx' are NaN"):
        hazy = picture()
        hazy[0, :, 2, 2] = -1
        engine(hazy)
    shrinking = make_model(tmp_path / "pool.onnx", operator="MaxPool", kernel_shape=[2, 2])
    with pytest.raises(
        UnhazeError, match=r"returned \(1, 3, 4, 6\) for an input of \(1, 3, 5, 7\)"
    ):
        Engine(shrinking)(picture())
    failing = make_model(tmp_path / "pool9.onnx", operator="MaxPool", kernel_shape=[9, 9])
    with pytest.raises(UnhazeError, match="on 7 x 5 pixels failed: [^\n]+$"):
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
    with pytest.raises(UnhazeError, match="1 of 105 values of the picture are NaN"):
        Engine(make_model(tmp_path / "m.onnx"))(hazy)
