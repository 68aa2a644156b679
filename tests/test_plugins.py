"""Code of others: the pages add-a-loss, -dataset and -method followed outside of the project."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric

from tests.quick import slow_but
from unhaze import plugins
from unhaze.config import Optimizer, Part, load_config
from unhaze.contracts import main as check_contract
from unhaze.data import PairedBatch
from unhaze.errors import UnhazeError
from unhaze.losses import LOSSES, Loss, create_loss, find_loss
from unhaze.losses.pixel import L1
from unhaze.methods.steps import Setup, Supervised
from unhaze.nets import create_net, find_net, list_nets
from unhaze.training import train
from unhaze.weights import load_weights, save_weights

ROOT = Path(__file__).parents[1]
# Page: the file that it describes.
PAGES = {
    "add-a-loss": "my_losses.py",
    "add-a-dataset": "my_data.py",
    "add-a-method": "my_methods.py",
    "add-a-net": "my_nets.py",
}
BRIEF = "[schedule]\nsteps = 2\nbatch = 2\n[augment]\ncrop = 32\n[watch]\nvalidate_limit = 1\n"


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def outside(tmp_path, monkeypatch) -> Path:
    """A working directory with the files of the pages; modules imported from it are forgotten."""
    for page, name in PAGES.items():
        (tmp_path / name).write_text(blocks(page, "python")[0], encoding="utf-8")
    tiny = (ROOT / "recipes" / "tiny_paired.toml").read_text(encoding="utf-8")
    tiny = tiny.replace('"samples/tiny"', f'"{(ROOT / "samples" / "tiny").as_posix()}"')
    (tmp_path / "tiny_paired.toml").write_text(tiny, encoding="utf-8")
    (tmp_path / "brief.toml").write_text(BRIEF, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in PAGES.values():
        sys.modules.pop(name.removesuffix(".py"), None)


def run(*words: str) -> subprocess.CompletedProcess:
    """`python ...` in the working directory, with the project's source."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "page", slow_but(["add-a-loss"], ["add-a-loss", "add-a-dataset", "add-a-method"])
)
def test_the_page_is_enough(page: str, outside: Path, unhaze):
    (command,) = blocks(page, "sh")
    done = run(*command.split()[1:])
    assert done.returncode == 0 and "FAILED" not in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("passed") >= 3
    (outside / "mine.toml").write_text(blocks(page, "toml")[0], encoding="utf-8")
    done = unhaze("train", "mine.toml", "--over", "brief.toml", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert "my_" in (outside / "run" / "recipe.toml").read_text(encoding="utf-8")
    assert (outside / "run" / "best.safetensors").exists()


@pytest.mark.slow
def test_a_network_from_outside_is_trained_resumed_and_exported(
    outside: Path, unhaze, capfdbinary, monkeypatch
):
    net = ["--set", "net.name=my_nets:Sketch", "--over", "brief.toml"]
    recipe = '[net]\nname = "my_nets:Sketch"\nwidth = 8\n'
    (outside / "net.toml").write_text(recipe, encoding="utf-8")
    words = ["train", "tiny_paired.toml", "--over", "net.toml", *net[2:], "--out", "run"]
    done = run("-m", "unhaze", *words)
    assert done.returncode == 0, done.stderr
    refused = unhaze("export", "run", "-o", "sketch.onnx")
    assert refused.returncode == 2 and b"set UNHAZE_PLUGINS=my_nets" in refused.stderr
    monkeypatch.setenv("UNHAZE_PLUGINS", "my_nets")
    done = unhaze("export", "run", "-o", "sketch.onnx")
    assert done.returncode == 0, done.stderr
    assert check_contract(["net", "my_nets:Sketch", "width=8"]) == 0
    assert capfdbinary.readouterr().out.count(b"passed") == 5
    hazy = str(ROOT / "samples" / "tiny" / "clear" / "00.png")
    hazy = hazy if Path(hazy).exists() else str(next((ROOT / "samples/tiny/clear").iterdir()))
    done = unhaze(hazy, "--model", "sketch.onnx", "-o", "out.png")
    assert done.returncode == 0, done.stderr


def test_the_contract_notices_mistakes(outside: Path, capsys):
    text = (outside / "my_nets.py").read_text(encoding="utf-8")
    text = text.replace("[..., :height, :width]", "").replace(
        "        self.middle", "        self.unused = nn.Conv2d(3, 3, 1)\n        self.middle", 1
    )
    (outside / "my_nets.py").write_text(text, encoding="utf-8")
    assert check_contract(["net", "my_nets:Sketch"]) == 1
    told = capsys.readouterr().out
    assert "FAILED  any size in same size out" in told
    assert "FAILED  every parameter gets a gradient: BrokenContract: 'unused.weight'" in told
    text = (outside / "my_data.py").read_text(encoding="utf-8")
    text = text.replace("manual_seed(seed * 1_000_003 + step)", "manual_seed(seed)")
    text = text.replace("manual_seed(index)", "manual_seed(range(7)[index])")
    (outside / "my_data.py").write_text(text, encoding="utf-8")
    assert check_contract(["dataset", "my_data:Gradients"]) == 1
    told = capsys.readouterr().out
    assert "FAILED  the same step is the same batch" in told
    assert "FAILED  whole pictures in pairs: IndexError: range object index out of range" in told
    tiny = load_config("tiny_paired.toml")
    says = "'my_data:Gradients' have a length of 8, and pair 7 is not there .IndexError: range"
    with pytest.raises(UnhazeError, match=says):
        train(replace(tiny, data=Part("my_data:Gradients")), check=True)


@pytest.mark.parametrize(
    ("value", "is_a"),
    [(torch.zeros(1), r"Tensor of shape \(1,\)"), (0.5, "float"), (None, "NoneType")],
)
def test_a_loss_that_returns_no_scalar_is_named(value: object, is_a: str):
    fabric, net = Fabric(accelerator="cpu", devices=1), create_net("aodnet")
    losses: dict[str, Any] = {"mine": lambda restored, clear, hazy: value}
    setup = Setup(fabric, net, net, losses, {"mine": 1.0}, Optimizer(), clip=0.0)
    pictures = torch.full((1, 3, 8, 8), 0.5)
    with pytest.raises(UnhazeError, match=f"loss 'mine' is a {is_a}; expected a scalar Tensor"):
        Supervised(setup).step([PairedBatch(pictures, pictures)], 1e-3)


@pytest.mark.parametrize(
    ("out", "given"), [(lambda x: x[..., ::2], r"\(2, 3, 8, 4\)"), (lambda x: (x, x), "tuple")]
)
def test_a_network_whose_output_is_no_picture_of_the_size_is_named(out: Any, given: str):
    """A loss that repeats the smaller one would train on it without a word."""
    fabric, net = Fabric(accelerator="cpu", devices=1), create_net("aodnet")
    net.forward = lambda hazy, former=net.forward: out(former(hazy))
    setup = Setup(fabric, net, net, {"l1": L1()}, {"l1": 1.0}, Optimizer(), clip=0.0)
    pictures = torch.full((2, 3, 8, 8), 0.5)
    with pytest.raises(UnhazeError, match=rf"net AODNet returns {given}; expected .*\(2, 3, 8, 8"):
        Supervised(setup).step([PairedBatch(pictures, pictures)], 1e-3)


@pytest.mark.parametrize(
    "words",
    [
        ["net", "aodnet"],
        ["loss", "ssim"],
        ["method", "supervised"],
        ["method", "cddgan", 'net="cddgan"'],
    ],
    ids=" ".join,
)
def test_ours_keep_the_contract(words: list[str], capsys):
    assert check_contract(words) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_losse:EdgeLoss", "no module 'my_losse' for 'my_losse:EdgeLoss'; install its package"),
        ("my_losses:Edge", "module 'my_losses' has no 'Edge'"),
        ("my_losses:Tensor.__doc__", "expected a class"),
        ("my losses:Edge", "is no import path"),
        ("edge", "no loss 'edge'; there are"),
    ],
)
def test_wrong_names_end_in_one_line(name: str, message: str, outside: Path):
    with pytest.raises(UnhazeError, match=re.escape(message)):
        create_loss(name)


