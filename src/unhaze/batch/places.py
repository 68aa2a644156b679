"""Where a batch reads and writes: a folder of this computer, or one behind a URL (fsspec)."""

import functools
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unhaze.batch.search import search
from unhaze.errors import UnhazeError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::|://)")
HERE = ("file://", "local://")
# Stores in which an upload appears whole or not at all; elsewhere it is renamed when complete.
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "memory"}
# What stores call the state of an object, and the moment of its last change.
STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
MOMENTS = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
# Errors of stores that are no OSError: module, class. Looked up only where the module is loaded.
FOREIGN_ERRORS = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("azure.core.exceptions", "AzureError"),
)


@dataclass(frozen=True, slots=True)
class Mark:
    """Identifies one state of a file: size in bytes, and its modification time or etag.

    changed: seconds since 1970, None where the store does not say. A date in the future, as of a
    camera whose clock is wrong, tells nothing: then that of its entry in the file system. file: the
    same for two names of one file.
    """

    size: int
    stamp: str
    changed: float | None = field(default=None, compare=False)
    file: str | tuple[int, int] = field(default="", compare=False)


def open_place(given: str | Path) -> "Place":
    """A folder, which need not exist, or a URL. UnhazeError: nothing installed opens the URL."""
    given = str(given)
    for scheme in HERE:
        if given.startswith(scheme):
            return Folder(given.removeprefix(scheme))
    return Store(given) if URL.match(given) else Folder(given)


def store_errors() -> tuple[type[BaseException], ...]:
    """Returns the exceptions of reading and writing places after which a retry may succeed."""
    loaded = [(sys.modules.get(module), name) for module, name in FOREIGN_ERRORS]
    return (OSError, EOFError, *(getattr(module, name) for module, name in loaded if module))


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
        """Photos and videos in it and below, as `search` finds them. UnhazeError for
        what is no folder.
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


class Store:
    """A folder behind a URL, as `Folder`. Files pass through a temporary folder, one at a time."""

    remote = True

    def __init__(self, given: str) -> None:
        self.given = given.rstrip("/")
        self.system, self.root = open_system(given)
        self.root = self.root.rstrip("/")
        self.unreadable: dict[str, str] = {}
        self.passed: dict[str, str] = {}

    def files(self) -> dict[str, Mark]:
        """Every file below; hidden ones and results are left to the plan. UnhazeError: none."""
        try:
            found = self.system.find(self.root, detail=True)
        except FileNotFoundError:
            found = {}
        except store_errors() as error:
            raise UnhazeError(f"cannot list '{self.given}': {reason(error)}") from error
        start = self.root + "/" if self.root else ""
        names = ((path, path.removeprefix(start).lstrip("/")) for path in found)
        return {
            name: mark_of(found[path], self.full(name))
            for path, name in names
            if path.startswith(start)
        }

    def mark(self, name: str) -> Mark | None:
        """The state of a file, None if there is none."""
        try:
            return mark_of(self.system.info(self._path(name)))
        except FileNotFoundError:
            return None

    def full(self, name: str) -> str:
        """The URL of a file."""
        return f"{self.given}/{name}"

    def ignores_case(self, name: str) -> bool:
        """Returns False: stores distinguish case."""
        return False

    def fetch(self, name: str, scratch: Path) -> Path:
        """A copy in `scratch`."""
        copy = scratch / "source" / Path(name).name
        copy.parent.mkdir(exist_ok=True)
        self.system.get_file(self._path(name), str(copy))
        return copy

    def room(self, name: str, scratch: Path) -> Path:
        """Returns the path to write a result to before it is published."""
        (scratch / "target").mkdir(exist_ok=True)
        return scratch / "target" / Path(name).name

    def publish(self, name: str, written: Path) -> None:
        """Uploads `written` as `name`, after what lies beside it (strips, fields)."""
        folder = name.rpartition("/")[0]
        for each in sorted(written.parent.iterdir(), key=lambda path: path == written):
            self._upload(each, f"{folder}/{each.name}".lstrip("/"))

    def read(self, name: str) -> bytes | None:
        """The bytes of a small file, None if there is none."""
        try:
            content = self.system.cat_file(self._path(name))
        except FileNotFoundError:
            return None
        assert isinstance(content, bytes)  # nothing asked for it as text
        return content

    def write(self, name: str, content: bytes) -> None:
        """Writes a small file, over any that is there."""
        self.system.pipe_file(self._path(name), content)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _upload(self, file: Path, name: str) -> None:
        path = self._path(name)
        names = self.system.protocol
        if OBJECT_STORES & ({names} if isinstance(names, str) else set(names)):
            self.system.put_file(str(file), path)
            return
        folder = path.rpartition("/")[0]
        partial = f"{folder}/.{os.urandom(8).hex()}.part"
        self.system.makedirs(folder, exist_ok=True)
        self.system.put_file(str(file), partial)
        self.system.mv(partial, path)


Place = Folder | Store


def open_system(url: str) -> "tuple[AbstractFileSystem, str]":
    """fsspec's file system for a URL, and the path in it. UnhazeError: none, or not installed."""
    from fsspec.core import url_to_fs
    from fsspec.registry import known_implementations

    scheme = url.partition(":")[0]
    try:
        # Without its cache of listings: other processes write here, too.
        return url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        package = known_implementations[scheme]["class"].partition(".")[0]
        raise UnhazeError(f"'{url}' needs {package}: pip install {package}") from error
    except (ValueError, TypeError, *store_errors()) as error:
        raise UnhazeError(f"'{url}' cannot be opened: {reason(error)}") from error


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


def mark_of(info: dict[str, Any], file: str = "") -> Mark:
    """Returns the mark of a file from fsspec's info."""
    stamps = (str(info[key]) for key in STAMPS if info.get(key))
    moments = (seconds_of(info[key]) for key in MOMENTS if info.get(key))
    return Mark(int(info.get("size") or 0), next(stamps, ""), next(moments, None), file)


def seconds_of(moment: object) -> float | None:
    """A date, a number or a text in ISO format -> seconds since 1970."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return None
    if isinstance(moment, datetime):
        return moment.timestamp()
    return float(moment) if isinstance(moment, int | float) else None


def reason(error: BaseException) -> str:
    """Its words in one line, or its name where it has none."""
    said = error.strerror if isinstance(error, OSError) else None
    return " ".join(str(said or error).split()) or type(error).__name__


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
