"""Planning: finds the files, chooses their targets, and decides what needs no work.

`plan_files` takes inputs on this computer (files, folders, globs, lists), `plan_folder` all files
of one place, which may be a remote store, with the history of earlier runs.
"""

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeVar

from unhaze import formats, photo
from unhaze.batch.jobs import (
    DONE,
    FAILED,
    PLAIN,
    SKIPPED,
    UNKNOWN,
    History,
    Job,
    Mark,
    Outcome,
    Plan,
    Settings,
)
from unhaze.batch.places import (
    MARK,
    Folder,
    Place,
    complaint,
    expand,
    has_known_suffix,
    head_of,
    is_source,
    is_video,
    overlap,
    say_passed_over,
)
from unhaze.errors import UnhazeError, target_exists
from unhaze.outputs import AS_SOURCE, Output
from unhaze.restore.video import TARGET_SUFFIXES, VIDEO_SUFFIXES

Source = TypeVar("Source", bound=PurePath)


def plan_files(
    inputs: Sequence[str | Path],
    out: str | Path | None = None,
    settings: Settings = PLAIN,
) -> Plan:
    """Plans the photos and videos that `inputs` (files, folders, globs) name.

    Without `out`, photo.jpg becomes photo.unhazed.jpg beside it. `out` is the target of a single
    file, or a folder, in which names and the structure below an input folder (or below the part
    before a glob's first wildcard) are kept. Folders are searched recursively, without hidden files
    and earlier results (*.unhazed.*); other files that are passed over are logged in one line. An
    input that cannot be restored is a failed outcome with the reason. UnhazeError: none can be.
    """
    if not inputs:
        raise UnhazeError("no input given; name a photo, a video, a folder or a glob")
    if any(isinstance(each, str) and not each.strip() for each in inputs):
        raise UnhazeError("an input is an empty name; use a dot for this folder")
    found: dict[Path, Path] = {}
    problems: dict[str, str] = {}
    passed: dict[Path, str] = {}
    for each in map(Path, inputs):
        folder = Path(out) if out is not None else None
        files, unreadable = expand(each, folder, settings.output.suffix, passed)
        for source, below in files:
            found.setdefault(source, below)
        if not files and not unreadable:
            unreadable = {each: complaint(each)}
        problems |= {str(path): why for path, why in unreadable.items()}
    single = len(inputs) == 1 and Path(inputs[0]) in found
    targets = {
        str(source): str(target)
        for source, target in targets_of(found, out, single, settings.output).items()
    }
    here = Folder("")
    sources = {name: state_of(name, here) or UNKNOWN for name in targets}
    before = {name: state_of(target, here) for name, target in targets.items()}
    problems |= clashes(sources, targets, before, here)
    if problems.keys() >= targets.keys():
        reasons = list(dict.fromkeys(problems.values()))
        more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        raise UnhazeError("; ".join(reasons[:3]) + more)
    plan = decide(sources, targets, before, problems, settings)
    return Plan(plan.jobs, plan.known, {str(path): why for path, why in passed.items()})


def find_sources(source: Place, target: Place) -> dict[str, Mark]:
    """Returns the photos and videos in `source`. UnhazeError: none, or `target` is inside it."""
    for problem in overlap(source, target):
        raise UnhazeError(problem)
    sources = {name: mark for name, mark in source.files().items() if is_source(name)}
    if not sources:
        unread = "; ".join(source.unreadable.values())
        raise UnhazeError(unread or f"no photos or videos in '{source.given}'")
    say_passed_over(source.given, source.passed)
    return sources


