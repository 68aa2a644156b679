"""Weights files: they rebuild the net, stay small, and refuse what does not fit."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from unhaze.cli import main
from unhaze.config import Part
from unhaze.errors import UnhazeError
from unhaze.nets import create_net
from unhaze.weights import average, load_weights, save_weights

SMALL = Part("aecr", {"width": 8, "head": "haze"})


@pytest.fixture
def saved(tmp_path):
    net = create_net(SMALL.name, **SMALL.arguments).eval()
    save_weights(tmp_path / "small.safetensors", net, SMALL, recipe="test", step=5)
    return net, tmp_path / "small.safetensors"


def test_the_header_rebuilds_the_net(saved):
    net, path = saved
    loaded = load_weights(path)
    hazy = torch.rand(1, 3, 9, 12)
    assert torch.equal(loaded.net(hazy), net(hazy))
    assert loaded.part == SMALL
    assert (loaded.facts["recipe"], loaded.facts["step"]) == ("test", 5)
    assert not loaded.net.training
    assert [file.name for file in path.parent.iterdir()] == ["small.safetensors"]


def test_parts_that_version_0_1_wrote_are_read(saved, tmp_path):
    net, path = saved
    with safe_open(path, framework="pt") as file:
        facts, names = file.metadata(), list(file.keys())
        for number, half in enumerate((names[:5], names[5:]), 1):
            tensors = {name: file.get_tensor(name) for name in half}
            save_file(tensors, tmp_path / f"large-{number}.safetensors", facts)
    hazy = torch.rand(1, 3, 8, 8)
    assert torch.equal(load_weights(tmp_path / "large.safetensors").net(hazy), net(hazy))


def test_what_does_not_fit_is_refused(saved, tmp_path):
    net, path = saved
    state = net.state_dict()
    other = Part("aecr", {"width": 16, "head": "haze"})
    save_weights(tmp_path / "other.safetensors", net, other)
    with pytest.raises(UnhazeError, match="tensor 'dfe.bias' is .*, the net needs"):
        load_weights(tmp_path / "other.safetensors")
    save_weights(tmp_path / "fewer.safetensors", net, Part("aecr", {"width": 8, "fusion": "none"}))
    with pytest.raises(UnhazeError, match="the net has no tensor 'mix1'"):
        load_weights(tmp_path / "fewer.safetensors")
    save_file(state, tmp_path / "foreign.safetensors")
    with pytest.raises(UnhazeError, match="does not say which network"):
        load_weights(tmp_path / "foreign.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UnhazeError, match="not a readable safetensors file"):
        load_weights(path)
    with pytest.raises(UnhazeError, match="no file"):
        load_weights(tmp_path / "none.safetensors")
    with pytest.raises(UnhazeError, match="neither a .safetensors file nor a run folder"):
        load_weights(tmp_path / "model.pth")
    with pytest.raises(UnhazeError, match="is not a run folder"):
        load_weights(tmp_path)


def test_an_average_lies_between_two_networks_of_one_kind(saved, tmp_path):
    net, path = saved
    second = create_net(SMALL.name, **SMALL.arguments).eval()
    save_weights(tmp_path / "second.safetensors", second, SMALL, recipe="start")
    made = average(path, tmp_path / "second.safetensors", 0.25)
    for name, tensor in made.net.state_dict().items():
        expected = net.state_dict()[name] * 0.25 + second.state_dict()[name] * 0.75
        torch.testing.assert_close(tensor, expected)
    assert made.facts["recipe"] == "test"
    assert [part["share"] for part in made.facts["average"]] == [0.25, 0.75]
    for share, source in ((1.0, net), (0.0, second)):
        hazy = torch.rand(1, 3, 9, 12)
        ends = average(path, tmp_path / "second.safetensors", share)
        torch.testing.assert_close(ends.net(hazy), source(hazy))


def test_an_average_may_go_further_than_its_networks(tmp_path):
    part = Part("quarter", {"width": 4})
    net = create_net(part.name, **part.arguments).eval()
    save_weights(tmp_path / "one.safetensors", net, part)
    words = ["weights", "average", *[str(tmp_path / "one.safetensors")] * 2]
    assert main([*words, "--strength", "1.5", "-o", str(tmp_path / "far.safetensors")]) == 0
    far = load_weights(tmp_path / "far.safetensors")
    assert far.part.arguments == {"width": 4, "strength": 1.5}
    hazy = torch.rand(1, 3, 20, 30)
    torch.testing.assert_close(far.net(hazy), hazy + 1.5 * (net(hazy) - hazy))


def test_only_networks_of_one_kind_are_averaged(saved, tmp_path):
    other = Part("aecr", {"width": 16, "head": "haze"})
    net = create_net(other.name, **other.arguments)
    save_weights(tmp_path / "other.safetensors", net, other)
    with pytest.raises(UnhazeError, match="only equal networks can be averaged"):
        average(saved[1], tmp_path / "other.safetensors", 0.5)
    with pytest.raises(UnhazeError, match="share is 1.5; expected 0 to 1"):
        average(saved[1], saved[1], 1.5)
    with pytest.raises(UnhazeError, match="no argument 'strength'"):
        average(saved[1], saved[1], 0.5, {"strength": 1.2})


def test_the_command_writes_a_file_once(saved, tmp_path):
    out = tmp_path / "between.safetensors"
    words = ["weights", "average", str(saved[1]), str(saved[1]), "-o", str(out)]
    assert main(words) == 0
    kept = out.read_bytes()
    assert main(words) == 2
    assert out.read_bytes() == kept
    assert main([*words[:-1], str(tmp_path / "between.pt")]) == 2
    hazy = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(load_weights(out).net(hazy), saved[0](hazy))
