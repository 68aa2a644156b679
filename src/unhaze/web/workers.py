"""Worker processes of the service, killed if they use too much time or memory or are not needed.

A task is a function of `unhaze.web.tasks` and its arguments, sent through a pipe.
"""

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from unhaze.errors import UnhazeError
from unhaze.web.desk import Stopping
from unhaze.web.settings import Settings

POLL = 0.05  # seconds between checks of stop, time and memory
GRACE = 1.0  # seconds for an unwanted task to end by itself: starting a process takes longer
KNOWN = (UnhazeError, MemoryError, OSError, ModuleNotFoundError)


class Dropped(Exception):
    """The task is no longer wanted."""


@dataclass(frozen=True)
class Progress:
    """Progress that a task reports before its end."""

    words: tuple[Any, ...]


class Stop(Protocol):
    """Tells whether a task is no longer wanted; a `threading.Event` is one."""

    def is_set(self) -> bool: ...


@dataclass(eq=False)
class WorkerHandle:
    """A worker process as seen by the server."""

    process: BaseProcess
    pipe: Connection

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def bytes(self) -> int:
        """Returns the bytes of memory that it uses; 0 if the system does not report them."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except OSError:
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")


class Workers:
    """Processes that are started on demand and reused."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.idle: queue.LifoQueue[WorkerHandle] = queue.LifoQueue()
        self.handles: set[WorkerHandle] = set()
        self.lock = threading.Lock()
        self.closed = False

    def call(
        self,
        function: Callable[..., Any],
        *words: Any,
        stop: Stop,
        seconds: float,
        progress: Callable[..., None] | None = None,
    ) -> Any:
        """Returns the result of `function(models, *words)` in a worker; raises its known errors.

        Dropped: `stop` was set. UnhazeError: it took more than `seconds`, or the worker died.
        MemoryError: it used more than the settings allow. `progress` receives its reports; an error
        raised there ends the task as well.
        """
        handle = self._take()
        with ExitStack() as undo:  # After an error, the state of a worker is unknown.
            undo.callback(self._drop, handle)
            reply = self._converse(handle, function, words, stop, seconds, progress)
            undo.pop_all()
        self.idle.put(handle)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    def close(self) -> None:
        """Kills all workers."""
        with self.lock:
            self.closed = True
            handles = list(self.handles)
        for handle in handles:
            self._drop(handle)

    def _converse(self, handle, function, words, stop, seconds, progress) -> Any:
        start, dropped = time.monotonic(), None
        try:
            handle.pipe.send((function, words))
            while True:
                while not handle.pipe.poll(POLL):
                    now = time.monotonic()
                    if stop.is_set():
                        dropped = dropped or now
                        if now - dropped > GRACE or self.closed:
                            raise Dropped
                    if now - start > seconds:
                        raise UnhazeError(f"the work on it took more than {seconds:g} seconds")
                    if handle.bytes() > self.settings.worker_bytes:
                        raise MemoryError
                reply = handle.pipe.recv()
                if not isinstance(reply, Progress):
                    return reply
                if stop.is_set():
                    raise Dropped
                if progress is not None:
                    progress(*reply.words)
        except (EOFError, OSError) as error:
            if self.closed or stop.is_set():
                raise Dropped from error
            raise UnhazeError("the work on it failed; it may be damaged") from error

    def _take(self) -> WorkerHandle:
        try:
            return self.idle.get_nowait()
        except queue.Empty:
            pass
        with self.lock:
            if self.closed:
                raise Stopping
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            process = context.Process(target=live, args=(self.settings, theirs), daemon=True)
            process.start()
            theirs.close()
            handle = WorkerHandle(process, ours)
            self.handles.add(handle)
        return handle

    def _drop(self, handle: WorkerHandle) -> None:
        with self.lock:
            if handle not in self.handles:
                return
            self.handles.discard(handle)
        handle.kill()


def live(settings: Settings, pipe: Connection) -> None:
    """Main loop of a worker. Ctrl-C and SIGTERM are for the server, which ends its workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=leave_with, args=(os.getppid(),), daemon=True).start()
    from unhaze.restore.resources import share_heaps
    from unhaze.web.tasks import Models

    share_heaps()
    models = Models(settings, lambda *words: pipe.send(Progress(words)))
    while True:
        try:
            function, words = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            reply = function(models, *words)
        except KNOWN as error:
            reply = plain(error)
        # Any other error ends this process, with its traceback on stderr.
        try:
            pipe.send(reply)
        except (BrokenPipeError, ConnectionResetError):  # the server is gone
            return


def plain(error: BaseException) -> BaseException:
    """Returns the error without its cause, which may not be picklable."""
    if isinstance(error, UnhazeError):
        return UnhazeError(str(error))
    if isinstance(error, MemoryError):
        return MemoryError()
    return error.with_traceback(None)


def leave_with(parent: int) -> None:
    """Ends this process soon after its server, even in the middle of work."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)
