"""Files and folders that appear whole or not at all, and never in place of what must stay."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from unhaze.errors import UnhazeError, target_exists

# Errors of systems and file systems without nameless files.
NO_NAMELESS_FILES = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}


@contextmanager
def made_aside(final: Path, *, parents: bool = False) -> Iterator[Path]:
    """A free path in the folder of `final`, with its ending, for a file or a folder.

    When the block ends well, what lies there takes the name `final`, in place of what has it; else
    it is removed. Whether that may be replaced is the caller's to check. parents: makes the folder.
    UnhazeError: the system does not let it be written.
    """
    aside = final.with_name(f".{os.urandom(4).hex()}.{final.name}")
    try:
        if parents:
            final.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        if aside.is_dir() and final.is_dir():
            shutil.rmtree(final)
        aside.replace(final)
    except OSError as error:
        raise UnhazeError(f"cannot write '{final}': {error.strerror or error}") from error
    finally:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        elif aside.exists():
            aside.unlink()


@contextmanager
def new_file(path: Path, *, original: Path | None, overwrite: bool) -> Iterator[int]:
    """Yields a descriptor to read and write; the file gets its name if no error was raised.

    Where the system supports it, the file has no name until then, so that not even a kill leaves
    anything behind; elsewhere a kill leaves a hidden file that ends in .part.
    """
    check_target(path, original, overwrite)
    descriptor, partial = _nameless(path.parent), None
    try:
        if descriptor is None:
            partial = _hidden(path)
            descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        yield descriptor
        if original is not None and hasattr(os, "fchmod"):  # as private as the original
            mode = os.fstat(descriptor).st_mode & original.stat().st_mode & 0o777
            os.fchmod(descriptor, mode | 0o600)
        os.fsync(descriptor)
        check_target(path, original, overwrite)  # again: it may have been created meanwhile
        if partial is None:
            partial = _hidden(path)
            _link(descriptor, partial)
        _publish(partial, path, overwrite)
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


def check_target(path: Path, original: Path | None, overwrite: bool) -> None:
    """Raises UnhazeError if `path` is the original, exists without `overwrite`, is no regular file,
    or its folder does not exist.
    """
    try:
        if not path.parent.is_dir():
            raise UnhazeError(f"cannot write '{path}': there is no folder '{path.parent}'; make it")
        if not path.exists():
            return
        is_original = original is not None and path.samefile(original)
    except OSError as error:  # such as a name that is too long
        raise UnhazeError(f"cannot write '{path}': {error.strerror or error}") from error
    if is_original:
        raise UnhazeError(f"'{path}' is the input, which is never overwritten; choose another name")
    check_replaceable(path, overwrite)


def check_replaceable(path: Path, overwrite: bool) -> None:
    """Raises UnhazeError if `path` exists without `overwrite`, or is no regular file."""
    if not path.exists():
        return
    if not path.is_file():
        raise UnhazeError(
            f"'{path}' is not a regular file and cannot be replaced; choose another name"
        )
    if not overwrite:
        raise target_exists(path)


def make_folder(path: Path) -> None:
    """Creates a folder and its parents. UnhazeError: not allowed, or a file is in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnhazeError(f"cannot create the folder '{path}': {error.strerror}") from error


def _nameless(folder: Path) -> int | None:
    """Creates a file without a name in `folder`; None if the system has no such files."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or not Path("/proc/self/fd").exists():
        return None
    try:
        return os.open(folder, flag | os.O_RDWR, 0o666)
    except OSError as error:
        if error.errno in NO_NAMELESS_FILES:
            return None
        raise


def _link(descriptor: int, path: Path) -> None:
    """Gives the nameless file a name."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # Only with a folder's descriptor does Python call linkat, which follows this link.
        os.link(f"/proc/self/fd/{descriptor}", path.name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        os.close(folder)


def _hidden(path: Path) -> Path:
    return path.with_name(f".{os.urandom(8).hex()}.part")


def _publish(partial: Path, path: Path, overwrite: bool) -> None:
    """Gives the finished file its name; without `overwrite`, a file created meanwhile is kept."""
    if overwrite:
        partial.replace(path)
        return
    try:
        path.hardlink_to(partial)
    except FileExistsError as error:
        raise target_exists(path) from error
    except OSError:  # no hard links on this file system: claim the name, then replace it
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        partial.replace(path)


def insert(file: BinaryIO, at: int, data: bytes, *, block: int = 1 << 20) -> None:
    """Inserts `data` into an open file at `at`; the rest moves, block by block from the end."""
    end = file.seek(0, os.SEEK_END)
    while data and end > at:
        start = max(at, end - block)
        file.seek(start)
        moved = file.read(end - start)
        file.seek(start + len(data))
        file.write(moved)
        end = start
    file.seek(at)
    file.write(data)
