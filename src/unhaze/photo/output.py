"""What one may ask of a written photo: the table that the service's parameters are made from.

A new option is a line here and whatever `unhaze.photo.writing` does with it.
"""

from dataclasses import dataclass
from typing import Any

from unhaze.errors import UnhazeError
from unhaze.photo.writing import SAVERS

SAME = "same"  # the format of the source, PNG where that is only read
# As `format` calls them -> suffix. Of several suffixes of a format the first is the usual one.
FORMATS = {"jpg": ".jpg", "png": ".png", "webp": ".webp", "avif": ".avif", "tiff": ".tif"}
FORMATS |= {"gif": ".gif"}


@dataclass(frozen=True)
class Option:
    """type of the value, what it is if not given, what it may be (choices, or least to most)."""

    type: type
    default: Any
    text: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    example: Any = None


OPTIONS = {
    "format": Option(str, SAME, "Of the result.", choices=(SAME, *FORMATS), example="webp"),
}


def suffix_for(format: str, own: str) -> str:
    """The suffix of a result. own: the one that it has in its source's format.

    UnhazeError: no such format.
    """
    if format == SAME:
        return own
    if format not in FORMATS:
        raise UnhazeError(f"format is '{format}'; it must be one of {', '.join(FORMATS)}")
    same = own in SAVERS and SAVERS[own] is SAVERS[FORMATS[format]]
    return own if same else FORMATS[format]
