"""Iterators that prefetch in a thread of their own, so that all stages of a pipeline are busy."""

import contextlib
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

END = object()
PATIENCE = 0.2  # seconds between checks of whether the other side is still alive


@contextlib.contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Adds the time of the block to `seconds[stage]`; every stage has its own thread."""
    begin = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - begin


class Ahead:
    """Iterates over `items` in a thread, at most `depth` items ahead of the caller.

    `newest`: does not wait for the caller; items not taken in time are replaced by later ones.
    Errors of `items` are raised here. After an exception in the caller's own thread, such as a
    KeyboardInterrupt while waiting, iteration can continue.
    """

    def __init__(self, items: Iterable[Any], depth: int = 2, *, newest: bool = False) -> None:
        self.ready: queue.Queue[Any] = queue.Queue(depth)
        self.newest = newest
        self.abandoned = threading.Event()
        self.error: BaseException | None = None
        # A daemon: a camera that is no longer read does not keep the program from ending.
        self.thread = threading.Thread(target=self._take_all, args=(items,), daemon=True)
        self.thread.start()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        item = None
        while item is None:
            try:
                item = self.ready.get(timeout=PATIENCE)
            except queue.Empty:
                # An interrupt may have consumed END, so the end of the thread counts as well.
                if not self.thread.is_alive() and self.ready.empty():
                    item = END
        if item is not END:
            return item
        if self.error is not None:
            raise self.error
        raise StopIteration

    def close(self) -> None:
        """Ends the thread, and closes `items` if possible; waits for both."""
        self.abandoned.set()
        self.thread.join()

    def _take_all(self, items: Iterable[Any]) -> None:
        with contextlib.ExitStack() as stack:
            stack.push(self._keep)
            close = getattr(items, "close", None)
            if close is not None:
                stack.callback(close)
            for item in items:
                self._hand_over(item)
                if self.abandoned.is_set():
                    break
        self._hand_over(END)

    def _keep(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Keeps the error that ended the thread, to be raised in the caller's."""
        self.error = error
        return True

    def _hand_over(self, item: Any) -> None:
        if self.newest and item is not END:
            with contextlib.suppress(queue.Empty):
                self.ready.get_nowait()
        while not self.abandoned.is_set():
            try:
                self.ready.put(item, timeout=PATIENCE)
            except queue.Full:
                continue
            return
