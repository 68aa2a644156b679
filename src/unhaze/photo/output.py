"""Output options of the service: `unhaze.outputs.OPTIONS` as parameters."""

from collections.abc import Mapping
from typing import Any

from unhaze import outputs
from unhaze.errors import UnhazeError
from unhaze.formats import NAMED
from unhaze.photo.savers import SAVERS

SAME = outputs.SAME  # the format of the source, or what it becomes where that is only read
# As `format` calls them -> suffix. Of several suffixes of a format the first is the usual one.
FORMATS = NAMED
# A result without a name has no use for a suffix.
OPTIONS = {name: option for name, option in outputs.OPTIONS.items() if name != "suffix"}


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
