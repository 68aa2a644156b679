"""An export is one checked ONNX file for pictures of any size, or there is no file at all."""

import copy
import functools
import json
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from unhaze.config import Part
from unhaze.errors import UnhazeError
from unhaze.exporting import CHECKED_SIZES, export
from unhaze.exporting.graph import to_onnx
from unhaze.nets import NETS, Net, create_net
from unhaze.restore import native
from unhaze.restore.engine import Engine
from unhaze.restore.native import restore_whole
from unhaze.weights import save_weights

SMALL = {
    "code": {"width": 8, "whitening": True, "fa_blocks": 1},
    "haze": {"width": 8, "whitening": False, "fa_blocks": 1, "head": "haze", "dfe": "before"},
}


# For what does not depend on the layers: an export takes a fifth of the time.
SHALLOW = {"width": 8, "whitening": False, "fa_blocks": 0, "dfe": "none", "fusion": "none"}


def write_weights(path, arguments, *, name="aecr", **facts):
    """A network that has seen one picture, with parameters away from their starting values."""
    torch.manual_seed(11)
    net = create_net(name, **arguments).train()
    with torch.no_grad():
        net(torch.rand(2, 3, 24, 20))
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    save_weights(path, net, Part(name, arguments), **facts)
    return net.eval()


@pytest.fixture(scope="module")
def export_of(tmp_path_factory):
    """The network, its file and the report of its export, once for each of `SMALL`."""

    @functools.cache
    def of(name):
        folder = tmp_path_factory.mktemp("export")
        source = folder / "weights.safetensors"
        facts = {"recipe": "a small test", "step": 1200, "psnr": 21.5}
        net = write_weights(source, SMALL[name], **facts)
        return net, source, export(source, folder / "new" / "model.onnx")

    return of


@pytest.fixture(params=SMALL)
def exported(request, export_of):
    """A network, its arguments and the report of its export."""
    net, _, report = export_of(request.param)
    return net, SMALL[request.param], report


def session_of(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    "size", [(1, 1, 1), (1, 1, 2), (1, 2, 1), (3, 7, 5), (1, 100, 3), (2, 31, 64)]
)
def test_any_batch_and_size_equals_pytorch(exported, size):
    net, _, report = exported
    batch, height, width = size
    hazy = torch.rand(batch, 3, height, width)
    with torch.no_grad():
        expected = net(hazy).numpy()
    (restored,) = session_of(report.path).run(None, {"hazy": hazy.numpy()})
    np.testing.assert_allclose(restored, expected, atol=2e-5)


@pytest.mark.slow
def test_weights_in_half_precision_halve_the_file_and_compute_in_float32(tmp_path, export_of):
    net, source, report = export_of("haze")
    half = export(source, tmp_path / "half.onnx", half=True).path
    assert half.stat().st_size < 0.75 * report.path.stat().st_size
    hazy = torch.rand(1, 3, 40, 36)
    with torch.no_grad():
        expected, exact = copy.deepcopy(net).half().float()(hazy).numpy(), net(hazy).numpy()
    (restored,) = session_of(half).run(None, {"hazy": hazy.numpy()})
    np.testing.assert_allclose(restored, expected, atol=2e-5)
    assert np.abs(restored - exact).max() < 0.01


def test_report_tells_what_was_checked(exported):
    net, _, report = exported
    assert 0 < report.max_difference < 2e-5
    assert report.sizes == CHECKED_SIZES
    assert (1, 1, 1) in report.sizes
    assert report.params == sum(parameter.numel() for parameter in net.parameters())
    assert report.seconds > 0


