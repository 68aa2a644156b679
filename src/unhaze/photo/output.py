"""Output options of the service: `unhaze.outputs.OPTIONS` as parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unhaze import outputs
from unhaze.errors import UnhazeError
from unhaze.formats import NAMED
from unhaze.photo.savers import SAVERS

SAME = outputs.SAME  # the format of the source, or what it becomes where that is only read
# As `format` calls them -> suffix. Of several suffixes of a format the first is the usual one.
FORMATS = NAMED
FOR_FILES = {"suffix"}  # options that a result without a name has no use for
EXAMPLES = {"format": "webp", "quality": 80, "bit_depth": 16, "color_space": "srgb"}
EXAMPLES |= {"bands": "4,3,2"}


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


def _parameter(name: str, about: outputs.Option) -> Option:
    """A number is 0, and a word "same", where it is the source's. Numbers come as text, so that
    those of a choice are bounded here and checked by `Output`.
    """
    if isinstance(about.default, bool):
        return Option(bool, about.default, about.help, example=True)
    numbers = about.limits or tuple(each for each in about.choices if isinstance(each, int))
    text = about.help.replace("[default: the source's]", "").strip()
    if numbers:
        given = {"least": 0, "most": max(numbers), "example": EXAMPLES[name]}
        return Option(int, 0, f"{text} 0: the source's.".strip(), **given)
    if not about.choices:
        return Option(str, "", text, example=EXAMPLES[name])
    words = [str(each) for each in about.choices if each != SAME]
    return Option(str, SAME, text or "Of the result.", (SAME, *words), example=EXAMPLES[name])


OPTIONS = {
    name: _parameter(name, about)
    for name, about in outputs.OPTIONS.items()
    if name not in FOR_FILES
}


def output_of(given: Mapping[str, Any]) -> outputs.Output:
    """By the names of `OPTIONS`. UnhazeError: values that there are none of, or that do not go
    together.
    """
    chosen: dict[str, Any] = {
        name: None if value in (0, "", SAME) else value for name, value in given.items()
    }
    chosen |= {name: given.get(name, False) for name in ("lossless", "strip_metadata")}
    return outputs.Output(**chosen)


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
