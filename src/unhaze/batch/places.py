"""Where a batch reads and writes: folders of this computer, what is found in them, and stores."""

import codecs
import functools
import itertools
import logging
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import Path, PurePath, PurePosixPath

from unhaze import formats
from unhaze.batch.jobs import Mark
from unhaze.batch.stores import Store
from unhaze.errors import CONTROL, UnhazeError
from unhaze.restore.video import VIDEO_SUFFIXES

log = logging.getLogger(__name__)

MARK = ".unhazed"
PHOTO_SUFFIXES = tuple(formats.SUFFIXES)
# Pictures that programs leave in folders, and for which there is no reader.
UNREAD_SUFFIXES = {".hdr", ".jxr", ".wdp", ".svg", ".ai", ".eps", ".pdf", ".xcf", ".kra", ".ico"}
URL_SCHEMES = ("http:", "https:", "ftp:", "rtsp:", "rtmp:", "rtmps:", "udp:", "srt:", "file:")
NAMED = 8  # of files passed over, in one line
HEAD = 64  # bytes by which a file is known

HIDDEN, RESULT = "hidden", "an earlier result"
UNREAD, NO_PICTURE = "of a format that is not read", "no picture"
BY_CONTENT = "{} by its content, not by its name; it is restored if given by name"
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::|://)")
HERE = ("file://", "local://")


def open_place(given: str | Path) -> "Place":
    """A folder, which need not exist, or a URL. UnhazeError: nothing installed opens the URL."""
    given = str(given)
    for scheme in HERE:
        if given.startswith(scheme):
            return Folder(given.removeprefix(scheme))
    return Store(given) if URL.match(given) else Folder(given)


class Folder:
    """A folder of this computer, or of a disk that all computers of a cluster share. Files go by
    their path below it, written with slashes.

    given: its path; an empty one: names are paths, as they are given. unreadable: the folders in it
    that `files` could not read; passed: the files that it left out; each with why.
    """

    remote = False

    def __init__(self, given: str) -> None:
        self.given = given
        self.path = Path(given).resolve() if given else Path()
        self.unreadable: dict[str, str] = {}
        self.passed: dict[str, str] = {}

    def files(self) -> dict[str, Mark]:
        """Photos and videos in it and below, as `search` finds them. UnhazeError: it is
        not a folder.
        """
        if not self.path.is_dir():
            what = "a file; `unhaze run` takes it" if self.path.exists() else "no folder"
            raise UnhazeError(f"'{self.given}' is {what}; batch takes a folder or a URL")
        found = search(self.path, None)
        self.unreadable = {
            folder.relative_to(self.path).as_posix(): why
            for folder, why in found.unreadable.items()
        }
        self.passed = {
            file.relative_to(self.path).as_posix(): why for file, why in found.passed.items()
        }
        start = len(str(self.path)) + 1  # Path.relative_to is slow for many thousands of files
        return {str(file)[start:].replace(os.sep, "/"): marked(file.stat()) for file in found.files}

    def mark(self, name: str) -> Mark | None:
        """The state of a file, None if there is none."""
        try:
            return marked((self.path / name).stat())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def full(self, name: str) -> str:
        """The path of a file."""
        return str(self.path / name)

    def ignores_case(self, name: str) -> bool:
        """Returns whether names that differ only in case are the same file."""
        path = Path(self.full(name)).absolute()
        return ignores_case(next(each for each in path.parents if each.is_dir()))

    def fetch(self, name: str, scratch: Path) -> Path:
        """The file itself."""
        return self.path / name

    def room(self, name: str, scratch: Path) -> Path:
        """Returns the target itself, as writers only publish complete files."""
        return self.path / name

    def publish(self, name: str, written: Path) -> None:
        """Does nothing: the result is in place."""

    def read(self, name: str) -> bytes | None:
        """The bytes of a small file, None if there is none."""
        path = self.path / name
        return path.read_bytes() if path.is_file() else None


Place = Folder | Store


@functools.cache
def ignores_case(folder: Path) -> bool:
    """Returns whether names that differ only in case are one file in a folder; it is tried out
    there. False where nothing can be written.
    """
    import tempfile  # which loads much

    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".Unhaze-") as file:
            return (folder / Path(file.name).name.swapcase()).exists()
    except OSError:
        return False


def marked(facts: os.stat_result) -> Mark:
    """Returns the mark of a local file."""
    dates = (date for date in (facts.st_mtime, facts.st_ctime) if date <= time.time())
    identity = (facts.st_dev, facts.st_ino)
    return Mark(facts.st_size, str(facts.st_mtime_ns), next(dates, 0.0), identity)


def overlap(source: Place, target: Place) -> Iterator[str]:
    """Yields the reasons why results of `source` cannot be written to `target`."""
    one, other = (place.full("").rstrip("/") for place in (source, target))
    if one == other:
        yield f"SRC and DST are both '{source.given}'; results need a folder of their own"
    elif other.startswith(one + "/"):
        yield (
            f"DST '{target.given}' lies in SRC '{source.given}', where results would be taken for"
            " photos; give a folder outside"
        )


