"""Plans a batch: every file below SRC becomes a task, unless its outcome is known."""

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from unhaze.batch.places import Mark, Place, overlap
from unhaze.batch.plan import clash, rivals_of, targets_below, told_apart
from unhaze.batch.search import MARK, has_known_suffix, say_passed_over
from unhaze.errors import UnhazeError
from unhaze.outputs import AS_SOURCE, Output

DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class Task:
    """One file to restore; names are paths below SRC and DST.

    before: the target that is there and to be replaced. A target in any other state was made by an
    earlier attempt at this task: its worker died before it could say so.
    """

    source: str
    target: str
    mark: Mark
    before: Mark | None = None


@dataclass(frozen=True)
class Outcome:
    """The outcome of a task. why: one line, if it failed. attempts: 0 if its target was found.

    megapixels: of the picture, of a video those of all its frames. worker: computer:process.
    """

    task: Task
    state: str
    why: str | None = None
    seconds: float = 0.0
    megapixels: float = 0.0
    model: str | None = None
    worker: str | None = None
    attempts: int = 0


@dataclass(frozen=True)
class History:
    """The content of the manifest of an earlier run.

    done: source -> (its state, digest of the settings) for what was done. began: when the first run
    with the settings `digest` began, in seconds since 1970. empty: it tells of no file.
    """

    done: Mapping[str, tuple[Mark, str]]
    digest: str | None = None
    began: float = 0.0
    empty: bool = True


@dataclass(frozen=True)
class Plan:
    """tasks: to do. known: what needs no work, failed or found. skipped: how many were done before
    according to the manifest.
    """

    tasks: list[Task]
    known: list[Outcome]
    skipped: int = 0

    @property
    def total(self) -> int:
        """Number of files."""
        return len(self.tasks) + len(self.known) + self.skipped


def find_sources(source: Place, target: Place) -> dict[str, Mark]:
    """Returns the photos and videos in `source`. UnhazeError: none, or `target` is inside it."""
    for problem in overlap(source, target):
        raise UnhazeError(problem)
    sources = {name: mark for name, mark in source.files().items() if is_input(name)}
    if not sources:
        unread = "; ".join(source.unreadable.values())
        raise UnhazeError(unread or f"no photos or videos in '{source.given}'")
    say_passed_over(source.given, source.passed)
    return sources


def plan_tasks(
    sources: Mapping[str, Mark],
    source: Place,
    target: Place,
    history: History,
    digest: str,
    *,
    overwrite: bool = False,
    resume: bool = False,
    shard: tuple[int, int] = (1, 1),
    output: Output = AS_SOURCE,
) -> Plan:
    """Looks at the target and says what there is to do. `sources`: as `find_sources` found them.

    resume: what is done by `history` with the settings `digest`, from a source that has not
    changed, is skipped. shard: (number from 1, of how many): only that part of the files, chosen
    by a hash of their names. UnhazeError: the target cannot be listed.
    """
    targets = targets_of(sources, output)
    rivals = rivals_of(targets, target.ignores_case)
    originals = {source.full(name) for name in sources}
    there = target.files() if target.remote or target.mark("") else {}
    tasks, known, skipped = [], [], 0
    for name in sorted(each for each in sources if part_of(each, shard[1]) == shard[0]):
        result = targets[name]
        task = Task(name, result, sources[name], there.get(result))
        problem = clash(result, sorted(rivals[name]), target.full(result) in originals, "DST")
        before = history.done.get(name) if resume else None
        if problem is None and before == (task.mark, digest) and task.before:
            skipped += 1
        elif problem is None and resume and before is None and orphan(task, history, digest):
            known.append(Outcome(task, DONE))
        elif problem is None and (overwrite or not task.before):
            tasks.append(task)
        else:
            known.append(Outcome(task, FAILED, problem or stays(task, before, digest)))
    for name, why in source.unreadable.items():
        if part_of(name, shard[1]) == shard[0]:
            known.append(Outcome(Task(name, name, Mark(0, "")), FAILED, why))
    return Plan(tasks, known, skipped)


def is_input(name: str) -> bool:
    """Returns whether it is named like a photo or video, not hidden and not an earlier result."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and MARK not in path.suffixes and has_known_suffix(path)


def targets_of(names: Iterable[str], output: Output = AS_SOURCE) -> dict[str, str]:
    """holiday/a.bmp -> holiday/a.png: as it was, unless that format is only read, or as asked."""
    targets = told_apart(targets_below(map(PurePosixPath, names), output))
    return {str(path): str(target) for path, target in targets.items()}


def part_of(name: str, parts: int) -> int:
    """1 ... parts: the same for a name on every computer and in every run."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % parts + 1


def orphan(task: Task, history: History, digest: str) -> bool:
    """Returns whether the target is of an earlier run that was killed before it recorded it:
    it is newer than that run's begin and not older than its source, unless that claims to be of
    the future.
    """
    if task.before is None or task.before.changed is None or history.digest != digest:
        return False
    changed = task.mark.changed or 0
    return task.before.changed >= max(history.began, changed if changed <= time.time() else 0)


def stays(task: Task, before: tuple[Mark, str] | None, digest: str) -> str:
    """Returns why an existing target is not replaced."""
    if before is None:
        how = "exists"
    else:
        how = "was made with other settings" if before[1] != digest else "is of an earlier source"
    return f"'{task.target}' {how}; --overwrite replaces it"
