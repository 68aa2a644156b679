"""Sequences of numbered pictures, such as frames/%05d.png: as input, and as output.

From sequence to sequence the readers and writers of photos are used: 16 bits, profiles, EXIF and
transparency are kept, and only the field is that of a video. Into a video, FFmpeg reads the
sequence.
"""

import functools
import itertools
import os
import re
import shutil
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from unhaze import photo
from unhaze.atomic import check_target, make_folder
from unhaze.errors import UnhazeError, counted
from unhaze.outputs import AS_SOURCE, Output
from unhaze.photo import Photo, Traits
from unhaze.photo.picture import ICC
from unhaze.restore.encoding import Encoding
from unhaze.restore.field import apply_field, check_strength
from unhaze.restore.resources import count_threads
from unhaze.restore.video.ahead import timed
from unhaze.restore.video.files import Progress, restore_opened
from unhaze.restore.video.pipeline import VideoReport
from unhaze.restore.video.streams import NUMBER, is_sequence, name_of, opening_options
from unhaze.restore.video.temporal import (
    HOLD,
    SMOOTHING,
    Moment,
    Steadiness,
    check_estimates,
    follow,
    next_moment,
)
from unhaze.scratch import scratch_folder

if TYPE_CHECKING:
    from unhaze.restore.restorer import Restorer
    from unhaze.restore.video.reading import Reading

FPS = 25.0
NAMED = 8  # of gaps, in one line


@dataclass(frozen=True)
class Pictures:
    """The files of a sequence by their numbers, which may have gaps; at least one."""

    pattern: Path
    files: dict[int, Path]

    @property
    def note(self) -> tuple[str, ...]:
        """Returns the missing numbers in one line; empty if there are none."""
        numbers = list(self.files)
        pairs = [(one + 1, two - 1) for one, two in itertools.pairwise(numbers) if two - one > 1]
        if not pairs:
            return ()
        words = [str(one) if one == two else f"{one} to {two}" for one, two in pairs[:NAMED]]
        more = f" and {len(pairs) - NAMED} more gaps" if len(pairs) > NAMED else ""
        count = sum(two - one + 1 for one, two in pairs)
        return (f"{count} numbers are missing: {', '.join(words)}{more}",)


def find_pictures(pattern: str | Path, start_number: int | None = None) -> Pictures:
    """Returns all files of a sequence, from `start_number` on. UnhazeError: there is none."""
    pattern = Path(pattern)
    before, width, after = _parts(pattern)
    digits = rf"\d{{{width},}}" if width else r"0|[1-9]\d*"
    name = re.compile(rf"{re.escape(before)}({digits}){re.escape(after)}")
    try:
        entries = [each.name for each in os.scandir(pattern.parent)]
    except OSError as error:
        raise UnhazeError(f"cannot read '{pattern.parent}': {error.strerror}") from error
    found = {int(match[1]): each for each in entries if (match := name.fullmatch(each))}
    kept = sorted(number for number in found if number >= (start_number or 0))
    if not kept:
        if found:
            most = f"its numbers are {min(found)} to {max(found)}"
            raise UnhazeError(f"no file of '{pattern}' has a number from {start_number} on; {most}")
        raise UnhazeError(
            f"no file matches '{pattern}'; expected names such as {named(pattern, 1).name}"
        )
    return Pictures(pattern, {number: pattern.with_name(found[number]) for number in kept})


def named(pattern: Path, number: int) -> Path:
    """frames/%05d.png, 7 -> frames/00007.png"""
    before, width, after = _parts(pattern)
    return pattern.with_name(f"{before}{number:0{width}d}{after}")


def _parts(pattern: Path) -> tuple[str, int, str]:
    """Returns the text before the number, its least width, and the text after it."""
    before, width, after = NUMBER.split(pattern.name)
    return before, int(width or 0), after