@dataclass
class Found:
    """files: to restore. unreadable: folders, with why. passed: other files, with why."""

    files: list[Path] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    passed: dict[Path, str] = field(default_factory=dict)


def read_list(text: bytes, given: str) -> list[str]:
    """File names from a list: one a line, or, as from `find -print0`, ended by zero bytes each.

    UnhazeError: the file `given` is something else, such as a picture.
    """
    text = text.removeprefix(codecs.BOM_UTF8)
    lines = text.split(b"\0") if b"\0" in text else text.splitlines()
    names = [os.fsdecode(line) for line in lines if line]
    for name in names:
        if not name.strip() or (CONTROL.search(name) and not os.path.lexists(name)):
            form = "names, one a line or, as from `find -print0`, ended by zero bytes each"
            raise UnhazeError(f"'{given}' is no list of files; expected {form}")
    return names


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


def search(folder: Path, out: Path | None, mark: str | None = None) -> Found:
    """Searches `folder` recursively, without `out`, which holds earlier results.

    mark: by which names of earlier results end, beside `MARK`. Links to folders are not followed.
    """
    found, errors = Found(), list[OSError]()
    for parent, folders, names in os.walk(folder, onerror=errors.append):
        inner = [Path(parent, name) for name in sorted(folders) if not name.startswith(".")]
        folders[:] = [each.name for each in inner if not (out and same(each, out))]
        for path in (Path(parent, name) for name in sorted(names)):
            why = passed_over(path, mark)
            if why is None:
                found.files.append(path)
            else:
                found.passed[path] = why
    found.unreadable = {
        Path(error.filename): f"cannot read folder '{error.filename}': {error.strerror}"
        for error in errors
    }
    return found


def passed_over(path: Path, mark: str | None = None) -> str | None:
    """Returns why a file of a folder is not an input, or None if it is one."""
    if path.name.startswith("."):
        return HIDDEN
    if MARK in path.suffixes or (mark and path.stem.endswith(mark)):
        return RESULT
    if has_known_suffix(path):
        return None if path.is_file() else NO_PICTURE
    if path.suffix.lower() in UNREAD_SUFFIXES:
        return UNREAD
    key = formats.key_of(head_of(path))
    sure = key is not None and key not in ("pnm", "pfm", "bmp")  # whose signs are two letters
    return BY_CONTENT.format(formats.FORMATS[key].name) if sure and key else NO_PICTURE


def head_of(path: Path) -> bytes:
    """Returns the bytes by which a file is known; none if it cannot be read, or might block."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""


def is_input(file: Path) -> bool:
    """A file that is neither hidden nor a result: photo.unhazed.jpg, and what lies beside it."""
    return not file.name.startswith(".") and MARK not in file.suffixes and file.is_file()


def is_source(name: str) -> bool:
    """Returns whether it is named like a photo or video, not hidden and not an earlier result."""
    path = PurePosixPath(name)
    return not is_hidden(path) and MARK not in path.suffixes and has_known_suffix(path)


def is_hidden(path: PurePath) -> bool:
    """Returns whether it, or a folder that it is in, is: as the .lock of a run, or a cache."""
    return any(part.startswith(".") for part in path.parts)


def say_passed_over(folder: str | Path, passed: Mapping[str, str]) -> None:
    """One line on what is not restored, with the names of some; none where all is restored."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, why in passed.items():
        groups[why].append(name)
    if not groups.keys() - {HIDDEN, RESULT}:
        return
    parts = []
    for why, names in groups.items():
        if why in (HIDDEN, RESULT):
            parts.append(f"{len(names)} {why}")
            continue
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        parts.append(f"{', '.join(names[:NAMED])}{more} ({why})")
    log.warning("ignored in '%s': %s", folder, "; ".join(parts))


def is_video(name: str | PurePath) -> bool:
    """Returns whether a file is named like a video."""
    return PurePath(name).suffix.lower() in VIDEO_SUFFIXES


def has_known_suffix(file: PurePath) -> bool:
    """Returns whether `file` is named like a photo or a video."""
    return file.suffix.lower() in PHOTO_SUFFIXES or is_video(file)


def same(one: Path, other: Path) -> bool:
    """Returns whether both are the same file or folder; `other` need not exist."""
    return other.exists() and one.samefile(other)


def complaint(path: Path) -> str:
    """Returns why an INPUT names nothing that can be restored."""
    if path.parts and path.parts[0].lower() in URL_SCHEMES:
        return f"'{path}' is a URL; inputs are files: download it first"
    if path.is_dir():
        return f"no photos or videos in '{path}'"
    return f"no photo matches '{path}'" if has_magic(str(path)) else f"no file '{path}'"
