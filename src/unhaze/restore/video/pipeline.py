"""The stages of a video, each in a thread: read, field, apply, write; and the report on them."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from unhaze.errors import UnhazeError, counted
from unhaze.restore.encoding import Encoding
from unhaze.restore.field import apply_field
from unhaze.restore.video.ahead import Ahead, timed
from unhaze.restore.video.declared import missing_bytes
from unhaze.restore.video.temporal import Moment, Steadiness, follow

if TYPE_CHECKING:
    from unhaze.restore.restorer import Restorer
    from unhaze.restore.video.output import Output
    from unhaze.restore.video.reading import Reading

# Seconds by which a file may be shorter than declared without a note; and one that is
# truncated anyway, without a note on its declared duration.
MISSING, SHORT = 1.0, 0.1


@dataclass
class RunState:
    """Counts of the stages of one run. `last`: time at which the last written picture is due;
    `before`: frames of an earlier pass, of `passes`; `begin`: of all, by the system's counter;
    `stretched`: whether the size of the source's frames changes.
    """

    frames: int = 0
    before: int = 0
    passes: int = 1
    begin: float = field(default_factory=time.perf_counter)
    last: float = 0.0
    moment: Moment | None = None
    stretched: bool = False
    stages: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """The arguments of `restore_video`; `part`: its start and end. `opening`: for `open_container`.

    `original`: the source if it is a file, else None, as for a pipe. `name`: in messages.
    """

    source: str | Path | IO[bytes]
    restorer: "Restorer"
    strength: float
    how: Steadiness
    encoding: Encoding
    part: tuple[float | None, float | None]
    reconnect: float
    opening: Mapping[str, Any]
    original: Path | None
    name: str


def pipeline(reading: "Reading", output: "Output", work: Work, state: RunState) -> Ahead:
    """Runs four stages, each in a thread; yields the time of every picture that has been
    written.
    """
    from unhaze.restore.video.output import LARGE
    from unhaze.restore.video.pixels import to_pictures
    from unhaze.restore.video.reading import read
    from unhaze.restore.video.writing import write

    size = reading.size
    frames = _with_sizes_seen(read(reading, output.copies), size, state)
    pictures = to_pictures(
        frames,
        size,
        state.stages,
        in_rgb=work.strength > 0,
        analysis=work.restorer.frame_analysis,
        wanted=_again(reading, output),
    )
    live, large = reading.pace is not None, math.prod(size) > LARGE
    depth = 1 if live or large else 2
    items = Ahead(_said(pictures, work.name), depth)
    if work.strength > 0:
        items = Ahead(_with_maps(items, work, state), depth)
        items = Ahead(_restored(items, work, state.stages), depth)
    return Ahead(write(items, output, reading, state.stages), 8)


def _with_sizes_seen(items: Iterator[Any], size: tuple[int, int], state: RunState) -> Iterator[Any]:
    """Notes in `state` whether frames have another size, which a video cannot have."""
    from av import VideoFrame

    for item in items:
        if isinstance(item, VideoFrame) and (item.width, item.height) != size:
            state.stretched = True
        yield item


def _again(reading: "Reading", output: "Output") -> Callable[[Any], bool]:
    """Returns which frames have to be seen: not those of which an earlier run has kept the
    result.
    """
    from unhaze.restore.video.journal import WARM

    if output.journal is None:
        return lambda frame: True
    begin = output.journal.resumes_at - WARM
    return lambda frame: reading.time_of(frame) >= begin


def _said(pictures: Iterator[Any], source: str) -> Iterator[Any]:
    """Turns PyAV's errors while reading into UnhazeErrors that name the source."""
    from av.error import FFmpegError

    from unhaze.restore.video.reading import reason

    try:
        yield from pictures
    except (FFmpegError, ValueError, OverflowError) as error:
        raise UnhazeError(f"cannot read '{source}': {reason(error)}") from error


