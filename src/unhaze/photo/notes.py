"""Collects the log messages about what a photo loses."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def noted(source: Path) -> Iterator[list[str]]:
    """Yields a list of the warnings that this thread logs inside the block: what a photo loses.

    For other listeners the name of the file is added.
    """
    notes: list[str] = []
    thread = threading.get_ident()

    def collect(record: logging.LogRecord) -> bool:
        if record.thread == thread:
            said = record.getMessage()
            notes.append(said)
            if str(source) not in said:
                record.msg, record.args = "'%s': %s", (source, said)
        return False

    collector = logging.Handler(logging.WARNING)
    collector.addFilter(collect)
    logger = logging.getLogger("unhaze")
    logger.addHandler(collector)
    try:
        yield notes
    finally:
        logger.removeHandler(collector)
