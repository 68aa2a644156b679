"""Published checkpoints in the runtime: made into ONNX once, at the size that suits them."""

import importlib.util
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from unhaze.cli import main
from unhaze.errors import UnhazeError
from unhaze.evaluation.models import open_subject
from unhaze.exporting.facts import count_costs
from unhaze.nets import NETS, create_net
from unhaze.restore import checkpoints
from unhaze.restore import resources as cost
from unhaze.restore.checkpoints import ready
from unhaze.restore.models import checkpoint_of
from unhaze.restore.restorer import Restorer


@pytest.fixture
def published(tmp_path, monkeypatch) -> Path:
    """A checkpoint as authors publish them."""
    monkeypatch.setenv("UNHAZE_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(1)
    state = create_net("aodnet").state_dict()
    state["conv1.bias"] = torch.tensor([0.25, 0.5, 0.75])
    path = tmp_path / "best.pk"
    torch.save({"state_dict": {f"module.{name}": each for name, each in state.items()}}, path)
    return path


def test_a_checkpoint_runs_as_a_model_and_is_made_into_onnx_once(published, caplog):
    restorer = Restorer(published, "cpu", threads=1)
    assert restorer.model.card["net"] == "aodnet"
    assert restorer.analysis == NETS["aodnet"].analysis == 640
    assert Restorer(published, "cpu", analysis=200, threads=1).analysis == 200
    assert sum("aodnet (certain" in line for line in caplog.messages) == 1
    hazy = np.random.default_rng(0).random((1, 3, 40, 50), dtype=np.float32)
    direct = open_subject(str(published), "cpu")
    expected = direct.restore(hazy[0].transpose(1, 2, 0))
    np.testing.assert_allclose(restorer.model(hazy)[0].transpose(1, 2, 0), expected, atol=1e-5)
    key = checkpoints.key_of(published, None)
    published.write_bytes(published.read_bytes() + b" ")
    assert checkpoints.key_of(published, None) != key != checkpoints.key_of(published, "aodnet")


def test_without_pytorch_one_line_says_what_to_install(published, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnhazeError, match=r'pip install "unhaze\[train\]"'):
        ready(published)


BIAS = torch.tensor([0.25, 0.5, 0.75]).numpy().tobytes()
PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda content: PAGE, "it is a web page ('Sign in')"),
        (lambda content: content[: len(content) // 2], "it is cut off, as by a download"),
        (lambda content: content.replace(BIAS, bytes(12)), "fail their checksum"),
    ],
)
def test_a_file_that_is_not_a_checkpoint_is_named_by_what_it_is(
    spoil, message, published, capsys, monkeypatch
):
    """In one line, before a process with PyTorch is started."""
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    published.write_bytes(spoil(published.read_bytes()))
    assert main([str(published), "--model", str(published)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert message in said


def test_a_file_named_onnx_that_is_something_else_is_named_as_that(tmp_path, capsys):
    (tmp_path / "m.onnx").write_text("version https://git-lfs.github.com/spec/v1\nsize 1234567\n")
    assert main([str(tmp_path / "m.onnx"), "--model", str(tmp_path / "m.onnx")]) == 2
    assert "not an ONNX model: it is a git-LFS pointer to 1,234,567" in capsys.readouterr().err


def test_net_is_for_checkpoints_only(published, capsys):
    assert checkpoint_of("photo") is None
    assert main([str(published), "--model", "photo", "--net", "aodnet"]) == 2
    assert "--net is only for checkpoints, but 'photo' is not one" in capsys.readouterr().err


class Slow:
    """A model of a known cost."""

    device, path = "cpu", Path("slow.onnx")

    def __init__(self, macs: int, **more: int):
        self.card = {"macs_per_pixel": macs, "bytes_per_pixel": 4000} | more

    def __call__(self, hazy: np.ndarray) -> np.ndarray:
        return hazy


def test_heavy_models_say_their_cost_once(monkeypatch, caplog):
    monkeypatch.setattr(cost, "told", set())
    monkeypatch.setattr(cost, "time_of", lambda model: 0.5)
    for _ in range(2):
        cost.tell_cost(Slow(2_000_000), (480, 640))
    cost.tell_cost(Slow(100_000), (480, 640))
    assert len(caplog.messages) == 1
    # 640 x 480 pixels are 25 pictures of 128 x 96.
    assert "about 12 s and 1.2 GB of memory" in caplog.messages[0]
    assert "614 GMAC" in caplog.messages[0]
    cost.tell_cost(Slow(2_000_000))
    assert "for each megapixel" in caplog.messages[1]


@pytest.mark.slow
def test_what_a_network_costs_whatever_the_picture_is_not_multiplied(monkeypatch, caplog):
    """4KDehazing's U-net sees 256 x 256 of any picture; ConvIR makes small ones 256 x 256."""
    monkeypatch.setattr(cost, "told", set())
    monkeypatch.setattr(cost, "time_of", lambda model: 0.5)
    costs = {}
    for name in ("4kdehazing", "convir", "aodnet"):
        costs[name] = count_costs(create_net(name, **NETS[name].tiny).eval())
    # Five convolutions to 3 channels: of 3, 3, 6, 6, 12 channels and side 1, 3, 5, 7, 3.
    known = 3 * (3 * 1 + 3 * 9 + 6 * 25 + 6 * 49 + 12 * 9)
    assert costs["aodnet"] == {
        "macs_per_pixel": known, "macs_fixed": 0, "macs_small": known * 96 * 128
    }  # fmt: skip
    assert costs["4kdehazing"]["macs_fixed"] > 0.5 * costs["4kdehazing"]["macs_small"]
    assert costs["convir"]["macs_fixed"] < 0.01 * costs["convir"]["macs_small"]
    whole = 256**2 * costs["convir"]["macs_per_pixel"]
    assert abs(costs["convir"]["macs_small"] / whole - 1) < 0.01
    cost.tell_cost(Slow(1000, macs_fixed=400 * 10**9, macs_small=100 * 10**9), (768, 1024))
    assert "about 2 s" in caplog.messages[0] and "401 GMAC" in caplog.messages[0]
