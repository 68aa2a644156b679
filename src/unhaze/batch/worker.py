"""One worker: holds one model, restores one file after the other, tries again."""

import errno
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyvips
from pyvips.voperation import concurrency_set

from unhaze import photo
from unhaze.batch.jobs import DONE, FAILED, Job, Outcome, Settings, Work
from unhaze.batch.places import is_video, open_place
from unhaze.batch.stores import reason, store_errors
from unhaze.errors import UnhazeError, printable, target_exists
from unhaze.outputs import noted
from unhaze.restore.resources import share_heaps
from unhaze.restore.restorer import Restorer
from unhaze.scratch import remove_leftovers, scratch_folder

if TYPE_CHECKING:
    from unhaze.restore.video import VideoReport

logger = logging.getLogger(__name__)

# What a video tells of itself after each frame: frames done, frames in all if known, seconds.
Progress = Callable[[int, int | None, float], None]
Watch = Callable[[Path], Progress]

FIRST_PAUSE = 0.5  # seconds before the second attempt; twice as long before each further one
# Errors of disks on a network and of busy systems that another attempt may not meet.
PASSING = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}
PASSING |= {errno.ECONNABORTED, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH}
PASSING |= {errno.EMFILE, errno.ENFILE, errno.ENETDOWN, errno.ENETUNREACH}


class Worker:
    """A loaded model and what is to be done with it; `do` may be called in several threads."""

    def __init__(self, work: Work, use: str = "photo") -> None:
        """use: what the model is loaded for. UnhazeError: it cannot be, or a place not opened."""
        share_heaps()
        concurrency_set(work.threads)
        self.work = work
        self.source, self.target = open_place(work.source), open_place(work.target)
        self.remote = self.source.remote or self.target.remote
        if self.remote:
            remove_leftovers()  # such as those of the worker that this one replaces
        self.name = f"{platform.node()}:{os.getpid()}"
        self.restorers = {use: restorer_for(work, use)}
        self.lock = threading.Lock()

    def do(self, job: Job, stop: threading.Event, watch: Watch | None = None) -> Outcome | None:
        """Restores a file, unless an earlier attempt has. None: `stop` was set in a video.

        Errors that the user can fix are in the outcome. `watch(source)` returns a callback.
        """
        start, attempt = time.perf_counter(), 0
        while True:
            attempt += 1
            try:
                if self._was_made(job):
                    return Outcome(job, DONE, worker=self.name)
                outcome = self._restored(job, stop, watch)
                return replace(outcome, seconds=time.perf_counter() - start, attempts=attempt)
            except KeyboardInterrupt:
                return None
            except UnhazeError as error:
                if not self.remote and self._was_made(job):  # another process was faster
                    return Outcome(job, DONE, worker=self.name)
                why, passing = str(error), may_pass(error.__cause__)
            except store_errors() as error:
                why, passing = f"'{job.source}': {reason(error)}", not permanent(error)
            if not passing or attempt > self.work.retries:
                facts = {"seconds": time.perf_counter() - start, "attempts": attempt}
                return Outcome(job, FAILED, why, worker=self.name, **facts)
            if stop.wait(FIRST_PAUSE * 2 ** (attempt - 1)):
                return None

    def give_up(self, job: Job) -> Outcome:
        """Returns the outcome of a file whose workers died: done if one wrote its target."""
        try:
            if self._was_made(job):
                return Outcome(job, DONE, worker=self.name)
        except store_errors() as error:
            return Outcome(job, FAILED, f"'{job.source}': {reason(error)}", worker=self.name)
        return Outcome(job, FAILED, f"'{job.source}': its workers died", worker=self.name)

    def _was_made(self, job: Job) -> bool:
        """Returns whether the target has changed since the plan, and that may count."""
        now = self.target.mark(job.target) if self.work.settings.resume else None
        return now is not None and now != job.before

    def _restored(self, job: Job, stop: threading.Event, watch: Watch | None) -> Outcome:
        """Restores a file and publishes it. UnhazeError: it cannot be; OSError and so on: a place
        fails.
        """
        on_frame = watch(Path(job.source)) if watch and is_video(job.source) else None

        def progress(frames: int, total: int | None, seconds: float) -> None:
            if stop.is_set():
                raise KeyboardInterrupt
            if on_frame is not None:
                on_frame(frames, total, seconds)

        restorer = self._restorer(job)
        room = scratch_folder("batch") if self.remote else nullcontext("")
        with room as scratch:
            source = self.source.fetch(job.source, Path(scratch))
            target = self.target.room(job.target, Path(scratch))
            names = {str(source): self.source.full(job.source)}
            names |= {str(target): self.target.full(job.target)}
            with noted(source) as notes, in_one_line(source, target, names):
                video = restore_file(source, target, restorer, self.work.settings, progress)
            width, height = (video.width, video.height) if video else size_of(target)
            self.target.publish(job.target, target)
        return Outcome(
            job,
            DONE,
            megapixels=width * height * (video.frames if video else 1) / 1e6,
            model=restorer.name_for(height, width),
            worker=self.name,
            video=video,
            notes=(*notes.all, *(video.notes if video else ())),
        )

    def _restorer(self, job: Job) -> Restorer:
        use = "video" if is_video(job.source) else "photo"
        if use not in self.restorers:
            with self.lock:
                self.restorers.setdefault(use, restorer_for(self.work, use))
        return self.restorers[use]


