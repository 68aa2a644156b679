"""What all benchmarks share: measured processes, a table for people, a record in results/.

The measuring process stays small: on Linux the peak memory of a child starts at that of its parent.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ("unhaze", "numpy", "onnxruntime", "pyvips", "torch", "av")


@dataclass(frozen=True)
class Measured:
    """Whole processes. seconds: median; cpu_seconds: of all threads, median, which other work on
    the machine hardly changes; peak_mb: the largest resident size of any, 10^6 bytes; stdout: of
    the last.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    stdout: str

    def facts(self) -> dict[str, float]:
        """The numbers, rounded for a record."""
        times = {"seconds": round(self.seconds, 2), "cpu_seconds": round(self.cpu_seconds, 2)}
        return times | {"peak_mb": round(self.peak_mb, 1)}


def python(*words: object, runs: int = 1) -> Measured:
    """`python WORDS` in a process of its own, `runs` times; SystemExit with its words if it fails.

    Peak memory is that of the process or of any child that it has waited for.
    """
    seconds, processor, peaks, said = [], [], [], ""
    for _ in range(runs):
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            start = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, *map(str, words)], stdout=stdout, stderr=stderr, cwd=ROOT
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds.append(time.perf_counter() - start)
            processor.append(usage.ru_utime + usage.ru_stime)
            process.returncode = os.waitstatus_to_exitcode(status)
            stdout.seek(0)
            said = stdout.read().decode(errors="replace")
            if process.returncode:
                stderr.seek(0)
                words_said = stderr.read().decode(errors="replace")
                raise SystemExit(f"{' '.join(map(str, words))} failed:\n{words_said}")
        # Kilobytes everywhere but on macOS.
        peaks.append(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6)
    return Measured(statistics.median(seconds), statistics.median(processor), max(peaks), said)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Columns as the first row names them, numbers to the right."""
    head = list(rows[0])
    cells = [head, *([shown(row.get(name)) for name in head] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = []
    for line in cells:
        padded = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        lines.append("  ".join([line[0].ljust(widths[0]), *padded]).rstrip())
    return "\n".join(lines)


def shown(value: Any) -> str:
    """A cell of a table."""
    if value is None:
        return "-"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def write_record(path: Path, benchmark: str, numbers: dict[str, Any]) -> None:
    """One JSON file: the numbers, the machine, versions and date."""
    from unhaze.evaluate import commit
    from unhaze.hardware import describe_cpu

    record = {"benchmark": benchmark} | numbers
    record |= {
        "hardware": describe_cpu(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": dict(installed(PACKAGES)),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"\nwrote {path}")


def installed(packages: Iterable[str]) -> Iterable[tuple[str, str]]:
    """(package, version) for those that are here."""
    from importlib.metadata import PackageNotFoundError

    for package in packages:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
