"""The desk: limits how many jobs run and how many wait, and refuses the rest."""

import asyncio
import contextlib
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

Result = TypeVar("Result")
LONGEST_WAIT = 600  # largest Retry-After in seconds


class Busy(Exception):
    """All places are taken. retry_after: whole seconds until one is likely to be free."""

    def __init__(self, retry_after: int, who: str = "the server is busy") -> None:
        super().__init__(f"{who}; try again in {retry_after} seconds")
        self.retry_after = retry_after


class Stopping(Exception):
    """The server is shutting down and starts no more work."""

    def __init__(self) -> None:
        super().__init__("the server is stopping; try again in 10 seconds")
        self.retry_after = 10


class Desk:
    """`workers` jobs run at a time and `queue` more wait; one client holds at most `client_places`.

    Each job has a thread, which waits for a worker process and ends it if necessary.
    """

    def __init__(self, workers: int, queue: int, client_places: int = 0) -> None:
        self.workers, self.places = workers, workers + queue
        self.client_places = client_places or self.places
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="desk")
        self.taken = 0  # changed only in the event loop
        self.by_client: Counter[str] = Counter()
        self.usual_seconds = 1.0  # running mean of the seconds of a job
        self.stopping = False  # no job starts any more
        self.ended = False  # running jobs are dropped as well
        self.stops: set[threading.Event] = set()  # of jobs that run or wait

    @contextlib.contextmanager
    def place(self, client: str = "") -> Iterator[None]:
        """Holds a place from before the upload until the work is done. Busy: there is none."""
        if self.stopping:
            raise Stopping
        if self.taken >= self.places:
            raise Busy(self._wait(self.taken - self.workers + 1))
        if self.by_client[client] >= self.client_places:
            raise Busy(self._wait(self.client_places), "you hold all places that one client may")
        self.taken += 1
        self.by_client[client] += 1
        try:
            yield
        finally:
            self.taken -= 1
            self.by_client[client] -= 1
            self.by_client += Counter()  # removes entries of zero

    def _wait(self, jobs: int) -> int:
        seconds = self.usual_seconds * jobs / self.workers
        return min(LONGEST_WAIT, max(1, math.ceil(seconds)))

    async def work(
        self, job: Callable[[threading.Event], Result], request: Request | None = None
    ) -> Result:
        """Runs `job(stop)` in a thread; it must end soon after `stop` is set.

        ClientDisconnect: the client of `request` has left; its job has been dropped or ended by
        then. Stopping: all jobs have.
        """
        if self.ended:
            raise Stopping
        stop = threading.Event()
        self.stops.add(stop)

        def timed() -> Result:
            started = time.monotonic()
            try:
                return job(stop)
            finally:
                self.usual_seconds += 0.2 * (time.monotonic() - started - self.usual_seconds)

        begun = self.pool.submit(timed)
        ended = asyncio.wrap_future(begun)
        # Nobody awaits the error of a job whose client has left; asyncio would report it.
        ended.add_done_callback(lambda job: job.cancelled() or job.exception())
        leaving = asyncio.ensure_future(has_left(request))
        try:
            await asyncio.wait({ended, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                stop.set()
                begun.cancel()
                await asyncio.wait({ended})
                raise ClientDisconnect
            return await ended
        except (asyncio.CancelledError, CancelledError) as error:
            if self.ended:
                raise Stopping from error
            raise
        finally:
            stop.set()
            begun.cancel()
            leaving.cancel()
            self.stops.discard(stop)

    async def drain(self, seconds: float) -> None:
        """Starts no more jobs, and gives those that hold a place up to `seconds` to finish."""
        self.stopping = True
        deadline = time.monotonic() + seconds
        while self.taken and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        self.stop_all()
        while self.stops and time.monotonic() < deadline + 5:
            await asyncio.sleep(0.05)

    def stop_all(self) -> None:
        """Ends running jobs and drops waiting ones."""
        self.stopping = self.ended = True
        for stop in list(self.stops):
            stop.set()
        self.pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Like `stop_all`, and returns when nothing runs any more."""
        self.stop_all()
        self.pool.shutdown()


async def has_left(request: Request | None) -> None:
    """Returns when the client has closed its connection; the body of `request` has been read."""
    if request is None:
        await asyncio.Event().wait()
        return
    while (await request.receive())["type"] != "http.disconnect":
        pass