def plan_folder(
    sources: Mapping[str, Mark],
    source: Place,
    target: Place,
    settings: Settings = PLAIN,
    history: History | None = None,
    digest: str = "",
    *,
    shard: tuple[int, int] = (1, 1),
) -> Plan:
    """Plans the photos and videos that `find_sources` found, each with a target of the same name.

    With `resume` in the settings, files that `history` lists as done with the settings `digest` are
    skipped if their source has not changed. shard: (number from 1, of how many): only that part of
    the files, chosen by a hash of their names. UnhazeError: `target` cannot be listed.
    """
    paths = {name: PurePosixPath(name) for name in sources}
    mark = settings.output.suffix or ""
    results = told_apart(
        {path: path.with_name(named(path, mark, settings.output)) for path in paths.values()}
    )
    targets = {name: str(results[path]) for name, path in paths.items()}
    there = target.files() if target.remote or target.mark("") else {}
    before = {name: there.get(result) for name, result in targets.items()}
    problems = source.unreadable | clashes(sources, targets, before, target)
    ours = {name: targets[name] for name in sorted(targets) if part_of(name, shard[1]) == shard[0]}
    problems = {name: why for name, why in problems.items() if part_of(name, shard[1]) == shard[0]}
    plan = decide(sources, ours, before, problems, settings, history, digest)
    return Plan(plan.jobs, plan.known, source.passed)


def decide(
    sources: Mapping[str, Mark],
    targets: Mapping[str, str],
    before: Mapping[str, Mark | None],
    problems: Mapping[str, str],
    settings: Settings,
    history: History | None = None,
    digest: str = "",
) -> Plan:
    """Decides for each source whether it is a job. before: the state of its existing target."""
    jobs, known = [], []
    for name, target in targets.items():
        job = Job(name, target, sources[name], before[name])
        problem = problems.get(name)
        state, why = (FAILED, problem) if problem else standing(job, settings, history, digest)
        if state is None:
            jobs.append(job)
        else:
            known.append(Outcome(job, state, why))
    others = [name for name in problems if name not in targets]
    return Plan(jobs, [*known, *(Outcome(Job(it, it), FAILED, problems[it]) for it in others)])


def standing(
    job: Job, settings: Settings, history: History | None, digest: str
) -> tuple[str | None, str | None]:
    """(its state, why it failed) if it needs no work, else (None, None)."""
    if job.before is None:
        return None, None
    told = history.done.get(job.source) if history and settings.resume else None
    if told == (job.mark, digest):
        return SKIPPED, None
    if settings.resume and told is None and is_made(job, history, digest):
        return (DONE if history else SKIPPED), None
    if settings.overwrite:
        return None, None
    how = "exists"
    if told is not None:
        how = "was made with other settings" if told[1] != digest else "is of an earlier source"
    elif settings.resume and history is None:
        how = "exists and is older than its source"
    return FAILED, str(target_exists(job.target, how))


def is_made(job: Job, history: History | None, digest: str) -> bool:
    """Returns whether the target was made from the current source: it is not older; with a history,
    also not older than that run, of the same settings, which was killed before it recorded it.

    It needs no look inside, because targets appear whole or not at all.
    """
    if job.before is None or job.before.changed is None:
        return False
    if history is not None and history.digest != digest:
        return False
    changed = job.mark.changed or 0
    since = changed if changed <= time.time() else 0
    return job.before.changed >= max(since, history.began if history else 0)


def state_of(name: str, place: Folder) -> Mark | None:
    """The state of a file, None if there is none, or none to be seen."""
    with suppress(OSError):
        return place.mark(name)
    return None


