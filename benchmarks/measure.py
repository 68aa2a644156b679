"""What all benchmarks share: measured processes, a table for people, a record in results/."""

import compileall
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ("unhaze", "numpy", "onnxruntime", "openvino", "pyvips", "torch", "av")
Row = dict[str, Any]


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

    def facts(self) -> Row:
        """The numbers, rounded for a record."""
        times = {"seconds": round(self.seconds, 2), "cpu_seconds": round(self.cpu_seconds, 2)}
        return times | {"peak_mb": round(self.peak_mb, 1)}


@dataclass(frozen=True)
class Times:
    """Calls within a process. seconds, cpu_seconds: medians; spread: slowest less fastest, over the
    median; fastest: in seconds.
    """

    seconds: float
    cpu_seconds: float
    spread: float
    fastest: float

    def facts(self) -> Row:
        """In milliseconds, rounded for a record."""
        times = {"ms": round(self.seconds * 1e3, 3), "cpu_ms": round(self.cpu_seconds * 1e3, 3)}
        return times | {"spread": round(self.spread, 2)}


def python(
    *words: object, runs: int = 1, program: Path | str = sys.executable, **environment: str
) -> Measured:
    """`python WORDS` in a process of its own, `runs` times; SystemExit with its words if it fails.

    Peak memory is that of the process or of any child that it has waited for. `program`: another
    Python. `environment`: variables to set.
    """
    seconds, processor, peaks, said = [], [], [], ""
    command = [str(program), *map(str, words)]
    compile_modules()
    with tempfile.TemporaryDirectory() as folder:
        facts = Path(folder, "facts")
        launcher = [sys.executable, "-I", "-S", ROOT / "benchmarks" / "launch.py", facts]
        for _ in range(runs):
            done = subprocess.run(
                [*launcher, *command],
                cwd=ROOT,
                env=os.environ | environment,
                capture_output=True,
                text=True,
                errors="replace",
            )
            if done.returncode:
                raise SystemExit(f"{' '.join(command[1:])} failed:\n{done.stderr or done.stdout}")
            took, busy, peak = map(float, facts.read_text().split())
            seconds.append(took)
            processor.append(busy)
            peaks.append(peak / 1e6)
            said = done.stdout
    return Measured(statistics.median(seconds), statistics.median(processor), max(peaks), said)


@functools.cache
def compile_modules() -> None:
    """Leaves byte code beside our modules, as pip does when it installs them.

    Without it every process compiles them anew where PYTHONDONTWRITEBYTECODE is set.
    """
    compileall.compile_dir(ROOT / "src", quiet=1)


def repeated(work: Callable[[], object], runs: int, *, patience: float = 10.0) -> Times:
    """`runs` calls after a first one that warms up.

    Once `patience` seconds are over there are no more calls, and a first call that took all of them
    is the measurement itself.
    """
    taken: list[tuple[float, float]] = []
    began = time.perf_counter()
    while len(taken) <= runs and (not taken or time.perf_counter() - began < patience):
        start, busy = time.perf_counter(), time.process_time()
        work()
        taken.append((time.perf_counter() - start, time.process_time() - busy))
    seconds, processor = zip(*(taken[1:] or taken))
    middle = statistics.median(seconds)
    spread = (max(seconds) - min(seconds)) / middle if middle else 0.0
    return Times(middle, statistics.median(processor), spread, min(seconds))


def table(rows: Sequence[Row]) -> str:
    """A column for each name in any row, numbers to the right."""
    head = list(dict.fromkeys(name for row in rows for name in row))
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
    from unhaze.evaluation import commit
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
