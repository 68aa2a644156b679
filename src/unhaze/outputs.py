"""Options of results, shared by the command, Python, batches and the service.

`OPTIONS` says how files are written; an `Output` holds a choice of each. `CONTROLS` says what a
person wants otherwise than the model, and `Controls` holds that; `unhaze.restore.controlling` does
it. `noted` collects what is logged about a result.
"""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from numbers import Real
from pathlib import Path, PurePath
from typing import Any

from unhaze.errors import UnhazeError
from unhaze.formats import FORMATS, NAMED, SUFFIXES, Format, kept_suffix
from unhaze.validation import nearest

remarks = logging.getLogger("unhaze.result")  # on what a result is, other than what it lacks
SAME = "same"
SPACES = ("srgb", "display-p3", "adobe-rgb", "rec2020", "prophoto")
BANDS = r"[1-9]\d{0,3}(,[1-9]\d{0,3},[1-9]\d{0,3})?"
DEPTHS = tuple(sorted({depth for each in FORMATS.values() for depth in each.depths}))


@dataclass(frozen=True)
class Option:
    """choices: the values that it takes; a bool default: a flag; limits: of a number."""

    help: str
    default: str | int | bool | None = None
    choices: tuple[str, ...] | tuple[int, ...] = ()
    limits: tuple[int, int] | None = None
    metavar: str | None = None


OPTIONS = {
    "format": Option("Format of restored photos.", SAME, (*NAMED, SAME)),
    "quality": Option(
        "Quality from 1 to 100. [default: the source's]", limits=(1, 100), metavar="Q"
    ),
    "lossless": Option("Lossless WebP, AVIF or JPEG XL.", False),
    "bit_depth": Option("Bits a channel; 32: floats. [default: the source's]", choices=DEPTHS),
    "suffix": Option("Suffix of file names. [default: .unhazed, or none with -o]", metavar="TEXT"),
    "strip_metadata": Option("Write only pixels and their colour space.", False),
    "color_space": Option("Colour space. [default: the source's]", choices=SPACES),
    "bands": Option("RGB bands of TIFF, as 4,3,2. [default: its own]", metavar="R,G,B"),
}
CONTROLS = {
    "protect_sky": "Keep the sky unchanged: 0 not at all, 1 fully.",
    "lift_shadows": "Lighten shadows: 0 not at all, 1 up to threefold.",
    "white_balance": "Remove the remaining colour cast: 0 none of it, 1 all. [default: all of it in"
    " photos whose haze has the colour of dust or smoke, otherwise none]",
}


@dataclass(frozen=True)
class Output:
    """A choice of `OPTIONS`; None, as False, leaves it as it is in the source.

    suffix: put before the ending of a result's name. bit_depth: bits a channel, 32 are floats.
    bands: of TIFF files, numbers from 1 of those that are red, green and blue, or of one.
    """

    format: str | None = None
    quality: int | None = None
    lossless: bool = False
    bit_depth: int | None = None
    suffix: str | None = None
    strip_metadata: bool = False
    color_space: str | None = None
    bands: str | None = None

    def __post_init__(self) -> None:
        """UnhazeError: a value that there is none of, or two that do not go together."""
        if self.format == SAME:
            object.__setattr__(self, "format", None)
        for name, value in asdict(self).items():
            check_option(name, value)
        if self.suffix is not None and not _is_part_of_a_name(self.suffix):
            raise UnhazeError(
                f"suffix is '{self.suffix}'; expected part of a file name, such as .clear"
            )
        if self.bands is not None and not re.fullmatch(BANDS, self.bands):
            raise UnhazeError(
                f"bands are '{self.bands}'; expected three numbers from 1, such as 4,3,2"
            )
        if self.lossless and self.quality is not None:
            raise UnhazeError("quality is for lossy pictures; leave out quality or lossless")
        if self.format is not None:
            self.check(FORMATS[SUFFIXES[NAMED[self.format]]], strictly=True)

    def check(self, target: Format, *, strictly: bool = False) -> None:
        """UnhazeError if the format does not hold the bit depth, or, strictly, has no quality to
        choose or cannot be told to be lossless.
        """
        if self.bit_depth is not None and self.bit_depth not in target.depths:
            held = " or ".join(map(str, target.depths))
            others = [each.name for each in FORMATS.values() if self.bit_depth in each.depths]
            raise UnhazeError(
                f"{target.name} holds {held} bits a channel, not {self.bit_depth};"
                f" formats that do: {', '.join(others)}"
            )
        if strictly and self.quality is not None and not target.quality:
            raise UnhazeError(f"{target.name} has no quality setting; leave it out")
        if strictly and self.lossless and target.quality and not target.lossless:
            raise UnhazeError(f"{target.name} cannot be lossless; choose another format")

    @property
    def channels(self) -> tuple[int, ...] | None:
        """`bands` as numbers from 0."""
        return tuple(int(each) - 1 for each in self.bands.split(",")) if self.bands else None

    @property
    def for_photos(self) -> list[str]:
        """The options given that do not apply to videos."""
        return [name for name, value in asdict(self).items() if value and name != "suffix"]

    @property
    def named_suffix(self) -> str | None:
        """The ending of results in the format that is asked for; None: as the source."""
        return NAMED[self.format] if self.format else None

    def suffix_of(self, name: PurePath) -> str | None:
        """The ending of the result of a picture file; None if it is not named like one."""
        return self.named_suffix or kept_suffix(name)


