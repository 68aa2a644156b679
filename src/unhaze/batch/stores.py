"""Folders behind URLs (fsspec), for batches."""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unhaze.batch.jobs import Mark
from unhaze.errors import UnhazeError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

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


def store_errors() -> tuple[type[BaseException], ...]:
    """Returns the exceptions of reading and writing places after which a retry may succeed."""
    loaded = [(sys.modules.get(module), name) for module, name in FOREIGN_ERRORS]
    return (OSError, EOFError, *(getattr(module, name) for module, name in loaded if module))


def reason(error: BaseException) -> str:
    """Its words in one line, or its name where it has none."""
    said = error.strerror if isinstance(error, OSError) else None
    return " ".join(str(said or error).split()) or type(error).__name__
