"""Which files become which: inputs (files, folders, globs, lists) to jobs, each with its target."""

import functools
import itertools
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path, PurePath
from typing import TypeVar

from unhaze import formats, photo
from unhaze.batch.search import MARK, has_known_suffix, is_video, say_passed_over, search
from unhaze.errors import UnhazeError
from unhaze.outputs import AS_SOURCE, Output
from unhaze.restore.video import TARGET_SUFFIXES, VIDEO_SUFFIXES

Name = TypeVar("Name")
Source = TypeVar("Source", bound=PurePath)
Target = TypeVar("Target", bound=PurePath)

URL_SCHEMES = ("http:", "https:", "ftp:", "rtsp:", "rtmp:", "rtmps:", "udp:", "srt:", "file:")


@dataclass(frozen=True)
class FileJob:
    """One photo or video to restore. `problem`: why it cannot be, known before anything ran."""

    source: Path
    target: Path
    problem: str | None = None


def plan_files(
    inputs: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    output: Output = AS_SOURCE,
    passed: dict[Path, str] | None = None,
) -> list[FileJob]:
    """The photos and videos that `inputs` (files, folders, globs) name, each with its target.

    Without `out`, photo.jpg becomes photo.unhazed.jpg beside it. `out` is the target of a single
    file, or a folder, in which names and the structure below an input folder (or below the part
    before a glob's first wildcard) are kept. Folders are searched in depth, past hidden files and
    earlier results (*.unhazed.*). What cannot be done has its job too, with the reason in it.
    `output`: the format of results and the suffix of their names. `passed`: takes the files of
    folders that are not restored, each with why; they are logged in one line.
    UnhazeError if nothing at all can be done.
    """
    if not inputs:
        raise UnhazeError("no input given; name a photo, a video, a folder or a glob")
    if any(isinstance(each, str) and not each.strip() for each in inputs):
        raise UnhazeError("an input is an empty name; a dot means this folder")
    passed = {} if passed is None else passed
    found: dict[Path, Path] = {}
    problems: list[FileJob] = []
    for each in map(Path, inputs):
        folder = Path(out) if out is not None else None
        files, unreadable = expand(each, folder, output.suffix, passed)
        for source, below in files:
            found.setdefault(source, below)
        if not files and not unreadable:
            unreadable = {each: complaint(each)}
        problems += [FileJob(path, path, why) for path, why in unreadable.items()]
    single = len(inputs) == 1 and Path(inputs[0]) in found
    jobs = [*checked(targets_of(found, out, single, output)), *problems]
    if all(job.problem for job in jobs):
        reasons = list(dict.fromkeys(str(job.problem) for job in jobs))
        more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        raise UnhazeError("; ".join(reasons[:3]) + more)
    return jobs


def read_list(text: bytes) -> list[str]:
    """File names from a list: one a line, or, as from `find -print0`, ended by zero bytes each."""
    names = text.split(b"\0") if b"\0" in text else text.splitlines()
    return [os.fsdecode(name) for name in names if name]


def expand(
    given: Path, out: Path | None, mark: str | None, passed: dict[Path, str]
) -> tuple[list[tuple[Path, Path]], dict[Path, str]]:
    """[(file, its path below the given folder)] for all that an INPUT names, and what failed.

    `mark`: by which names of results end, past which folders are searched. `passed`: takes the
    files of a folder that are not restored, each with why.
    """
    if given.is_dir():
        found = search(given, out, mark)
        names = {str(file.relative_to(given)): why for file, why in found.passed.items()}
        say_passed_over(given, names)
        passed.update(found.passed)
        return [(file, file.relative_to(given)) for file in found.files], found.unreadable
    if given.exists():
        return [(given, Path(given.name))], {}
    try:
        matches = sorted(Path(given.anchor).glob(str(given.relative_to(given.anchor))))
    except (ValueError, NotImplementedError):  # No pattern that pathlib takes: it matches nothing.
        return [], {}
    fixed = Path(*itertools.takewhile(lambda part: not has_magic(part), given.parts))
    return [(file, file.relative_to(fixed)) for file in matches if is_input(file)], {}


