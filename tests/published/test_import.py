"""`unhaze weights import`: every tensor finds its place, or one line says which does not."""

import json

import numpy as np
import pytest
import scipy.io
import torch

from unhaze import photo
from unhaze.cli import main
from unhaze.errors import UnhazeError
from unhaze.nets import create_net
from unhaze.published import import_weights
from unhaze.weights import load_weights


def random_parameters(name: str, **arguments: object) -> torch.nn.Module:
    torch.manual_seed(4)
    net = create_net(name, **arguments)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    return net


def aodnet_file(path, prefix="", **changes):
    """A PyTorch file of AOD-Net under the names of the official model, or of the port."""
    state = {
        f"{prefix}{name}": each for name, each in random_parameters("aodnet").state_dict().items()
    }
    state |= changes
    torch.save({name: each for name, each in state.items() if each is not None}, path)
    return path


def same(net: torch.nn.Module, other: torch.nn.Module) -> bool:
    own, others = net.state_dict(), other.state_dict()
    return own.keys() == others.keys() and all(torch.equal(own[key], others[key]) for key in own)


@pytest.mark.parametrize("prefix, layout", [("", "Caffe"), ("e_", "port"), ("module.e_", "port")])
def test_aodnet_in_both_published_layouts(prefix, layout, tmp_path):
    source = aodnet_file(tmp_path / "aod.pth", prefix)
    report = import_weights(source, tmp_path / "new" / "aod.safetensors", net="aodnet")
    assert layout in report.layout
    assert (report.preset, report.params, report.unused) == (None, 1761, ())
    loaded = load_weights(report.path)
    assert same(loaded.net, random_parameters("aodnet"))
    assert loaded.part.arguments == {}
    assert loaded.facts["licence"] and len(loaded.facts["published_sha256"]) == 64
    with pytest.raises(UnhazeError, match="was written by unhaze, which reads it as it is"):
        import_weights(report.path, tmp_path / "again.safetensors")


def test_dehazenet_kernels_are_read_column_by_column(tmp_path):
    net = random_parameters("dehazenet")
    sizes = {"conv1": 5, "conv3x3": 3, "conv5x5": 5, "conv7x7": 7, "ip": 6}
    convs = (net.features, net.mapping3, net.mapping5, net.mapping7, net.last)
    arrays = {}
    for (name, size), conv in zip(sizes.items(), convs):
        kernels = conv.weight.detach().numpy()
        stored = np.empty((kernels.shape[1], size * size, kernels.shape[0]), np.float32)
        for row in range(size):
            for column in range(size):
                stored[:, row + size * column] = kernels[:, :, row, column].T
        arrays[f"weights_{name}"] = stored.squeeze(2) if name == "ip" else stored
        arrays[f"biases_{name}"] = conv.bias.detach().numpy()[:, None]
    scipy.io.savemat(tmp_path / "dehaze.mat", arrays)
    report = import_weights(tmp_path / "dehaze.mat", tmp_path / "own.safetensors", net="dehazenet")
    assert (report.preset, report.params) == ("official", 8305)
    loaded = load_weights(report.path)
    assert same(loaded.net, net)
    assert loaded.part.arguments == {"preset": "official"}
    with pytest.raises(UnhazeError, match="preset 'paired'.*; it fits preset 'official'$"):
        import_weights(
            tmp_path / "dehaze.mat", tmp_path / "b.safetensors", net="dehazenet", preset="paired"
        )


def test_entries_of_no_layer_are_left_out_and_named(tmp_path):
    source = aodnet_file(tmp_path / "a.pth", **{"conv1.total_ops": torch.ones(1)})
    report = import_weights(source, tmp_path / "a.safetensors", net="aodnet")
    assert report.unused == ("conv1.total_ops",)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"conv3.bias": None}, r"it has no tensor 'conv3.bias', expected \(3,\)$"),
        ({"conv6.bias": torch.ones(3)}, "its tensor 'conv6.bias' has no place in the net$"),
        (
            {"conv2.weight": torch.ones(3, 3, 5, 5)},
            r"'conv2.weight' is \(3, 3, 5, 5\), expected \(3, 3, 3, 3\)$",
        ),
        (
            {"conv1.bias": torch.full((3,), torch.nan)},
            "'conv1.bias' holds numbers that are not fin",
        ),
        (
            {"conv1.bias": torch.ones(3, dtype=torch.int64)},
            "type torch.int64, expected plain float",
        ),
        ({"conv1.bias": torch.ones(1).expand(10**9)}, r"is \(1000000000,\), expected \(3,\)$"),
        ({"conv3.bias": None, "conv4.bias": None}, r"'conv3.bias', expected \(3,\), and 1 more$"),
    ],
)
def test_what_does_not_fit_is_named(changes, message, tmp_path):
    source = aodnet_file(tmp_path / "aod.pth", **changes)
    with pytest.raises(UnhazeError, match=message) as raised:
        import_weights(source, tmp_path / "own.safetensors", net="aodnet")
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["aod.pth"]


def test_unknown_presets_are_refused(tmp_path):
    aodnet = aodnet_file(tmp_path / "aod.pth")
    with pytest.raises(UnhazeError, match="no preset of aodnet 'paper'; there are none"):
        import_weights(aodnet, tmp_path / "a.safetensors", net="aodnet", preset="paper")


@pytest.mark.parametrize(
    "net, out, message",
    [
        ("aodnett", "own.safetensors", "no net 'aodnett'; did you mean 'aodnet'"),
        ("quarter", "own.safetensors", "does not fit net 'quarter'"),
        ("aodnet", "own.pth", "must end in .safetensors"),
        ("aodnet", "taken.safetensors", "exists; --overwrite replaces it"),
        ("aodnet", "aod.pth/own.safetensors", "cannot write"),
    ],
)
def test_wrong_requests_are_refused(net, out, message, tmp_path):
    source = aodnet_file(tmp_path / "aod.pth")
    (tmp_path / "taken.safetensors").write_text("precious")
    with pytest.raises(UnhazeError, match=message):
        import_weights(source, tmp_path / out, net=net)
    assert (tmp_path / "taken.safetensors").read_text() == "precious"


def test_overwriting_replaces_what_was_there(tmp_path):
    source, out = aodnet_file(tmp_path / "aod.pth"), tmp_path / "own.safetensors"
    import_weights(source, out, net="aodnet")
    out.write_text("of another network")
    with pytest.raises(UnhazeError, match="exists"):
        import_weights(source, out, net="aodnet")
    import_weights(source, out, net="aodnet", overwrite=True)
    assert [path.name for path in tmp_path.glob("own*")] == ["own.safetensors"]
    assert load_weights(out).part.name == "aodnet"


def test_the_verb_imports_and_the_result_is_evaluated(tmp_path, capsys):
    source, out = aodnet_file(tmp_path / "aod.pth"), tmp_path / "own.safetensors"
    command = ["weights", "import", str(source), "--net", "aodnet", "-o", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n"
    assert "1,761 parameters of aodnet" in printed.err
    for folder in ("hazy", "clear"):
        (tmp_path / folder).mkdir()
        pixels = np.random.default_rng(2).integers(0, 255, (9, 12, 3), np.uint8)
        photo.write_rgb(tmp_path / folder / "one.png", pixels)
    folders = ["--hazy", str(tmp_path / "hazy"), "--clear", str(tmp_path / "clear")]
    assert main(["eval", str(out), *folders, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["params"] == 1761
    assert main(command) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and "exists" in printed.err