def test_model_is_one_file_with_native_nodes_and_named_sizes(exported):
    net, _, report = exported
    assert [path.name for path in report.path.parent.iterdir()] == ["model.onnx"]
    model = onnx.load(report.path, load_external_data=False)
    assert [node.op_type for node in model.graph.node].count("DeformConv") == 2
    assert {node.domain for node in model.graph.node} == {""}
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 19)]
    session = session_of(report.path)
    (hazy,), (restored,) = session.get_inputs(), session.get_outputs()
    assert (hazy.name, hazy.shape) == ("hazy", ["batch", 3, "height", "width"])
    assert (restored.name, restored.shape) == ("restored", ["batch", 3, "height", "width"])
    assert report.path.stat().st_size < 4 * report.params + 60_000


def test_metadata_is_the_card(exported):
    _, arguments, report = exported
    card = session_of(report.path).get_modelmeta().custom_metadata_map
    assert card["net"] == "aecr"
    assert json.loads(card["arguments"]) == arguments
    assert json.loads(card["params"]) == report.params
    assert (card["title"], card["paper"]) == (NETS["aecr"].title, NETS["aecr"].paper)
    assert card["unhaze"] == version("unhaze")
    assert (card["recipe"], card["step"], card["psnr"]) == ("a small test", "1200", "21.5")


def test_metadata_says_what_running_it_takes(exported):
    net, _, report = exported
    facts = session_of(report.path).get_modelmeta().custom_metadata_map
    macs, context, memory = (
        int(facts[name]) for name in ("macs_per_pixel", "context", "bytes_per_pixel")
    )
    # Both networks are of width 8: its first and last layers, at full size, are 7x7 convolutions.
    assert 3 * 8 * 49 + 8 * 3 * 49 < macs < 20_000
    assert 0 < context <= 256 and context % 32 == 0
    assert 8 * 4 < memory < 2000
    assert json.loads(facts["pools"]) == [4]  # one mean, at a quarter of the size


def test_tiles_with_the_measured_context_equal_the_whole_picture(exported):
    _, _, report = exported
    engine = Engine(report.path, "cpu", threads=1)
    hazy = np.random.default_rng(3).random((330, 500, 3), dtype=np.float32)
    whole = restore_whole(engine, hazy)
    tiled = np.concatenate([strip for _, strip in native._restore_tiles(engine, hazy, 192, 0)])
    assert np.abs(tiled - whole).max() < 0.1 / 255