def is_input(file: Path) -> bool:
    """A file that is neither hidden nor a result: photo.unhazed.jpg, and what lies beside it."""
    return not file.name.startswith(".") and MARK not in file.suffixes and file.is_file()


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
        named_as = formats.format_of(folder)
        if output.named_suffix and named_as is not formats.of_suffix(output.named_suffix):
            raise UnhazeError(
                f"'{out}' is not named like the format {output.format}; leave one out"
            )
        return {source: folder}
    if folder.exists() and not folder.is_dir():
        raise UnhazeError(f"'{out}' is a file; several inputs need a folder")
    if has_known_suffix(folder) and not folder.exists():
        raise UnhazeError(f"'{out}' is named like a file; several inputs need a folder")
    targets = targets_below(found.values(), output)
    return told_apart({source: folder / targets[below] for source, below in found.items()})


def targets_below(names: Iterable[Source], output: Output) -> dict[Source, Source]:
    """Returns name -> name of its result in a folder of results; both are paths below folders."""
    mark = output.suffix or ""
    return {name: name.with_name(named(name, mark, output)) for name in names}


def told_apart(targets: Mapping[Source, Target]) -> dict[Source, Target]:
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
    """The suffix of the result: the source's own, or what its format becomes if only read."""
    if source.suffix.lower() in TARGET_SUFFIXES:
        return source.suffix
    return ".mkv" if is_video(source) else output.suffix_of(source) or ".png"


def checked(targets: dict[Path, Path]) -> Iterable[FileJob]:
    """The jobs; those that would write over an original or over each other have a problem."""
    originals = {identity(source) for source in targets}
    rivals = rivals_of({source: str(target) for source, target in targets.items()}, ignores_case)
    for source, target in targets.items():
        is_original = target.exists() and identity(target) in originals
        yield FileJob(source, target, clash(target, rivals[source], is_original, "out"))


def clash(target: object, rivals: Sequence[object], is_original: bool, out: str) -> str | None:
    """Returns why `target` must not be written with any settings, or None.

    rivals: all sources with this target. out: what the user calls the place of results.
    """
    if is_original:
        return f"'{target}' is an original, which is never touched; set another {out}"
    if len(rivals) > 1:
        names = " and ".join(f"'{each}'" for each in rivals)
        return f"{names} would all become '{target}'; restore them in separate calls"
    return None


def rivals_of(
    targets: Mapping[Name, str], one_case: Callable[[str], bool]
) -> dict[Name, list[Name]]:
    """source -> all sources whose target is the same file, itself included.

    `one_case`: whether the place of a target takes names that differ in case only for one.
    """
    alike: dict[str, list[Name]] = defaultdict(list)
    for source, target in targets.items():
        alike[target.casefold()].append(source)
    rivals: dict[Name, list[Name]] = {}
    for group in alike.values():
        same_name: dict[str, list[Name]] = defaultdict(list)
        for source in group:
            same_name[targets[source]].append(source)
        merged = len(same_name) > 1 and one_case(targets[group[0]])
        for source in group:
            rivals[source] = group if merged else same_name[targets[source]]
    return rivals


def ignores_case(target: str) -> bool:
    """Returns whether names that differ only in case are one file where `target` is written.

    It is tried out there, in the nearest folder that exists; False where nothing can be written.
    """
    folder = next(each for each in Path(target).absolute().parents if each.is_dir())
    return _ignores_case(folder)


@functools.cache
def _ignores_case(folder: Path) -> bool:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".Unhaze-") as file:
            return (folder / Path(file.name).name.swapcase()).exists()
    except OSError:
        return False


def identity(file: Path) -> tuple[int, int]:
    """The same for two names of one file."""
    facts = file.stat()
    return facts.st_dev, facts.st_ino


def complaint(path: Path) -> str:
    """Returns why an INPUT names nothing that can be restored."""
    if path.parts and path.parts[0].lower() in URL_SCHEMES:
        return f"'{path}' is a URL; inputs are files: download it first"
    if path.is_dir():
        return f"no photos or videos in '{path}'"
    return f"no photo matches '{path}'" if has_magic(str(path)) else f"no file '{path}'"
