"""Every verb but `run`, end to end: status, stdout, JSON, and one line for each mistake."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unhaze import photo
from unhaze.cli import main

RECIPE = """
title = "tiny"
net = { name = "aecr", preset = "slim", width = 8 }
data = { name = "folders", root = "pairs" }
validation = { name = "folders", root = "pairs" }
losses = { l1 = {} }
augment = { crop = 16 }
schedule = { steps = 3, batch = 2 }
hardware = { prefetch = 0 }
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch) -> Path:
    """A working directory with three pairs of pictures and a recipe."""
    random = np.random.default_rng(0)
    for name in ("1", "2", "3"):
        clear = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        for kind, pixels in (("clear", clear), ("hazy", 128 + clear // 2)):
            (tmp_path / "pairs" / kind).mkdir(parents=True, exist_ok=True)
            photo.write_rgb(tmp_path / "pairs" / kind / f"{name}.png", pixels)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "tiny.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def unhaze(work: Path, capfd) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in `work`; answers status, stdout, stderr."""

    def call(line: str) -> tuple[int, str, str]:
        capfd.readouterr()
        status = main(line.split())
        return status, *capfd.readouterr()

    return call


def test_train_eval_export_run(unhaze, work: Path):
    """The whole way, each step on what the one before has left."""
    pytest.importorskip("torch")
    status, stdout, _ = unhaze("train recipes/tiny.toml --set schedule.steps=2 --out first")
    assert (status, stdout) == (0, "first\n")
    assert (work / "first" / "recipe.toml").exists()

    status, stdout, _ = unhaze("train --resume first --set schedule.steps=3")
    assert (status, stdout) == (0, "first\n")

    status, stdout, _ = unhaze("eval first --hazy pairs/hazy --clear pairs/clear --json")
    measured = json.loads(stdout)
    assert status == 0
    assert {"model", "images", "protocol", "psnr", "ssim", "params", "seconds"} <= measured.keys()
    assert (measured["model"], measured["images"], measured["protocol"]) == ("first", 3, "aecr")
    assert measured["params"] > 1000

    (work / "first.onnx").touch()
    status, _, stderr = unhaze("export first -o first.onnx")
    assert status == 2
    assert "exists; --overwrite replaces it" in stderr
    status, stdout, stderr = unhaze("export first -o first.onnx --overwrite")
    assert (status, stdout) == (0, "first.onnx\n")
    assert "differ by at most" in stderr

    status, stdout, _ = unhaze("eval first.onnx --hazy pairs/hazy --clear pairs/clear --json")
    assert json.loads(stdout)["psnr"] == pytest.approx(measured["psnr"], abs=1e-3)

    status, stdout, _ = unhaze("pairs/hazy/1.png --model first.onnx -o restored.png")
    assert (status, stdout) == (0, "restored.png\n")
    assert photo.read_rgb(work / "restored.png").shape == (24, 32, 3)


def test_what_shows_only_while_training_is_one_line_after_the_progress(unhaze, work: Path):
    pytest.importorskip("torch")
    status, stdout, stderr = unhaze("train recipes/tiny.toml --set augment.crop=400")
    assert (status, stdout) == (2, "")
    assert stderr.splitlines()[-1].startswith("unhaze: error: crop 400 does not fit")
    assert "Traceback" not in stderr


def test_check_leaves_nothing(unhaze, work: Path):
    pytest.importorskip("torch")
    before = sorted(work.rglob("*"))
    status, stdout, stderr = unhaze("train recipes/tiny.toml --check")
    assert (status, stdout) == (0, "")
    assert "checked: one step and one validation succeeded" in stderr
    recipe = work / "recipes" / "tiny.toml"
    recipe.write_text(RECIPE.replace("validation", "# validation"))
    _, _, stderr = unhaze("train recipes/tiny.toml --check")
    assert "checked: one step succeeded; there is no [validation]" in stderr
    assert sorted(work.rglob("*")) == before


def test_eval_continues_after_a_bad_picture(unhaze, work: Path):
    bad = work / "pairs" / "hazy" / "2.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:60])
    line = "eval identity --hazy pairs/hazy --clear pairs/clear --save part --result part.json"
    status, stdout, stderr = unhaze(line)
    bad.write_bytes(whole)
    assert (status, "images     2" in stdout) == (1, True)
    assert "2.png" in stderr and "error: 1 of 3 pictures failed" in stderr
    assert (work / "part" / "restored" / "3.png").exists() and (work / "part.json").exists()


def test_eval_of_the_input_itself(unhaze, work: Path):
    line = "eval identity --hazy pairs/hazy --clear pairs/clear"
    status, stdout, _ = unhaze(f"{line} --limit 2 --json")
    clear, hazy = (photo.read_rgb(work / "pairs" / kind / "1.png") for kind in ("clear", "hazy"))
    mse = np.mean((clear / 255 - hazy / 255) ** 2)
    measured = json.loads(stdout)
    assert (status, measured["images"]) == (0, 2)
    assert measured["per_image"][0]["psnr"] == pytest.approx(-10 * np.log10(mse), abs=1e-4)

    status, stdout, _ = unhaze(f"{line} --protocol y --save kept --result results/one.json")
    assert status == 0
    assert "psnr" in stdout
    assert "images     3" in stdout
    assert (work / "kept" / "per_image.csv").exists()
    assert json.loads((work / "results" / "one.json").read_text())["protocol"] == "y"
    status, _, stderr = unhaze(f"{line} --result results/one.json")
    assert (status, stderr.count("\n")) == (2, 1)
    assert unhaze(f"{line} --result results/one.json --overwrite")[0] == 0

    status, stdout, _ = unhaze("eval identity --data folders --root pairs --json")
    assert json.loads(stdout)["images"] == 3


def test_data_check(unhaze, work: Path):
    """Noise alone is like no other noise: whole pairs pass, and a lone file is named."""
    status, stdout, stderr = unhaze("data check folders --root pairs")
    assert (status, stdout) == (0, "")
    assert "no problems" in stderr
    (work / "pairs" / "clear" / "2.png").unlink()
    (work / "pairs" / "hazy" / "3.png").write_bytes(b"no picture")
    status, stdout, _ = unhaze("data check folders --root pairs")
    assert status == 1
    assert "pairs/hazy/2.png: unpaired: " in stdout
    assert "pairs/hazy/3.png: corrupt: " in stdout
    status, stdout, _ = unhaze("data check folders --root pairs --json")
    document = json.loads(stdout)
    assert (status, document["errors"]) == (1, 2)
    assert {problem["kind"] for problem in document["problems"]} == {"unpaired", "corrupt"}


@pytest.fixture
def scenes(work: Path) -> Path:
    """Two clear pictures with depth that grows to the right."""
    depth = np.broadcast_to(np.linspace(0, 200, 32)[None, :, None], (24, 32, 3))
    for name in ("1", "2"):
        for kind in ("clear", "depth"):
            (work / "scenes" / kind).mkdir(parents=True, exist_ok=True)
        clear = photo.read_rgb(work / "pairs" / "clear" / f"{name}.png")
        photo.write_rgb(work / "scenes" / "clear" / f"{name}.png", clear)
        photo.write_rgb(work / "scenes" / "depth" / f"{name}.png", depth.astype(np.uint8))
    return work / "scenes"


def test_data_pack(unhaze, work: Path, scenes: Path):
    status, stdout, stderr = unhaze("data pack scenes -o scenes.pack --codec webp --border 2")
    assert (status, stdout) == (0, "scenes.pack\n")
    assert "2 scenes of 28x20" in stderr
    status, _, stderr = unhaze("data pack scenes -o scenes.pack --codec webp")
    assert (status, stderr.count("\n")) == (2, 1)
    assert unhaze("data check rgbd --root scenes.pack")[0] == 0


def test_data_synth(unhaze, work: Path, scenes: Path):
    line = "data synth scenes -o made --each 2 --beta 1 1 --airlight 0.8 0.8 --border 2"
    status, stdout, _ = unhaze(line)
    assert (status, stdout) == (0, "made\n")
    names = sorted(path.name for path in (work / "made" / "hazy").iterdir())
    assert names == [f"{scene}_{k}_0.80000_1.00000.png" for scene in (1, 2) for k in (1, 2)]
    hazy = photo.read_rgb(work / "made" / "hazy" / names[0]) / 255
    clear = photo.read_rgb(work / "made" / "clear" / "1.png") / 255
    depth = photo.read_rgb(scenes / "depth" / "1.png")[2:-2, 2:-2] / 255
    transmission = np.exp(-depth / depth.max())
    assert np.abs(hazy - (clear * transmission + 0.8 * (1 - transmission))).max() < 0.003
    status, _, stderr = unhaze(line)
    assert status == 2
    assert "'made' exists" in stderr
    assert unhaze(line.replace("made", "again"))[0] == 0
    again = photo.read_rgb(work / "again" / "hazy" / names[0]) / 255
    assert np.array_equal(again, hazy)
    status, stdout, _ = unhaze("eval identity --data folders --root made --json")
    assert (status, json.loads(stdout)["images"]) == (0, 4)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("nets", "aecr"),
        ("models", None),
        ("datasets", "sots-indoor"),
        ("losses", "contrastive"),
        ("methods", "supervised"),
        ("metrics", "psnr"),
        ("recipes", "recipes/tiny.toml"),
    ],
)
def test_list(unhaze, kind: str, expected: str | None):
    if kind in ("losses", "methods"):
        pytest.importorskip("torch")
    status, stdout, stderr = unhaze(f"list {kind}")
    assert (status, stderr) == (0, "")
    status, document, _ = unhaze(f"list {kind} --json")
    rows = json.loads(document)
    assert len(stdout.splitlines()) == len(rows)
    assert all(row["name"] for row in rows)
    assert expected is None or expected in {row["name"] for row in rows}
    assert all(row["name"] in stdout for row in rows)


