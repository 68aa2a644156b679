"""Training end to end on scenes made here: learning, exact resume, kills, several processes."""

import dataclasses
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.quick import slow_but
from tests.training.forks import ranks, start, together
from unhaze import runs
from unhaze.config import LossPart, Part, Recipe, load_config
from unhaze.data import PairedBatch
from unhaze.errors import UnhazeError
from unhaze.published import open_weights
from unhaze.tensors import load_tensors
from unhaze.training import check_batches, train
from unhaze.training.loop import TrainResult
from unhaze.training.steps import learning_rate
from unhaze.weights import load_weights, newest_state

# Total loss of the six steps of `recipe`, recorded with PyTorch 2.13 on a CPU.
GOLDEN = [0.75146, 0.74370, 0.71976, 0.76114, 0.69676, 0.69279]


RECIPE = """
title = "small"
seed = 3
[net]
name = "aecr"
width = 8
head = "haze"
[losses.l1]
[losses.contrastive]
weight = 0.1
weights = "random"
[data]
name = "rgbd"
root = "{scenes}"
[validation]
name = "rgbd"
root = "{scenes}"
[augment]
crop = 16
[optimizer]
lr = 2e-3
[schedule]
steps = 6
batch = 4
[watch]
log_every = 1
pictures_every = 3
validate_every = 6
validate_limit = 2
save_every = 3
"""


def logged(run: Path, key: str = "total") -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line[key] for line in lines if key in line}


def train_file(recipe_file: Path, out: Path, *overrides: str) -> TrainResult:
    return train(load_config(recipe_file, overrides), out=out)


def test_leaves_a_run_folder_that_rebuilds_the_net(recipe, tmp_path):
    result = train(recipe, out=tmp_path / "run")
    run = result.run
    assert result.finished and result.step == 6
    assert load_config(run / "recipe.toml") == recipe
    assert [path.name for path in run.glob("state-*")] == ["state-000000006"]
    assert sorted(path.name for path in (run / "strips").iterdir()) == [
        "000000003.png",
        "000000006.png",
    ]
    assert list(run.glob("events.*"))
    weights = load_weights(run)
    assert weights.part == recipe.net
    assert weights.facts["step"] == 6
    pair = torch.rand(1, 3, 9, 7)
    assert torch.equal(weights.net(pair), load_weights(run / "best.safetensors").net(pair))


def test_first_losses_are_the_recorded_ones(recipe, tmp_path):
    """Moves only if the data, the net's start, a loss or the update changes; then on purpose."""
    train(recipe, out=tmp_path / "run")
    totals = list(logged(tmp_path / "run").values())
    assert totals == pytest.approx(GOLDEN, rel=2e-3)


def test_no_frozen_feature_network_in_the_state(recipe, tmp_path):
    train(recipe, out=tmp_path / "run")
    state = newest_state(tmp_path / "run")
    tensors, _ = load_tensors(state, "restorer")
    assert not [name for name in tensors if "vgg" in name]
    assert max(file.stat().st_size for file in state.iterdir()) < 16 * 2**20


