"""Studies at equal budgets: what is run, and what goes on."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from unhaze.config import load_config

ROOT = Path(__file__).parents[2]
RECORD = {"data": "sots-indoor-part", "protocol": "aecr", "images": 80, "fade": None}
RECORD |= {"params": 2_614_229, "model": "run", "training": {"samples": 3000}}
CYCLEGAN, UNPAIRED = ROOT / "recipes/unpaired/cyclegan.toml", "recipes/overlays/unpaired-cpu.toml"
STEPS = load_config(CYCLEGAN, overlays=[ROOT / UNPAIRED]).schedule.steps


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("run_study", ROOT / "tools" / "run_study.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_study"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["run_study"]


def test_every_arm_is_a_recipe_that_its_overlay_fits(tool):
    for study in tool.STUDIES.values():
        overlay = ROOT / "recipes" / "overlays" / f"{study.overlay}.toml"
        recipes = [
            load_config(ROOT / "recipes" / f"{arm.recipe}.toml", arm.settings, overlays=[overlay])
            for arm in study.arms
        ]
        budgets = {(each.augment.crop, each.schedule.batch, each.data.name) for each in recipes}
        assert len(budgets) == 1, "equal crops, batches and data"
        if study.minutes is None:
            assert len({each.schedule.steps for each in recipes}) == 1
    rates = [
        (each.losses["contrastive"].weight, each.losses["contrastive"].arguments)
        for arm in tool.STUDIES["cr-arms"].arms
        for each in [load_config(ROOT / "recipes" / f"{arm.recipe}.toml", arm.settings)]
    ]
    assert [(weight, a["positives"], a["negatives"]) for weight, a in rates] == [
        *((0, 1, 1), (0.1, 1, 0), (0.1, 1, 1), (0.1, 1, 10), (0.1, 10, 1), (0.1, 10, 10)),
    ]


def test_a_budget_that_ends_a_run_is_not_its_end(tool, tmp_path, monkeypatch):
    """A validation on the way leaves best.safetensors, too."""
    machine = Machine(slow=["cyclegan-1"])
    monkeypatch.setattr(tool, "run", machine)
    words = ["run_study", "unpaired", "--out", "r", "--nyu", "n", "--pictures", "p"]
    monkeypatch.setattr(sys, "argv", [*words, "--results", "found", "--only", "cyclegan"])
    monkeypatch.chdir(tmp_path)
    tool.main()
    steps = [number for verb, name, number in machine.calls if name == "cyclegan-1"]
    assert steps == [STEPS // 2, STEPS, 0], "trained on, then measured"


def test_a_run_without_progress_ends_the_study(tool, tmp_path, monkeypatch):
    """Such as one whose schedule was shortened: it is past its last step."""
    machine = Machine()
    monkeypatch.setattr(tool, "run", machine)
    words = ["run_study", "unpaired", "--out", "r", "--nyu", "n", "--pictures", "p"]
    monkeypatch.setattr(sys, "argv", [*words, "--results", "found", "--only", "cyclegan"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r" / "cyclegan-1" / f"state-{STEPS + 100:09d}").mkdir(parents=True)
    said = f"cyclegan-1' is at step {STEPS + 100} of {STEPS}, as 20 minutes before"
    with pytest.raises(SystemExit, match=said):
        tool.main()
    assert len(machine.calls) == 1


def test_vgg_is_asked_for_where_a_loss_needs_it(tool, monkeypatch, capsys):
    words = ["run_study", "cr-arms", "--out", "r", "--nyu", "n", "--pictures", "p"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        tool.main()
    assert "--vgg is needed: cr-star, cr-1-1, " in capsys.readouterr().err


def test_few_scenes_of_each_table_where_only_time_is_measured(tool):
    paired, unpaired = (tool.STUDIES[name].arms[0] for name in ("cr-arms", "unpaired"))
    assert tool.few(paired) == ["data.scenes=[0, 20]", "validation.scenes=[20, 40]"]
    hazy, clear, validation = tool.few(unpaired)
    assert (hazy, clear) == ("data.hazy.scenes=[0, 20]", "data.clear.scenes=[20, 40]")
    assert validation == "validation.scenes=[40, 60]"


class Machine:
    """Stands for the commands: a step takes 0.5 s of processor time, loading 3 s; a run in
    `slow` reaches half of its steps within its budget at first."""

    def __init__(self, slow=()):
        self.slow = set(slow)
        self.calls: list[tuple[str, str, int]] = []

    def __call__(self, words):
        verb, settings = words[3], [each for each in words if "=" in each]
        if verb == "eval":
            (file,) = (each.partition("=")[2] for each in words if each.startswith("--result="))
            Path(file).write_text(json.dumps(RECORD | {"psnr": 25.0, "ssim": 0.9}))
            self.calls.append(("eval", Path(words[4]).name, 0))
            return 1.0, 1.0
        steps = [each.partition("=")[2] for each in settings if each.startswith("schedule.steps")]
        number, folder = (
            int(steps[-1]) if steps else STEPS,
            Path(words[words.index("--resume") + 1]),
        )
        folder.mkdir(parents=True, exist_ok=True)
        if words[4].endswith("table1/kddn.toml"):
            (teacher,) = (each.partition("=")[2] for each in settings if "teacher" in each)
            assert Path(teacher).is_dir()
        (folder / "best.safetensors").touch()
        if folder.name in self.slow:
            self.slow.remove(folder.name)
            number //= 2
        (folder / f"state-{number:09d}").mkdir()
        (folder / "log.jsonl").write_text(json.dumps({"step": number, "validation_psnr": 26.5}))
        if not folder.name.startswith(".try"):
            self.calls.append(("train", folder.name, number))
        return 3 + 0.5 * number, 900.0


def test_a_study_gives_equal_times_and_continues(tool, tmp_path, monkeypatch, capsys):
    machine = Machine()
    monkeypatch.setattr(tool, "run", machine)
    words = ["run_study", "table1", "--out", "runs", "--nyu", "n", "--pictures", "p", "--vgg", "v"]
    monkeypatch.setattr(sys, "argv", [*words, "--results", "found", "--only", "kddn", "aodnet"])
    monkeypatch.chdir(tmp_path)
    tool.main()
    # Half an hour at 0.5 s; KDDN and its teacher share it.
    expected = [("train", "aodnet-1", 3600), ("eval", "aodnet-1", 0)]
    expected += [
        ("train", "kddn-teacher-1", 1800),
        ("train", "kddn-1", 1800),
        ("eval", "kddn-1", 0),
    ]
    assert machine.calls == expected
    record = json.loads((tmp_path / "found" / "table1" / "kddn-1.json").read_text())
    assert record["study"] == {
        **{"arm": "KDDN", "place": 5, "seed": 1, "validation_psnr": 26.5},
        **{"cpu_seconds": 1806, "peak_mb": 900, "minutes": 30},
    }
    tool.main()
    assert machine.calls == expected, "what is done is not done again"
    (tmp_path / "found" / "table1" / "kddn-1.json").unlink()
    tool.main()
    assert machine.calls == [*expected, ("eval", "kddn-1", 0)], "nor trained again"
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--try-steps", "4"])
    capsys.readouterr()
    tool.main()
    assert "kddn: 0.50 s a step, 0.9 GB" in capsys.readouterr().out
