"""Each benchmark runs at a tiny size and keeps a record; the README's table is made of records."""

import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from benchmarks import compare, drawn, measure
from benchmarks.peers import python_with
from benchmarks.rows import with_ratios
from tools.report.speed import KINDS, read_records, speed_table
from unhaze.errors import UnhazeError
from unhaze.restore.models import list_models

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs `python -m benchmarks.NAME WORDS` in this process and answers its record.

    one_alone: only the first row is measured in a process of its own, as all are otherwise; each
    of these loads PyTorch anew.
    """

    def measure_first_alone(module) -> None:
        alone = module.row_alone

        def here(row: dict) -> dict:
            return module.measure(row) | {"peak_mb": 0.0}

        def first_alone(name: str, row: dict, **words) -> dict:
            monkeypatch.setattr(module, "row_alone", lambda _, row, **words: here(row))
            return alone(name, row, **words)

        monkeypatch.setattr(module, "row_alone", first_alone)

    def run_benchmark(name: str, *words: str, one_alone: bool = False) -> dict:
        module = import_module(f"benchmarks.{name}")
        if one_alone:
            measure_first_alone(module)
        result = tmp_path / "results" / f"benchmark-{name}.json"
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", [name, *words, "--result", str(result)])
        module.main()
        record = json.loads(result.read_text(encoding="utf-8"))
        assert {"hardware", "date", "commit", "load_before", "rows"} <= set(record)
        # What it says is also what the README can show.
        if record["benchmark"] in KINDS:
            (found,) = read_records(result.parent)
            assert f"(../results/{result.name})" in speed_table([found])
        return record

    return run_benchmark


def test_peak_memory_is_that_of_the_process_and_not_of_its_parent():
    held = b"1" * 300_000_000
    idle = measure.python("-c", "pass")
    assert 3 < idle.peak_mb < 60 < len(held) / 1e6
    assert measure.python("-c", "held = b'1' * 200_000_000").peak_mb > 200
    with pytest.raises(SystemExit, match="no such thing"):
        measure.python("-c", "raise SystemExit('no such thing')")


def test_repeated_calls_stop_when_patience_ends():
    calls = []
    times = measure.repeated(lambda: calls.append(1), 3)
    assert len(calls) == 4 and times.fastest <= times.seconds
    measure.repeated(lambda: calls.append(1), 3, patience=0)
    assert len(calls) == 5


def test_ratios_are_against_the_peer():
    rows = [{"way": "ours", "ms": 2.0}, {"way": "peer", "ms": 6.0}, {"way": "none", "ms": None}]
    found = with_ratios(rows, "ms", lambda row: row["way"] == "peer")
    assert [row["ratio"] for row in found] == [3.0, 1.0, None]


def test_drawn_haze(run, tmp_path):
    (tmp_path / "clear").mkdir()
    shutil.copy(ROOT / "samples" / "valley-clear.jpg", tmp_path / "clear")
    record = run("drawn", str(tmp_path / "clear"), "--long-side", "160", "--model", "photo-fast")
    light, smoke, dust, balanced, cloud = record["rows"]
    assert [row["haze"] for row in (light, smoke, dust, cloud)] == [
        "light",
        "smoke",
        "dust",
        "cloud",
    ]
    for row in (light, smoke, dust, balanced):
        assert row["gain_db"] == pytest.approx(row["restored_db"] - row["hazy_db"], abs=0.011)
        assert row["lost"] == (row["worst_db"] < 0)
    assert 14 < light["hazy_db"] < 26
    assert balanced["cast_left"] < dust["cast_left"] < 2
    assert cloud["dip_hazy"] < 3  # what comes in has no valley but for its noise


def test_a_dip_is_as_deep_as_its_lower_side():
    assert drawn.dip(np.array([5.0, 3.0, 4.0, 9.0])) == 2
    assert drawn.dip(np.array([1.0, 2.0, 5.0, 2.0])) == 0


@pytest.mark.slow
def test_networks_by_engine(run):
    model = min(list_models(), key=lambda card: card.macs_per_pixel).name
    words = ["--sizes", "256", "--runs", "1", "--threads", "1", "--models", model]
    record = run("engines", *words, "--engines", "eager", "onnxruntime", "torchvision")
    assert [(row["model"], row["size"]) for row in record["rows"]] == [(model, "256")] * 2
    eager, ours = record["rows"]
    assert eager["ratio"] == 1 and ours["ms"] > 0 and ours["peak_mb"] > 30
    assert ours["ratio"] == pytest.approx(eager["ms"] / ours["ms"], abs=0.01)


def test_what_is_too_large_or_too_slow_says_so(run):
    model = list_models()[0].name
    words = ["--sizes", "256", "1080p", "--runs", "1", "--models", model, "--threads", "1"]
    record = run("engines", *words, "--engines", "onnxruntime", "--patience", "0.0001")
    small, large = record["rows"]
    assert small["ms"] > 0
    assert large["ms"] is None and "--patience is 0.0001" in large["skipped"]


@pytest.mark.slow
def test_deformable_convolution(run):
    words = ["--shapes", "4x6x7", "--bf16-shapes", "4x5x5", "--runs", "1", "--threads", "1"]
    ways = ["--ways", "ours", "onnxruntime", "torchvision"]
    record = run("deform", *words, *ways, one_alone=True)
    *rows, _, _ = record["rows"]
    assert [row["precision"] for row in record["rows"]] == 5 * ["float32"] + 2 * ["bf16"]
    assert all(row["ms"] > 0 for row in record["rows"][5:])
    rows = {(row["passes"], row["way"]): row for row in rows}
    assert len(rows) == 5 and ("backward", "onnxruntime") not in rows
    for (_, way), row in rows.items():
        if python_with("torchvision", None) is None and way == "torchvision":
            assert "--make-peer" in row["skipped"]
        else:
            assert row["ms"] > 0


@pytest.mark.slow
def test_training_steps(run):
    ways = ["--ways", "eager float32", "channels-last"]
    tiny = ["--set", "augment.crop=16", "schedule.batch=2", "--peak-tflops", "0.1"]
    record = run("train", *ways, *tiny, "--steps", "1", "--threads", "1", one_alone=True)
    plain, _ = record["rows"]
    assert plain["steps_per_second"] > 0
    assert plain["share_of_peak"] == pytest.approx(plain["tflops"] / 0.1, abs=0.002)


@pytest.mark.slow
def test_metrics(run):
    record = run("metrics", "--megapixels", "0.005", "--runs", "1", one_alone=True)
    rows = {row["metric"]: row for row in record["rows"]}
    assert {"psnr", "ssim (aecr)", "ciede2000", "fade"} <= set(rows)
    assert all(row["mp_per_second"] > 0 for row in rows.values())
    assert rows["psnr"]["ratio"] > 0


@pytest.mark.slow
def test_startup(run):
    rows = {row["command"]: row for row in run("startup", "--runs", "1")["rows"]}
    assert rows["unhaze --help"]["ms"] < rows["unhaze run TINY"]["ms"]
    assert rows["unhaze --help"]["peak_mb"] < rows["python -c 'import torch'"]["peak_mb"]


def test_roofline(run, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# before\n<!-- roofline:start -->\n<!-- roofline:end -->\nafter\n")
    record = run("roofline", "--runs", "1", "--scale", "0.05", "--page", str(page), "--light")
    names = [row["path"] for row in record["rows"]]
    assert {f"network `{card.name}`" for card in list_models()} <= set(names)
    assert {"field, estimated", "field, applied", "JPEG, encoded", "FADE"} <= set(names)
    for row in record["rows"]:
        assert row["floor_ms"] > 0 or row["gflop"] < 0.001
    text = page.read_text()
    assert text.startswith("# before\n") and text.endswith("after\n")
    assert text.count("\n| ") == len(names) + 2


def test_other_repositories_have_no_such_commit():
    command = [sys.executable, "-m", "benchmarks.compare", "no-such-commit", "--", "startup"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "no-such-commit" in done.stderr
    assert "Traceback" not in done.stderr


TOY = """
import argparse, json, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--factor", type=float)
parser.add_argument("--result", type=pathlib.Path)
given = parser.parse_args()
rows = [{"what": "first", "ms": COST * given.factor}, {"what": "second", "ms": 5.0, "psnr": 1}]
given.result.write_text(json.dumps({"rows": rows, "date": "today", "ms": 0}))
"""


@pytest.fixture
def toy(tmp_path):
    """A repository of two commits, whose benchmark takes 1.5 times as long in the second."""
    folder = tmp_path / "toy"
    (folder / "benchmarks").mkdir(parents=True)

    def git(*words: str) -> None:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True)

    git("init", "--quiet")
    for cost in ("10", "15"):
        (folder / "benchmarks" / "toy.py").write_text(TOY.replace("COST", cost))
        git("add", ".")
        git("commit", "--quiet", "-m", f"costs {cost}")
    return folder


def compare_toy(toy: Path, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "benchmarks.compare", *words]
    command += ["--repository", str(toy), "--pairs", "2", "--", "toy", "--factor", "2"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_two_commits_side_by_side(toy):
    worse = compare_toy(toy, "HEAD~1")
    assert worse.returncode == 1, worse.stderr
    first = next(line for line in worse.stdout.splitlines() if line.startswith("rows[first]/ms"))
    assert first.split()[1:4] == ["20.00", "30.00", "1.50"]
    assert "worse than 1.2 times: rows[first]/ms" in worse.stdout
    assert "psnr" not in worse.stdout
    assert compare_toy(toy, "HEAD~1", "--limit", "1.6").returncode == 0
    assert compare_toy(toy, "HEAD", "HEAD~1").returncode == 0
    trees = subprocess.run(["git", "-C", toy, "worktree", "list"], capture_output=True, text=True)
    assert len(trees.stdout.splitlines()) == 1


def test_a_difference_within_the_spread_is_not_worse():
    noisy = compare.compared([{"ms": 1.0}, {"ms": 3.0}], [{"ms": 2.0}, {"ms": 4.0}], limit=1.2)
    assert noisy[0]["ratio"] == 1.5 and not noisy[0]["worse"]


def test_a_broken_record_is_named(tmp_path):
    (tmp_path / "benchmark-photo.json").write_text("{")
    with pytest.raises(UnhazeError, match="benchmark-photo.json' is not valid JSON"):
        read_records(tmp_path)
    assert speed_table([]) == "Nothing yet.\n"


def test_the_table_of_speed_says_what_stands_in_the_records():
    record = {"benchmark": "engines", "file": "benchmark-engines.json"}
    record |= {"hardware": "a CPU", "date": "2026-01-02"}
    rows = [
        {"model": "one", "size": "256", "engine": "eager", "ms": 90.0},
        {"model": "one", "size": "256", "engine": "torchvision", "ms": 120.0},
        {"model": "one", "size": "256", "engine": "onnxruntime", "ms": 40.0},
        {"model": "two", "size": "4k", "engine": "eager", "ms": None, "skipped": "too large"},
        {"model": "two", "size": "4k", "engine": "onnxruntime", "ms": 1500.0},
    ]
    lines = speed_table([record | {"rows": rows}]).splitlines()[2:]
    assert lines == [
        "| network one, 256, in ONNX Runtime | 40 ms "
        "| eager PyTorch with torchvision's operator: 120 ms | 3 x"
        " | [engines](../results/benchmark-engines.json) | a CPU, 2026-01-02 |",
        "| network two, 4k, in ONNX Runtime "
        "| 1.5 s | - | - | [engines](../results/benchmark-engines.json)"
        " | a CPU, 2026-01-02 |",
    ]


@pytest.mark.slow
def test_an_evaluation_is_measured_as_a_whole(run, half):
    record = run("evaluation", "samples/tiny/clear", "--model", str(half), "--runs", "1")
    [row] = record["rows"]
    assert row["pictures"] > 1 and row["seconds"] > row["restoring_s"] > 0 < row["fade"]


def test_the_table_of_speed_has_other_programs_and_bare_codecs_beside_ours():
    made = {"file": "made.json", "hardware": "a CPU", "date": "2026-01-02"}
    rows = [
        {"what": what, "program": program, "seconds": seconds}
        for what, program, seconds in (("photo", "unhaze", 0.8), ("photo", "gmic", 8.0))
    ]
    programs = {"benchmark": "programs", "megapixels": 12.0, "size": "64x48", "frames": 9}
    speed = {"benchmark": "video speed", "size": "64x48", "frames_per_second": 18.0}
    speed |= {"peak_mb": 500.0, "codecs": {"frames_per_second": 24.0}}
    killed = {"benchmark": "killed", "killed_at_frame": 900, "size": "64x48", "done_again_s": 9.0}
    lines = speed_table([each | made for each in (programs | {"rows": rows}, speed, killed)])
    for said in (
        "| photo from file to file, 12 MP jpg | 0.80 s | gmic: 8.00 s | 10 x |",
        "| 18.0 frames/s, 500 MB | decoded and encoded alone: 24.0 frames/s | 0.75 x |",
        "| killed after 900 frames of 64x48, run again | 9.0 s of it anew | - | - |",
    ):
        assert said in lines
