"""Runs one job: the file is restored, was done before, or has failed."""

import errno
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unhaze.batch.plan import FileJob, is_video
from unhaze.errors import UnhazeError, printable
from unhaze.outputs import AS_SOURCE, Output
from unhaze.photo.notes import noted
from unhaze.restore.controls import AS_MODEL, Controls
from unhaze.restore.encoding import Encoding
from unhaze.restore.restorer import Restorer

if TYPE_CHECKING:
    from unhaze.restore.video import VideoReport

logger = logging.getLogger(__name__)

# What a video tells of itself after each frame: frames done, frames in all if known, seconds.
Progress = Callable[[int, int | None, float], None]

# Errors of disks on a network and of busy systems that another attempt may not meet.
PASSING = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}
PASSING |= {errno.ECONNABORTED, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH}
PASSING |= {errno.EMFILE, errno.ENFILE, errno.ENETDOWN, errno.ENETUNREACH}


class TargetExists(UnhazeError):
    """A result is in the way; whoever asked knows how to say that it may be replaced."""


@dataclass(frozen=True)
class Settings:
    """Settings for each file; the model belongs to the Restorer.

    strength: 0 (no change) to 1. overwrite: targets that exist are replaced. resume: targets that
    exist and are not older than their source are kept and count as done. compare, save_field:
    photos get pictures for the curious beside the target. Of videos, start, end: seconds; encoding:
    how they are written; analysis: long side of what the network sees (default: restore_video's).
    output: how photos are written. controls: what a person wants otherwise than the model.
    """

    strength: float = 1.0
    overwrite: bool = False
    resume: bool = False
    compare: bool = False
    save_field: bool = False
    start: float | None = None
    end: float | None = None
    encoding: Encoding = Encoding()
    analysis: int | None = None
    output: Output = AS_SOURCE
    controls: Controls = AS_MODEL


@dataclass(frozen=True)
class FileResult:
    """The outcome of a job. error: one line, or None when `target` is written, now or before.

    skipped: it was there before and `Settings.resume` was set. video: what is known of a video.
    notes: what was left out or converted, one line each.
    passing: whether the error may be gone at another attempt.
    """

    source: Path
    target: Path
    seconds: float
    error: str | None = None
    skipped: bool = False
    video: "VideoReport | None" = None
    passing: bool = False
    notes: tuple[str, ...] = ()


def restore_job(
    job: FileJob, restorer: Restorer, settings: Settings, *, progress: Progress | None = None
) -> FileResult:
    """Does one job. What the user can mend ends in the result; targets appear whole or not at all.

    `progress` hears of a video's frames; what it raises ends the work, and comes out here.
    """
    start = time.perf_counter()
    error, video, passing = job.problem, None, False
    skipped = error is None and settings.resume and is_done(job)
    notes: list[str] = []
    if error is None and not skipped:
        try:
            with noted(job.source) as notes:
                video = restore_file(job, restorer, settings, progress)
        except UnhazeError as failure:
            named = any(printable(name) in str(failure) for name in (job.source, job.target))
            error = str(failure) if named else f"'{job.source}': {failure}"
            error += "; --overwrite replaces it" if isinstance(failure, TargetExists) else ""
            passing = may_pass(failure.__cause__)
            if settings.resume and f"'{printable(job.target)}'" in error and is_done(job):
                skipped, error = True, None  # another process was faster
        except OSError as failure:
            error = f"'{failure.filename or job.target}': {failure.strerror or failure}"
            passing = may_pass(failure)
        except MemoryError:
            error = f"'{job.source}': not enough memory"
    seconds = time.perf_counter() - start
    said = (*notes, *(video.notes if video else ()))
    return FileResult(job.source, job.target, seconds, error, skipped, video, passing, said)


def fault_of(job: FileJob, fault: BaseException, seconds: float) -> FileResult:
    """The result of a job that ended in what nobody expects; where it happened goes to the log."""
    logger.info("'%s': an unexpected fault", job.source, exc_info=fault)
    return FileResult(job.source, job.target, seconds, f"'{job.source}': {told(fault)}")


def told(fault: BaseException) -> str:
    """A fault of this program in one line."""
    words = " ".join(str(fault).split())
    return f"unexpected {type(fault).__name__}: {words} (UNHAZE_LOG=INFO shows where)"


def may_pass(failure: BaseException | None) -> bool:
    """Returns whether a retry may succeed."""
    return isinstance(failure, OSError) and failure.errno in PASSING


def is_done(job: FileJob) -> bool:
    """Returns whether the target was made from the current source: it exists and is not older.

    It needs no look inside, because targets appear whole or not at all. A date in the future, as
    of a camera whose clock is wrong, tells nothing: the source is then as old as its entry in the
    file system.
    """
    try:
        made, source = job.target.stat().st_mtime, job.source.stat()
    except OSError:
        return False
    dates = (source.st_mtime, source.st_ctime)
    return made >= next((date for date in dates if date <= time.time()), 0.0)


def restore_file(
    job: FileJob, restorer: Restorer, settings: Settings, progress: Progress | None = None
) -> "VideoReport | None":
    """Writes `job.target`. UnhazeError, before any work, for a target that must stay."""
    if job.problem is not None:
        raise UnhazeError(job.problem)
    if job.target.exists() and not settings.overwrite:
        older = " and is older than its source" if settings.resume else ""
        raise TargetExists(f"'{job.target}' exists{older}")
    restorer = restorer.controlled(settings.controls)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    if is_video(job.source):
        from unhaze.restore.video import restore_video

        analysis: dict[str, Any] = {}
        if settings.analysis is not None:
            analysis["analysis"] = settings.analysis
        return restore_video(
            job.source,
            job.target,
            restorer=restorer,
            strength=settings.strength,
            start=settings.start,
            end=settings.end,
            encoding=settings.encoding,
            overwrite=settings.overwrite,
            progress=progress,
            **analysis,
        )
    restorer.restore_file(
        job.source,
        job.target,
        strength=settings.strength,
        overwrite=settings.overwrite,
        compare=job.target.with_name(f"{job.target.name}.compare.jpg")
        if settings.compare
        else None,
        save_field=job.target.parent if settings.save_field else None,
        output=settings.output,
    )
    return None