def test_a_broken_recipe_is_still_listed(unhaze, work: Path):
    (work / "recipes" / "broken.toml").write_text("title = ")
    status, stdout, _ = unhaze("list recipes")
    assert status == 0
    assert "recipes/broken.toml  unreadable: " in stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train", "Missing argument 'RECIPE'."),
        ("train absent.toml", "cannot read recipe 'absent.toml': No such file"),
        ("train recipes/tiny.toml --set schedule.stepz=1", "did you mean 'steps'?"),
        ("train recipes/tiny.toml --set steps", "expected KEY=VALUE"),
        ("train recipes/tiny.toml --set schedule.accumulate=0", "must be at least 1, not 0"),
        ("train recipes/tiny.toml --resume absent", "`unhaze train RECIPE --out absent` starts it"),
        ("train --resume absent --budget-minutes 1", "there is no run 'absent'"),
        ("train --resume pairs", "pairs/recipe.toml"),
        ("train recipes/tiny.toml --resume pairs --out other", "leave out --out"),
        ("eval", "Missing argument 'MODEL'."),
        ("eval identity", "give --hazy DIR --clear DIR, or --data NAME --root DIR, or"),
        ("eval identity --data folders", "give --root DIR"),
        ("eval identity --hazy pairs/hazy --data its", "not both"),
        ("eval identity --hazy absent --clear pairs/clear", "absent"),
        ("eval identity --hazy absent", "there is no folder 'absent'"),
        ("eval identity --data fodlers --root pairs", "did you mean 'folders'?"),
        ("eval identity --data folders --root pairs --set clera=x", "did you mean 'clear'?"),
        ("eval identity --data folders --root pairs --protocol aecrr", "did you mean 'aecr'?"),
        ("eval identity --data folders --root pairs --protocol y --protocol y", "one at a time"),
        ("eval identity --data folders --root pairs --limit 0", "'--limit'"),
        ("eval identity --data folders --root pairs --long-side 15", "expected 16 to 16,384"),
        ("eval fotoo --data folders --root pairs", "'fotoo'"),
        ("eval absent.safetensors --data folders --root pairs", "absent.safetensors"),
        ("export", "Missing argument 'RUN|WEIGHTS|CHECKPOINT'."),
        ("export pairs", "Missing option '-o'"),
        ("list", "Missing argument 'KIND'."),
        ("list netz", "no list 'netz'; did you mean 'nets'?"),
        ("data", "Missing command."),
        ("data chekc", "No such command 'chekc'."),
        ("data check fodlers --root pairs", "did you mean 'folders'?"),
        ("data check folders --root absent", "absent"),
        ("data check folders --root recipes --set hazy=. --set clear=.", "there are no pictures"),
        ("data pack absent -o new.pack", "there is no folder 'absent'"),
        ("data check folders --root pairs --set clera=x", "did you mean 'clear'?"),
        ("data pack absent -o new.pack", "absent"),
        ("data pack pairs -o new.pack", "'pairs' needs clear/ and depth/"),
        ("data pack pairs -o new.pack --quality 0", "'--quality'"),
        ("data synth pairs -o new", "'pairs' needs clear/ and depth/"),
        ("data synth pairs -o pairs", "'pairs' exists"),
        ("data synth pairs -o new --each 0", "each is 0"),
        ("data synth pairs -o new --beta 2 1", "beta is 2.0 1.0; expected low <= high"),
        ("data synth pairs -o new --airlight nan 1", "airlight is nan 1.0"),
        ("data synth pairs -o new --airlight 0.5 1.5", "in [0, 1]"),
    ],
)
def test_mistakes_are_answered_in_one_line(unhaze, work: Path, line: str, message: str):
    check_one_line(unhaze, work, line, message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train recipes/tiny.toml --set net.name=aecrnt", "no net 'aecrnt'; did you mean 'aecr'?"),
        ("train recipes/tiny.toml --set net.widht=8", "did you mean 'width'?"),
        ("train recipes/tiny.toml --set losses.l3.weight=1", "no loss 'l3'"),
        ("train recipes/tiny.toml --set losses.l1.weigth=1", "did you mean 'weight'?"),
        ("train recipes/tiny.toml --set data.name=fodlers", "did you mean 'folders'?"),
        ("train recipes/tiny.toml --set data.root=absent", "absent"),
        ("train recipes/tiny.toml --set method.name=supervized", "did you mean 'supervised'?"),
        ("train recipes/tiny.toml --out pairs", "'pairs' exists"),
        ("eval pairs --data folders --root pairs", "'pairs' is not a run folder"),
        ("export pairs -o new.onnx", "'pairs' is not a run folder"),
        ("export recipes/tiny.toml -o new.onnx", "it is text and no weights"),
        ("zoo identify absent.pth", "no file 'absent.pth'"),
    ],
)
def test_mistakes_of_the_learning_half_are_too(unhaze, work: Path, line: str, message: str):
    pytest.importorskip("torch")
    check_one_line(unhaze, work, line, message)


