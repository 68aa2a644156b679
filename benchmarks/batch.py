"""`python -m benchmarks.batch`: thousands of small files by `unhaze batch`, and where time goes.

The whole command with one worker and with two; then the stages of one file, in this process: how
much of the time of a worker is network and field, how much reading, writing and everything around.
10,000 files take some minutes on two cores; `--files 200 --profiled 20` takes half a minute.
"""

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from pkgutil import resolve_name
from unittest import mock

from benchmarks.measure import ROOT, Row, python, table, write_record
from benchmarks.pictures import write_picture

MADE = 50  # different pictures; the others are copies
# What is timed in a worker: module or class, function, stage. A stage counts without those that run
# inside it; what saves a picture runs in a thread of its own, and counts while it is waited for.
FUNCTIONS = (
    ("unhaze.batch.worker.Worker", "do", "other"),
    ("unhaze.photo.reading", "_opened", "read"),
    ("unhaze.restore.restorer", "analysis_image", "read"),
    ("unhaze.restore.restorer", "restore_whole", "network"),
    ("unhaze.restore.restorer", "fit_field", "field"),
    ("unhaze.restore.restorer", "apply_field", "field"),
    ("unhaze.photo", "write", "write"),
)
GENERATORS = (
    ("unhaze.photo.reading.Opened", "_strips", "read"),
    ("unhaze.restore.analysis", "apply_to_strips", "field"),
)
STAGES = ("network", "field", "read", "write", "other")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--pixels", type=int, nargs=2, default=[160, 120], metavar=("W", "H"))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--profiled", type=int, default=500, help="files in the profile")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--result", type=Path, default=ROOT / "results" / "benchmark-batch.json")
    given = parser.parse_args()
    numbers: Row = {"files": given.files, "pixels": given.pixels, "model": given.model}
    numbers["load_before"] = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_files(folder / "hazy", given.files, *given.pixels)
        rows = [whole_run(folder, count, given.model) for count in given.workers]
        base = rows[0]["files_per_second"]
        rows = [row | {"ratio": round(row["files_per_second"] / base, 2)} for row in rows]
        print(table(rows), end="\n\n")
        count = min(given.profiled, given.files)
        stages = profile(folder, count, given.model)
    print(f"one worker on one thread, {count} files:")
    print(table(stages))
    write_record(given.result, "batch", numbers | {"runs": rows, "stages": stages})


def write_files(folder: Path, count: int, width: int, height: int) -> None:
    """JPEGs in subfolders of a thousand."""
    encoded = []
    for number in range(count):
        path = folder / f"{number // 1000:03}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < MADE:
            write_picture(path, width * height / 1e6, seed=number + 1)
            encoded.append(path.read_bytes())
        else:
            path.write_bytes(encoded[number % MADE])


def whole_run(folder: Path, workers: int, model: str) -> Row:
    """One call of `unhaze batch`, with its own account of the time."""
    target = folder / f"clear-{workers}"
    words = ("-m", "unhaze", "batch", folder / "hazy", target, "--workers", workers)
    measured = python(*words, "--threads", workers, "--model", model, "--json")
    facts = json.loads(measured.stdout)
    if facts["done"] != facts["inputs"]:
        raise SystemExit(f"{facts['failed']} of {facts['inputs']} files failed")
    overhead = facts["startup_seconds"] + facts["listing_seconds"] + facts["manifest_seconds"]
    row = {"workers": workers} | measured.facts()
    row |= {key: facts[key] for key in ("files_per_second", "megapixels_per_second")}
    row |= {f"{key}_s": facts[f"{key}_seconds"] for key in ("startup", "listing", "manifest")}
    lines = (target / "unhaze-manifest.jsonl").read_text().splitlines()[1:]
    middle = statistics.median(json.loads(line)["seconds"] for line in lines)
    row["overhead_share"] = round(overhead / facts["seconds"], 3)
    return row | {"ms_a_file": round(middle * 1e3, 2)}


def profile(folder: Path, count: int, model: str) -> list[Row]:
    """Milliseconds of each stage for a file, medians over files, and their share."""
    import pyvips

    from unhaze.batch import Work
    from unhaze.batch.places import open_place
    from unhaze.batch.plan import find_sources, plan_folder
    from unhaze.batch.worker import Worker

    work = Work(str(folder / "hazy"), str(folder / "profiled"), model=model, threads=1)
    source, target = open_place(work.source), open_place(work.target)
    jobs = plan_folder(find_sources(source, target), source, target).jobs
    worker, stop = Worker(work), threading.Event()
    pyvips.concurrency_set(1)
    worker.do(jobs[0], stop)  # loads what is loaded on first use
    files: list[dict[str, float]] = []
    with timed() as clock:
        for job in jobs[1 : count + 1]:
            clock.spent = dict.fromkeys(STAGES, 0.0)
            outcome = worker.do(job, stop)
            if outcome is None or outcome.why:
                raise SystemExit(f"{job.source} failed: {outcome}")
            files.append(clock.spent)
    middle = {stage: statistics.median(each[stage] for each in files) for stage in STAGES}
    whole = sum(middle.values())
    return [
        {"stage": stage, "ms": round(1e3 * seconds, 3), "share": round(seconds / whole, 3)}
        for stage, seconds in sorted(middle.items(), key=lambda item: -item[1])
    ]


class Clock:
    """Seconds of each stage in the thread that made it, without the stages inside."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.spent = dict.fromkeys(STAGES, 0.0)
        self.inside: list[str] = []
        self.since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time from here on is this stage's."""
        if threading.get_ident() != self.thread:
            yield
            return
        self.turn()
        self.inside.append(name)
        try:
            yield
        finally:
            self.turn()
            self.inside.pop()

    def turn(self) -> None:
        """What has passed belongs to the innermost stage."""
        now = time.perf_counter()
        if self.inside:
            self.spent[self.inside[-1]] += now - self.since
        self.since = now


@contextmanager
def timed() -> Iterator[Clock]:
    """A clock that the functions and generators above are put on."""
    clock = Clock()

    def function(call: Callable[..., object], stage: str) -> Callable[..., object]:
        def run(*words: object, **named: object) -> object:
            with clock.stage(stage):
                return call(*words, **named)

        return run

    def generator(call: Callable[..., Iterator], stage: str) -> Callable[..., Iterator]:
        def run(*words: object, **named: object) -> Iterator:
            items = call(*words, **named)
            while True:
                with clock.stage(stage):
                    item = next(items, None)
                if item is None:
                    return
                yield item

        return run

    with ExitStack() as patches:
        for table_of, wrap in ((FUNCTIONS, function), (GENERATORS, generator)):
            for owner, name, stage in table_of:
                place = resolve_name(owner)
                patches.enter_context(
                    mock.patch.object(place, name, wrap(getattr(place, name), stage))
                )
        yield clock


if __name__ == "__main__":
    main()
