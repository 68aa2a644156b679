"""The desk: so many at a time are worked on, so many wait, the rest is asked to come again."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class Busy(Exception):
    """All places are taken. retry_after: whole seconds until one is probably free."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the server is busy; try again in {retry_after} seconds")
        self.retry_after = retry_after


class Desk:
    """`workers` jobs run in threads, `queue` more wait. Memory is that of `workers` jobs."""

    def __init__(self, workers: int, queue: int) -> None:
        self.workers, self.places = workers, workers + queue
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="desk")
        self.taken = 0  # changed in the event loop only
        self.usual_seconds = 1.0  # a running mean of what a job takes

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place, from before the upload to after the work; Busy if there is none."""
        if self.taken >= self.places:
            wait = self.usual_seconds * (self.taken - self.workers + 1) / self.workers
            raise Busy(min(60, max(1, math.ceil(wait))))
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def work(self, job: Callable[[], Result]) -> Result:
        """`job()` in a thread. If the client leaves, a job that has begun ends all the same."""

        def timed() -> Result:
            started = time.monotonic()
            try:
                return job()
            finally:
                self.usual_seconds += 0.2 * (time.monotonic() - started - self.usual_seconds)

        return await asyncio.get_running_loop().run_in_executor(self.pool, timed)

    def close(self) -> None:
        """Waits for what runs; what waits is dropped."""
        self.pool.shutdown(cancel_futures=True)