def test_resume_equals_an_uninterrupted_run_bitwise(recipe, tmp_path, monkeypatch):
    train(recipe, out=tmp_path / "whole")
    monkeypatch.setattr(sys.modules["unhaze.training.loop"], "average", stopping_average(after=3))
    stopped = train(recipe, out=tmp_path / "parts")
    monkeypatch.undo()
    assert (stopped.step, stopped.finished) == (4, False)
    resumed = train(recipe, resume=tmp_path / "parts")
    assert resumed.finished
    assert logged(tmp_path / "whole") == logged(tmp_path / "parts")
    for name in ("restorer", "ema", "optimizer-restorer"):
        one, _ = load_tensors(newest_state(tmp_path / "whole"), name)
        other, _ = load_tensors(newest_state(tmp_path / "parts"), name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def stopping_average(after: int):
    """The averaging of weights, which sends this process a SIGTERM in step `after`."""
    from unhaze.training.steps import average

    def average_and_stop(ema, net, decay, step):
        average(ema, net, decay, step)
        if step == after:
            os.kill(os.getpid(), signal.SIGTERM)

    return average_and_stop


def train_until_stopped(recipe_file: Path, out: Path) -> None:
    result = train_file(recipe_file, out, "schedule.steps=100000")
    assert not result.finished and result.step > 0


@pytest.mark.slow
def test_sigterm_saves_and_leaves(recipe_file, tmp_path):
    run = tmp_path / "run"
    process = start(train_until_stopped, recipe_file, run)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (run / "log.jsonl").exists():
        time.sleep(0.1)
    process.terminate()
    process.join(60)
    assert process.exitcode == 0
    assert load_weights(run).facts["step"] == max(logged(run))


def train_until_killed(recipe_file: Path, run: Path, moment: str) -> None:
    """The process kills itself when it has a state and is about to move or remove one."""
    owner = Path if moment == "replace" else shutil
    before = getattr(owner, moment)

    def die(path, *rest, **options):
        if "state-" in Path(path).name and list(run.glob("state-*")):
            os.kill(os.getpid(), signal.SIGKILL)
        return before(path, *rest, **options)

    setattr(owner, moment, die)
    train_file(recipe_file, run)


@pytest.mark.parametrize("moment", ["replace", "rmtree"])
def test_kill_during_a_save_leaves_a_whole_state(moment, recipe, recipe_file, tmp_path):
    run = tmp_path / "run"
    process = start(train_until_killed, recipe_file, run, moment)
    process.join(120)
    assert process.exitcode == -9
    assert (
        newest_state(run).name
        == {"replace": "state-000000003", "rmtree": "state-000000006"}[moment]
    )
    result = train(recipe, resume=run)
    assert result.finished and result.step == 6
    assert newest_state(run).name == "state-000000006"
    assert not list(run.glob(".*state-*"))


TRAIN = """
import sys
from unhaze.config import load_config
from unhaze.training import check_batches, train
from unhaze.training.loop import TrainResult
train(load_config(sys.argv[1]), out=sys.argv[2])
"""


@pytest.mark.parametrize("launcher", slow_but(["SLURM"], ["torchrun", "two nodes", "SLURM"]))
def test_two_processes_equal_one(launcher, recipe_file, tmp_path):
    two = tmp_path / "two"
    if launcher == "torchrun":
        (tmp_path / "train.py").write_text(TRAIN)
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        words = [*launch, "--nproc_per_node=2", tmp_path / "train.py", recipe_file, two]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            list(map(str, words)), env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    else:
        tasks = ranks(2, nodes=2) if launcher == "two nodes" else [slurm_task(0), slurm_task(1)]
        together(train_file, tasks, recipe_file, two)
    train(load_config(recipe_file), out=tmp_path / "one")
    one, _ = load_tensors(newest_state(tmp_path / "one"), "restorer")
    two, _ = load_tensors(newest_state(tmp_path / "two"), "restorer")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5)


def slurm_task(rank: int) -> dict[str, str]:
    """What SLURM tells task `rank` of two on this computer."""
    job = {"JOB_ID": 4242, "JOB_NAME": "train", "JOB_NODELIST": "127.0.0.1", "NODEID": 0}
    job |= {"NODELIST": "127.0.0.1", "NNODES": 1, "NTASKS": 2, "NTASKS_PER_NODE": 2}
    job |= {"PROCID": rank, "LOCALID": rank}
    return {f"SLURM_{name}": str(value) for name, value in job.items()}


def test_overfits_one_pair(scenes, tmp_path):
    haze = {"beta": [1.5, 1.5], "airlight": [1, 1]}
    one_pair = Part("rgbd", {"root": str(scenes), "scenes": [0, 1]} | haze)
    recipe = Recipe(
        title="one pair",
        net=Part("aecr", {"width": 8, "whitening": False, "head": "haze"}),
        data=one_pair,
        validation=one_pair,
        losses={"l1": LossPart()},
    )
    recipe = dataclasses.replace(
        recipe,
        augment=dataclasses.replace(recipe.augment, crop=40, flip=False, rotate=False),
        optimizer=dataclasses.replace(recipe.optimizer, lr=3e-3),
        schedule=dataclasses.replace(recipe.schedule, steps=120, batch=2, ema=0.9),
    )
    result = train(recipe, out=tmp_path / "run")
    assert result.psnr > result.hazy_psnr + 6


