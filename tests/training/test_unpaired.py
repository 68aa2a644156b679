"""Unpaired training end to end: run folder, exact resume, several processes, what comes after."""

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

import onnx
import pytest
import torch

from tests.rgbd_scenes import draw_scenes
from tests.training.forks import ranks, together
from unhaze import photo
from unhaze.cli import main
from unhaze.config import load_config
from unhaze.errors import UnhazeError
from unhaze.methods.alarms import Alarm
from unhaze.tensors import load_tensors
from unhaze.training import train
from unhaze.weights import load_weights, newest_state

RECIPES = Path(__file__).parents[2] / "recipes"


RECIPE = """
title = "small"
seed = 3
[net]
name = "cddgan"
preset = "slim"
width = 4
blocks = 2
[method]
name = "cddgan"
layers = [8, 12]
patches = 16
dimension = 16
noise = 4
count = 16
queue = 24
critic_width = 4
pool = 3
[data]
name = "unpaired"
hazy = {{name = "rgbd", root = "{scenes}", scenes = [0, 2]}}
clear = {{name = "rgbd", root = "{scenes}", scenes = [2, 4]}}
[validation]
name = "rgbd"
root = "{scenes}"
scenes = [4, 6]
[augment]
crop = 32
[optimizer]
lr = 1e-3
betas = [0.5, 0.999]
[schedule]
steps = 4
batch = 2
hold = 0.5
decay = "linear"
[watch]
log_every = 1
pictures_every = 2
validate_every = 4
save_every = 2
"""


@pytest.fixture(scope="module")
def run(recipe_file, tmp_path_factory) -> Path:
    """A finished run of the small recipe."""
    return train(load_config(recipe_file), out=tmp_path_factory.mktemp("runs") / "run").run


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


TIMES = ("seconds", "steps_per_s")


def logged_totals(run: Path) -> list[float]:
    return [line["total"] for line in lines(run) if "total" in line]


def logged(run: Path) -> list[dict]:
    """All lines but for the time they came at."""
    return [{key: line[key] for key in line if key not in TIMES} for line in lines(run)]


def test_a_state_holds_everything_in_small_files(run):
    state = newest_state(run)
    names = {path.stem for path in state.glob("*.safetensors")}
    sides = [f"{kind}-{side}" for kind in ("critic", "pool") for side in ("clear", "hazy")]
    kinds = ("heads", "momentum-heads", "negatives", "queue")
    sides += [f"{kind}-{way}" for kind in kinds for way in ("restorer", "hazer")]
    groups = {f"optimizer-{group}" for group in ("critics", "negatives", "generators")}
    assert names == {"restorer", "hazer", "ema", *sides} | groups
    assert max(path.stat().st_size for path in state.iterdir()) < 16 * 2**20
    pool, _ = load_tensors(state, "pool-clear")
    assert [tensor.shape for tensor in pool.values()] == [(3, 32, 32)] * 3
    queue, _ = load_tensors(state, "queue-hazer")
    assert [tensor.shape for tensor in queue.values()] == [(24, 16)] * 2


def test_pools_of_large_crops_are_saved(tmp_path):
    from unhaze.methods.memories import ImagePool
    from unhaze.tensors import save_tensors

    pool = ImagePool(50)
    pool.exchange(torch.rand(50, 3, 256, 256))
    save_tensors(tmp_path, "pool-clear", pool.state_dict())
    other = ImagePool(50)
    other.load_state_dict(load_tensors(tmp_path, "pool-clear")[0])
    assert all(torch.equal(*pair) for pair in zip(pool.images, other.images))


def test_terms_curves_and_strips_are_recorded(run):
    terms = {"critic_clear", "critic_hazy", "adversarial_clear", "adversarial_hazy", "cycle"}
    terms |= {"identity", "contrast", "spread", "total", "lr"}
    assert terms <= lines(run)[0].keys()
    strip = photo.read_rgb(run / "strips" / "000000004.png")
    assert strip.shape == (2 * 32, 6 * 32, 3)
    events = b"".join(path.read_bytes() for path in run.glob("events.*"))
    for name in [f"train/{term}" for term in terms] + ["validation/psnr", "hazed | clear again"]:
        assert name.encode() in events


def test_the_learning_rate_is_held_then_falls_linearly(run):
    rates = [line["lr"] for line in lines(run) if "lr" in line]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 0.5e-3])


