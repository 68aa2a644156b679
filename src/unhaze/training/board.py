"""TensorBoard's writer, which says in one line that it cannot write."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from unhaze.errors import UnhazeError


@contextlib.contextmanager
def board(folder: Path, step: int) -> Iterator[SummaryWriter]:
    """A context with the writer of TensorBoard's events in `folder`, from `step` on.

    UnhazeError: they cannot be written, as on a full disk. The writer's thread, where that is
    noticed, would print a traceback, and nobody else would learn of what fails at the end.
    """
    failed: list[OSError] = []
    hook, others = threading.excepthook, threading.enumerate()

    def note(error: threading.ExceptHookArgs) -> None:
        if isinstance(error.exc_value, OSError) and error.thread and is_writer(error.thread):
            failed.append(error.exc_value)
        else:
            hook(error)

    threading.excepthook = note
    try:
        with contextlib.closing(SummaryWriter(folder, purge_step=step)) as writer:
            yield writer
    finally:
        for thread in threading.enumerate():  # one that has failed is about to end
            if thread not in others and is_writer(thread):
                thread.join(1)
        threading.excepthook = hook
        if failed:
            why = failed[0].strerror or failed[0]
            raise UnhazeError(f"cannot write events for TensorBoard in '{folder}': {why}")


def is_writer(thread: threading.Thread) -> bool:
    """Returns whether it is the thread of a writer."""
    return type(thread).__module__.startswith("tensorboard.")
