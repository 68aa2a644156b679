"""One worker of a batch: holds one model, restores one file after the other, tries again."""

import hashlib
import json
import logging
import os
import platform
import threading
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyvips
from pyvips.voperation import concurrency_set

from unhaze.batch.places import open_place, reason, store_errors
from unhaze.batch.plan import FileJob, is_video
from unhaze.batch.tasks import DONE, FAILED, Outcome, Task
from unhaze.batch.work import FileResult, Settings, restore_job, told
from unhaze.restore.models import find_model
from unhaze.restore.priors import is_prior
from unhaze.restore.resources import share_one_heap
from unhaze.restore.restorer import Restorer
from unhaze.scratch import remove_leftovers, scratch_folder

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.5  # seconds before the second attempt; twice as long before each further one


@dataclass(frozen=True)
class Work:
    """The job description that every worker of a batch receives; it is picklable.

    source, target: the places. at_once: photos at a time in one worker. threads: for each of them.
    memory: bytes that the network may take for each, None: what is free. retries: of a file, after
    errors that may pass and after the death of its worker. Of `settings`, `resume` has no meaning.
    """

    source: str
    target: str
    settings: Settings = field(default_factory=Settings)
    model: str = "auto"
    device: str = "auto"
    native: bool = False
    at_once: int = 1
    threads: int = 1
    memory: float | None = None
    retries: int = 2

    def facts(self) -> dict[str, Any]:
        """Returns places and settings for the manifest."""
        asked = asdict(self.settings)
        kept = {key: asked[key] for key in asked if key not in ("overwrite", "resume")}
        facts = {"unhaze": version("unhaze"), "from": self.source, "to": self.target}
        return facts | {"settings": {"model": self.model, "native": self.native} | kept}

    def digest(self) -> str:
        """Returns a digest of all that the pixels depend on. UnhazeError: no such model."""
        facts: dict[str, Any] = self.facts()["settings"] | {"unhaze": version("unhaze")}
        if not is_prior(self.model):
            path = find_model(self.model)
            facts["model"] = f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


class Worker:
    """A loaded model and what is to be done with it; `do` may be called in several threads."""

    def __init__(self, work: Work) -> None:
        """UnhazeError: the model cannot be loaded, a place not opened."""
        share_one_heap()
        remove_leftovers()  # such as those of the worker that this one replaces
        concurrency_set(work.threads)
        self.work = work
        self.source, self.target = open_place(work.source), open_place(work.target)
        self.name = f"{platform.node()}:{os.getpid()}"
        self.restorers = {"photo": self._open("photo")}
        self.lock = threading.Lock()

    def do(self, task: Task, stop: threading.Event) -> Outcome | None:
        """Restores a file, unless an earlier attempt has. None: `stop` was set in a video."""
        start = time.perf_counter()
        attempt = 0
        while True:
            if attempt and stop.wait(FIRST_PAUSE * 2 ** (attempt - 1)):
                return None
            attempt += 1
            try:
                if self._was_made(task):
                    return Outcome(task, DONE, worker=self.name)
                result, size = self._restore(task, stop)
                if result.error is None:
                    return self._done(task, result, size, time.perf_counter() - start, attempt)
                why, passing = result.error, result.passing
            except KeyboardInterrupt:
                return None
            except store_errors() as error:
                why, passing = f"'{task.source}': {reason(error)}", not permanent(error)
            if not passing or attempt > self.work.retries:
                facts = {"seconds": time.perf_counter() - start, "attempts": attempt}
                return Outcome(task, FAILED, why, worker=self.name, **facts)

    def _done(
        self, task: Task, result: FileResult, size: tuple[int, int], seconds: float, attempts: int
    ) -> Outcome:
        frames = result.video.frames if result.video else 1
        return Outcome(
            task,
            DONE,
            seconds=seconds,
            megapixels=size[0] * size[1] * frames / 1e6,
            model=self._restorer(task).name_for(size[1], size[0]),
            worker=self.name,
            attempts=attempts,
        )

    def give_up(self, task: Task) -> Outcome:
        """Returns the outcome of a file whose workers died: done if one wrote its target."""
        try:
            if self._was_made(task):
                return Outcome(task, DONE, worker=self.name)
        except store_errors() as error:
            return Outcome(task, FAILED, f"'{task.source}': {reason(error)}", worker=self.name)
        return Outcome(task, FAILED, f"'{task.source}': its workers died", worker=self.name)

    def faulted(self, task: Task, fault: BaseException) -> Outcome:
        """Returns the outcome of a file on which an unexpected exception was raised."""
        logger.info("'%s': an unexpected fault", task.source, exc_info=fault)
        return Outcome(task, FAILED, f"'{task.source}': {told(fault)}", worker=self.name)

    def _was_made(self, task: Task) -> bool:
        """Returns whether the target has changed since the batch was planned."""
        now = self.target.mark(task.target)
        return now is not None and now != task.before

    def _restore(self, task: Task, stop: threading.Event) -> tuple[FileResult, tuple[int, int]]:
        """Returns the result of `restore_job` with the batch's file names, and (width, height)."""

        def progress(frames: int, total: int | None, seconds: float) -> None:
            if stop.is_set():
                raise KeyboardInterrupt

        remote = self.source.remote or self.target.remote
        room = scratch_folder("batch") if remote else nullcontext("")
        with room as scratch:
            source = self.source.fetch(task.source, Path(scratch))
            target = self.target.room(task.target, Path(scratch))
            job, settings = FileJob(source, target), self.work.settings
            result = restore_job(job, self._restorer(task), settings, progress=progress)
            if result.error is not None:
                return self._renamed(result, task), (0, 0)
            size = size_of(result)
            self.target.publish(task.target, target)
        return result, size

    def _renamed(self, result: FileResult, task: Task) -> FileResult:
        """Its error without the places of temporary files."""
        words = str(result.error).replace(str(result.source), self.source.full(task.source))
        words = words.replace(str(result.target), self.target.full(task.target))
        return FileResult(
            result.source, result.target, result.seconds, words, passing=result.passing
        )

    def _restorer(self, task: Task) -> Restorer:
        use = "video" if is_video(Path(task.source)) else "photo"
        if use not in self.restorers:
            with self.lock:
                self.restorers.setdefault(use, self._open(use))
        return self.restorers[use]

    def _open(self, use: str) -> Restorer:
        return Restorer(
            self.work.model,
            self.work.device,
            analysis=self.work.settings.analysis,
            native=self.work.native,
            threads=self.work.threads,
            memory=self.work.memory,
            use=use,
        )


def size_of(result: FileResult) -> tuple[int, int]:
    """(width, height) of a result, by its header."""
    if result.video is not None:
        return result.video.width, result.video.height
    with result.target.open("rb") as file:  # by name, pyvips opens only those that are text
        source = pyvips.Source.new_from_descriptor(file.fileno())
        image = pyvips.Image.new_from_source(source, "")
        return image.width, image.height


def permanent(error: BaseException) -> bool:
    """Returns whether a retry is pointless: the file is missing or access is denied."""
    return isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)