def restore_sequence(
    source: str | Path | IO[bytes],
    target: str | Path | IO[bytes],
    *,
    restorer: "Restorer",
    strength: float = 1.0,
    fps: float | None = None,
    start_number: int | None = None,
    container: str | None = None,
    start: float | None = None,
    end: float | None = None,
    encoding: Encoding | None = None,
    output: Output = AS_SOURCE,
    overwrite: bool = False,
    progress: Progress | None = None,
    smoothing: float = SMOOTHING,
    hold: int = HOLD,
) -> VideoReport:
    """Restores frames/%05d.png to out/%05d.png or to a video, or a video to a sequence.

    `fps`: of a sequence that becomes a video. `start_number`: the first number of the source; for a
    video's frames that of the first one, default 1; a sequence keeps its numbers. `output`: of
    pictures; `encoding`, `container`: of a video; all else as for `restore_video`. UnhazeError: no
    such files, a result exists without `overwrite`, a setting out of range.
    """
    check_strength(strength)
    check_estimates(restorer)
    how = Steadiness(smoothing, hold)
    if not isinstance(source, str | Path) or not is_sequence(source):
        goal = _check_pictures(target, fps, encoding)
        work = _Work(restorer, strength, how, output, overwrite, progress)
        return _split(source, goal, work, 1 if start_number is None else start_number, start, end)
    pictures = find_pictures(source, start_number)
    if not is_sequence(target):
        settings = {"strength": strength, "how": how, "part": (start, end), "container": container}
        settings |= {"encoding": encoding or Encoding(), "overwrite": overwrite}
        return _joined(pictures, target, restorer, fps or FPS, settings, progress)
    goal = _check_pictures(target, fps, encoding)
    if (start, end) != (None, None):
        raise UnhazeError("start and end are only for videos; give the start number of a sequence")
    return _each(pictures, goal, _Work(restorer, strength, how, output, overwrite, progress))


@dataclass(frozen=True)
class _Work:
    """The settings for each picture."""

    restorer: "Restorer"
    strength: float
    how: Steadiness
    output: Output
    overwrite: bool
    progress: Progress | None


def _check_pictures(
    target: str | Path | IO[bytes], fps: float | None, encoding: Encoding | None
) -> Path:
    goal = Path(name_of(target))
    photo.check_suffix(goal.suffix)
    if fps is not None:
        raise UnhazeError("fps is only for a sequence that becomes a video; leave it out")
    if encoding not in (None, Encoding()):
        raise UnhazeError(
            "settings of videos, such as codec, do not apply to pictures; leave them out"
        )
    make_folder(goal.parent)
    return goal


def _each(pictures: Pictures, target: Path, work: _Work) -> VideoReport:
    """Restores a sequence to a sequence: every picture is a photo, with the field of a video."""
    begin, moment, shape, seconds = time.perf_counter(), None, (0, 0), dict[str, float]()
    goals = {number: named(target, number) for number in pictures.files}
    for number, goal in goals.items():
        check_target(goal, pictures.files[number], work.overwrite)
    settings = {"strength": work.strength, "overwrite": work.overwrite, "output": work.output}
    with _Writers(work, len(goals)) as writers:
        for number, file in pictures.files.items():
            with timed(seconds, "field"), photo.open_photo(file) as opened:
                seen, shape = work.restorer.look(opened), opened.shape
                estimate = functools.partial(_given, seen.maps)
                moment = next_moment(moment, seen.hazy, estimate, work.how)
                seen = replace(seen, maps=moment.field)
            restore = work.restorer.restore_file
            writers.add(functools.partial(restore, file, goals[number], seen=seen, **settings))
    return _report(
        pictures.pattern, target, writers.done, begin, shape, moment, seconds, pictures.note
    )


def _given(maps: np.ndarray, small: np.ndarray) -> np.ndarray:
    """Returns an estimate made before."""
    return maps


def _split(
    source: str | Path | IO[bytes],
    target: Path,
    work: _Work,
    first: int,
    start: float | None,
    end: float | None,
) -> VideoReport:
    """Restores a video to a sequence."""
    from unhaze.restore.video.reading import Reading, find_video, open_container

    begin, seconds = time.perf_counter(), dict[str, float]()
    with open_container(source, **opening_options(source)) as container:
        reading = Reading(container, find_video(container, source), start, end)
        # Reading has to end before the container is closed.
        with (
            closing(_shown(reading, work, seconds)) as photos,
            _Writers(work, reading.expected_frames) as writers,
        ):
            moment: Moment | None = None
            for number, (shown, now) in enumerate(photos, first):
                goal, moment = named(target, number), now
                check_target(goal, None, work.overwrite)
                settings = {"overwrite": work.overwrite, "output": work.output}
                writers.add(functools.partial(photo.write, shown, goal, **settings))
        if not writers.done:
            raise UnhazeError("no frame could be decoded in the requested part")
        size, places = reading.size[::-1], reading.damage.places
        notes = (f"skipped {counted(places, 'damaged place')} in the source",) * (places > 0)
        return _report(source, target, writers.done, begin, size, moment, seconds, notes)


