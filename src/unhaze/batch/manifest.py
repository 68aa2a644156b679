"""The manifest of a batch: one JSON line a file, written by one process, readable after any kill.

Lines that open a run have the key "batch": when it began, places and settings. The last line of a
file tells its state. A last line that is cut off is not counted, and written over by the next run.
"""

import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from unhaze.batch.jobs import DONE, History, Mark, Outcome
from unhaze.batch.places import Folder, open_place
from unhaze.batch.stores import Store, reason, store_errors
from unhaze.errors import UnhazeError
from unhaze.scratch import scratch_folder

NAME = "unhaze-manifest.jsonl"
UPLOAD_SECONDS = 30  # between copies of a growing manifest to its store
# Seconds to wait after each failed attempt at the last copy: a store may be away for minutes.
PAUSES = (1, 2, 4, 8, 15, 30, 30, 30, 30, 30, 0)
COPIED_PER_SECOND = 1e6  # bytes: a large manifest is copied less often


logger = logging.getLogger(__name__)


class NotCopied(UnhazeError):
    """A store does not take the manifest of a batch that ran."""


@dataclass
class Manifest:
    """An open manifest. history: its content when opened. seconds: spent on writing it."""

    given: str
    history: History
    file: BinaryIO
    store: tuple[Store, str] | None = None  # where it is copied to, and its name there
    seconds: float = 0.0
    copied: float = field(default_factory=time.monotonic)

    def begin(self, facts: dict[str, Any], digest: str) -> None:
        """Opens a run with these settings, unless the one before had the same."""
        if self.history.digest != digest:
            self._write({"batch": round(time.time(), 3)} | facts | {"digest": digest})
            self._copy(last=False)

    def add(self, outcome: Outcome, digest: str) -> None:
        """Writes the outcome of a file at once, so that a kill loses no line."""
        start = time.perf_counter()
        job = outcome.job
        line = {"source": job.source, "target": job.target, "state": outcome.state}
        line |= {"why": outcome.why, "seconds": round(outcome.seconds, 4)}
        line |= {"megapixels": round(outcome.megapixels, 6), "model": outcome.model}
        line |= {"digest": digest, "size": job.mark.size, "stamp": job.mark.stamp}
        line |= {"worker": outcome.worker, "attempts": outcome.attempts}
        self._write(line | {"notes": outcome.notes})
        if self.store and time.monotonic() - self.copied > self._pause():
            self._copy(last=False)
        self.seconds += time.perf_counter() - start

    def _write(self, line: dict[str, Any]) -> None:
        self.file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self.file.flush()

    def _pause(self) -> float:
        return max(UPLOAD_SECONDS, self.file.tell() / COPIED_PER_SECOND)

    def _copy(self, *, last: bool) -> None:
        """Uploads it, if it belongs in a store. An unreachable store is tried again with the next
        lines; `last`: there will be none, so again and again until it must be given up.
        """
        if self.store is None:
            return
        store, name = self.store
        began = time.monotonic()
        failure: BaseException | None = None
        for pause in PAUSES if last else (0.0,):
            try:
                store.write(name, Path(self.file.name).read_bytes())
                self.copied = time.monotonic()
                return
            except store_errors() as error:
                logger.info("the manifest '%s' was not copied: %s", self.given, reason(error))
                failure = error
                if isinstance(error, PermissionError):  # no time helps
                    last = True
                    break
                self.copied = time.monotonic()  # not again with the very next line
            time.sleep(pause)
        if last and failure is not None:
            kept = keep(Path(self.file.name))
            raise NotCopied(
                f"cannot write the manifest '{self.given}' for {time.monotonic() - began:.0f} s:"
                f" {reason(failure)}; it lies in '{kept}'"
            ) from failure


def keep(written: Path) -> Path:
    """A copy of a manifest that its store does not take, where it outlives this process."""
    handle, kept = tempfile.mkstemp(prefix="unhaze-manifest-", suffix=".jsonl")
    with os.fdopen(handle, "wb") as file:
        file.write(written.read_bytes())
    return Path(kept)


@dataclass(frozen=True)
class Stored:
    """A manifest as it lies somewhere. text: its complete lines."""

    place: Folder | Store
    name: str
    text: bytes
    history: History


def manifest_of(target: str, shard: tuple[int, int]) -> str:
    """In the target; of one shard of several, with its number."""
    part = "" if shard == (1, 1) else f".{shard[0]}-of-{shard[1]}"
    return f"{target.rstrip('/') or '/'}/{NAME.replace('.', f'{part}.')}"


def stored(given: str) -> Stored:
    """Reads a manifest, an empty one where there is none. `given`: a path or URL. UnhazeError: it
    is none.
    """
    parent, _, name = given.replace(os.sep, "/").rpartition("/")
    place = open_place(parent or ("/" if given.startswith("/") else "."))
    text = place.read(name) or b""
    whole = text[: text.rfind(b"\n") + 1]
    return Stored(place, name, whole, read_history(whole, given))


@contextmanager
def open_manifest(given: str, *, resume: bool, overwrite: bool) -> Iterator[Manifest]:
    """Reads a manifest and opens it for more. `given`: a path or URL.

    UnhazeError: there is one and neither `resume` nor `overwrite`, it is none, another process
    writes it, it cannot be written.
    """
    with scratch_folder("manifest") as scratch:
        found = stored(given)
        place, name, text, history = found.place, found.name, found.text, found.history
        if not (history.empty or resume or overwrite):
            raise UnhazeError(
                f"'{given}' belongs to an earlier batch; --resume continues it, --overwrite starts"
                " again"
            )
        if not resume:
            text, history = b"", History({})
        path = Path(scratch, name) if isinstance(place, Store) else place.path / name
        with locked(path, given) as file:
            file.truncate(len(text) if isinstance(place, Folder) else 0)
            file.seek(0, os.SEEK_END)
            if isinstance(place, Store):
                file.write(text)
            manifest = Manifest(given, history, file)
            manifest.store = (place, name) if isinstance(place, Store) else None
            try:
                yield manifest
            finally:
                manifest._copy(last=True)


@contextmanager
def locked(path: Path, given: str) -> Iterator[BinaryIO]:
    """The file, to be read and written by nobody else meanwhile, as far as the system can say."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise UnhazeError(f"cannot write the manifest '{given}': {error.strerror}") from error
    with path.open("r+b") as file:
        try:
            import fcntl
        except ImportError:  # Windows
            yield file
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UnhazeError(
                f"another batch is writing '{given}'; wait for it, or give --manifest or --shard"
            ) from error
        yield file


def read_history(text: bytes, given: str) -> History:
    """Returns the history in the complete lines of a manifest. UnhazeError: an invalid line."""
    done: dict[str, tuple[Mark, str]] = {}
    digest, began, empty = None, 0.0, True
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            entry = json.loads(line)
            if "batch" in entry:
                digest, began = entry["digest"], float(entry["batch"])
                continue
            empty = False
            if entry["state"] == DONE:  # a failure after it has not touched the result
                mark = Mark(int(entry["size"]), entry["stamp"])
                done[entry["source"]] = (mark, entry["digest"])
        except (ValueError, KeyError, TypeError) as error:
            raise UnhazeError(f"'{given}' is not the manifest of a batch: line {number}") from error
    return History(done, digest, began, empty)
