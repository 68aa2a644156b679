"""Progress output of `unhaze run` and `unhaze batch`, and their handling of Ctrl-C."""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from unhaze.errors import UnhazeError, counted

if TYPE_CHECKING:
    from unhaze.batch import BatchStats, Job, Outcome, Plan, Progress, Work
    from unhaze.cli.options import Given

STOPPING = (
    b"unhaze: stopping: photos at work are finished, a video ends here; Ctrl-C again ends at once\n"
)
TELL_SECONDS = 10.0  # between two lines on progress; on a terminal it is told in place
ERASE = "\r\x1b[K"  # back to the start of the line, and all of it is cleared


@dataclass
class Reporter:
    """Prints outcomes as they come, and the summary.

    files: as `unhaze run` does: each result on stdout, each file in the JSON document; else, as for
    thousands of files, failures and, from time to time, how far it is. place: of the targets.
    """

    given: "Given"
    place: str = ""
    files: bool = False
    cluster: str | None = None
    told: float = 0.0
    entries: list[dict[str, Any]] = field(default_factory=list)

    def report(self, stats: "BatchStats", outcome: "Outcome") -> None:
        """Reports an outcome, after it has been counted."""
        given, done, source = self.given, outcome.state == "done", outcome.job.source
        if self.files and given.as_json:
            self.entries.append(entry(outcome, self.place))
        if self.files:  # the notes of photos are logged
            notes = outcome.video.notes if outcome.video and not given.quiet else ()
        else:
            notes = outcome.notes if given.verbose else ()
        for note in notes:
            say(f"{source}: {note}")
        if self.files and done and not given.as_json:
            click.echo(outcome.job.target)
        aloud = given.verbose or (self.files and not given.quiet)
        if outcome.why or (done and aloud):
            many = self.files and stats.total > 1
            number = f"[{sum(stats.counts.values())}/{stats.total}] " if many else ""
            say(number + (f"error: {outcome.why}" if outcome.why else took(outcome)))
        if given.verbose and (kept := kept_in(outcome, self.place)):
            say(f"{source}: kept {', '.join(kept)}")
        if not self.files and not given.quiet:
            self._print_rate(stats)

    def _print_rate(self, stats: "BatchStats") -> None:
        terminal = sys.stderr.isatty()
        if stats.seconds - self.told >= (0.2 if terminal else TELL_SECONDS):
            self.told = stats.seconds
            line = f"unhaze: {sum(stats.counts.values())} of {stats.total}, {rate(stats)}"
            click.echo((ERASE if terminal else "") + line, err=True, nl=not terminal)

    def summarize(
        self, stats: "BatchStats", stop: threading.Event, passed: Mapping[str, str]
    ) -> int:
        """Prints the summary and returns the exit status. passed: files that are not restored."""
        counts, total, quiet = stats.counts, stats.total, self.given.quiet
        stopped = stop.is_set() and sum(counts.values()) < total
        facts = {"model": self.given.model, "cluster": self.cluster, "stopped": stopped}
        facts |= stats.facts()
        if self.files:
            facts |= {"files": self.entries, "passed_over": passed_over(passed)}
        if self.given.as_json:
            click.echo(json.dumps(facts, indent=2))
        elif not self.files:
            click.echo(stats.manifest)
        if self.files and counts["skipped"] and not quiet:
            say(f"{counts['skipped']} of {total} were already done")
        if self.files and counts["failed"] and total > 1:
            say(f"error: {counts['failed']} of {total} inputs failed")
        if not self.files and (counts["failed"] or not quiet):
            words = ", ".join(f"{counts[state]} {state}" for state in ("done", "skipped", "failed"))
            say(f"{words} of {total} in {stats.seconds:.1f} s: {rate(stats)}")
        if stopped:
            so_far = f"{counts['done'] + counts['skipped']} of {total} are done"
            say(f"stopped; {so_far if self.files else '--resume continues from here'}")
            return 130
        return 1 if counts["failed"] else 0


def print_plan(plan: "Plan", work: "Work", *, as_json: bool) -> int:
    """`--dry-run`: prints SOURCE -> TARGET and what is known of each; nothing is restored or
    written. Returns the exit status, 1 if some inputs would fail.
    """
    entries = [planned(job, "planned", None, work) for job in plan.jobs]
    entries += [planned(each.job, each.state, each.why, work) for each in plan.known]
    for entry in entries:
        words = entry.pop("words")
        if entry["error"]:
            say(f"error: {entry['error']}")
        elif not as_json:
            kept = " (kept)" * (entry["status"] != "planned")
            click.echo(f"{entry['source']} -> {entry['target']}{kept}{words and ': '}{words}")
    if as_json:
        document = {"dry_run": True, "files": entries, "passed_over": passed_over(plan.passed)}
        click.echo(json.dumps(document, indent=2))
    return 1 if any(entry["error"] for entry in entries) else 0


