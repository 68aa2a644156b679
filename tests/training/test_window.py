"""Training in short windows of time: a budget, another machine, the pace, what travels."""

import json
import math
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

from unhaze import photo
from unhaze.cli import main
from unhaze.config import LossPart, Part, Recipe, load_config
from unhaze.errors import UnhazeError
from unhaze.hardware import seconds_since_start
from unhaze.losses.vgg import convolutions_of, random_tensors
from unhaze.tensors import load_tensors
from unhaze.training import train
from unhaze.training.pace import Pace, measure_peak
from unhaze.weights import newest_state

RECIPE = """
title = "window"
[net]
name = "quarter"
width = 8
[losses.l1]
[data]
name = "rgbd"
root = "{root}"
resident = true
[augment]
crop = 32
[schedule]
steps = 6
batch = 2
[watch]
log_every = 1
"""


@pytest.fixture
def recipe_file(tmp_path) -> Path:
    """A small run over two scenes that lie beside the recipe."""
    random = np.random.default_rng(5)
    for kind in ("clear", "depth"):
        (tmp_path / "rgbd" / kind).mkdir(parents=True)
    for index in range(2):
        clear = random.integers(0, 255, (10, 12, 3)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
        depth = np.linspace(255, 30, 40).astype(np.uint8)[:, None, None].repeat(48, 1).repeat(3, 2)
        photo.write_rgb(tmp_path / "rgbd" / "clear" / f"{index}.png", clear)
        photo.write_rgb(tmp_path / "rgbd" / "depth" / f"{index}.png", depth)
    path = tmp_path / "window.toml"
    path.write_text(RECIPE.format(root=tmp_path / "rgbd"), encoding="utf-8")
    return path


def logged(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "total" in line]


def states_equal(one: Path, other: Path) -> bool:
    for name in ("restorer", "ema", "optimizer-restorer"):
        first, _ = load_tensors(newest_state(one), name)
        second, _ = load_tensors(newest_state(other), name)
        if first.keys() != second.keys():
            return False
        if not all(torch.equal(first[key], second[key]) for key in first):
            return False
    return True


def test_check_of_a_resume_takes_its_next_step_and_changes_nothing(recipe_file, tmp_path):
    recipe, run = load_config(recipe_file), tmp_path / "run"
    stopped = train(recipe, out=run, budget_minutes=1e-6)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    checked = train(recipe, resume=run, check=True)
    assert (checked.run, checked.step) == (None, stopped.step + 1)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.slow
def test_a_window_ends_in_time_with_its_state_saved_and_status_0(recipe_file, tmp_path):
    """The process has a life of its own, so the budget counts from its start, imports included."""
    run, minutes = tmp_path / "run", 0.12
    settings = ["--set", "schedule.steps=10000000", "--set", "watch.log_every=5"]
    words = ["train", recipe_file, "--resume", run, "--budget-minutes", minutes, *settings]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "unhaze", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(run)
    said = [line for line in done.stderr.splitlines() if line.startswith("unhaze: ")]
    assert said[0] == f"unhaze: there is no run '{run}' yet; starting it"
    assert "unhaze: the budget of 0.12 min is spent at step " in said[-1]
    assert f"continue with `unhaze train --resume {run}`" in said[-1]
    assert seconds > 60 * minutes - 1  # How much more depends on what else the machine does.
    step = int(newest_state(run).name.removeprefix("state-"))
    assert f"at step {step};" in said[-1]


def test_a_window_starts_in_the_folder_that_a_kill_left_empty(recipe_file, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    words = ["train", str(recipe_file), "--resume", str(run)]
    assert main(words) == 2
    assert f"there is no run '{run}'; `unhaze train RECIPE --out {run}`" in capsys.readouterr().err
    assert main([*words, "--budget-minutes", "0.001"]) == 0
    assert (run / "recipe.toml").is_file()


def test_windows_on_several_machines_equal_one_run(recipe_file, tmp_path, capsys):
    """This process is older than the budget, so that each window is one step, the least there is;
    run, data and recipe move to another place in between."""
    whole, run = tmp_path / "whole", tmp_path / "first" / "run"
    train(load_config(recipe_file), out=whole)
    window = ["--budget-minutes", "0.001"]
    assert main(["train", str(recipe_file), "--resume", str(run), *window]) == 0
    assert "min is spent at step 1" in capsys.readouterr().err
    elsewhere = tmp_path / "second"
    elsewhere.mkdir()
    shutil.move(run, elsewhere / "run")
    shutil.move(tmp_path / "rgbd", elsewhere / "rgbd")
    moved = ["--set", f"data.root={elsewhere / 'rgbd'}"]
    again = ["train", str(recipe_file), *moved, "--resume", str(elsewhere / "run")]
    assert main([*again, *window]) == 0
    assert "min is spent at step 2" in capsys.readouterr().err
    assert main(again) == 0
    assert [line["total"] for line in logged(elsewhere / "run")] == [
        line["total"] for line in logged(whole)
    ]
    assert states_equal(whole, elsewhere / "run")
    assert main([*again, *window]) == 0  # Nothing is left to do.


def test_parts_of_the_data_and_the_network_of_a_loss_may_move(recipe_file, tmp_path):
    """Their files may lie elsewhere, as may the teacher's; the weights in them may not change."""

    def moved(folder: str) -> Recipe:
        part = {"name": "rgbd", "root": str(tmp_path / folder / "rgbd")}
        file = {
            "weights": str(tmp_path / folder / "vgg.safetensors"),
            "layer_weights": [1.0, 0.0, 0.0, 0.0, 0.0],
        }
        losses = {"l1": LossPart(), "contrastive": LossPart(0.1, file)}
        return replace(
            load_config(recipe_file), data=Part("mixed", {"parts": [part]}), losses=losses
        )

    def write_vgg(folder: str, shift: float) -> None:
        tensors = {
            f"features.{convolutions_of('vgg19')[name].index}.{kind}": tensor + shift
            for name, pair in random_tensors("vgg19", [*convolutions_of("vgg19")][:1]).items()
            for kind, tensor in zip(("weight", "bias"), pair)
        }
        safetensors.torch.save_file(tensors, tmp_path / folder / "vgg.safetensors")

    run = tmp_path / "run"
    for folder in ("one", "two"):
        shutil.copytree(tmp_path / "rgbd", tmp_path / folder / "rgbd")
        write_vgg(folder, 0.0)
    train(moved("one"), out=tmp_path / "whole")
    train(moved("one"), out=run, budget_minutes=1e-6)
    shutil.rmtree(tmp_path / "one")
    write_vgg("two", 0.5)
    with pytest.raises(UnhazeError, match="losses.contrastive.weights sha256 was .* restore"):
        train(moved("two"), resume=run)
    write_vgg("two", 0.0)
    train(moved("two"), resume=run)
    assert states_equal(tmp_path / "whole", run)


def test_a_state_of_a_large_network_is_one_file_each_and_continues(recipe_file, tmp_path):
    """What was cut into parts of 16 MiB by version 0.1 is one file, whatever its size."""
    recipe = load_config(recipe_file, ["net.width=56", "schedule.steps=1"])
    run = train(recipe, out=tmp_path / "run").run
    files = list(newest_state(run).iterdir())
    names = {file.name for file in files}
    assert {"restorer.safetensors", "optimizer-restorer.safetensors"} <= names
    assert not [name for name in names if name.endswith("-2.safetensors")]
    assert max(file.stat().st_size for file in files) > 16 * 2**20
    assert train(
        load_config(recipe_file, ["net.width=56", "schedule.steps=2"]), resume=run
    ).finished


def test_the_log_has_the_pace_and_the_share_of_the_peak(recipe_file, tmp_path, capsys):
    """The counted first step is the same step: a run that counts equals one that does not."""
    train(load_config(recipe_file), out=tmp_path / "plain")
    train(load_config(recipe_file, ["hardware.measure_peak=true"]), out=tmp_path / "measured")
    assert "TFLOP/s in 32-true" in capsys.readouterr().err
    plain, measured = logged(tmp_path / "plain"), logged(tmp_path / "measured")
    assert "steps_per_s" not in plain[0]
    assert all(line["steps_per_s"] > 0 and "share_of_peak" not in line for line in plain[1:])
    assert all(0 < line["share_of_peak"] < 1 for line in measured[1:])
    assert states_equal(tmp_path / "plain", tmp_path / "measured")


def test_operations_are_counted_once_and_time_is_shared_out(monkeypatch):
    now = iter([10.0, 12.0, 16.0])
    clock = SimpleNamespace(monotonic=lambda: next(now))
    monkeypatch.setattr(sys.modules["unhaze.training.pace"], "time", clock)
    pace, matrix = Pace(peak=1e6), torch.ones(10, 10)
    with pace.step(0):
        matrix @ matrix
    assert pace.operations == 2 * 10**3
    assert pace.look(1) == {}
    with pace.step(1):
        matrix @ matrix @ matrix
    assert pace.operations == 2 * 10**3
    assert pace.look(5) == {"steps_per_s": 4 / 6, "share_of_peak": 4 / 6 * 2000 / 1e6}


def test_the_peak_is_one_that_a_processor_can_have():
    assert 1e8 < measure_peak(torch.device("cpu"), "32-true") < 1e14


def test_the_clock_starts_with_the_process():
    program = "import time; time.sleep(0.5)\n"
    program += "from unhaze.hardware import seconds_since_start as clock; print(clock())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 0.5 <= float(done.stdout) < 30
    first = seconds_since_start()
    time.sleep(0.05)
    assert 0.02 < seconds_since_start() - first < 10


@pytest.mark.parametrize("budget", [0, -1, math.nan, math.inf])
def test_a_budget_that_is_none_ends_in_one_line(recipe_file, tmp_path, capsys, budget):
    with pytest.raises(UnhazeError, match="expected more than 0"):
        train(load_config(recipe_file), out=tmp_path / "run", budget_minutes=budget)
    words = ["train", str(recipe_file), "--budget-minutes", str(budget)]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
