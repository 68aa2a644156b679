"""Carries out a plan with threads of this process, other processes or Ray, with or without a
manifest of the outcomes.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from unhaze.batch.jobs import DONE, SKIPPED, STATES, History, Job, Mark, Outcome, Plan, Work
from unhaze.batch.places import Place, is_video, open_place
from unhaze.batch.plan import find_sources, plan_folder
from unhaze.batch.worker import Watch, Worker, faulted
from unhaze.errors import UnhazeError
from unhaze.restore.models import ANALYSIS
from unhaze.restore.native import BYTES_PER_PIXEL
from unhaze.restore.resources import choose_device, count_threads, free_memory

AT_ONCE_REMOTE = 2  # photos in one worker at least: one travels while another is restored


@dataclass(frozen=True)
class ExecutorConfig:
    """How the work is distributed. workers: number of processes or actors, 0: chosen by the
    program, None: threads of this process. jobs: photos processed at a time in all, 0: chosen.

    cluster: None for this computer, else the Ray cluster: "local" starts one here, "auto" finds the
    one running here, anything else is an address. gpus: GPUs of each Ray worker.
    """

    workers: int | None = None
    jobs: int = 0
    cluster: str | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        """UnhazeError for numbers that mean nothing."""
        values = {"workers": self.workers or 0, "jobs": self.jobs, "gpus": self.gpus}
        for name, value in values.items():
            kinds = int | float if name == "gpus" else int
            if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value < math.inf:
                raise UnhazeError(f"{name} is {value!r}; expected 0 (to choose) or more")
        if self.gpus and self.cluster is None:
            raise UnhazeError("gpus is only for Ray; give a cluster, such as 'local'")


THREADS, PROCESSES = ExecutorConfig(), ExecutorConfig(workers=0)


@dataclass
class BatchStats:
    """Progress of a plan; `total` includes files done before. Seconds: `startup` until the first
    worker is ready, `listing` both places, `written` the manifest, `seconds` in all.
    """

    total: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    manifest: str | None = None
    workers: int = 0
    megapixels: float = 0.0
    startup: float = 0.0
    listing: float = 0.0
    written: float = 0.0
    began: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        """For JSON; rates are of files done and of their pixels."""
        rates = {
            "files_per_second": round(self.counts[DONE] / max(self.seconds, 1e-9), 3),
            "megapixels_per_second": round(self.megapixels / max(self.seconds, 1e-9), 3),
        }
        times = {"seconds": self.seconds, "startup_seconds": self.startup}
        times |= {"listing_seconds": self.listing, "manifest_seconds": self.written}
        facts = {"inputs": self.total} | {key: self.counts[key] for key in STATES}
        facts |= {key: round(value, 3) for key, value in times.items()} | rates
        return facts | {"workers": self.workers, "manifest": self.manifest}


OnOutcome = Callable[[BatchStats, Outcome], None]


def restore_files(
    plan: Plan,
    work: Work,
    executor: ExecutorConfig = THREADS,
    *,
    stop: threading.Event | None = None,
    watch: Watch | None = None,
    stats: BatchStats | None = None,
) -> Iterator[Outcome]:
    """Yields the known outcomes of a plan, then runs its jobs, photos before videos, and yields
    their outcomes as they complete.

    When `stop` is set, photos in progress are finished, a video ends at its next frame without a
    result, and nothing else begins. `watch(source)` returns the progress callback of a video, with
    threads only. stats: updated in place. UnhazeError if the model cannot be loaded.
    """
    stop, stats = stop or threading.Event(), stats or BatchStats()
    stats.total = len(plan.jobs) + len(plan.known)
    for outcome in plan.known:
        stats.counts[SKIPPED if outcome.state == DONE else outcome.state] += 1
        stats.seconds = time.perf_counter() - stats.began
        yield outcome
    jobs = sorted(plan.jobs, key=lambda job: is_video(job.source))
    if not jobs or stop.is_set():
        return
    before = time.perf_counter()
    for outcome in by_executor(jobs, work, executor, stats, stop, watch):
        stats.startup = stats.startup or time.perf_counter() - before
        if outcome is not None:
            stats.counts[outcome.state] += 1
            stats.megapixels += outcome.megapixels
            stats.seconds = time.perf_counter() - stats.began
            yield outcome


def restore_folder(
    work: Work,
    executor: ExecutorConfig = PROCESSES,
    *,
    manifest: str | None = None,
    shard: tuple[int, int] = (1, 1),
    stop: threading.Event | None = None,
    on_outcome: OnOutcome | None = None,
) -> BatchStats:
    """Restores all photos and videos below `work.source` to `work.target`, under their names.

    manifest: path or URL (default: in the target). `resume` of the settings: files done by an
    earlier run are skipped. shard: as in `plan_folder`. stop: when set, no other file begins.
    on_outcome: called with each outcome. UnhazeError: nothing can be done, and as in `plan_folder`
    and `open_manifest`.
    """
    from unhaze.batch.manifest import manifest_of, open_manifest

    given = manifest or manifest_of(work.target, shard)
    stats = BatchStats(manifest=given)
    places = listed(work, shard)
    digest, settings = work.digest(), work.settings
    flags = {"resume": settings.resume, "overwrite": settings.overwrite}
    with open_manifest(given, **flags) as book:
        plan = plan_folder(*places, settings, book.history, digest, shard=shard)
        book.begin(work.facts(), digest)
        stats.listing = time.perf_counter() - stats.began
        for outcome in restore_files(plan, work, executor, stop=stop, stats=stats):
            if outcome.state != SKIPPED:
                book.add(outcome, digest)
                stats.written = book.seconds
            if on_outcome is not None:
                on_outcome(stats, outcome)
    stats.seconds = time.perf_counter() - stats.began
    return stats


def foresee_folder(
    work: Work, *, manifest: str | None = None, shard: tuple[int, int] = (1, 1)
) -> Plan:
    """Returns what `restore_folder` would do; nothing is done."""
    from unhaze.batch.manifest import manifest_of, stored

    places = listed(work, shard)
    given = manifest or manifest_of(work.target, shard)
    history = stored(given).history if work.settings.resume else History({})
    return plan_folder(*places, work.settings, history, work.digest(), shard=shard)


def listed(work: Work, shard: tuple[int, int]) -> tuple[dict[str, Mark], Place, Place]:
    """The files to restore, and both places."""
    number, parts = shard
    if not (isinstance(number, int) and isinstance(parts, int) and 1 <= number <= parts):
        raise UnhazeError(f"shard is {number}/{parts}; expected i/n with i from 1 to n")
    if not (work.source and work.target):
        raise UnhazeError("the source or the target is an empty name; use a dot for this folder")
    source, target = open_place(work.source), open_place(work.target)
    return find_sources(source, target), source, target


def by_executor(
    jobs: Sequence[Job],
    work: Work,
    executor: ExecutorConfig,
    stats: BatchStats,
    stop: threading.Event,
    watch: Watch | None,
) -> Iterator[Outcome | None]:
    """Yields the outcomes of jobs, done by the workers of `executor`; None: a worker is ready."""
    if executor.workers is None and executor.cluster is None:
        yield from in_threads(jobs, work, executor.jobs, stop, watch)
        return
    # A file may be given to several workers, one after the other.
    work = replace(work, settings=replace(work.settings, resume=True))
    remote = open_place(work.source).remote or open_place(work.target).remote
    fewest = AT_ONCE_REMOTE if remote and not executor.jobs else 1
    if executor.cluster is not None:
        from unhaze.batch.cluster import on_cluster

        each = max(fewest, -(-executor.jobs // (executor.workers or 1)))
        part = replace(work, at_once=each, threads=work.threads or 1)
        yield from on_cluster(jobs, part, executor, stats, stop)
        return
    from unhaze.batch.processes import in_processes

    at_once, threads = shares(len(jobs), executor.jobs or executor.workers or 0, work)
    # On a GPU one worker does: several would share its memory.
    workers = min(
        executor.workers or (at_once if choose_device(work.device) == "cpu" else 1), at_once
    )
    each = max(fewest, -(-at_once // workers))
    memory = None if work.memory is None else work.memory / (workers * each)
    stats.workers = workers
    part = replace(work, at_once=each, threads=threads, memory=memory)
    yield from in_processes(jobs, part, workers=workers, stop=stop)


def shares(photos: int, at_once: int, work: Work) -> tuple[int, int]:
    """(photos at a time, threads for each of them); `at_once`: 0 to choose.

    Photos side by side beat threads inside one: reading and writing a file keep only one busy.
    """
    cores = count_threads(work.threads)
    room = free_memory() if work.memory is None else work.memory
    fitting = int(min(cores, room / ((work.settings.analysis or ANALYSIS) ** 2 * BYTES_PER_PIXEL)))
    at_once = max(1, min(at_once or fitting, photos))
    return at_once, work.threads if at_once == 1 else max(1, cores // at_once)


def in_threads(
    jobs: Sequence[Job], work: Work, asked: int, stop: threading.Event, watch: Watch | None
) -> Iterator[Outcome | None]:
    """Photos share one model and the cores, videos come one after the other; None: it is loaded.

    asked: photos at a time, 0 to choose.
    """
    photos = [job for job in jobs if not is_video(job.source)]
    at_once, threads = shares(len(photos), asked, work)
    videos = jobs[len(photos) :]
    for use, part, beside, each in (
        ("photo", photos, at_once, threads),
        ("video", videos, 1, work.threads),
    ):
        if part and not stop.is_set():
            memory = None if work.memory is None else work.memory / beside
            worker = Worker(replace(work, threads=each, memory=memory), use)
            yield None
            yield from in_pool(partial(worker.do, stop=stop, watch=watch), part, beside, stop)


def in_pool(
    restore: Callable[[Job], Outcome | None],
    jobs: Sequence[Job],
    at_once: int,
    stop: threading.Event,
) -> Iterator[Outcome]:
    """`restore(job)` for all jobs in `at_once` threads. When `stop` is set, those at work finish.

    Threads and not processes: they share the model, and all that takes long (ONNX Runtime, libvips,
    NumPy) lets go of the interpreter lock.
    """

    def work(job: Job) -> Outcome | None:
        return None if stop.is_set() else restore(job)

    pool = ThreadPoolExecutor(at_once)
    try:
        at_work = {pool.submit(work, job): job for job in jobs}
        for future in as_completed(at_work):
            fault = future.exception()
            if fault is not None:  # of this program; it costs its file and no other
                yield faulted(at_work[future], fault)
            elif (outcome := future.result()) is not None:
                yield outcome
    finally:
        pool.shutdown(cancel_futures=True)