def test_check_takes_one_step_and_leaves_nothing(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = train(recipe, check=True)
    assert result.run is None and result.psnr > 0
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_its_batch(recipe, tmp_path):
    recipe = dataclasses.replace(
        recipe, optimizer=dataclasses.replace(recipe.optimizer, lr=float("inf"))
    )
    with pytest.raises(UnhazeError, match="step 1: the loss is not finite") as caught:
        train(recipe, out=tmp_path / "run")
    assert "nonfinite-000000001-rank0.safetensors" in str(caught.value)
    tensors, facts = load_tensors(tmp_path / "run", "nonfinite-000000001-rank0")
    assert tensors["hazy-0"].shape == (4, 3, 16, 16)
    assert facts["step"] == 1
    assert str(caught.value).endswith("; no state was saved before")


def test_starts_from_the_weights_of_another_run(recipe, tmp_path):
    train(recipe, out=tmp_path / "first")
    still = dataclasses.replace(recipe.optimizer, lr=0.0)
    fine = dataclasses.replace(recipe, start=str(tmp_path / "first"), optimizer=still)
    train(fine, out=tmp_path / "second")
    first, second = (load_weights(tmp_path / name).net for name in ("first", "second"))
    assert torch.equal(first.up3.weight, second.up3.weight)
    other = dataclasses.replace(fine, net=Part("aecr", {"width": 16, "head": "haze"}))
    with pytest.raises(UnhazeError, match="key 'start': .*first' has net 'aecr': .*the net needs"):
        train(other, out=tmp_path / "third")


def test_a_run_that_was_killed_before_its_first_save_starts_again(recipe, tmp_path):
    train(recipe, out=tmp_path / "whole")
    run = runs.create_run(recipe, tmp_path / "killed")
    with pytest.raises(UnhazeError, match="killed' is not a run folder: .* no state"):
        open_weights(run)
    assert train(recipe, resume=run).finished
    one, other = (load_weights(tmp_path / name).net for name in ("whole", "killed"))
    assert torch.equal(one.up3.weight, other.up3.weight)


def test_a_run_that_fails_at_its_first_step_is_not_in_the_way_of_the_corrected_one(
    recipe_file, tmp_path
):
    words = ["losses.contrastive.weights=random", "losses.contrastive.negatives=50"]
    with pytest.raises(UnhazeError, match="enlarge it"):
        train(load_config(recipe_file, words), out=tmp_path / "run")
    assert train(load_config(recipe_file, words[:1]), out=tmp_path / "run").finished


def test_resume_refuses_another_recipe_before_it_loads_data(recipe, tmp_path, monkeypatch):
    train(recipe, out=tmp_path / "run")
    module = importlib.import_module("unhaze.training")
    monkeypatch.setattr(module, "create_data", lambda part: pytest.fail("data was loaded"))
    other = dataclasses.replace(recipe, seed=4)
    with pytest.raises(UnhazeError, match="seed was 3 and is 4"):
        train(other, resume=tmp_path / "run")
    with pytest.raises(UnhazeError, match="exists; resume it"):
        train(recipe, out=tmp_path / "run")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("net.name=aecrnt", "did you mean 'aecr'"),
        ("net.widht=8", "did you mean 'width'"),
        ("losses.contrastive.weigths=random", "did you mean 'weights'"),
        ("method.name=supervize", "did you mean 'supervised'"),
        ("data.root=/nowhere", "/nowhere"),
        ("schedule.batch=5", "must be a multiple of"),
        ("schedule.steps=0", "schedule.steps"),
        ("optimizer.name=adamm", "did you mean 'adam'"),
        ("hardware.precision=8-bit", "32-true"),
        ("augment.crop=64", "does not fit"),
    ],
)
def test_wrong_settings_end_before_the_first_step(recipe_file, tmp_path, override, message):
    overrides = [override, "schedule.accumulate=2"]
    with pytest.raises(UnhazeError, match=message):
        train(load_config(recipe_file, overrides), out=tmp_path / "run", check=True)


def test_learning_rate_warms_up_and_follows_a_cosine(recipe):
    schedule = dataclasses.replace(recipe.schedule, steps=110, warmup=10, final_lr=0.1)
    assert learning_rate(0, schedule, 1.0) == pytest.approx(0.1)
    assert learning_rate(9, schedule, 1.0) == pytest.approx(1.0)
    assert learning_rate(60, schedule, 1.0) == pytest.approx(0.55)
    assert learning_rate(110, schedule, 1.0) == pytest.approx(0.1)


def test_learning_rate_in_stairs_straight_or_not_at_all(recipe):
    """GridDehazeNet halves it every fifth, MSBDN divides it by ten in the middle."""
    stairs = dataclasses.replace(recipe.schedule, steps=100, decay="stairs", stairs=5, factor=0.5)
    rates = [learning_rate(step, stairs, 1.0) for step in (0, 19, 20, 39, 40, 80, 99)]
    assert rates == [1, 1, 0.5, 0.5, 0.25, 0.0625, 0.0625]
    once = dataclasses.replace(stairs, stairs=2, factor=0.1)
    assert [learning_rate(step, once, 1.0) for step in (49, 50, 99)] == [1, 0.1, 0.1]
    straight = dataclasses.replace(recipe.schedule, steps=100, hold=0.5, decay="linear")
    rates = [learning_rate(step, straight, 1.0) for step in (0, 50, 75, 100)]
    assert rates == pytest.approx([1, 1, 0.5, 0])
    constant = dataclasses.replace(recipe.schedule, steps=100, decay="none", warmup=10)
    assert [learning_rate(step, constant, 1.0) for step in (4, 10, 99)] == [0.5, 1, 1]


@pytest.mark.parametrize(
    ("pictures", "drawn"),
    [
        (torch.full((2, 3, 8, 8), 255.0), r"\(2, 3, 8, 8\) torch.float32 from 255 to 255"),
        (torch.full((2, 3, 8, 8), -1.0), "from -1 to -1"),
        (torch.zeros(2, 8, 8, 3), r"\(2, 8, 8, 3\) torch.float32"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "torch.uint8"),
    ],
)
def test_pictures_in_another_form_are_refused(recipe, pictures: torch.Tensor, drawn: str):
    good = torch.rand(2, 3, 8, 8)
    check_batches(recipe, [PairedBatch(good, good)])
    with pytest.raises(UnhazeError, match=rf"data 'rgbd' draws .*{drawn}.*; expected \(B,3,H,W\)"):
        check_batches(recipe, [PairedBatch(good, pictures)])
