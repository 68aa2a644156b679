"""A hazy video file becomes a restored one: read, estimate, apply and write, all at once."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from unhaze.errors import UnhazeError
from unhaze.photo import check_target
from unhaze.restore.encoding import Encoding
from unhaze.restore.field import check_strength
from unhaze.restore.video.ahead import Ahead
from unhaze.restore.video.containers import CONTAINERS, FILE_DEMUXERS
from unhaze.restore.video.declared import missing_bytes
from unhaze.restore.video.frames import (
    ANALYSIS,
    HOLD,
    SMOOTHING,
    check_estimates,
    require_av,
)
from unhaze.restore.video.pipeline import Tally, Work, pipeline
from unhaze.restore.video.target import TargetFile, target_file
from unhaze.restore.video.temporal import Steadiness
from unhaze.scratch import scratch_folder

if TYPE_CHECKING:
    from unhaze.restore.restorer import Restorer
    from unhaze.restore.video.codecs import Chosen
    from unhaze.restore.video.journal import Journal
    from unhaze.restore.video.output import Output
    from unhaze.restore.video.reading import Reading

log = logging.getLogger(__name__)

# Seconds by which a file may be shorter than it says without a word about it; and one that is cut
# off anyway, without a word about how long it was.
MISSING, SHORT = 1.0, 0.1

# Called with frames done, frames in all (None: unknown), seconds since the start.
Progress = Callable[[int, int | None, float], None]


@dataclass(frozen=True)
class VideoReport:
    """What became of a video. `codec`: as in `codec=`; `copied`: streams taken over as they are.

    `scenes`: parted by cuts; `estimates`: frames that the network saw; `damaged`: places that could
    not be decoded. `stages`: seconds spent in each of read, field, apply, write; as they run at
    once, they add up to more than `seconds`. `notes`: what the user should know, one line each.
    """

    source: str
    target: Path
    frames: int
    seconds: float
    width: int
    height: int
    codec: str
    copied: int
    scenes: int
    estimates: int
    damaged: int
    stages: dict[str, float]
    notes: tuple[str, ...]


def restore_video(
    source: str | Path,
    target: str | Path,
    *,
    restorer: "Restorer",
    strength: float = 1.0,
    start: float | None = None,
    end: float | None = None,
    codec: str | None = None,
    encoding: Encoding | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    analysis: int = ANALYSIS,
    smoothing: float = SMOOTHING,
    hold: int = HOLD,
    demuxers: str = FILE_DEMUXERS,
    max_pixels: int | None = None,
) -> VideoReport:
    """Writes `target`, whose suffix names the container, with all that `source` holds but its haze.

    `start`, `end`: seconds; only that part. `codec`: h264, h265, av1, vp9, ffv1 or prores; default:
    as the source, or the nearest. `encoding`: that and all else that can be said of the result.
    `progress`: called with frames done, frames in all or None (of two passes, those of both), and
    seconds. `analysis`: long side of what the network sees, at most the restorer's. `smoothing` in
    [0,1): share of the field kept from frame to frame. `hold`: frames that one estimate may serve.
    `demuxers`, `max_pixels`: what is opened at all, as for `reading.open_container`.
    The target appears whole or not at all; on Ctrl-C what is done becomes name.partial.suffix,
    until a later run ends well, and KeyboardInterrupt goes on. UnhazeError: PyAV is missing,
    `target` exists and not `overwrite`, or is `source`, no video in `source`, or damage that
    nothing can be read behind, a setting out of range, disk full.
    """
    check_strength(strength)
    check_estimates(restorer)
    encoding = encoding or Encoding()
    encoding = encoding if codec is None else replace(encoding, codec=codec)
    how, part = Steadiness(analysis, smoothing, hold), (start, end)
    _check_part(*part)
    work = Work(source, restorer, strength, how, encoding, part, demuxers, max_pixels)
    target = Path(target)
    _check_target(source, target, overwrite)
    require_av("restoring a video")
    report = _restore(work, target, overwrite, progress)
    original, leftover = _local(source), _partial_name(target)
    if original is None or not (leftover.exists() and leftover.samefile(original)):
        leftover.unlink(missing_ok=True)  # of an earlier run: now there is the whole
    return report


def _restore(work: Work, target: Path, overwrite: bool, progress: Progress | None) -> VideoReport:
    """In one pass or two. KeyboardInterrupt, when what is done has been kept."""
    from unhaze.restore.video.output import choose, open_first_pass, open_output

    tally, stopped = Tally(), False
    with (
        scratch_folder("passes") as folder,
        _opened(work) as reading,
        target_file(target, original=_local(work.source), overwrite=overwrite) as file,
    ):
        chosen = choose(reading, target, work.encoding)
        look, tally.passes = folder / "look", chosen.passes
        if chosen.passes == 2:
            with _opened(work) as first:
                seeing = open_first_pass(folder / "null", chosen, first, work.encoding)
                seeing.look = look, 1
                stopped = _convert(first, seeing, work, tally, progress)
        if stopped:
            raise KeyboardInterrupt
        output = open_output(file, target, reading, chosen, work.encoding)
        output.look = (look, 2) if chosen.passes == 2 else None
        output.journal = _journal(work, target, chosen, reading)
        if _convert(reading, output, work, tally, progress):
            _keep_partial(file, target, tally)
            raise KeyboardInterrupt
        report = _report(str(work.source), target, reading, output, tally)
    if output.journal is not None:
        output.journal.remove()
    return report


def _journal(work: Work, target: Path, chosen: "Chosen", reading: "Reading") -> "Journal | None":
    """What is kept of the result of a long file, all of it and in one pass; else None."""
    from unhaze.restore.video.journal import LONG, open_journal

    path, long = _local(work.source), (reading.duration or 0) >= LONG
    if path is None or not long or work.part != (None, None) or chosen.passes == 2:
        return None
    source, model = path.stat(), work.restorer.model.path
    facts = {
        "unhaze": version("unhaze"),
        "av": version("av"),
        "source": [source.st_size, source.st_mtime_ns],
        "model": None if model is None else [Path(model).name, Path(model).stat().st_size],
        "card": str(work.restorer.model.card.get("net")),
        "strength": work.strength,
        "controls": asdict(work.restorer.controls),
        "how": asdict(work.how),
        "analysis": work.restorer.analysis,
        "chosen": chosen.facts(),
        "pixel_format": work.encoding.pixel_format,
    }
    return open_journal(target, facts)


@contextmanager
def _opened(work: Work) -> Iterator["Reading"]:
    """The source, from its beginning or that of the wanted part."""
    from unhaze.restore.video.reading import Reading, find_video, open_container

    limits = {"demuxers": work.demuxers, "max_pixels": work.max_pixels}
    with open_container(work.source, **limits) as container:
        reading = Reading(container, find_video(container, work.source), *work.part)
        reading.video.codec_context.thread_count = work.restorer.threads
        yield reading


def _convert(
    reading: "Reading", output: "Output", work: Work, tally: Tally, progress: Progress | None
) -> bool:
    """Restores the wanted part into `output`; whether it was ended early by Ctrl-C."""
    output.threads = work.restorer.threads
    tally.moment, tally.before, tally.frames = None, tally.before + tally.frames, 0
    return _run(pipeline(reading, output, work, tally), reading, tally, progress)


def _run(written: Ahead, reading: "Reading", tally: Tally, progress: Progress | None) -> bool:
    """Waits for the pipeline; whether it was ended early by Ctrl-C, its file finished all the same.

    A second Ctrl-C does not wait.
    """
    expected = reading.expected_frames
    total = None if expected is None else tally.passes * expected
    with closing(written):
        try:
            for tally.last in written:
                tally.frames += 1
                if progress is not None:
                    done = tally.before + tally.frames
                    progress(done, total, time.perf_counter() - tally.begin)
        except KeyboardInterrupt:
            reading.stop.set()
            for tally.last in written:
                tally.frames += 1
            return True
    return False


def _keep_partial(file: TargetFile, target: Path, tally: Tally) -> None:
    """After Ctrl-C: the part that is done plays, under a name that nobody takes for the whole."""
    if tally.frames:
        name = _partial_name(target)
        file.copy(name)
        log.warning("stopped after %d frames; what is done is '%s'", tally.frames, name)


def _partial_name(target: Path) -> Path:
    return target.with_name(f"{target.stem}.partial{target.suffix}")


def _report(
    source: str,
    target: Path,
    reading: "Reading",
    output: "Output",
    tally: Tally,
) -> VideoReport:
    width, height = reading.size
    damage = _damage_notes(reading, tally, _local(source))
    return VideoReport(
        source=source,
        target=target,
        frames=tally.frames,
        seconds=time.perf_counter() - tally.begin,
        width=width,
        height=height,
        codec=output.codec,
        copied=len(output.copies),
        scenes=tally.moment.scenes if tally.moment else 0,
        estimates=tally.moment.estimates if tally.moment else 0,
        damaged=reading.damage.places,
        stages=tally.stages,
        notes=(*output.notes, *_resume_note(output), *damage),
    )


def _resume_note(output: "Output") -> tuple[str, ...]:
    kept = 0 if output.journal is None else output.journal.kept
    return (f"{kept} frames were there from an earlier run",) if kept else ()


def _damage_notes(reading: "Reading", tally: Tally, path: Path | None) -> Iterator[str]:
    """`path`: of the source, None for a URL, of which nobody knows how long it ought to be."""
    damage = reading.damage
    if damage.places:
        yield f"{damage.places} damaged places in the source were passed over"
    if reading.clock.leaps:
        yield f"the clock of the source leaps {reading.clock.leaps} times; its parts were joined"
    if reading.clock.wild:
        yield f"{reading.clock.wild} times in the source mean nothing; they were passed over"
    if damage.end is not None:
        yield f"reading the source ended at {tally.last:.1f} s: {damage.end}"
    reached = reading.reached.get(reading.video.index, 0.0)
    missing = 0 if path is None or reached >= (reading.end or math.inf) else missing_bytes(path)
    ends = f"the pictures end at {tally.last:.1f} s"
    if reading.lacks > (SHORT if missing else MISSING):
        ends += f" of the {reading.duration:.1f} s that the source claims"
    if missing:
        yield f"the source is cut off, {missing} bytes or more that it declares are missing; {ends}"
    elif reading.lacks > MISSING and damage.end is None:
        yield ends


def _check_part(start: float | None, end: float | None) -> None:
    for name, value in (("start", start), ("end", end)):
        if value is None:
            continue
        if not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise UnhazeError(f"{name} is {value!r}; expected seconds from 0")
    if end is not None and end <= (start or 0):
        raise UnhazeError(f"end is {end:g} s; expected more than the start, {start or 0:g} s")


def _check_target(source: str | Path, target: Path, overwrite: bool) -> None:
    """A target that cannot be is refused before the work, not after it."""
    if target.suffix.lower() not in CONTAINERS:
        known = ", ".join(CONTAINERS)
        raise UnhazeError(f"cannot write videos as '{target.suffix}'; expected one of {known}")
    original = _local(source)
    if original is not None and not original.exists():
        raise UnhazeError(f"no file '{source}'")
    check_target(target, original, overwrite)


def _local(source: str | Path) -> Path | None:
    """The file that the source is; None for a URL."""
    return None if "://" in str(source) else Path(source)
