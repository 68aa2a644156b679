"""The pool: photos share one model and the cores, videos come one after the other."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Protocol

from pyvips.voperation import concurrency_set

from unhaze.batch.plan import FileJob, is_video
from unhaze.batch.work import FileResult, Progress, Settings, fault_of, restore_job
from unhaze.restore.native import BYTES_PER_PIXEL
from unhaze.restore.resources import count_threads, free_memory
from unhaze.restore.restorer import Restorer

Watch = Callable[[Path], Progress]


class OpenRestorer(Protocol):
    """Opens a Restorer with model and device already bound; arguments as in `Restorer`."""

    def __call__(self, *, threads: int, memory: float | None, use: str) -> Restorer: ...


def restore_files(
    jobs: Sequence[FileJob],
    open_restorer: OpenRestorer,
    settings: Settings,
    *,
    at_once: int = 0,
    threads: int = 0,
    memory: float | None = None,
    stop: threading.Event | None = None,
    watch: Watch | None = None,
) -> Iterator[FileResult]:
    """Does all jobs, first the photos, then the videos, and yields results as they come.

    `at_once`: photos at a time, 0 for what cores and memory allow. `threads`: in all, 0 for one per
    core. `memory`: bytes that the network may take in all, None: what is free. When `stop` is set,
    photos at work are finished, a video ends at its next frame without a result, and nothing else
    begins. `watch(source)` returns who hears of a video's frames.
    UnhazeError at once if the model cannot be loaded.
    """
    stop = stop or threading.Event()
    photos = [job for job in jobs if not is_video(job.source)]
    videos = [job for job in jobs if is_video(job.source)]
    room = free_memory() if memory is None else memory
    at_once, each = shares(len(photos), at_once, threads, room, settings.analysis or 1024)
    of_videos = partial(open_restorer, threads=threads, memory=memory, use="video")
    part = None if memory is None else memory / at_once
    restorer = open_restorer(threads=each, memory=part, use="photo") if photos else of_videos()

    def results() -> Iterator[FileResult]:
        if photos:
            concurrency_set(each)
            restore = partial(restore_job, restorer=restorer, settings=settings)
            yield from in_pool(restore, photos, at_once, stop)
        if videos and not stop.is_set():
            concurrency_set(threads)
            yield from in_turn(of_videos() if photos else restorer, videos, settings, stop, watch)

    return results()


def shares(
    photos: int, at_once: int, threads: int, memory: float, analysis: int
) -> tuple[int, int]:
    """(photos at a time, threads for each of them); `at_once`, `threads`: 0 to choose.

    Photos side by side beat threads inside one: reading and writing a file keep only one busy.
    `memory`: in bytes, that the network may take on pictures whose long side is `analysis`.
    """
    cores = count_threads(threads)
    fitting = int(min(cores, memory / (analysis**2 * BYTES_PER_PIXEL)))
    at_once = max(1, min(at_once or fitting, photos))
    return at_once, threads if at_once == 1 else max(1, cores // at_once)


def in_pool(
    restore: Callable[[FileJob], FileResult],
    jobs: Sequence[FileJob],
    at_once: int,
    stop: threading.Event,
) -> Iterator[FileResult]:
    """`restore(job)` for all jobs in `at_once` threads. When `stop` is set, those at work finish.

    Threads and not processes: they share the model, and all that takes long (ONNX Runtime, libvips,
    NumPy) lets go of the interpreter lock.
    """

    def work(job: FileJob) -> FileResult | None:
        return None if stop.is_set() else restore(job)

    pool, began = ThreadPoolExecutor(at_once), time.perf_counter()
    try:
        at_work = {pool.submit(work, job): job for job in jobs}
        for future in as_completed(at_work):
            fault = future.exception()
            if fault is not None:  # of this program; it costs its file and no other
                yield fault_of(at_work[future], fault, time.perf_counter() - began)
            elif (result := future.result()) is not None:
                yield result
    finally:
        pool.shutdown(cancel_futures=True)


def in_turn(
    restorer: Restorer,
    jobs: Sequence[FileJob],
    settings: Settings,
    stop: threading.Event,
    watch: Watch | None,
) -> Iterator[FileResult]:
    """Videos one after the other; when `stop` is set, the one at work ends at its next frame."""
    for job in jobs:
        hear = watch(job.source) if watch else None

        def progress(
            frames: int, total: int | None, seconds: float, hear: Progress | None = hear
        ) -> None:
            if stop.is_set():
                raise KeyboardInterrupt
            if hear is not None:
                hear(frames, total, seconds)

        began = time.perf_counter()
        with ThreadPoolExecutor(1) as alone:
            future = alone.submit(restore_job, job, restorer, settings, progress=progress)
            fault = future.exception()
        if isinstance(fault, KeyboardInterrupt):
            return
        if fault is not None:
            yield fault_of(job, fault, time.perf_counter() - began)
        else:
            yield future.result()
        if stop.is_set():
            return
