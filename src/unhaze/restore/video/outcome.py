"""The report that `restore_video` returns."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unhaze.restore.video.declared import missing_bytes
from unhaze.restore.video.pipeline import Tally, Work

if TYPE_CHECKING:
    from unhaze.restore.video.output import Output
    from unhaze.restore.video.reading import Reading

# Seconds by which a file may be shorter than declared without a note; and one that is
# truncated anyway, without a note on its declared duration.
MISSING, SHORT = 1.0, 0.1


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
    tally: Tally,
) -> VideoReport:
    """Returns the report on a written result, from the counts of its stages and the errors on the
    way.
    """
    width, height = reading.size
    damage = _damage_notes(reading, tally, work.original)
    return VideoReport(
        source=work.name,
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
    return (f"reused {kept} frames of an earlier run",) if kept else ()


def _damage_notes(reading: "Reading", tally: Tally, path: Path | None) -> Iterator[str]:
    """`path`: of the source; None if it is not a file, whose duration would be known."""
    damage = reading.damage
    if damage.places:
        yield f"skipped {damage.places} damaged places in the source"
    if reading.clock.leaps:
        yield f"the timestamps of the source jump {reading.clock.leaps} times; parts were joined"
    if reading.clock.wild:
        yield f"ignored {reading.clock.wild} invalid timestamps of the source"
    if damage.returns:
        yield f"the source was lost {damage.returns} times and reconnected"
    if reading.pace is not None and reading.pace.left_out:
        yield f"dropped {reading.pace.left_out} frames that came too late to be restored"
    if damage.end is not None:
        yield f"reading the source ended at {tally.last:.1f} s: {damage.end}"
    reached = reading.reached.get(reading.video.index, 0.0)
    missing = 0 if path is None or reached >= (reading.end or math.inf) else missing_bytes(path)
    ends = f"the video ends at {tally.last:.1f} s"
    if reading.lacks > (SHORT if missing else MISSING):
        ends += f" of the {reading.duration:.1f} s that the source declares"
    if missing:
        yield f"the source is cut off: at least {missing} declared bytes are missing; {ends}"
    elif reading.lacks > MISSING and damage.end is None:
        yield ends
