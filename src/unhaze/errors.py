"""The exception for errors that the user can fix."""

import re

# What controls a terminal, which is in few names, if any: no line breaks, no tabs.
CONTROL = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class UnhazeError(Exception):
    """Wrong input, file, name or setting. Its text is one line: given, expected, what to do.

    What is no valid text in file names, or controls a terminal, stands in it as \\xff and so on.
    """

    def __init__(self, *words: object) -> None:
        super().__init__(*(printable(each) if isinstance(each, str) else each for each in words))


class TargetExists(UnhazeError):
    """The target exists and must not be replaced."""


def target_exists(path: object, how: str = "exists") -> TargetExists:
    """Returns the error of a target that `overwrite` would replace, in the words of all commands.

    how: what the target is, such as "is not empty".
    """
    return TargetExists(f"'{path}' {how}; --overwrite replaces it")


def counted(count: int, noun: str) -> str:
    """Returns a number of things: "1 frame", "2 frames". The noun takes an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def printable(text: object) -> str:
    """A name in which bytes that are no UTF-8, which Python holds as surrogates, and characters
    that control a terminal are written out."""
    readable = str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", readable)
