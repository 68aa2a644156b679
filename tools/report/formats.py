"""The tables of formats and of how results are written, for docs/use.md."""

from pathlib import Path

from tools.report.readme import fill
from unhaze.errors import UnhazeError
from unhaze.extras import EXTRAS
from unhaze.formats import FORMATS, LIBVIPS, OWN, Format
from unhaze.outputs import OPTIONS, Option
from unhaze.photo.inventory import FATES
from unhaze.report.results import markdown

DEFAULT_INSTALL = {LIBVIPS, OWN}
COLUMNS = ("jpeg", "png", "tiff", "webp", "avif")


def update_page(page: Path, *, check: bool = False) -> bool:
    """Rewrites the tables in `page`; returns whether they were out of date.

    check: writes nothing. UnhazeError: no such file, or a marker that is not there exactly once.
    """
    try:
        before = page.read_text(encoding="utf-8")
    except OSError as error:
        raise UnhazeError(f"cannot read '{page}': {error.strerror}") from error
    after = fill(before, "formats", formats_table())
    after = fill(after, "fates", fates_table())
    after = fill(after, "outputs", outputs_table())
    if before != after and not check:
        page.write_text(after, encoding="utf-8")
    return before != after


def formats_table() -> str:
    """A row a format: how files are called, what reads it, what a result of it is."""
    rows = [
        [each.name, shown(each.suffixes), needed(each.reader), result(each), depths(each)]
        for each in FORMATS.values()
    ]
    return markdown(["format", "named", "to read it", "a result is", "bits a channel"], rows)


def fates_table() -> str:
    """A row a payload: what becomes of it, by format."""
    rows = [[each.name, *(each.fates[key] for key in COLUMNS)] for each in FATES]
    return markdown(["", *(FORMATS[key].name for key in COLUMNS)], rows)


def outputs_table() -> str:
    """A row an option of `unhaze.outputs`."""
    rows = [
        [f"`--{name.replace('_', '-')}{taken(each)}`", each.help] for name, each in OPTIONS.items()
    ]
    return markdown(["option", "meaning"], rows)


def taken(option: Option) -> str:
    """Returns the metavar of an option."""
    if option.choices:
        return " " + "|".join(map(str, option.choices))
    return f" {option.metavar}" if option.metavar else ""


def shown(suffixes: tuple[str, ...]) -> str:
    """All, or the first ones of many."""
    more = " ..." if len(suffixes) > 8 else ""
    return " ".join(suffixes[:8]) + more


def needed(reader: str) -> str:
    """The extra that has to be installed."""
    return "-" if reader in DEFAULT_INSTALL else f"`[{EXTRAS[reader][1]}]`"


def result(each: Format) -> str:
    """The suffix of a result in its own format, or of what it becomes."""
    return each.becomes or "the same"


def depths(each: Format) -> str:
    """That can be written."""
    if not each.depths:
        return "-"
    words = ["32 (floats)" if depth == 32 else str(depth) for depth in each.depths]
    return ", ".join(words)