def _shown(
    reading: "Reading", work: _Work, seconds: dict[str, float]
) -> Generator[tuple[Photo, Moment], None, None]:
    """Yields every frame as an upright restored photo, and the field of its moment."""
    from unhaze.restore.video.pixels import Picture, profile_of, to_pictures
    from unhaze.restore.video.reading import read

    moment: Moment | None = None
    with (
        closing(read(reading)) as frames,
        closing(to_pictures(frames, reading.size, seconds)) as pictures,
    ):
        for picture in pictures:
            if not isinstance(picture, Picture) or picture.pixels is None:
                continue
            pixels = np.rot90(picture.pixels, picture.turns)
            profile = profile_of(picture)
            with timed(seconds, "field"):
                seen = {"grey": picture.grey, "profile": profile}
                moment = follow(moment, pixels[..., :3], work.restorer, work.how, **seen)
            colours = np.ascontiguousarray(pixels[..., :3])
            how = {"strength": work.strength, "threads": work.restorer.threads}
            clear = apply_field(moment.field, colours, **how)
            alpha = pixels[..., 3].copy() if pixels.shape[2] == 4 else None
            metadata = {} if profile is None else {ICC: profile}
            yield Photo(clear, alpha, Traits(picture.grey, metadata, profile=profile)), moment


def _joined(
    pictures: Pictures,
    target: str | Path | IO[bytes],
    restorer: "Restorer",
    fps: float,
    settings: dict[str, Any],
    progress: Progress | None,
) -> VideoReport:
    """Restores a sequence to a video: FFmpeg reads links to its files, numbered without gaps."""
    with scratch_folder("sequence") as folder:
        suffix = pictures.pattern.suffix.lower()
        for number, file in enumerate(pictures.files.values()):
            _link(file, folder / f"{number:09d}{suffix}")
        options = {"framerate": f"{fps:.6g}", "start_number": "0", "protocol_whitelist": "file"}
        opening = {"format": "image2", "options": options}
        links, said = folder / f"%09d{suffix}", str(pictures.pattern)
        report = restore_opened(
            links, target, opening, restorer=restorer, progress=progress, name=said, **settings
        )
    return replace(report, notes=(*pictures.note, *report.notes))


def _link(file: Path, link: Path) -> None:
    """Creates a link, or a copy if the system has no links or forbids them."""
    try:
        link.symlink_to(file.absolute())
    except OSError:
        shutil.copyfile(file, link)


class _Writers:
    """Threads that encode pictures, as many at a time as there are cores; counted as they end."""

    def __init__(self, work: _Work, total: int | None) -> None:
        self.work, self.total, self.done = work, total, 0
        self.begin, self.waiting = time.perf_counter(), deque[Future[None]]()
        self.most = count_threads(work.restorer.threads)
        self.pool = ThreadPoolExecutor(self.most)

    def __enter__(self) -> "_Writers":
        return self

    def add(self, write: Callable[[], None]) -> None:
        """Starts to write a picture when a thread is free."""
        self.waiting.append(self.pool.submit(write))
        self._take(self.most)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        with self.pool:
            self._take(0 if kind is None else len(self.waiting))

    def _take(self, left: int) -> None:
        while len(self.waiting) > left:
            self.waiting.popleft().result()
            self.done += 1
            if self.work.progress is not None:
                self.work.progress(self.done, self.total, time.perf_counter() - self.begin)


def _report(
    source: object,
    target: Path,
    frames: int,
    begin: float,
    shape: Iterable[int],
    moment: Moment | None,
    stages: dict[str, float],
    notes: tuple[str, ...],
) -> VideoReport:
    height, width = tuple(shape)[:2]
    return VideoReport(
        source=str(getattr(source, "name", source)),
        target=target,
        frames=frames,
        seconds=time.perf_counter() - begin,
        width=width,
        height=height,
        codec=target.suffix.lower().lstrip("."),
        copied=0,
        scenes=moment.scenes if moment else 0,
        estimates=moment.estimates if moment else 0,
        damaged=0,
        stages=stages,
        notes=notes,
    )
