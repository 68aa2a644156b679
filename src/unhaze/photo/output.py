"""Output options of the service: `unhaze.outputs.OPTIONS` as parameters."""

from collections.abc import Mapping
from typing import Any

from unhaze import outputs
from unhaze.errors import UnhazeError
from unhaze.formats import NAMED
from unhaze.photo.savers import SAVERS

SAME = outputs.SAME  # the source's format, or the one that it becomes if it can only be read
# Value of `format` -> suffix. Of several suffixes of a format the first is the usual one.
FORMATS = NAMED
# A result without a name needs no suffix.
OPTIONS = {name: option for name, option in outputs.OPTIONS.items() if name != "suffix"}


def output_of(given: Mapping[str, Any]) -> outputs.Output:
    """Builds an Output from options named as in `OPTIONS`. UnhazeError: invalid or conflicting
    values.
    """
    chosen: dict[str, Any] = {
        name: None if value in (0, "", SAME) else value for name, value in given.items()
    }
    chosen |= {name: given.get(name, False) for name in ("lossless", "strip_metadata")}
    return outputs.Output(**chosen)


def suffix_for(format: str, own: str) -> str:
    """Returns the suffix of a result. own: the suffix that it has in the format of its source.

    UnhazeError: no such format.
    """
    if format == SAME:
        return own
    if format not in FORMATS:
        raise UnhazeError(f"format is '{format}'; it must be one of {', '.join(FORMATS)}")
    same = own in SAVERS and SAVERS[own] is SAVERS[FORMATS[format]]
    return own if same else FORMATS[format]