def check_option(name: str, value: Any) -> None:
    """UnhazeError unless the option takes the value."""
    option = OPTIONS[name]
    if value is None or (isinstance(option.default, bool) and isinstance(value, bool)):
        return
    if option.choices:
        if value in option.choices and not isinstance(value, bool):
            return
        words = ", ".join(map(str, option.choices))
        near = isinstance(value, str) and nearest(value, map(str, option.choices))
        raise UnhazeError(f"{name} is {value!r}; {near or f'expected one of {words}'}")
    if option.limits:
        low, high = option.limits
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return
        raise UnhazeError(f"{name} is {value!r}; expected a whole number from {low} to {high}")
    kind = bool if isinstance(option.default, bool) else str
    if not isinstance(value, kind):
        raise UnhazeError(f"{name} is {value!r}; expected {kind.__name__}")


def _is_part_of_a_name(text: str) -> bool:
    return bool(text.strip(". ")) and not set(text) & set('/\\\0<>:"|?*') and text.isprintable()


AS_SOURCE = Output()


@dataclass(frozen=True)
class Controls:
    """Values for `CONTROLS`, each from 0 (the model's result) to 1. white_balance None: 1 for
    photos whose haze has the colour of dust or smoke, 0 for others, animations, videos and native.
    """

    protect_sky: float = 0.0
    lift_shadows: float = 0.0
    white_balance: float | None = None

    def __post_init__(self) -> None:
        """Raises UnhazeError unless all others are numbers from 0 to 1."""
        for name, value in asdict(self).items():
            if name == "white_balance" and value is None:
                continue
            number = not isinstance(value, bool) and isinstance(value, Real)
            if not number or not 0 <= float(value) <= 1:
                raise UnhazeError(f"{name} is {value!r}; expected 0 (none) to 1 (all of it)")

    @property
    def any_given(self) -> bool:
        """Whether one of them is above 0."""
        return any(asdict(self).values())


AS_MODEL = Controls()


@dataclass(frozen=True)
class Notes:
    """What is logged about one result. lost: what it lacks of its source; remarks: the rest."""

    lost: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def all(self) -> tuple[str, ...]:
        """Returns both, first what is lost."""
        return (*self.lost, *self.remarks)


@contextmanager
def noted(source: Path) -> Iterator[Notes]:
    """Yields the warnings that this thread logs inside the block about the file's result: those of
    `unhaze.photo` and of `remarks`. For other listeners the name of the file is added to them.
    """
    notes = Notes()
    thread = threading.get_ident()

    def collect(record: logging.LogRecord) -> bool:
        found = notes.remarks if record.name == remarks.name else notes.lost
        if record.thread == thread and record.name.startswith((remarks.name, "unhaze.photo")):
            said = record.getMessage()
            found.append(said)
            if str(source) not in said:
                record.msg, record.args = "'%s': %s", (source, said)
        return False

    collector = logging.Handler(logging.WARNING)
    collector.addFilter(collect)
    logger = logging.getLogger("unhaze")
    logger.addHandler(collector)
    try:
        yield notes
    finally:
        logger.removeHandler(collector)
