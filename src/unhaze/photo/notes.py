"""Collects the log messages on what a photo loses, for whoever restores it."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def noted(source: Path) -> Iterator[list[str]]:
    """Fills the list with what this thread logs as warnings meanwhile: what a photo loses.

    Whoever else hears of it hears the name of the file, too.
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
