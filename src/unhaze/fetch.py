"""Downloads published files into the cache; the only file that opens the network."""

import contextlib
import hashlib
import http.client
import re
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from unhaze.cache import cache_folder
from unhaze.errors import UnhazeError

try:
    import fcntl
except (
    ImportError
):  # Windows has no flock: there, two processes must not fetch the same file at once.
    fcntl = None

CHUNK = 1 << 20
ATTEMPTS = 5
PAUSE_SECONDS = 2.0
TIMEOUT_SECONDS = 30.0
UNREACHABLE = (
    urllib.error.URLError,
    http.client.HTTPException,
    ssl.SSLError,
    TimeoutError,
    ConnectionError,
)


def fetch(url: str, sha256: str) -> Path:
    """The file at `url` in the cache, downloaded when it is not there yet.

    sha256: the 64 hexadecimal digits of the file, or at least the first 8 of them (PyTorch's file
    names carry 8). A file that lies in the cache is checked too, so it may be put there by hand.
    An interrupted download goes on where it stopped; a file appears under its name only when it is
    whole and right. The cache is the folder named by UNHAZE_CACHE, else `~/.cache/unhaze`.
    UnhazeError when the network, the server or the checksum fails.
    """
    if not re.fullmatch(r"[0-9a-f]{8,64}", sha256):
        raise ValueError(f"sha256 is '{sha256}'; expected 8 to 64 hexadecimal digits, lower case")
    path = cached_path(url, sha256)
    with locked(path):
        if not path.exists():
            partial = path.with_name(path.name + ".part")
            download(url, partial, path)
            found = digest(partial)
            if not found.startswith(sha256):
                partial.unlink()
                raise UnhazeError(
                    f"{url} sent a file with sha256 {found}, expected {sha256}; it was "
                    "deleted; run again to download it again"
                )
            partial.replace(path)
            return path
    found = digest(path)
    if not found.startswith(sha256):
        raise UnhazeError(
            f"'{path}' has sha256 {found}, expected {sha256}; delete it to download it again"
        )
    return path


def cached_path(url: str, sha256: str) -> Path:
    """Returns the cached path of `url`; one folder per checksum, so that names do not collide."""
    parts = urllib.parse.urlsplit(url)
    name = Path(urllib.parse.unquote(parts.path)).name
    if parts.scheme not in ("http", "https") or not name:
        raise UnhazeError(
            f"cannot fetch '{url}': expected an http(s) address that ends in a file name"
        )
    return cache_folder() / sha256[:8] / name


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds `path` against other processes (the ranks of one training) until the block ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("wb")
    except OSError as error:
        if path.exists():  # A read-only cache that somebody filled.
            yield
            return
        raise UnhazeError(
            f"cannot write to the cache folder '{path.parent}': {error.strerror}; "
            "set UNHAZE_CACHE to a folder that you can write to"
        ) from error
    with lock:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # Some network file systems cannot lock.
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def download(url: str, partial: Path, path: Path) -> None:
    """Fills `partial`, starting with what is there; a dropped connection is taken up again.

    Gives up at once when nothing ever came, else after `ATTEMPTS` connections without a new byte.
    """
    failures, reason = 0, ""
    while failures < ATTEMPTS:
        have = size(partial)
        try:
            if receive(url, partial):
                return
            reason = "the connection closed early"
        except urllib.error.HTTPError as error:
            raise UnhazeError(
                by_hand(url, path, f"the server returned status {error.code}")
            ) from error
        except UNREACHABLE as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
            if size(partial) == 0:
                raise UnhazeError(by_hand(url, path, reason)) from error
        except OSError as error:
            raise UnhazeError(f"cannot write '{partial}': {error.strerror}") from error
        failures = 0 if size(partial) > have else failures + 1
        time.sleep(PAUSE_SECONDS)
    raise UnhazeError(by_hand(url, path, f"{reason}; run again to resume"))


def size(partial: Path) -> int:
    """Bytes downloaded so far."""
    return partial.stat().st_size if partial.exists() else 0


def by_hand(url: str, path: Path, reason: str) -> str:
    """The message of a failed download: why, and the way without it."""
    return f"cannot download {url} ({reason}); or get it elsewhere and put it at '{path}'"


def receive(url: str, partial: Path) -> bool:
    """One request for the missing rest of `partial`; True when the file is whole."""
    have = size(partial)
    headers = {"User-Agent": "unhaze"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # Nothing is left to send; the checksum judges what is here.
            return True
        raise
    with response:
        if response.status != 206:  # The server knows no ranges and sends all of it.
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with partial.open("ab" if have else "wb") as file:
            have = write(response, file, have, total, partial.name.removesuffix(".part"))
    return total is None or have == total


def write(source: BinaryIO, file: BinaryIO, have: int, total: int | None, name: str) -> int:
    """Copies all of `source`, shows progress on a terminal; returns the bytes in `file` then."""
    while chunk := source.read(CHUNK):
        file.write(chunk)
        have += len(chunk)
        if sys.stderr.isatty():
            whole = f" of {total / 1e6:.0f}" if total else ""
            sys.stderr.write(f"\rdownloading {name}: {have / 1e6:.0f}{whole} MB")
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    return have


def digest(path: Path) -> str:
    """sha256 of the file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
