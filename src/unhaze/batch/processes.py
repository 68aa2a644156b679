"""Workers as processes of this computer: one that dies costs an attempt at its files, nothing else.

The driver sends jobs through a pipe to each worker, as many as it works on at a time and one that
waits there, and takes outcomes from it. A worker whose pipe ends has lost its driver and leaves at
once.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from unhaze.batch.jobs import FAILED, Job, Outcome, Work
from unhaze.batch.places import is_video
from unhaze.batch.worker import Worker, faulted
from unhaze.errors import UnhazeError

HOPELESS = 3  # deaths in a row of workers that were not ready yet
FAULT = 70  # exit status of a worker that met a fault of this program
SHARED = 8  # last jobs, which no worker takes ahead while others have none
POLL = 0.5  # seconds after which a stop is noticed although no worker says anything


@dataclass
class WorkerHandle:
    """A worker as the driver sees it. held: jobs that it has been sent and not finished, in the
    order in which it begins them.
    """

    process: BaseProcess
    pipe: Connection
    ready: bool = False
    held: dict[str, Job] = field(default_factory=dict)


def in_processes(
    jobs: Sequence[Job], work: Work, *, workers: int, stop: threading.Event
) -> Iterator[Outcome | None]:
    """Does all jobs in `workers` processes and yields outcomes as they come; None: one is ready.

    When `stop` is set, photos at work are finished, videos end at their next frame, and nothing
    else begins. UnhazeError: the model cannot be loaded, workers exit before they are ready.
    """
    waiting, deaths, early = deque(jobs), Counter(), 0
    handles = [start(work) for _ in range(min(workers, len(jobs)))]
    told = False
    try:
        while any(handle.held for handle in handles) or (waiting and not stop.is_set()):
            if stop.is_set() and not told:
                told = True
                for handle in handles:
                    send(handle, None)
            for pipe in wait([handle.pipe for handle in handles], POLL):
                handle = next(each for each in handles if each.pipe is pipe)
                message = receive(handle)
                if isinstance(message, str):
                    raise UnhazeError(message)
                if isinstance(message, Outcome):
                    del handle.held[message.job.source]
                    yield message
                elif isinstance(message, Job):  # not begun before `stop`, or a video that it ended
                    del handle.held[message.source]
                elif message:
                    handle.ready, early = True, 0
                    yield None
                else:
                    early += not handle.ready
                    if early == HOPELESS:
                        code = handle.process.exitcode
                        raise UnhazeError(f"workers exit before they are ready (status {code})")
                    yield from lost(handle, waiting, deaths, work)
                    handles.remove(handle)
                    if waiting and not stop.is_set():
                        handles.append(start(work))
            for handle in handles:
                feed(handle, waiting, work.at_once, stop)
    finally:
        for handle in handles:
            handle.pipe.close()
        for handle in handles:
            handle.process.join()


def start(work: Work) -> WorkerHandle:
    """A new worker. A fresh Python: a copy of this one would share locks and threads with it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(work, theirs), daemon=True)
    process.start()
    theirs.close()
    return WorkerHandle(process, ours)


def send(handle: WorkerHandle, message: Job | None) -> None:
    """Sends to a worker; a dead one is detected at the next receive."""
    try:
        handle.pipe.send(message)
    except (BrokenPipeError, ConnectionResetError):
        return


def receive(handle: WorkerHandle) -> Outcome | Job | str | bool:
    """Returns the next message of a worker: True when it is ready, False when it has died."""
    try:
        return handle.pipe.recv()
    except (EOFError, ConnectionResetError):
        handle.pipe.close()
        handle.process.join()
        return False


def feed(handle: WorkerHandle, waiting: deque[Job], at_once: int, stop: threading.Event) -> None:
    """Sends a worker as many jobs as it runs concurrently, and the photo that comes next."""
    while handle.ready and waiting and not stop.is_set():
        ahead = len(waiting) > SHARED and not is_video(waiting[0].source)
        if len(handle.held) >= at_once + ahead:
            return
        job = waiting.popleft()
        handle.held[job.source] = job
        send(handle, job)


def lost(
    handle: WorkerHandle, waiting: deque[Job], deaths: Counter[str], work: Work
) -> Iterator[Outcome]:
    """Requeues the jobs of a dead worker; those that killed too many workers fail."""
    for number, job in enumerate(handle.held.values()):
        deaths[job.source] += number < work.at_once  # those behind had not begun
        if deaths[job.source] <= work.retries:
            waiting.appendleft(job)
        else:
            why = f"'{job.source}': its worker died (status {handle.process.exitcode})"
            yield Outcome(job, FAILED, why, attempts=deaths[job.source])
    handle.held.clear()


def serve(work: Work, pipe: Connection) -> None:
    """The life of a worker. Ctrl-C and SIGTERM are the driver's, which says when to stop."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    lock, stop = threading.Lock(), threading.Event()

    def reply(words: Outcome | Job | str | bool) -> None:
        """Without a driver, or when it has no more work for one that is just ready, to nobody."""
        try:
            with lock:
                pipe.send(words)
        except (BrokenPipeError, ConnectionResetError):
            leave(0)

    def do(job: Job) -> None:
        if stop.is_set():
            reply(job)
            return
        done = tries.submit(worker.do, job, stop)
        fault = done.exception()
        reply(faulted(job, fault, worker.name) if fault else done.result() or job)

    try:
        worker = Worker(work)
    except UnhazeError as error:
        reply(str(error))
        return
    reply(True)
    threads, tries = ThreadPoolExecutor(work.at_once), ThreadPoolExecutor(work.at_once)
    try:
        while True:
            job = pipe.recv()
            if job is None:
                stop.set()
            else:
                threads.submit(do, job).add_done_callback(give_up)
    except (EOFError, ConnectionResetError):
        leave(0)


def give_up(done: Future[None]) -> None:
    """Ends the worker if a job raised what nobody expects: it must not pass for a slow file."""
    error = done.exception()
    if error is not None:
        traceback.print_exception(error)
        leave(FAULT)


def leave(status: int) -> None:
    """Ends the process at once: files appear whole or not at all, and nothing else is held."""
    os._exit(status)