def planned(job: "Job", status: str, error: str | None, work: "Work") -> dict[str, Any]:
    """Returns what would be done to one file, of a video here how."""
    from unhaze.batch import is_video

    source, video = Path(work.source, job.source), None
    if status == "planned" and is_video(source) and source.is_file():
        from unhaze.restore.video.frames import require_av

        require_av("restoring a video")
        from unhaze.restore.video.planned import plan_video

        how = work.settings
        part = {"start": how.start, "end": how.end, "strength": how.strength}
        try:
            video = plan_video(source, job.target, encoding=how.encoding, **part)
        except UnhazeError as failure:
            status, error = "failed", f"'{job.source}': {failure}"
    return {
        "source": job.source,
        "target": None if error else job.target,
        "status": status,
        "error": error,
        "words": "" if video is None else str(video),
        "video": None if video is None else video.facts(),
    }


def passed_over(passed: Mapping[str, str]) -> list[dict[str, str]]:
    """Returns the JSON entries of files that are not restored."""
    return [{"source": path, "reason": why} for path, why in passed.items()]


def took(outcome: "Outcome") -> str:
    """The source, how long it took, and for a video how many frames it had."""
    said = f"{outcome.job.source}: {outcome.seconds:.2f} s"
    if outcome.video is None:
        return said
    frames = outcome.video.frames
    return f"{said}, {counted(frames, 'frame')}, {frames / outcome.seconds:.1f} frames/s"


def rate(stats: "BatchStats") -> str:
    """Files and megapixels a second."""
    facts = stats.facts()
    files, pixels = facts["files_per_second"], facts["megapixels_per_second"]
    return f"{files:.1f} files/s, {pixels:.1f} megapixels/s"


def entry(outcome: "Outcome", place: str) -> dict[str, Any]:
    """Returns the JSON entry of a file."""
    facts = {
        "source": outcome.job.source,
        "target": None if outcome.why else outcome.job.target,
        "status": outcome.state,
        "seconds": round(outcome.seconds, 3),
        "error": outcome.why,
        "notes": list(outcome.notes),
        "kept": kept_in(outcome, place),
    }
    if outcome.video is not None:
        video = asdict(outcome.video)
        facts["video"] = {key: video[key] for key in video if key not in ("source", "target")}
    return facts


def kept_in(outcome: "Outcome", place: str) -> list[str]:
    """Returns in words what a photo that was written here holds: size, depth, metadata."""
    from unhaze import photo

    target = Path(place, outcome.job.target)
    if outcome.state == "done" and outcome.video is None and target.is_file():
        with contextlib.suppress(UnhazeError), photo.open_photo(target) as opened:
            return opened.words()
    return []


def say(message: str) -> None:
    """One line on stderr, over what is left of a video's progress."""
    erase = ERASE if sys.stderr.isatty() else ""
    click.echo(f"{erase}unhaze: {' '.join(message.splitlines())}", err=True)


def follow_video(source: Path) -> "Progress":
    """Returns a progress callback for stderr: in place on a terminal, else every ten seconds."""
    terminal = sys.stderr.isatty()
    name = " ".join(source.name.splitlines())
    told = 0.0

    def progress(frames: int, total: int | None, seconds: float) -> None:
        nonlocal told
        if seconds - told < (0.2 if terminal else TELL_SECONDS):
            return
        told = seconds
        rate = frames / seconds
        line = f"unhaze: {name}: frame {frames}, {rate:.1f} frames/s"
        if total is not None and total >= frames:
            left = round((total - frames) / rate)
            line += f", {100 * frames // total} %, {left // 60}:{left % 60:02} left"
        click.echo((ERASE if terminal else "") + line, err=True, nl=not terminal)

    return progress


@contextlib.contextmanager
def stopped_by(*signals: signal.Signals) -> Iterator[threading.Event]:
    """An event that the first of `signals` sets and nothing else; the second ends the program.

    No exception is raised: it could come anywhere, also inside a call back from libvips, where it
    would be printed and lost.
    """
    stop = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        stop.set()
        # Not by way of sys.stderr, which may be at work just now. A terminal has printed ^C before.
        os.write(2, b"\n" * os.isatty(2) + STOPPING)
        for each in signals:
            signal.signal(each, signal.SIG_DFL)

    before = {each: signal.getsignal(each) for each in signals}
    for each, handler in before.items():
        if handler is not signal.SIG_IGN:  # as in a background job, which ignores Ctrl-C
            signal.signal(each, note)
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
