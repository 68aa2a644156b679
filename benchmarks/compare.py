"""`python -m benchmarks.compare COMMIT [COMMIT2] -- BENCHMARK ARGUMENTS`: two commits side by side.

Each commit, COMMIT2 being HEAD if left out, is checked out beside this folder's files, and
`python -m benchmarks.BENCHMARK ARGUMENTS` runs in both by turns, A B A B. Every number of their
records that is better when small is held against the other's: the median, how far apart the runs of
one commit are, and the ratio. Status 1 if one is worse than `--limit` times and by more than the
spread, e.g. `python -m benchmarks.compare HEAD~5 -- startup --runs 3`.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, Row, table

# Names of numbers in records, without what surrounds them: small ones are good.
COSTS = ("ms", "seconds", "cpu_ms", "cpu_seconds", "peak_mb", "device_mb", "ns_per_pixel")


def main() -> int:
    words = sys.argv[1:]
    if "--" not in words:
        raise SystemExit("give COMMIT [COMMIT2] -- BENCHMARK ARGUMENTS, such as HEAD~1 -- startup")
    split = words.index("--")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before")
    parser.add_argument("after", nargs="?", default="HEAD")
    parser.add_argument("--limit", type=float, default=1.2, help="ratio from which it is worse")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each commit")
    parser.add_argument("--numbers", nargs="+", default=COSTS, help="what to compare")
    parser.add_argument("--repository", type=Path, default=ROOT, help="where the commits are")
    given = parser.parse_args(words[:split])
    benchmark, *arguments = words[split + 1 :] or [""]
    if not benchmark or given.pairs < 1 or given.limit <= 0:
        raise SystemExit("expected a benchmark behind --, --pairs from 1 and a --limit above 0")
    commits = (given.before, given.after)
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(checkout(given.repository, each)) for each in commits]
        records: tuple[list[Row], list[Row]] = ([], [])
        for _ in range(given.pairs):
            for folder, found in zip(folders, records):
                found.append(numbers_of(run(folder, benchmark, arguments), given.numbers))
    rows = compared(*records, limit=given.limit)
    if not rows:
        raise SystemExit(f"the records of '{benchmark}' share none of {', '.join(given.numbers)}")
    print(f"{benchmark} {' '.join(arguments)}: {given.before} (A) and {given.after} (B)\n")
    print(table(rows))
    worse = [row["number"] for row in rows if row["worse"]]
    print(f"\nworse than {given.limit:g} times: {', '.join(worse) or 'nothing'}")
    return 1 if worse else 0


@contextlib.contextmanager
def checkout(repository: Path, commit: str) -> Iterator[Path]:
    """The files of `commit` in a temporary worktree."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "tree")
        git(repository, "worktree", "add", "--detach", "--quiet", str(folder), commit)
        try:
            yield folder
        finally:
            git(repository, "worktree", "remove", "--force", str(folder))


def git(repository: Path, *words: str) -> None:
    """Runs git; SystemExit with its words if it fails."""
    done = subprocess.run(["git", "-C", repository, *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr.strip())


def run(folder: Path, benchmark: str, arguments: list[str]) -> Any:
    """The record that the benchmark writes, run in `folder` with the package of that folder."""
    result = folder / "record.json"
    command = [sys.executable, "-m", f"benchmarks.{benchmark}", *arguments, "--result", result]
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{benchmark} failed in {folder}:\n{done.stderr or done.stdout}")
    return json.loads(result.read_text(encoding="utf-8"))


def numbers_of(record: Any, wanted: list[str], place: str = "") -> Row:
    """By their place in the record: every wanted number. A row is named by the texts in it."""
    if isinstance(record, dict):
        found: Row = {}
        for name, value in record.items():
            inner = f"{place}/{name}" if place else name
            if name in wanted and isinstance(value, int | float):
                found[inner] = float(value)
            elif isinstance(value, dict | list):
                found |= numbers_of(value, wanted, inner)
        return found
    found = {}
    for index, each in enumerate(record):
        if isinstance(each, dict):
            texts = [
                value for key, value in each.items() if isinstance(value, str) and key != "skipped"
            ]
            found |= numbers_of(each, wanted, f"{place}[{', '.join(texts) or index}]")
    return found


def compared(before: list[Row], after: list[Row], *, limit: float) -> list[Row]:
    """One row for each number that all runs have.

    spread: of the runs of one commit, largest over smallest, the worse of both. A number is worse
    if the ratio of the medians passes the limit and even B's best run is above A's worst.
    """
    shared = [name for name in before[0] if all(name in each for each in [*before, *after])]
    rows = []
    for name in shared:
        first, second = [each[name] for each in before], [each[name] for each in after]
        if min(*first, *second) <= 0:
            continue
        ratio = statistics.median(second) / statistics.median(first)
        apart = max(max(first) / min(first), max(second) / min(second))
        row = {"number": name, "A": statistics.median(first), "B": statistics.median(second)}
        row |= {"ratio": round(ratio, 3), "spread": round(apart, 3)}
        rows.append(row | {"worse": ratio > limit and min(second) > max(first)})
    return rows


if __name__ == "__main__":
    sys.exit(main())