def part_of(name: str, parts: int) -> int:
    """1 ... parts: the same for a name on every computer and in every run."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % parts + 1


def targets_of(
    found: dict[Path, Path], out: str | Path | None, single: bool, output: Output = AS_SOURCE
) -> dict[Path, Path]:
    """source -> target; `found` maps each source to its path below the folder that was given.

    single: one file was given by its name, so that `out` may be a file.
    """
    if out is None:
        mark = MARK if output.suffix is None else output.suffix
        return told_apart(
            {source: source.with_name(named(source, mark, output)) for source in found}
        )
    folder = Path(out)
    if single and not folder.is_dir() and folder.suffix and not str(out).endswith(os.sep):
        [source] = found
        check_kinds(source, folder)
        wanted = output.named_suffix
        if wanted and formats.format_of(folder) is not formats.of_suffix(wanted):
            raise UnhazeError(
                f"'{out}' is not named like the format {output.format}; leave one out"
            )
        return {source: folder}
    if folder.exists() and not folder.is_dir():
        raise UnhazeError(
            f"'{out}' is a file; expected a folder, or for one input a file with a suffix"
        )
    if has_known_suffix(folder) and not folder.exists():
        raise UnhazeError(f"'{out}' has the name of a file; several inputs need a folder")
    mark = output.suffix or ""
    return told_apart(
        {
            source: folder / below.with_name(named(source, mark, output))
            for source, below in found.items()
        }
    )


def told_apart(targets: Mapping[Source, Source]) -> dict[Source, Source]:
    """Where sources with different suffixes would share a target, those whose format changes keep
    theirs in the name: beside IMG_1.jpg, IMG_1.heic becomes IMG_1.heic.jpg.
    """
    alike: dict[str, list[Source]] = defaultdict(list)
    for source, target in targets.items():
        alike[str(target).casefold()].append(source)
    names = dict(targets)
    for group in (each for each in alike.values() if len(each) > 1):
        for source in group:
            target = targets[source]
            if source.suffix.lower() != target.suffix.lower():
                names[source] = target.with_name(source.name + target.name[len(source.stem) :])
    return names


def check_kinds(source: Path, target: Path) -> None:
    """UnhazeError unless a photo becomes a photo, and a video a video."""
    if is_video(source) and target.suffix.lower() not in TARGET_SUFFIXES:
        known = ", ".join(TARGET_SUFFIXES)
        raise UnhazeError(f"'{source}' is a video, '{target}' is not; expected one of {known}")
    if not has_known_suffix(source) and target.suffix.lower() in TARGET_SUFFIXES:
        known = ", ".join(VIDEO_SUFFIXES)
        raise UnhazeError(
            f"'{source}' is not named like a video; expected one of {known}: put it into such a"
            " container first, as by ffmpeg -i IN -c copy OUT.mkv"
        )
    if not is_video(source):
        photo.check_suffix(target.suffix)


def named(source: PurePath, mark: str, output: Output = AS_SOURCE) -> str:
    """photo.jpg -> photo.unhazed.jpg"""
    return f"{source.stem}{mark}{kept(source, output)}"


def kept(source: PurePath, output: Output = AS_SOURCE) -> str:
    """The suffix of the result: the source's own, or what its format becomes if only read.

    A file on this computer whose name tells no format is known by its content.
    """
    if source.suffix.lower() in TARGET_SUFFIXES:
        return source.suffix
    if is_video(source):
        return ".mkv"
    return output.suffix_of(source) or formats.usual_suffix(head_of(Path(source))) or ".png"


def clashes(
    sources: Mapping[str, Mark],
    targets: Mapping[str, str],
    before: Mapping[str, Mark | None],
    place: Place,
) -> dict[str, str]:
    """source -> why its target must not be written with any settings.

    before: the state of each target, if it is there. place: where targets are written.
    """
    originals = {mark.file for mark in sources.values()}
    rivals = rivals_of(targets, place.ignores_case)
    problems = {}
    for source, target in targets.items():
        mark = before[source]
        if mark is not None and mark.file in originals:
            problems[source] = (
                f"'{target}' is an input, which is never overwritten; write results elsewhere"
            )
        elif len(rivals[source]) > 1:
            names = " and ".join(f"'{each}'" for each in sorted(rivals[source]))
            problems[source] = (
                f"{names} would all become '{target}'; restore them in separate calls"
            )
    return problems


def rivals_of(targets: Mapping[str, str], one_case: Callable[[str], bool]) -> dict[str, list[str]]:
    """source -> all sources whose target is the same file, itself included.

    `one_case`: whether the place of a target takes names that differ in case only for one.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for source, target in targets.items():
        alike[target.casefold()].append(source)
    rivals: dict[str, list[str]] = {}
    for group in alike.values():
        same_name: dict[str, list[str]] = defaultdict(list)
        for source in group:
            same_name[targets[source]].append(source)
        merged = len(same_name) > 1 and one_case(targets[group[0]])
        for source in group:
            rivals[source] = group if merged else same_name[targets[source]]
    return rivals
