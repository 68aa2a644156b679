"""Progress output of `unhaze run` and `unhaze batch`, and their handling of Ctrl-C."""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from unhaze.batch import FileResult, Progress
    from unhaze.restore.video import VideoReport

STOPPING = b"unhaze: stopping when the photos at work are done; Ctrl-C again ends at once\n"
ERASE = "\r\x1b[K"  # back to the start of the line, and all of it is cleared


@dataclass(frozen=True)
class Told:
    """Verbosity of the report. passed: files of folders that are not restored, each with why."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    passed: Mapping[Path, str] = field(default_factory=dict)


def report(
    results: "Iterator[FileResult]", total: int, model: str, stop: threading.Event, told: Told
) -> int:
    """Reports each result as soon as it is known; returns the exit status."""
    start = time.perf_counter()
    entries, counts = [], Counter(done=0, skipped=0, failed=0)
    for number, result in enumerate(results, start=1):
        became = "failed" if result.error else "skipped" if result.skipped else "done"
        counts[became] += 1
        entries.append(entry(result, became))
        if not told.quiet:
            for note in result.video.notes if result.video else ():
                say(f"{result.source}: {note}")
        if became == "done" and not told.as_json:
            click.echo(result.target)
        if became == "failed" or (became == "done" and not told.quiet):
            said = f"error: {result.error}" if result.error else took(result)
            say((f"[{number}/{total}] " if total > 1 else "") + said)
        if told.verbose and became == "done" and entries[-1]["kept"]:
            say(f"{result.source}: kept {', '.join(entries[-1]['kept'])}")
    seconds = time.perf_counter() - start
    stopped = stop.is_set() and len(entries) < total
    if told.as_json:
        facts = {"model": model, "inputs": total} | counts
        facts |= {"stopped": stopped, "seconds": round(seconds, 3), "files": entries}
        click.echo(json.dumps(facts | {"passed_over": passed_over(told.passed)}, indent=2))
    if counts["skipped"] and not told.quiet:
        say(f"{counts['skipped']} of {total} were done before")
    if counts["failed"] and total > 1:
        say(f"error: {counts['failed']} of {total} inputs failed")
    if stopped:
        say(f"stopped; {counts['done'] + counts['skipped']} of {total} are done")
        return 130
    return 1 if counts["failed"] else 0


def passed_over(passed: Mapping[Path, str]) -> list[dict[str, str]]:
    """Returns the JSON entries of files that are not restored."""
    return [{"source": str(path), "reason": why} for path, why in passed.items()]


def took(result: "FileResult") -> str:
    """The source, how long it took, and for a video how many frames it had."""
    said = f"{result.source}: {result.seconds:.2f} s"
    if result.video is None:
        return said
    rate = result.video.frames / result.seconds
    return f"{said}, {result.video.frames} frames, {rate:.1f} frames/s"


def entry(result: "FileResult", became: str) -> dict[str, Any]:
    """Returns the JSON entry of a file."""
    video = {} if result.video is None else {"video": facts_of(result.video)}
    return {
        "source": str(result.source),
        "target": None if result.error else str(result.target),
        "status": became,
        "seconds": round(result.seconds, 3),
        "error": result.error,
        "notes": list(result.notes),
        "kept": kept_in(result) if became == "done" and result.video is None else [],
    } | video


def kept_in(result: "FileResult") -> list[str]:
    """Returns in words what a written photo holds: size, depth, metadata."""
    from unhaze import photo
    from unhaze.errors import UnhazeError

    with contextlib.suppress(UnhazeError), photo.open_photo(result.target) as opened:
        return opened.words()
    return []


def say(message: str) -> None:
    """One line on stderr, over what is left of a video's progress."""
    erase = ERASE if sys.stderr.isatty() else ""
    click.echo(f"{erase}unhaze: {' '.join(message.splitlines())}", err=True)


def facts_of(video: "VideoReport") -> dict[str, Any]:
    """Returns the fields of a video's report without the two paths, which the entry has."""
    return {key: value for key, value in asdict(video).items() if key not in ("source", "target")}


def follow_video(source: Path) -> "Progress":
    """Returns a progress callback for stderr: in place on a terminal, else every ten seconds."""
    terminal = sys.stderr.isatty()
    name = " ".join(source.name.splitlines())
    told = 0.0

    def progress(frames: int, total: int | None, seconds: float) -> None:
        nonlocal told
        if seconds - told < (0.2 if terminal else 10):
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
        if handler is not signal.SIG_IGN:  # whoever starts this in the background wants no Ctrl-C
            signal.signal(each, note)
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
