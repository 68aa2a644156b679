"""Restores a video file: reading, estimating, applying and writing run concurrently."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from unhaze.atomic import check_target
from unhaze.errors import UnhazeError, counted
from unhaze.extras import explain_missing
from unhaze.restore.encoding import Encoding
from unhaze.restore.field import check_strength
from unhaze.restore.video.ahead import Ahead
from unhaze.restore.video.containers import CONTAINERS, FILE_DEMUXERS
from unhaze.restore.video.pipeline import RunState, VideoReport, Work, pipeline, report_of
from unhaze.restore.video.streams import (
    RECONNECT,
    Pace,
    Piped,
    Sink,
    is_live,
    name_of,
    opening_options,
    readable,
    scheme_of,
    sink_of,
)
from unhaze.restore.video.temporal import HOLD, SMOOTHING, Steadiness, check_estimates
from unhaze.scratch import scratch_folder

if TYPE_CHECKING:
    from unhaze.restore.restorer import Restorer
    from unhaze.restore.video.codecs import Chosen
    from unhaze.restore.video.journal import Journal
    from unhaze.restore.video.output import Output
    from unhaze.restore.video.reading import Reading
    from unhaze.restore.video.writing import TargetFile

log = logging.getLogger(__name__)

STOPPED = "stopped by Ctrl-C; the result ends there"
# Called with frames done, total frames (None: unknown), seconds since the start.
Progress = Callable[[int, int | None, float], None]


def restore_video(
    source: str | Path | IO[bytes],
    target: str | Path | IO[bytes],
    *,
    restorer: "Restorer",
    strength: float = 1.0,
    start: float | None = None,
    end: float | None = None,
    codec: str | None = None,
    encoding: Encoding | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    smoothing: float = SMOOTHING,
    hold: int = HOLD,
    demuxers: str = FILE_DEMUXERS,
    max_pixels: int | None = None,
    container: str | None = None,
    reconnect: float = RECONNECT,
) -> VideoReport:
    """Writes the restored video to `target`, whose suffix selects the container; everything else is
    kept.

    Both may be an open binary file, such as a pipe, or a URL (docs/use.md#streams); such a target
    gets `container` (matroska, mpegts, y4m, flv; default: as the source), and each frame at once. A
    lost live source, such as rtsp://, is reconnected for `reconnect` seconds; frames that come too
    late are dropped.
    `start`, `end`: seconds; only that part. `codec`: of `encoding.CODEC_NAMES`; default: as the
    source, or the nearest. `encoding`: codec and all other settings of the result. `progress`:
    called with frames done, total frames or None (for two passes, of both), and seconds.
    `smoothing` in [0,1): share of the field kept from frame to frame. `hold`: frames that one
    estimate may serve. The long side of the network's input is `restorer.frame_analysis`.
    `demuxers`, `max_pixels`: limits of what is opened, as for `reading.open_container`.
    The target is complete or absent. On Ctrl-C the part done becomes name.partial.suffix, until a
    later run succeeds, and KeyboardInterrupt is raised. UnhazeError: PyAV is missing, `target`
    exists without `overwrite` or is `source`, no video in `source`, damage behind which nothing can
    be read, a setting out of range, disk full.
    """
    encoding = encoding or Encoding()
    encoding = encoding if codec is None else replace(encoding, codec=codec)
    limits: dict[str, Any] = {"demuxers": demuxers, "max_pixels": max_pixels}
    if isinstance(source, str) and scheme_of(source) is None:
        source = Path(source)
    original = source if isinstance(source, Path) else None
    if original is not None and not original.exists():
        raise UnhazeError(f"no file '{source}'")
    return restore_opened(
        source,
        target,
        limits if original else limits | opening_options(source),
        restorer=restorer,
        strength=strength,
        part=(start, end),
        encoding=encoding,
        overwrite=overwrite,
        progress=progress,
        how=Steadiness(smoothing, hold),
        container=container,
        reconnect=reconnect,
        original=original,
    )


def restore_opened(
    source: str | Path | IO[bytes],
    target: str | Path | IO[bytes],
    opening: Mapping[str, Any],
    *,
    restorer: "Restorer",
    strength: float,
    part: tuple[float | None, float | None],
    encoding: Encoding,
    overwrite: bool,
    progress: Progress | None,
    how: Steadiness,
    container: str | None = None,
    reconnect: float = 0.0,
    original: Path | None = None,
    name: str | None = None,
) -> VideoReport:
    """`restore_video` for what `open_container` opens by `opening`; `original`: if it is a file."""
    check_strength(strength)
    check_estimates(restorer)
    _check_part(*part)
    is_file = isinstance(target, Path) and container is None
    sink = None if is_file else sink_of(target, container)
    name = name or str(original or name_of(source))
    ways = (reconnect, opening, original, name)
    work = Work(source, restorer, strength, how, encoding, part, *ways)
    target = Path(target if isinstance(target, str | Path) else "-")
    if sink is None:
        _check_target(original, target, overwrite)
    try:
        if sink is not None:
            return _pass_on(work, sink, progress)
        report = _restore(work, target, overwrite, progress)
    except ModuleNotFoundError as error:
        raise explain_missing(error, "restoring a video") or error from error
    leftover = _partial_name(target)
    if not _is_original(leftover, original):
        leftover.unlink(missing_ok=True)  # of an earlier run: now the whole is complete
    return report


def _restore(work: Work, target: Path, overwrite: bool, progress: Progress | None) -> VideoReport:
    """Runs one pass or two. KeyboardInterrupt: after keeping the part that is done."""
    from unhaze.restore.video.output import choose, open_output
    from unhaze.restore.video.writing import target_file

    state = RunState()
    with (
        ExitStack() as stack,
        _opened(work) as reading,
        target_file(target, original=work.original, overwrite=overwrite) as file,
    ):
        chosen = choose(reading, target, work.encoding, strength=work.strength)
        _check_passes(work, chosen)
        look, state.passes = None, chosen.passes
        if chosen.passes == 2:
            look = stack.enter_context(scratch_folder("passes")) / "look"
            if _look(look, chosen, work, state, progress):
                raise KeyboardInterrupt
        output = open_output(file, target, reading, chosen, work.encoding)
        output.look = look and (look, 2)
        output.journal = file.journal = _journal(work, target, chosen, reading)
        if output.journal is not None:
            stack.enter_context(output.journal.file)
        if _convert(reading, output, work, state, progress):
            if not reading.endless:
                _keep_partial(file, target, state, work.original)
                raise KeyboardInterrupt
            output.notes.append(STOPPED)
        report = report_of(work, target, reading, output, state)
    if output.journal is not None:
        output.journal.remove()
    return report


def _look(
    look: Path, chosen: "Chosen", work: Work, state: RunState, progress: Progress | None
) -> bool:
    """Runs the first of two passes; returns whether Ctrl-C ended it early.

    The statistics are in the file `look` when the encoder has been freed; nothing keeps a reference
    to it.
    """
    from unhaze.restore.video.output import open_first_pass

    with _opened(work) as reading:
        output = open_first_pass(look.with_name("null"), chosen, reading, work.encoding)
        output.look = look, 1
        return _convert(reading, output, work, state, progress)


def _pass_on(work: Work, sink: Sink, progress: Progress | None) -> VideoReport:
    """Writes to a target that is not a file: each frame is sent as soon as it is encoded."""
    from unhaze.restore.video.output import choose, open_output

    state = RunState()
    with _opened(work) as reading, sink.opened() as file:
        name = sink.name_for(reading.container.format.name)
        chosen = choose(reading, name, work.encoding, strength=work.strength)
        if chosen.passes == 2:
            raise UnhazeError(
                "target_size requires two passes, so the target must be a file; give a bitrate"
            )
        output = open_output(file, name, reading, chosen, work.encoding, sink=sink)
        if _convert(reading, output, work, state, progress):
            output.notes.append(STOPPED)
        return report_of(work, name_of(sink.to), reading, output, state)


def _check_passes(work: Work, chosen: "Chosen") -> None:
    """Raises UnhazeError for two passes over a source that cannot be read twice."""
    if chosen.passes == 2 and work.original is None:
        raise UnhazeError("target_size requires two passes, so the source must be a file")


def _journal(work: Work, target: Path, chosen: "Chosen", reading: "Reading") -> "Journal | None":
    """Returns the journal of a long file, if all of it is restored in one pass; else None."""
    from importlib.metadata import version

    from unhaze.restore.video.journal import LONG, open_journal

    path, long = work.original, (reading.duration or 0) >= LONG
    if path is None or not long or work.part != (None, None) or chosen.passes == 2:
        return None
    card, model = work.restorer.model.card, work.restorer.model.path
    facts = {
        "unhaze": version("unhaze"),
        "av": version("av"),
        "source": _version_of(path),
        "model": None if model is None else [Path(model).name, *_version_of(Path(model))],
        "card": [str(card.get("net")), str(card.get("arguments"))],
        "strength": work.strength,
        "controls": asdict(work.restorer.controls),
        "how": asdict(work.how),
        "analysis": work.restorer.frame_analysis,
        "chosen": chosen.facts(),
        "pixel_format": work.encoding.pixel_format,
    }
    return open_journal(target, facts)


def _version_of(path: Path) -> tuple[int, int]:
    """Returns what changes when a file is written anew."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


@contextmanager
def _opened(work: Work) -> Iterator["Reading"]:
    """Opens the source, at its beginning or at that of the wanted part."""
    from unhaze.restore.video.reading import Reading, find_video, open_container

    with open_container(work.source, **work.opening) as container:
        video = find_video(container, work.source)
        live = isinstance(work.source, str) and is_live(work.source, container)
        again = partial(open_container, work.source, **work.opening)
        piped = not isinstance(work.source, str | Path) and isinstance(readable(work.source), Piped)
        reading = Reading(
            container,
            video,
            *work.part,
            pace=Pace() if live else None,
            reopen=again if live else None,
            patience=work.reconnect,
            piped=piped,
        )
        reading.video.codec_context.thread_count = work.restorer.threads
        if live:  # each frame thread delays one frame
            reading.video.thread_type = "SLICE"
        yield reading


def _convert(
    reading: "Reading", output: "Output", work: Work, state: RunState, progress: Progress | None
) -> bool:
    """Restores the wanted part into `output`; returns whether Ctrl-C ended it early."""
    output.threads = work.restorer.threads
    state.moment, state.before, state.frames = None, state.before + state.frames, 0
    return _run(pipeline(reading, output, work, state), reading, state, progress)


def _run(written: Ahead, reading: "Reading", state: RunState, progress: Progress | None) -> bool:
    """Waits for the pipeline; returns whether Ctrl-C ended it early, with its file finished.

    A second Ctrl-C does not wait.
    """
    expected = reading.expected_frames
    total = None if expected is None else state.passes * expected
    with closing(written):
        try:
            for state.last in written:
                state.frames += 1
                if progress is not None:
                    done = state.before + state.frames
                    progress(done, total, time.perf_counter() - state.begin)
        except KeyboardInterrupt:
            reading.stop.set()
            for state.last in written:
                state.frames += 1
            return True
    return False


def _keep_partial(file: "TargetFile", target: Path, state: RunState, original: Path | None) -> None:
    """After Ctrl-C, keeps the playable part under a name that shows that it is not the whole."""
    name = _partial_name(target)
    if state.frames and not _is_original(name, original):
        file.copy(name, original)
        log.warning("stopped after %s; they are in '%s'", counted(state.frames, "frame"), name)


def _partial_name(target: Path) -> Path:
    return target.with_name(f"{target.stem}.partial{target.suffix}")


def _is_original(path: Path, original: Path | None) -> bool:
    return original is not None and path.exists() and path.samefile(original)


def _check_part(start: float | None, end: float | None) -> None:
    for name, value in (("start", start), ("end", end)):
        if value is None:
            continue
        if not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise UnhazeError(f"{name} is {value!r}; expected seconds from 0")
    if end is not None and end <= (start or 0):
        raise UnhazeError(f"end is {end:g} s; expected more than the start, {start or 0:g} s")


def _check_target(original: Path | None, target: Path, overwrite: bool) -> None:
    """Raises errors about the target before the work, not after it."""
    if target.suffix.lower() not in CONTAINERS:
        known = ", ".join(CONTAINERS)
        raise UnhazeError(f"cannot write videos as '{target.suffix}'; expected one of {known}")
    check_target(target, original, overwrite)
