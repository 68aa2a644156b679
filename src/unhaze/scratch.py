"""Temporary folders that the next start removes if their process was killed, as by kill -9."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

PREFIX = "unhaze-"


@contextmanager
def scratch_folder(kind: str) -> Iterator[Path]:
    """A new folder unhaze-KIND-..., with a file `lease` in it, that is gone afterwards."""
    import tempfile  # which loads much

    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-"))
    held = lease(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            held.close()


def lease(folder: Path) -> IO[bytes] | None:
    """An open file that says, by its lock, that the folder's owner lives; None: it does already,
    or this system (Windows) knows no such locks.

    The system releases the lock however the owner ends.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        return None
    file = (folder / "lease").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(b"\n")  # an empty file is one whose owner has not locked it yet
        file.flush()
    except OSError:
        file.close()
        return None
    return file


def remove_leftovers() -> None:
    """Deletes the folders of servers and batches that ended without doing so."""
    import tempfile

    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or of something else
            leased = (folder / "lease").stat().st_size > 0
            if leased and (held := lease(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                held.close()
