"""`python -m benchmarks.batch` runs on a few files and keeps a record."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_batch_benchmark_shows_where_time_goes(tmp_path: Path, half: Path):
    result = tmp_path / "batch.json"
    words = ["--files", "12", "--profiled", "4", "--workers", "1", "2", "--pixels", "64", "48"]
    command = [sys.executable, "-m", "benchmarks.batch", *words, "--model", half]
    done = subprocess.run(
        [*map(str, command), "--result", str(result)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(result.read_text(encoding="utf-8"))
    one, two = record["runs"]
    assert (one["workers"], two["workers"], one["ratio"]) == (1, 2, 1.0)
    assert one["files_per_second"] > 0 < two["ms_a_file"]
    assert 0 < one["overhead_share"] < 1
    stages = {row["stage"]: row for row in record["stages"]}
    assert set(stages) == {"network", "field", "read", "write", "other"}
    assert all(row["ms"] > 0 for row in stages.values())
    assert abs(sum(row["share"] for row in stages.values()) - 1) < 0.01
    assert {"hardware", "commit", "date", "load_before"} <= set(record)