def test_resume_equals_an_uninterrupted_run_bitwise(recipe, run, tmp_path, monkeypatch):
    from unhaze.training.steps import average

    def average_and_stop(ema, net, decay, step):
        average(ema, net, decay, step)
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["unhaze.training.loop"], "average", average_and_stop)
        stopped = train(recipe, out=tmp_path / "parts")
    assert (stopped.step, stopped.finished) == (2, False)
    assert train(recipe, resume=tmp_path / "parts").finished
    assert logged(run) == logged(tmp_path / "parts")
    for path in newest_state(run).glob("*.safetensors"):
        one, _ = load_tensors(newest_state(run), path.stem)
        other, _ = load_tensors(newest_state(tmp_path / "parts"), path.stem)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), path.stem


def test_half_precision_learns(recipe, tmp_path):
    half = dataclasses.replace(recipe.hardware, precision="bf16-mixed")
    result = train(dataclasses.replace(recipe, hardware=half), out=tmp_path / "run")
    assert result.finished
    exact = logged_totals(train(recipe, out=tmp_path / "exact").run)
    rounded = logged_totals(result.run)
    assert rounded[0] == pytest.approx(exact[0], rel=0.05) and rounded != exact


def train_file(recipe_file: Path, overrides: list[str], out: Path) -> None:
    train(load_config(recipe_file, overrides), out=out)


def test_two_processes_equal_one_with_the_same_pictures(recipe_file, tmp_path):
    """One scene a side and no chance in crop or noise: both processes draw the same pictures."""
    same = [
        "data.hazy.scenes=[0,1]",
        "data.hazy.beta=[1.0,1.0]",
        "data.hazy.airlight_at_one=1.0",
        "data.clear.scenes=[2,3]",
        "augment.crop=40",
        "augment.flip=false",
        "augment.rotate=false",
        "method.negatives=patches",
        "schedule.steps=3",
    ]
    # A window of 40 in 48 columns could move: these scenes are squares.
    draw_scenes(tmp_path / "squares", width=40)
    same += [f"data.{side}.root={tmp_path / 'squares'}" for side in ("hazy", "clear")]
    together(train_file, ranks(2), recipe_file, same, tmp_path / "two")
    train(load_config(recipe_file, same), out=tmp_path / "one")
    totals = [logged_totals(tmp_path / name) for name in ("one", "two")]
    assert totals[0] == pytest.approx(totals[1], rel=1e-3)
    state = newest_state(tmp_path / "one")
    for name in ("restorer", "hazer", "ema", "critic-clear", "heads-restorer", "pool-hazy"):
        one, _ = load_tensors(state, name)
        two, _ = load_tensors(newest_state(tmp_path / "two"), name)
        assert one.keys() == two.keys()
        for key in one:
            # Under a norm a bias has no gradient but rounding, which Adam makes a step of.
            if not (name.startswith("critic") and key.endswith("bias")):
                torch.testing.assert_close(one[key], two[key], rtol=1e-3, atol=2e-4)


