"""`Accept`: the format that a client prefers (RFC 9110, section 12.5.1)."""

from collections.abc import Mapping

from unhaze.formats import NAMED
from unhaze.outputs import SAME
from unhaze.web.responses import MEDIA_TYPES

EXACT, SUBTYPES, ALL = 2, 1, 0  # how specific a range is


class NotAcceptable(Exception):
    """No format that the client accepts can be written here."""

    def __init__(self) -> None:
        known = ", ".join(MEDIA_TYPES[suffix] for suffix in NAMED.values())
        super().__init__(f"expected an Accept that lets one of {known} through")


def wanted_formats(accept: str) -> dict[str, float]:
    """Returns the accepted formats, named as in `format`, with their quality, above 0 to 1.

    Without `Accept`, all formats are accepted. NotAcceptable: none is.
    """
    ranges = [read_range(each) for each in accept.split(",") if each.strip()] or [("*/*", 1.0)]
    found = {name: quality(MEDIA_TYPES[suffix], ranges) for name, suffix in NAMED.items()}
    welcome = {name: value for name, value in found.items() if value > 0}
    if not welcome:
        raise NotAcceptable
    return welcome


def read_range(text: str) -> tuple[str, float]:
    """Splits `image/webp;q=0.8` into the range and its quality, which is 1 if malformed."""
    kind, *parameters = (part.strip() for part in text.split(";"))
    value = 1.0
    for each in parameters:
        name, _, number = each.partition("=")
        if name.strip().lower() == "q":
            try:
                value = min(1.0, max(0.0, float(number)))
            except ValueError:
                value = 1.0
    return kind.lower(), value


def quality(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """Returns the quality of the most specific range that matches the type; 0 without a match."""
    whole = media_type.partition("/")[0] + "/*"
    closeness = {media_type: EXACT, whole: SUBTYPES, "*/*": ALL}
    fitting = [(closeness[kind], value) for kind, value in ranges if kind in closeness]
    return max(fitting, default=(ALL, 0.0))[1]


def choose(wanted: Mapping[str, float], own: str) -> str:
    """Returns the format of the highest quality; that of the source, with suffix `own`, wins
    a tie.
    """
    best = max(wanted.values())
    kept = [name for name in NAMED if MEDIA_TYPES[NAMED[name]] == MEDIA_TYPES[own]]
    if any(wanted.get(name) == best for name in kept):
        return SAME
    return next(name for name, value in wanted.items() if value == best)
