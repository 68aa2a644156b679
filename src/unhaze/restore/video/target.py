"""The file that FFmpeg writes into: it appears whole or not at all, and every failure is raised."""

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
        # Unbuffered: closing after a failure has nothing left that could fail again.
        self.file = io.FileIO(descriptor, "r+b", closefd=False)

    def write(self, data: bytes) -> int:
        """All of `data`, which a bare file does not promise."""
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
        """PyAV asks: into a closed file it writes no last words."""
        return self.file.closed

    def close(self) -> None:
        self.file.close()

    def copy(self, path: Path) -> None:
        """A copy under another name, over what had it."""
        self.file.seek(0)
        with (
            new_file(path, original=None, overwrite=True) as descriptor,
            closing(io.FileIO(descriptor, "wb", closefd=False)) as copied,
        ):
            shutil.copyfileobj(self.file, copied, 1 << 20)


@contextmanager
def target_file(target: Path, *, original: Path | None, overwrite: bool) -> Iterator[TargetFile]:
    """A file that gets its name when all went well. UnhazeError for all that prevents that."""
    from av.error import FFmpegError

    try:
        with (
            new_file(target, original=original, overwrite=overwrite) as descriptor,
            closing(TargetFile(descriptor)) as file,
        ):
            yield file
    except (FFmpegError, OSError) as error:
        raise UnhazeError(f"cannot write '{target}': {error.strerror or error}") from error
