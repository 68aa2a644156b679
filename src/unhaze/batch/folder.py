"""A whole folder, here or in an object store, by many workers, with a manifest of the outcomes."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from unhaze.batch.manifest import NAME, Manifest, open_manifest
from unhaze.batch.places import open_place
from unhaze.batch.plan import is_video
from unhaze.batch.pool import shares
from unhaze.batch.processes import in_processes
from unhaze.batch.tasks import DONE, History, Outcome, Plan, Task, find_sources, plan_tasks
from unhaze.batch.worker import Work
from unhaze.errors import UnhazeError
from unhaze.restore.devices import choose_device
from unhaze.restore.resources import free_memory

AT_ONCE_REMOTE = 2  # photos in one worker at least: one travels while another is restored


@dataclass(frozen=True)
class ExecutorConfig:
    """How a batch runs. workers: 0 to choose. jobs: photos at a time in all, 0 to choose.

    cluster: None for processes of this computer, else where Ray is: "local" starts it here, "auto"
    finds the one that runs here, anything else is an address. gpus: of each worker, for Ray.
    """

    workers: int = 0
    jobs: int = 0
    cluster: str | None = None
    gpus: float = 0.0


@dataclass
class BatchStats:
    """Progress of a batch; `total` includes files done before. Seconds: `startup` until the first
    worker is ready, `listing` both places, `manifest` writing it, `seconds` in all.
    """

    total: int
    counts: Counter[str]
    manifest: str
    workers: int
    megapixels: float = 0.0
    startup: float = 0.0
    listing: float = 0.0
    written: float = 0.0
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        """For JSON; rates are of files done and of their pixels."""
        rates = {
            "files_per_second": round(self.counts["done"] / max(self.seconds, 1e-9), 3),
            "megapixels_per_second": round(self.megapixels / max(self.seconds, 1e-9), 3),
        }
        times = {"seconds": self.seconds, "startup_seconds": self.startup}
        times |= {"listing_seconds": self.listing, "manifest_seconds": self.written}
        facts = {"inputs": self.total} | {key: self.counts[key] for key in STATES}
        facts |= {key: round(value, 3) for key, value in times.items()} | rates
        return facts | {"workers": self.workers, "manifest": self.manifest}


STATES = ("done", "skipped", "failed")


def restore_folder(
    work: Work,
    executor: ExecutorConfig | None = None,
    *,
    manifest: str | None = None,
    resume: bool = False,
    shard: tuple[int, int] = (1, 1),
    stop: threading.Event | None = None,
    hear: Callable[[BatchStats, Outcome | None], None] | None = None,
) -> BatchStats:
    """Restores all photos and videos below `work.source` to `work.target`, under their names.

    manifest: its path or URL (default: in the target). resume: what an earlier run did is skipped.
    shard: as `plan_tasks`. stop: when set, no other file begins. hear: is told of each outcome, and
    now and then of none. UnhazeError: nothing can be done; as `plan_tasks`, `open_manifest`.
    """
    executor, stop, began = (
        executor or ExecutorConfig(),
        stop or threading.Event(),
        time.perf_counter(),
    )
    check(executor, shard)
    source, target = open_place(work.source), open_place(work.target)
    sources = find_sources(source, target)
    digest, given = work.digest(), manifest or manifest_of(work.target, shard)
    overwrite = work.settings.overwrite
    with open_manifest(given, resume=resume, overwrite=overwrite) as book:
        rules = {"overwrite": overwrite, "resume": resume, "shard": shard}
        rules |= {"output": work.settings.output}
        plan = plan_tasks(sources, source, target, book.history, digest, **rules)
        book.begin(work.facts(), digest)
        stats = BatchStats(plan.total, Counter(skipped=plan.skipped), given, 0)
        stats.listing = time.perf_counter() - began
        listen = partial(note, stats, book, digest, began, hear)
        for outcome in plan.known:
            listen(outcome, known=True)
        tasks = sorted(plan.tasks, key=lambda task: is_video(PurePosixPath(task.source)))
        if tasks and not stop.is_set():
            for outcome in work_off(tasks, work, executor, stats, stop):
                if not stats.startup:
                    stats.startup = time.perf_counter() - began - stats.listing
                listen(outcome)
    stats.seconds = time.perf_counter() - began
    return stats


def plan_folder(work: Work, *, resume: bool = False, shard: tuple[int, int] = (1, 1)) -> Plan:
    """Returns what `restore_folder` would do without a manifest of earlier runs; nothing is
    done. resume: results that exist are taken for done.
    """
    check(ExecutorConfig(), shard)
    source, target = open_place(work.source), open_place(work.target)
    sources, nothing = find_sources(source, target), History({})
    overwrite, output = work.settings.overwrite or resume, work.settings.output
    rules = {"overwrite": overwrite, "shard": shard, "output": output}
    plan = plan_tasks(sources, source, target, nothing, work.digest(), **rules)
    there = [task for task in plan.tasks if task.before and resume and not work.settings.overwrite]
    kept = [Outcome(task, DONE) for task in there]
    return Plan([task for task in plan.tasks if task not in there], [*plan.known, *kept])


def check(executor: ExecutorConfig, shard: tuple[int, int]) -> None:
    """UnhazeError for numbers that mean nothing."""
    for name, value in (
        ("workers", executor.workers),
        ("jobs", executor.jobs),
        ("gpus", executor.gpus),
    ):
        kinds = int | float if name == "gpus" else int
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value < math.inf:
            raise UnhazeError(f"{name} is {value!r}; expected 0 (to choose) or more")
    if executor.gpus and executor.cluster is None:
        raise UnhazeError("gpus of each worker are for Ray: give a cluster, such as 'local'")
    number, parts = shard
    if not (isinstance(number, int) and isinstance(parts, int) and 1 <= number <= parts):
        raise UnhazeError(f"shard is {number}/{parts}; expected i/n with i from 1 to n")


def manifest_of(target: str, shard: tuple[int, int]) -> str:
    """In the target; of one shard of several, with its number."""
    part = "" if shard == (1, 1) else f".{shard[0]}-of-{shard[1]}"
    return f"{target.rstrip('/') or '/'}/{NAME.replace('.', f'{part}.')}"


def work_off(
    tasks: list[Task],
    work: Work,
    executor: ExecutorConfig,
    stats: BatchStats,
    stop: threading.Event,
) -> Iterator[Outcome | None]:
    """The tasks, done by whoever `executor` says; sets `stats.workers`."""
    remote = open_place(work.source).remote or open_place(work.target).remote
    fewest = AT_ONCE_REMOTE if remote and not executor.jobs else 1
    if executor.cluster is not None:
        from unhaze.batch.cluster import on_cluster

        each = max(fewest, -(-executor.jobs // (executor.workers or 1)))
        yield from on_cluster(tasks, replace(work, at_once=each), executor, stats, stop)
        return
    room = free_memory() if work.memory is None else work.memory
    asked, analysis = executor.jobs or executor.workers, work.settings.analysis or 1024
    at_once, threads = shares(len(tasks), asked, work.threads, room, analysis)
    # On a GPU one worker does: several would share its memory.
    workers = min(
        executor.workers or (at_once if choose_device(work.device) == "cpu" else 1), at_once
    )
    each = max(fewest, -(-at_once // workers))
    memory = None if work.memory is None else work.memory / (workers * each)
    stats.workers = workers
    part = replace(work, at_once=each, threads=threads, memory=memory)
    yield from in_processes(tasks, part, workers=workers, stop=stop)


def note(
    stats: BatchStats,
    book: Manifest,
    digest: str,
    began: float,
    hear: Callable[[BatchStats, Outcome | None], None] | None,
    outcome: Outcome | None,
    known: bool = False,
) -> None:
    """Writes an outcome down and counts it, before anyone hears of it; `known`: by the plan."""
    if outcome is not None:
        book.add(outcome, digest)
        stats.counts["skipped" if known and outcome.state == DONE else outcome.state] += 1
        stats.megapixels += outcome.megapixels
    stats.written = book.seconds
    stats.seconds = time.perf_counter() - began
    if hear is not None:
        hear(stats, outcome)
