"""The one exception that means: the person who ran this can mend it."""


class UnhazeError(Exception):
    """Wrong input, file, name or setting. Its text is one line: given, expected, what to do."""
