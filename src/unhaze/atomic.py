"""A file or folder that appears whole or not at all, made under another name beside its own.

Photos and videos have `photo.files.new_file`, which also leaves nothing behind when it is killed.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unhaze.errors import UnhazeError


@contextmanager
def made_aside(final: Path, *, parents: bool = False) -> Iterator[Path]:
    """A free path in the folder of `final`, with its ending, for a file or a folder.

    When the block ends well, what lies there takes the name `final`, in place of what has it; else
    it is removed. Whether that may be replaced is the caller's to check. parents: makes the folder.
    UnhazeError: the system does not let it be written.
    """
    aside = final.with_name(f".{secrets.token_hex(4)}.{final.name}")
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