def _with_maps(
    items: Ahead, work: Work, state: RunState
) -> Iterator[tuple[Any, np.ndarray | None]]:
    """Yields pictures with the field of each; packets without."""
    from unhaze.restore.video.pixels import Picture, profile_of

    with closing(items):
        for item in items:
            maps = None
            shown = None
            if isinstance(item, Picture):
                shown = item.pixels if item.small is None else item.small
            if shown is not None:
                with timed(state.stages, "field"):
                    shown = shown[..., :3]
                    upright = np.rot90(shown, item.turns)
                    state.moment = follow(
                        state.moment,
                        upright,
                        work.restorer,
                        work.how,
                        grey=item.grey,
                        profile=profile_of(item),
                    )
                    maps = np.rot90(state.moment.field, -item.turns, (-2, -1))
            yield item, maps


def _restored(items: Ahead, work: Work, stages: dict[str, float]) -> Iterator[Any]:
    """Applies each picture's field to its pixels, in place."""
    from unhaze.restore.video.pixels import restore_yuv

    settings = {"strength": work.strength, "threads": work.restorer.threads}
    with closing(items):
        for item, maps in items:
            if maps is not None:
                with timed(stages, "apply"):
                    if item.pixels is None:
                        kind = {"matrix": item.matrix, "full_range": item.full_range}
                        restore_yuv(item.frame, maps, **kind, **settings)
                    else:
                        hazy = item.pixels  # alpha, after the colours, does not change
                        hazy[:] = apply_field(maps, hazy, **settings)
            yield item


@dataclass(frozen=True)
class VideoReport:
    """Report on a restored video. `codec`: as in `codec=`; `copied`: streams copied unchanged.

    `scenes`: separated by cuts; `estimates`: frames that the network saw; `damaged`: places that
    could not be decoded. `stages`: seconds spent in each of read, field, apply, write; these run
    concurrently and add up to more than `seconds`. `notes`: for the user, one line each.
    """

    source: str
    target: str | Path
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


def report_of(
    work: Work,
    target: str | Path,
    reading: "Reading",
    output: "Output",
    state: RunState,
) -> VideoReport:
    """Returns the report on a written result, from the counts of its stages and the errors on the
    way.
    """
    width, height = reading.size
    damage = _damage_notes(reading, state, work.original)
    return VideoReport(
        source=work.name,
        target=target,
        frames=state.frames,
        seconds=time.perf_counter() - state.begin,
        width=width,
        height=height,
        codec=output.codec,
        copied=len(output.copies),
        scenes=state.moment.scenes if state.moment else 0,
        estimates=state.moment.estimates if state.moment else 0,
        damaged=reading.damage.places,
        stages=state.stages,
        notes=(*output.notes, *_resume_note(output), *damage),
    )


def _resume_note(output: "Output") -> tuple[str, ...]:
    kept = 0 if output.journal is None else output.journal.kept
    return (f"reused {counted(kept, 'frame')} of an earlier run",) if kept else ()


def _damage_notes(reading: "Reading", state: RunState, path: Path | None) -> Iterator[str]:
    """`path`: of the source; None if it is not a file, whose duration would be known."""
    damage = reading.damage
    if state.stretched:
        yield "the size of the source's frames changes; all were stretched to that of the first"
    if damage.places:
        yield f"skipped {counted(damage.places, 'damaged place')} in the source"
    if reading.clock.leaps:
        times = counted(reading.clock.leaps, "time")
        yield f"the timestamps of the source jump {times}; parts were joined"
    if reading.clock.wild:
        yield f"ignored {counted(reading.clock.wild, 'invalid timestamp')} of the source"
    if damage.returns:
        yield f"the source was lost {counted(damage.returns, 'time')} and reconnected"
    if reading.pace is not None and reading.pace.left_out:
        yield f"dropped {counted(reading.pace.left_out, 'frame')} that came too late to be restored"
    if damage.end is not None:
        yield f"reading the source ended at {state.last:.1f} s: {damage.end}"
    reached = reading.reached.get(reading.video.index, 0.0)
    missing = 0 if path is None or reached >= (reading.end or math.inf) else missing_bytes(path)
    ends = f"the video ends at {state.last:.1f} s"
    if reading.lacks > (SHORT if missing else MISSING):
        ends += f" of the {reading.duration:.1f} s that the source declares"
    if missing:
        yield f"the source is cut off: at least {missing} declared bytes are missing; {ends}"
    elif reading.lacks > MISSING and damage.end is None:
        yield ends