def check_one_line(unhaze, work: Path, line: str, message: str) -> None:
    before = sorted(work.rglob("*"))
    status, stdout, stderr = unhaze(line)
    assert (status, stdout) == (2, "")
    assert message in stderr
    assert stderr.startswith("unhaze: error: ")
    assert stderr.count("\n") == 1
    assert sorted(work.rglob("*")) == before


HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {hidden}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)

sys.meta_path.insert(0, Hidden())
from unhaze.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("line", "hidden", "message"),
    [
        ("train recipes/tiny.toml", "torch", 'train needs PyTorch: pip install "unhaze[train]"'),
        ("export run -o new.onnx", "onnx", 'export needs onnx: pip install "unhaze[train]"'),
        (
            "eval x.safetensors --data folders --root pairs",
            "torch",
            'eval needs PyTorch: pip install "unhaze[train]"',
        ),
    ],
)
def test_a_missing_extra_says_what_to_install(work: Path, line: str, hidden: str, message: str):
    (work / "x.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    program = HIDE.format(hidden={hidden})
    command = [sys.executable, "-c", program, *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"unhaze: error: {message}\n"


@pytest.mark.parametrize("kind", ["datasets", "metrics", "models", "nets", "recipes"])
def test_what_needs_no_extra(work: Path, kind: str):
    hidden = {"torch", "onnx", "onnxscript", "safetensors", "lightning_fabric", "tqdm", "tomli_w"}
    command = [sys.executable, "-c", HIDE.format(hidden=hidden), "list", kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
