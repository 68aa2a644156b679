"""Many photos: which file becomes which, then one after the other; a broken one stops nothing."""

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path

from unhaze import photo
from unhaze.errors import UnhazeError

MARK = ".unhazed"

# What a folder is searched for: all that can be written, and what is read only and becomes PNG.
SUFFIXES = (*photo.SAVERS, ".bmp", ".jp2", ".jxl", ".pgm", ".ppm")

# What clears one photo: `Restorer.restore`, its strength settled.
Restore = Callable[[photo.Photo], photo.Photo]


@dataclass(frozen=True)
class FileJob:
    """One photo to restore. `problem`: why it cannot be done, known before anything ran."""

    source: Path
    target: Path
    problem: str | None = None


@dataclass(frozen=True)
class FileResult:
    """What became of a job. error: one line, or None when `target` has been written."""

    source: Path
    target: Path
    seconds: float
    error: str | None


def restore_files(
    jobs: Sequence[FileJob], restore: Restore, *, overwrite: bool = False
) -> Iterator[FileResult]:
    """Restores each job's photo and yields its result; goes on after a failed one.

    Targets are written whole or not at all.
    """
    for job in jobs:
        start = time.perf_counter()
        error = job.problem
        if error is None:
            try:
                restore_file(job, restore, overwrite=overwrite)
            except UnhazeError as failure:
                named = str(job.source) in str(failure) or str(job.target) in str(failure)
                error = str(failure) if named else f"'{job.source}': {failure}"
            except OSError as failure:
                error = f"'{failure.filename or job.target}': {failure.strerror or failure}"
            except MemoryError:
                error = f"'{job.source}': not enough memory"
        yield FileResult(job.source, job.target, time.perf_counter() - start, error)


def restore_file(job: FileJob, restore: Restore, *, overwrite: bool) -> None:
    """Read, restore, write. A target that must stay is refused before the work, not after it."""
    if job.target.exists() and job.target.samefile(job.source):
        raise UnhazeError(
            f"'{job.target}' is the original, which is never touched; set another out"
        )
    if job.target.exists() and not overwrite:
        raise UnhazeError(f"'{job.target}' exists; --overwrite replaces it")
    restored = restore(photo.read(job.source))
    job.target.parent.mkdir(parents=True, exist_ok=True)
    photo.write(restored, job.target, overwrite=overwrite)


def plan_files(inputs: Sequence[str | Path], out: str | Path | None = None) -> list[FileJob]:
    """The photos that `inputs` (files, folders, globs) name, each with its target.

    Without `out`, photo.jpg becomes photo.unhazed.jpg beside it. `out` is the target of a single
    file, or a folder, in which names and the structure below an input folder (or below the part
    before a glob's first wildcard) are kept. Folders are searched in depth, past hidden files and
    earlier results (*.unhazed.*).
    UnhazeError if nothing can be done at all, or two photos would become the same file.
    """
    if not inputs:
        raise UnhazeError("no input given; name a photo, a folder or a glob")
    found: dict[Path, Path] = {}
    missing = []
    for each in inputs:
        photos = expand(Path(each), Path(out) if out is not None else None)
        if not photos:
            missing.append(Path(each))
        for source, below in photos:
            found.setdefault(source, below)
    if not found:
        raise UnhazeError("; ".join(complaint(path) for path in missing))
    single = len(inputs) == 1 and Path(inputs[0]) in found
    targets = targets_of(found, out, single)
    most = Counter(targets.values()).most_common(1)[0]
    if most[1] > 1:
        rivals = " and ".join(f"'{each}'" for each in found if targets[each] == most[0])
        raise UnhazeError(f"{rivals} would all become '{most[0]}'; restore them in separate calls")
    jobs = [FileJob(source, target) for source, target in targets.items()]
    return jobs + [FileJob(path, path, complaint(path)) for path in missing]


def expand(given: Path, out: Path | None) -> list[tuple[Path, Path]]:
    """(file, its path below the given folder) for every photo that an INPUT names."""
    if given.is_dir():
        return [(file, file.relative_to(given)) for file in photos_below(given, out)]
    if given.exists():
        return [(given, Path(given.name))]
    try:
        matches = sorted(Path(given.anchor).glob(str(given.relative_to(given.anchor))))
    except (ValueError, NotImplementedError):  # No pattern that pathlib takes: it matches nothing.
        return []
    fixed = Path(*itertools.takewhile(lambda part: not has_magic(part), given.parts))
    return [(file, file.relative_to(fixed)) for file in matches if is_input(file)]


def photos_below(folder: Path, out: Path | None) -> list[Path]:
    """Photos in `folder` and below; `out` is not searched, it holds earlier results."""
    files = []
    for parent, folders, names in os.walk(folder, onerror=raise_it):
        inner = [Path(parent, name) for name in sorted(folders) if not name.startswith(".")]
        folders[:] = [each.name for each in inner if not (out and same(each, out))]
        files += [Path(parent, name) for name in sorted(names)]
    return [file for file in files if is_input(file) and file.suffix.lower() in SUFFIXES]


def raise_it(error: OSError) -> None:
    """A folder that cannot be read is not passed over in silence."""
    raise error


def is_input(file: Path) -> bool:
    """A file that is neither hidden nor an earlier result (photo.unhazed.jpg)."""
    return not file.name.startswith(".") and Path(file.stem).suffix != MARK and file.is_file()


def targets_of(found: dict[Path, Path], out: str | Path | None, single: bool) -> dict[Path, Path]:
    """source -> target; `found` maps each source to its path below the folder that was given.

    single: one file was given by its name, so that `out` may be a file.
    """
    if out is None:
        return {source: source.with_name(marked(source)) for source in found}
    folder = Path(out)
    if single and not folder.is_dir() and folder.suffix and not str(out).endswith(os.sep):
        photo.check_suffix(folder.suffix)
        return {source: folder for source in found}
    if folder.exists() and not folder.is_dir():
        raise UnhazeError(f"'{out}' is a file; several photos need a folder")
    if folder.suffix.lower() in photo.SAVERS and not folder.exists():
        raise UnhazeError(f"'{out}' is named like a file; several photos need a folder")
    return {source: folder / below.with_suffix(kept(below)) for source, below in found.items()}


def marked(source: Path) -> str:
    """photo.jpg -> photo.unhazed.jpg"""
    return f"{source.stem}{MARK}{kept(source)}"


def kept(source: Path) -> str:
    """The suffix of the result: the source's own, or .png where that format is only read."""
    return source.suffix if source.suffix.lower() in photo.SAVERS else ".png"


def same(one: Path, other: Path) -> bool:
    """Whether both are one file or folder; `other` need not exist."""
    return other.exists() and one.samefile(other)


def complaint(path: Path) -> str:
    """Why an INPUT names no photo."""
    if path.is_dir():
        return f"no photos in '{path}'"
    return f"no photo matches '{path}'" if has_magic(str(path)) else f"no file '{path}'"
