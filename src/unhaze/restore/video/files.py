"""A hazy video file becomes a restored one: read, estimate, apply and write, all at once."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.photo import check_target
from unhaze.restore.field import apply_field, check_strength
from unhaze.restore.video.ahead import Ahead, timed
from unhaze.restore.video.containers import CONTAINERS, FILE_DEMUXERS
from unhaze.restore.video.frames import (
    ANALYSIS,
    HOLD,
    SMOOTHING,
    check_estimates,
    follow,
    require_av,
)
from unhaze.restore.video.target import TargetFile, target_file
from unhaze.restore.video.temporal import Moment, Steadiness

if TYPE_CHECKING:
    from unhaze.restore.restorer import Restorer
    from unhaze.restore.video.reading import Reading
    from unhaze.restore.video.writing import Output

log = logging.getLogger(__name__)

MISSING = 1.0  # seconds by which a file may be shorter than it says without a word about it

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


@dataclass
class Tally:
    """What the stages of one run count. `last`: time at which the last written picture is due."""

    frames: int = 0
    last: float = 0.0
    moment: Moment | None = None
    stages: dict[str, float] = field(default_factory=dict)


def restore_video(
    source: str | Path,
    target: str | Path,
    *,
    restorer: "Restorer",
    strength: float = 1.0,
    start: float | None = None,
    end: float | None = None,
    codec: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    analysis: int = ANALYSIS,
    smoothing: float = SMOOTHING,
    hold: int = HOLD,
    demuxers: str = FILE_DEMUXERS,
    max_pixels: int | None = None,
) -> VideoReport:
    """Writes `target`, whose suffix names the container, with all that `source` holds but its haze.

    `start`, `end`: seconds; only that part. `codec`: h264, h265, av1, ffv1 or prores; default: as
    the source, or the nearest. `progress`: called with frames done, frames in all or None, and
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
    how = Steadiness(analysis, smoothing, hold)
    _check_part(start, end)
    target = Path(target)
    _check_target(source, target, overwrite)
    require_av("restoring a video")
    from unhaze.restore.video.reading import Reading, find_video, open_container
    from unhaze.restore.video.writing import open_output

    begin = time.perf_counter()
    original = _local(source)
    with (
        open_container(source, demuxers=demuxers, max_pixels=max_pixels) as container,
        target_file(target, original=original, overwrite=overwrite) as file,
    ):
        reading = Reading(container, find_video(container, source), start, end)
        output = open_output(file, target, reading, codec)
        tally = Tally()
        written = _pipeline(reading, output, restorer, strength, how, tally, str(source))
        if _run(written, reading, tally, begin, progress):
            _keep_partial(file, target, tally)
            raise KeyboardInterrupt
        report = _report(str(source), target, reading, output, tally, time.perf_counter() - begin)
    leftover = _partial_name(target)
    if original is None or not (leftover.exists() and leftover.samefile(original)):
        leftover.unlink(missing_ok=True)  # of an earlier run: now there is the whole
    return report


def _pipeline(
    reading: "Reading",
    output: "Output",
    restorer: "Restorer",
    strength: float,
    how: Steadiness,
    tally: Tally,
    source: str,
) -> Ahead:
    """Four stages, each in a thread; yields the time of every picture that has been written."""
    from unhaze.restore.video.pixels import to_pictures
    from unhaze.restore.video.reading import read
    from unhaze.restore.video.writing import write

    frames = read(reading, output.copies)
    pictures = to_pictures(frames, reading.size, tally.stages, in_rgb=strength > 0)
    items = Ahead(_said(pictures, source))
    if strength > 0:
        items = Ahead(_with_maps(items, restorer, how, tally))
        items = Ahead(_restored(items, strength, restorer.threads, tally.stages))
    return Ahead(write(items, output, reading, tally.stages), 8)


def _said(pictures: Iterator[Any], source: str) -> Iterator[Any]:
    """What PyAV raises while it reads is a UnhazeError that names the source."""
    from av import FFmpegError

    from unhaze.restore.video.reading import reason

    try:
        yield from pictures
    except (FFmpegError, ValueError, OverflowError) as error:
        raise UnhazeError(f"cannot read '{source}': {reason(error)}") from error


def _with_maps(
    items: Ahead, restorer: "Restorer", how: Steadiness, tally: Tally
) -> Iterator[tuple[Any, np.ndarray | None]]:
    """Pictures with the field of each; packets without."""
    from unhaze.restore.video.pixels import Picture

    with closing(items):
        for item in items:
            maps = None
            if isinstance(item, Picture):
                with timed(tally.stages, "field"):
                    upright = np.rot90(item.pixels[..., :3], item.turns)
                    tally.moment = follow(tally.moment, upright, restorer, how, grey=item.grey)
                    maps = np.rot90(tally.moment.maps, -item.turns, (-2, -1))
            yield item, maps


def _restored(
    items: Ahead, strength: float, threads: int, stages: dict[str, float]
) -> Iterator[Any]:
    """Applies each picture's field to its pixels, in place."""
    with closing(items):
        for item, maps in items:
            if maps is not None:
                with timed(stages, "apply"):
                    hazy = item.pixels  # alpha, behind the colours, stays
                    hazy[:] = apply_field(maps, hazy, strength=strength, threads=threads)
            yield item


def _run(
    written: Ahead, reading: "Reading", tally: Tally, begin: float, progress: Progress | None
) -> bool:
    """Waits for the pipeline; whether it was ended early by Ctrl-C, its file finished all the same.

    A second Ctrl-C does not wait.
    """
    total = reading.expected_frames
    with closing(written):
        try:
            for tally.last in written:
                tally.frames += 1
                if progress is not None:
                    progress(tally.frames, total, time.perf_counter() - begin)
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
    seconds: float,
) -> VideoReport:
    width, height = reading.size
    return VideoReport(
        source=source,
        target=target,
        frames=tally.frames,
        seconds=seconds,
        width=width,
        height=height,
        codec=output.codec,
        copied=len(output.copies),
        scenes=tally.moment.scenes if tally.moment else 0,
        estimates=tally.moment.estimates if tally.moment else 0,
        damaged=reading.damage.places,
        stages=tally.stages,
        notes=(*output.notes, *_damage_notes(reading, tally)),
    )


def _damage_notes(reading: "Reading", tally: Tally) -> Iterator[str]:
    damage, wanted = reading.damage, reading.duration
    if damage.places:
        yield f"{damage.places} damaged places in the source were passed over"
    if reading.clock.leaps:
        yield f"the clock of the source leaps {reading.clock.leaps} times; its parts were joined"
    if damage.end is not None:
        yield f"reading the source ended at {tally.last:.1f} s: {damage.end}"
    elif reading.end is None and wanted is not None and tally.last < wanted - MISSING:
        yield f"the pictures end at {tally.last:.1f} s of the {wanted:.1f} s that the source claims"


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