def test_entry_points_give_plain_names(monkeypatch):
    point = EntryPoint("mean", "unhaze.losses.pixel:L1", "unhaze.losses")
    monkeypatch.setattr(plugins, "installed", lambda kind: {"mean": point})
    assert isinstance(create_loss("mean"), L1)
    listed = plugins.everything(LOSSES, "loss", lambda name, build: Loss(build, title=name))
    assert list(listed) == [*LOSSES, "mean"]
    assert find_loss("l1") is LOSSES["l1"]
    assert "mean" in list_nets()
    broken = EntryPoint("mean", "unhaze.losses.pixel:L9", "unhaze.losses")
    monkeypatch.setattr(plugins, "installed", lambda kind: {"mean": broken})
    with pytest.raises(UnhazeError, match=r"entry point 'mean' \(unhaze.losses.pixel:L9\)"):
        create_loss("mean")


def test_a_file_of_weights_runs_no_code_that_it_names(outside: Path):
    """Neither a function that is imported already nor a module of the working directory."""
    (outside / "trap.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    net = create_net("aodnet")
    for name, message in (("os:system", "is no network"), ("trap:Net", "UNHAZE_PLUGINS=trap")):
        save_weights(outside / "a.safetensors", net, Part(name, {}))
        with pytest.raises(UnhazeError, match=message):
            load_weights(outside / "a.safetensors")
    assert not (outside / "ran").exists()
    assert find_net("my_nets:Sketch").title == "Sketch"
