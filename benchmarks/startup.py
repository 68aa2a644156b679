"""`python -m benchmarks.startup`: how long it takes until something happens, as whole processes.

`unhaze --version`, `--help`, `run` on a picture of 64 x 48 pixels and `import unhaze`, beside what
Python itself, NumPy, ONNX Runtime and PyTorch take to be imported. Half a minute on two cores.
"""

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.measure import ROOT, Row, python, table, write_record
from benchmarks.pictures import write_picture
from benchmarks.rows import with_ratios

TINY = 64 * 48 / 1e6  # megapixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--result", type=Path, default=ROOT / "results" / "benchmark-startup.json")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "tiny.png")
        write_picture(photo, TINY)
        rows = [row_of(name, words, given.runs) for name, words in commands(photo).items()]
    rows = with_ratios(rows, "ms", lambda row: row["command"] == "python -c 'import torch'")
    print(table(rows))
    numbers = {"rows": rows, "ratio_to": "python -c 'import torch'", "runs": given.runs}
    write_record(given.result, "startup", numbers | {"load_before": load})


def commands(photo: Path) -> dict[str, tuple[object, ...]]:
    """What is measured, by how it is shown, as words behind `python`."""
    return {
        "python -c pass": ("-c", "pass"),
        "python -c 'import numpy'": ("-c", "import numpy"),
        "python -c 'import onnxruntime'": ("-c", "import onnxruntime"),
        "python -c 'import torch'": ("-c", "import torch"),
        "python -c 'import unhaze'": ("-c", "import unhaze"),
        "unhaze --version": ("-m", "unhaze", "--version"),
        "unhaze --help": ("-m", "unhaze", "--help"),
        "unhaze run TINY": ("-m", "unhaze", "run", photo, "--overwrite"),
    }


def row_of(name: str, words: tuple[object, ...], runs: int) -> Row:
    """Medians; one run before them fills the caches of files."""
    silent = {"ORT_DISABLE_TELEMETRY": "1"}  # as unhaze sets it
    python(*words, **silent)
    measured = python(*words, runs=runs, **silent)
    return {
        "command": name,
        "ms": round(measured.seconds * 1e3, 1),
        "cpu_ms": round(measured.cpu_seconds * 1e3, 1),
        "peak_mb": round(measured.peak_mb, 1),
    }


if __name__ == "__main__":
    main()
