"""The exception for errors that the user can fix."""


class UnhazeError(Exception):
    """Wrong input, file, name or setting. Its text is one line: given, expected, what to do.

    File names that are no valid text stand in it as \\xff and so on, so that it can be printed.
    """

    def __init__(self, *words: object) -> None:
        super().__init__(*(printable(each) if isinstance(each, str) else each for each in words))


def printable(text: object) -> str:
    """A name with its bytes that are no UTF-8, which Python holds as surrogates, written out."""
    return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