def restorer_for(work: Work, use: str) -> Restorer:
    """Opens the model for "photo" or "video". UnhazeError: it cannot be loaded."""
    sizes = {"analysis": work.settings.analysis, "native": work.native}
    room = {"threads": work.threads, "memory": work.memory}
    restorer = Restorer(work.model, work.device, **sizes, **room, use=use)
    return restorer.controlled(work.settings.controls)


def faulted(job: Job, fault: BaseException, worker: str | None = None) -> Outcome:
    """The outcome of a file on which an unexpected exception was raised; where goes to the log."""
    logger.info("'%s': an unexpected fault", job.source, exc_info=fault)
    words = f"unexpected {type(fault).__name__}: {' '.join(str(fault).split())}"
    return Outcome(
        job, FAILED, f"'{job.source}': {words} (UNHAZE_LOG=INFO shows where)", worker=worker
    )


@contextmanager
def in_one_line(source: Path, target: Path, names: Mapping[str, str]) -> Iterator[None]:
    """Raises errors that the user can fix as an UnhazeError of one line that names a file.

    names: local file -> what the user calls it.
    """
    try:
        yield
        return
    except UnhazeError as error:
        words, cause = str(error), error.__cause__
        if not any(printable(name) in words for name in (source, target)):
            words = f"'{source}': {words}"
    except OSError as error:
        words, cause = f"'{error.filename or target}': {error.strerror or error}", error
    except MemoryError as error:
        words, cause = f"'{source}': not enough memory", error
    for local, name in names.items():
        words = words.replace(local, name)
    raise UnhazeError(words) from cause


def may_pass(failure: BaseException | None) -> bool:
    """Returns whether a retry may succeed."""
    return isinstance(failure, OSError) and failure.errno in PASSING


def permanent(error: BaseException) -> bool:
    """Returns whether a retry is pointless: the file is missing or access is denied."""
    return isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)


def size_of(target: Path) -> tuple[int, int]:
    """(width, height) of a written photo, by its header; zeros if no reader for it is installed."""
    with target.open("rb") as file, suppress(pyvips.Error):  # by name, it opens only those of text
        source = pyvips.Source.new_from_descriptor(file.fileno())
        image = pyvips.Image.new_from_source(source, "")
        return image.width, image.height
    with suppress(UnhazeError), photo.open_photo(target) as opened:  # of what libvips does not read
        return opened.shape[1], opened.shape[0]
    return 0, 0


def restore_file(
    source: Path,
    target: Path,
    restorer: Restorer,
    settings: Settings,
    progress: Progress | None = None,
) -> "VideoReport | None":
    """Writes `target`, whole or not at all. UnhazeError, before any work, if it must stay.

    Of `settings`, controls and analysis are the Restorer's. `progress` is called for each
    frame of a video; exceptions that it raises end the work and are passed on.
    """
    if target.exists() and not settings.overwrite:
        raise target_exists(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    how: dict[str, Any] = {"strength": settings.strength, "overwrite": settings.overwrite}
    if is_video(source):
        from unhaze.restore.video.files import restore_video

        how |= {"start": settings.start, "end": settings.end, "encoding": settings.encoding}
        report = restore_video(source, target, restorer=restorer, progress=progress, **how)
        kept = ("the metadata is kept: strip_metadata is for photos",)
        return replace(report, notes=report.notes + kept * settings.output.strip_metadata)
    compare = target.with_name(f"{target.name}.compare.jpg") if settings.compare else None
    how |= {"compare": compare, "save_field": target.parent if settings.save_field else None}
    restorer.restore_file(source, target, output=settings.output, **how)
    return None
