"""The stages of a video, each in a thread, with short queues between: read, field, apply, write."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.restore.encoding import Encoding
from unhaze.restore.field import apply_field
from unhaze.restore.video.ahead import Ahead, timed
from unhaze.restore.video.frames import follow
from unhaze.restore.video.temporal import Moment, Steadiness

if TYPE_CHECKING:
    from unhaze.restore.restorer import Restorer
    from unhaze.restore.video.output import Output
    from unhaze.restore.video.reading import Reading


@dataclass
class Tally:
    """Counts of the stages of one run. `last`: time at which the last written picture is due;
    `before`: frames of an earlier pass, of `passes`; `begin`: of all, by the system's counter.
    """

    frames: int = 0
    before: int = 0
    passes: int = 1
    begin: float = field(default_factory=time.perf_counter)
    last: float = 0.0
    moment: Moment | None = None
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


def pipeline(reading: "Reading", output: "Output", work: Work, tally: Tally) -> Ahead:
    """Runs four stages, each in a thread; yields the time of every picture that has been
    written.
    """
    from unhaze.restore.video.output import LARGE
    from unhaze.restore.video.pixels import to_pictures
    from unhaze.restore.video.reading import read
    from unhaze.restore.video.writing import write

    frames = read(reading, output.copies)
    pictures = to_pictures(
        frames,
        reading.size,
        tally.stages,
        in_rgb=work.strength > 0,
        analysis=work.restorer.frame_analysis,
        wanted=_again(reading, output),
    )
    live, large = reading.pace is not None, math.prod(reading.size) > LARGE
    depth = 1 if live or large else 2
    items = Ahead(_said(pictures, work.name), depth)
    if work.strength > 0:
        items = Ahead(_with_maps(items, work, tally), depth)
        items = Ahead(_restored(items, work, tally.stages), depth)
    return Ahead(write(items, output, reading, tally.stages), 8)


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


def _with_maps(items: Ahead, work: Work, tally: Tally) -> Iterator[tuple[Any, np.ndarray | None]]:
    """Yields pictures with the field of each; packets without."""
    from unhaze.restore.video.pixels import Picture, profile_of

    with closing(items):
        for item in items:
            maps = None
            shown = None
            if isinstance(item, Picture):
                shown = item.pixels if item.small is None else item.small
            if shown is not None:
                with timed(tally.stages, "field"):
                    shown = shown[..., :3]
                    upright = np.rot90(shown, item.turns)
                    tally.moment = follow(
                        tally.moment,
                        upright,
                        work.restorer,
                        work.how,
                        grey=item.grey,
                        profile=profile_of(item),
                    )
                    maps = np.rot90(tally.moment.maps, -item.turns, (-2, -1))
            yield item, maps


def _restored(items: Ahead, work: Work, stages: dict[str, float]) -> Iterator[Any]:
    """Applies each picture's field to its pixels, in place."""
    from unhaze.restore.video.yuv import restore_yuv

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
