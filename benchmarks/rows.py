"""Benchmarks of many rows, each measured by a process of its own: `python -m MODULE --row ROW`."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measure import ROOT, Row, python


def given_options(
    parser: argparse.ArgumentParser, measure: Callable[[Row], Row], *, result: str = ""
) -> argparse.Namespace:
    """Reads the command line. With --row the program measures that row, prints it and ends.

    result: name of the benchmark, from which --result has its default; `load_before` is added.
    """
    usual = ROOT / "results" / f"benchmark-{result}.json" if result else None
    parser.add_argument("--result", type=Path, default=usual)
    parser.add_argument("--row", type=json.loads, help=argparse.SUPPRESS)
    parser.set_defaults(load_before=os.getloadavg()[0])
    given = parser.parse_args()
    if given.row:
        print(json.dumps(measure(given.row)))
        raise SystemExit
    return given


def row_alone(module: str, row: Row, *, program: Path | str = sys.executable) -> Row:
    """What `python -m MODULE --row ROW` prints last, a JSON table, and its peak memory in MB."""
    path = {"PYTHONPATH": str(ROOT / "src")}  # another Python finds this project by it
    measured = python("-m", module, "--row", json.dumps(row), program=program, **path)
    return json.loads(measured.stdout.splitlines()[-1]) | {"peak_mb": round(measured.peak_mb, 1)}


def with_ratios(rows: Sequence[Row], column: str, peer: Callable[[Row], bool]) -> list[Row]:
    """`rows`, with "ratio": how many times the peer's `column` this one's is smaller (1: the peer);
    None where either has none.
    """
    base = next((row[column] for row in rows if peer(row) and row.get(column)), None)
    return [
        row | {"ratio": round(base / row[column], 2) if base and row.get(column) else None}
        for row in rows
    ]
