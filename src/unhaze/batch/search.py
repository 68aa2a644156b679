"""Finds the photos and videos in a folder, and says why other files are passed over."""

import logging
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from unhaze import formats
from unhaze.restore.video import VIDEO_SUFFIXES

log = logging.getLogger(__name__)

MARK = ".unhazed"
PHOTO_SUFFIXES = tuple(formats.SUFFIXES)
# Pictures that programs leave in folders, and that nothing here reads.
UNREAD_SUFFIXES = {".hdr", ".jxr", ".wdp", ".svg", ".ai", ".eps", ".pdf", ".xcf", ".kra", ".ico"}
NAMED = 8  # of files passed over, in one line
HEAD = 64  # bytes by which a file is known

HIDDEN, RESULT = "hidden", "an earlier result"
UNREAD, NO_PICTURE = "of a format that is not read", "no picture"
BY_CONTENT = "{} by its content, not by its name; it is restored if given by name"


@dataclass
class Found:
    """files: to restore. unreadable: folders, with why. passed: other files, with why."""

    files: list[Path] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    passed: dict[Path, str] = field(default_factory=dict)


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
    try:
        with path.open("rb") as file:
            key = formats.key_of(file.read(HEAD)) if path.is_file() else None
    except OSError:
        return NO_PICTURE
    sure = key is not None and key not in ("pnm", "pfm", "bmp")  # whose signs are two letters
    return BY_CONTENT.format(formats.FORMATS[key].name) if sure and key else NO_PICTURE


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
    log.warning("passed over in '%s': %s", folder, "; ".join(parts))


def is_video(file: PurePath) -> bool:
    """Returns whether `file` is named like a video."""
    return file.suffix.lower() in VIDEO_SUFFIXES


def has_known_suffix(file: PurePath) -> bool:
    """Returns whether `file` is named like a photo or a video."""
    return file.suffix.lower() in PHOTO_SUFFIXES or is_video(file)


def same(one: Path, other: Path) -> bool:
    """Returns whether both are the same file or folder; `other` need not exist."""
    return other.exists() and one.samefile(other)