class Sharing(nn.Module):
    """Takes its mean without keeping the axes, and its brightest place: no mean is handed over."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(3, 3)

    def forward(self, hazy):
        light = self.mix(hazy.mean((-2, -1)))[..., None, None]
        return hazy * light + hazy.amax((-2, -1), keepdim=True)


def test_a_net_that_needs_the_whole_picture_says_so(tmp_path, monkeypatch):
    entry = Net(f"{__name__}:Sharing", title="Sharing")
    monkeypatch.setitem(NETS, "sharing", entry)
    source, out = tmp_path / "weights.safetensors", tmp_path / "model.onnx"
    write_weights(source, {}, name="sharing")
    export(source, out)
    engine = Engine(out, "cpu", threads=1)
    assert engine.card["context"] is None
    hazy = np.random.default_rng(0).random((1, 3, 40, 50), dtype=np.float32)
    (mean,), (size,) = engine.pools(hazy)
    assert size == hazy.size
    np.testing.assert_allclose(mean, hazy.mean((2, 3)), atol=1e-6)
    with pytest.raises(UnhazeError, match="as a whole, which this model must see"):
        restore_whole(engine, hazy[0].transpose(1, 2, 0), memory=1000)


def test_file_holds_no_path_of_this_computer(exported):
    _, _, report = exported
    content = report.path.read_bytes()
    assert b".py" not in content
    assert str(report.path.parent).encode() not in content


def test_existing_file_is_kept_unless_overwriting_which_is_silent(tmp_path, capfd):
    source, out = tmp_path / "weights.safetensors", tmp_path / "model.onnx"
    write_weights(source, {}, name="aodnet")
    out.write_text("precious")
    with pytest.raises(UnhazeError, match="exists"):
        export(source, out)
    assert out.read_text() == "precious"
    capfd.readouterr()
    export(source, out, overwrite=True)
    assert capfd.readouterr() == ("", "")
    assert onnx.load(out).graph.input[0].name == "hazy"


def test_disagreement_leaves_no_file(tmp_path):
    """No two engines agree bitwise on a tanh network, so a tolerance of zero must refuse."""
    source = tmp_path / "weights.safetensors"
    write_weights(source, SHALLOW)
    with pytest.raises(UnhazeError, match="differ by .*more than 0"):
        export(source, tmp_path / "model.onnx", tolerance=0)
    assert list(tmp_path.iterdir()) == [source]


def test_broken_weights_leave_no_file(tmp_path):
    source = tmp_path / "weights.safetensors"
    net = write_weights(source, SHALLOW)
    nn.init.constant_(net.up3.bias, float("nan"))
    save_weights(source, net, Part("aecr", SHALLOW))
    with pytest.raises(UnhazeError, match="differ by nan"):
        export(source, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    "source, out, message",
    [
        ("weights.safetensors", "model.onx", "must end in .onnx"),
        ("weights.safetensors", "there.onnx", "exists; --overwrite replaces it"),
        ("weights.safetensors", "folder.onnx", "not a regular file"),
        ("nothing.safetensors", "model.onnx", "nothing.safetensors"),
        ("picture.jpg", "model.onnx", "picture.jpg"),
        ("folder.onnx", "model.onnx", "run folder"),
        ("weights.safetensors", "picture.jpg/model.onnx", "cannot write"),
    ],
)
def test_wrong_files_are_named(tmp_path, source, out, message):
    write_weights(tmp_path / "weights.safetensors", SHALLOW)
    (tmp_path / "picture.jpg").write_text("no picture")
    (tmp_path / "there.onnx").write_text("an earlier export")
    (tmp_path / "folder.onnx").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UnhazeError, match=message) as raised:
        export(tmp_path / source, tmp_path / out)
    assert "\n" not in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before


class Stubborn(nn.Module):
    """Branches on a pixel's value, which no graph can hold."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, hazy):
        return hazy * self.gain if hazy.mean().item() > 0.5 else hazy


def test_network_without_a_graph_says_so(tmp_path, monkeypatch):
    entry = Net(
        f"{__name__}:Stubborn", title="Stubborn", paper="none", reproduces="nothing", licence="none"
    )
    monkeypatch.setitem(NETS, "stubborn", entry)
    source = tmp_path / "weights.safetensors"
    write_weights(source, {}, name="stubborn")
    with pytest.raises(UnhazeError, match="net 'stubborn' cannot be exported") as raised:
        export(source, tmp_path / "model.onnx")
    assert "\n" not in str(raised.value)


class InPlace(nn.Module):
    """Writes where it read, as networks of others do."""

    def forward(self, hazy: torch.Tensor) -> torch.Tensor:
        brighter = 2 * hazy
        brighter[:, :1] -= 0.25
        return brighter.relu_()


class Decomposed(nn.Module):
    """Takes operators that ONNX lacks, and forms of operators that `DIRECT` lacks."""

    def forward(self, hazy: torch.Tensor) -> torch.Tensor:
        pooled = functional.adaptive_avg_pool2d(hazy, (1, 2)).mean(3, keepdim=True)
        return torch.rsub(hazy, 1.5, alpha=0.5).square() + torch.fft.fft2(hazy).abs() * pooled


@pytest.mark.parametrize("net", [InPlace(), Decomposed()])
def test_what_onnx_lacks_is_decomposed(net: nn.Module):
    hazy = torch.rand(1, 3, 13, 20)
    expected = net(hazy)
    file = to_onnx(net, "ours").SerializeToString()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    [restored] = session.run(None, {"hazy": hazy.numpy()})
    np.testing.assert_allclose(restored, expected, rtol=1e-4, atol=1e-4)
