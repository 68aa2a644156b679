"""The file that FFmpeg writes to: it is complete or absent, and every failure is raised."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from unhaze.atomic import new_file
from unhaze.errors import UnhazeError


class TargetFile:
    """A new file for PyAV, by its descriptor."""

    def __init__(self, descriptor: int) -> None:
        # Unbuffered: closing after a failure writes nothing that could fail again.
        self.file = io.FileIO(descriptor, "r+b", closefd=False)

    def write(self, data: bytes) -> int:
        """Writes all of `data`, which a raw file does not guarantee."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.file.write(rest) :]
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    @property
    def closed(self) -> bool:
        """PyAV reads this: it writes no trailer to a closed file."""
        return self.file.closed

    def close(self) -> None:
        self.file.close()

    def copy(self, path: Path) -> None:
        """Copies the content to `path` and replaces what was there."""
        self.file.seek(0)
        with (
            new_file(path, original=None, overwrite=True) as descriptor,
            closing(io.FileIO(descriptor, "wb", closefd=False)) as copied,
        ):
            shutil.copyfileobj(self.file, copied, 1 << 20)


@contextmanager
def target_file(target: Path, *, original: Path | None, overwrite: bool) -> Iterator[TargetFile]:
    """Yields a file that gets its name if no error was raised. UnhazeError: for any failure."""
    from av.error import FFmpegError

    try:
        with (
            new_file(target, original=original, overwrite=overwrite) as descriptor,
            closing(TargetFile(descriptor)) as file,
        ):
            yield file
    except (FFmpegError, OSError) as error:
        raise UnhazeError(f"cannot write '{target}': {error.strerror or error}") from error