@pytest.mark.slow
def test_eval_export_and_run_take_the_restorer_only(run, scenes, tmp_path, capsys):
    weights = load_weights(run)
    parameters = sum(each.numel() for each in weights.net.parameters())
    assert weights.part.name == "cddgan" and weights.net.head == "haze"
    pictures = ["--hazy", str(scenes / "clear"), "--clear", str(scenes / "clear")]
    capsys.readouterr()
    assert main(["eval", str(run), *pictures, "--limit", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["params"] == parameters
    model = tmp_path / "mine.onnx"
    assert main(["export", str(run), "-o", str(model)]) == 0
    card = {each.key: each.value for each in onnx.load(model).metadata_props}
    assert card["net"] == "cddgan" and int(card["params"]) == parameters
    assert card["title"].startswith("CDD-GAN, reconstructed") and card["recipe"] == "small"
    cleared = tmp_path / "cleared.png"
    hazy = str(scenes / "clear" / "0.png")
    assert main(["run", hazy, "-o", str(cleared), "--model", str(model)]) == 0
    assert photo.read_rgb(cleared).shape == (40, 48, 3)


def test_a_collapse_is_reported_once_by_the_run(recipe, tmp_path, monkeypatch, capsys):
    never = (Alarm("spread", 5.0, 6.0, 1, "the negatives no longer differ"),)
    monkeypatch.setattr(
        sys.modules["unhaze.methods.cddgan"], "adversarial_alarms", lambda undecided: never
    )
    train(recipe, out=tmp_path / "run")
    alarms = [line for line in lines(tmp_path / "run") if "alarm" in line]
    assert [line["step"] for line in alarms] == [2]
    text = capsys.readouterr().err
    assert text.count("unhaze: step 2: spread is ") == 1
    assert "outside [5, 6]: the negatives no longer differ" in text


def test_a_loss_that_is_not_finite_ends_in_one_line(recipe, tmp_path):
    broken = dataclasses.replace(recipe.optimizer, lr=float("inf"))
    with pytest.raises(UnhazeError, match="step 0: the loss is not finite .critic_clear"):
        train(dataclasses.replace(recipe, optimizer=broken), out=tmp_path / "run")
    assert load_tensors(tmp_path / "run", "nonfinite-000000000-rank0")[0].keys() == {
        "hazy-0",
        "clear-0",
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("schedule.accumulate=2", "cannot accumulate; set schedule.accumulate = 1"),
        ("method.name=supervised", "has no argument"),
        ("losses.l1.weight=1.0", "no pairs for"),
        ("net.head=veil", "adds haze"),
        ("method.layers=[16]", "method 'cddgan': the generator has no layer 16"),
        ("method.patches=0", "method 'cddgan': patches is 0"),
        ("method.cycle=many", "'cycle' must be of type float"),
        ("method.layers=[0.5]", "'layers' must be of type list or tuple of int, not"),
        ("method.critic_shrink=9", "crops of at least 288 pixels, not .*: set augment.crop higher"),
        ("hardware.compile=default", "cannot be compiled"),
        ("data.hazy.name=nyu", "no dataset 'nyu'"),
    ],
)
def test_wrong_settings_end_before_the_first_step(recipe_file, override, message):
    with pytest.raises(UnhazeError, match=message):
        train(load_config(recipe_file, [override]), check=True)


def test_a_paired_method_refuses_unpaired_data(recipe, tmp_path):
    from unhaze.config import LossPart, Part

    paired = dataclasses.replace(
        recipe, method=Part("supervised"), losses={"l1": LossPart()}, validation=None
    )
    with pytest.raises(UnhazeError, match="'supervised' learns from pairs of one scene, which"):
        train(paired, check=True)
    pairs = dataclasses.replace(recipe, data=recipe.validation)
    with pytest.raises(UnhazeError, match="'cddgan' learns from unpaired pictures, which"):
        train(pairs, check=True)


@pytest.mark.slow
def test_the_tiny_recipe_soon_beats_the_hazy_input(tmp_path, monkeypatch):
    monkeypatch.chdir(RECIPES.parent)
    result = train(load_config(RECIPES / "tiny_unpaired.toml"), out=tmp_path / "run")
    assert result.finished
    assert result.psnr > result.hazy_psnr + 2


ROWS = {
    "cyclegan": {"contrast": 0.0},
    "random-patches": {"negatives": "patches"},
    "frozen-negatives": {"negatives": "frozen"},
    "no-exemplars": {"exemplars": "none"},
    "no-diversity": {"diversity": 0.0},
    "clear-positives": {"exemplars": "mean"},
}


@pytest.mark.parametrize("row", ROWS)
def test_an_ablation_changes_one_thing(row):
    full, ablated = (load_config(RECIPES / "unpaired" / f"{name}.toml") for name in ("nyu", row))
    changed = dataclasses.replace(ablated, title=full.title, source=full.source, method=full.method)
    assert changed == full
    assert ablated.method.arguments == full.method.arguments | ROWS[row]
    assert full.method.arguments["negatives"] == "adversarial"


@pytest.mark.parametrize("row", ["nyu", *ROWS])
def test_the_cpu_overlay_keeps_what_a_row_is_about(row):
    overlay = RECIPES / "overlays" / "unpaired-cpu.toml"
    full, small = (
        load_config(RECIPES / "unpaired" / f"{name}.toml", overlays=[overlay])
        for name in ("nyu", row)
    )
    assert small.method.arguments == full.method.arguments | ROWS.get(row, {})
    assert small.schedule == full.schedule and small.hardware == full.hardware
