"""The benchmarks run, and write a record that says on what and when its numbers were taken."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_photo_benchmark_runs_and_keeps_a_record(tmp_path: Path):
    result = tmp_path / "new" / "photo.json"
    sizes = ["--megapixels", "0.01", "0.02", "--formats", "jpg", "--runs", "1", "--files", "0"]
    words = [*sizes, "--peer", "--result", str(result)]
    command = [sys.executable, "-m", "benchmarks.photo", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    record = json.loads(result.read_text(encoding="utf-8"))
    small, large = record["photos"]
    assert (small["photo"], large["pixels"]) == ("0.01 MP jpg", "164 x 122")
    assert small["seconds"] > 0.1
    assert small["cpu_seconds"] > 0.1
    assert 30 < small["peak_mb"] < 2000
    assert record["growth"] == {
        "0.01 MP jpg to 0.02 MP jpg": round(large["peak_mb"] / small["peak_mb"], 3)
    }
    (step,) = record["marginal"]
    assert (step["from"], step["to"], step["ratio"]) == ("0.01 MP jpg", "0.02 MP jpg", None)
    more = 1e3 * (large["seconds"] - small["seconds"]) / 0.01
    assert abs(step["ms_per_mp"] - more) < 0.01
    assert [row["threads"] for row in record["field"]] == ["1", "all"]
    assert all(row["ns_per_pixel"] > 0 for row in record["field"])
    assert {"hardware", "python", "versions", "commit", "date", "load_before"} <= set(record)
    assert "0.02 MP jpg" in done.stdout


def test_a_run_that_fails_stops_the_benchmark_with_its_words():
    words = ["-m", "benchmarks.photo", "--megapixels", "0.01", "--model", "no-such-model"]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert "no model 'no-such-model'" in done.stderr
    assert "Traceback" not in done.stderr
