"""The options that `run` and `batch` share: what is done to each photo and video, and with what."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from unhaze.cli.places import PATH
from unhaze.errors import UnhazeError
from unhaze.outputs import AS_MODEL, CONTROLS, Controls, Option, Output
from unhaze.outputs import OPTIONS as OUTPUTS
from unhaze.restore.encoding import CHOICES, Choice, read_choice
from unhaze.restore.resources import DEVICES

if TYPE_CHECKING:
    from unhaze.batch import Work

Command = TypeVar("Command", bound=Callable[..., Any])
SHARE = click.FloatRange(0, 1)
UNITS = {"M": 1e6, "G": 1e9}
GIVEN = "unhaze.given"  # where click keeps the values meanwhile


@dataclass(frozen=True)
class Given:
    """The values of the shared options. start, end: seconds; memory: bytes; None: not given."""

    model: str
    net: str | None
    strength: float
    analysis: int | None
    native: bool
    device: str
    jobs: int | None
    threads: int | None
    memory: float | None
    overwrite: bool
    resume: bool
    compare: bool
    save_field: bool
    start: float | None
    end: float | None
    encoding: dict[str, Any]
    encoding_file: Path | None
    as_json: bool
    dry_run: bool
    quiet: bool
    verbose: bool
    output: Output
    controls: Controls

    def work(self, source: str = "", target: str = "", retries: int = 0) -> "Work":
        """Returns what is to be done to each file, with what; as `Work`."""
        from unhaze.batch import Settings, Work
        from unhaze.restore.encoding import read_encoding

        names = [each.name for each in fields(Settings) if each.name != "encoding"]
        given: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.encoding or self.encoding_file:
            given["encoding"] = read_encoding(self.encoding, self.encoding_file)
        return Work(
            source,
            target,
            Settings(**given),
            self.model,
            self.device,
            self.native,
            threads=self.threads or 0,
            memory=self.memory,
            retries=retries,
        )

    @property
    def at_once(self) -> int:
        """Photos at a time, 0 to choose."""
        return self.jobs or int(self.native)


def given_in(context: click.Context) -> Given:
    """The shared options of this call. A usage error if two of them do not go together."""
    values = dict(context.meta[GIVEN])
    output = Output(**{name: values.pop(name) for name in OUTPUTS})
    encoding = {name: value for name in CHOICES if (value := values.pop(name)) is not None}
    controls = Controls(**{name: values.pop(name) for name in CONTROLS})
    given = Given(**values, output=output, encoding=encoding, controls=controls)
    if given.quiet and given.verbose:
        raise click.UsageError("--quiet and --verbose exclude each other")
    if given.quiet:
        root = logging.getLogger()
        context.call_on_close(partial(root.setLevel, root.level))  # for programs that call `main`
        root.setLevel(logging.ERROR)
    if given.native and given.analysis is not None:
        raise click.UsageError("--analysis and --native exclude each other")
    if given.native and controls.any_given:
        said = ", ".join(map(option_name, CONTROLS))
        raise click.UsageError(f"{said} cannot be combined with --native")
    if not 0 <= given.strength <= 1:
        raise click.UsageError(f"--strength is {given.strength:g}; it must be from 0 to 1")
    if given.end is not None and given.end <= (given.start or 0):
        start = f"{given.start or 0:g}"
        raise click.UsageError(f"--end is {given.end:g} s; it must be after the start, {start} s")
    from unhaze.restore.models import converted

    return replace(given, model=str(converted(given.model, given.net)))


def seconds(given: str) -> float:
    """90, 1:30 or 1:02:03.5 -> seconds; a usage error for everything else."""
    try:
        parts = [float(part) for part in given.split(":")]
    except ValueError:
        parts = [math.nan]
    limits = [math.inf, 60, 60][: len(parts)]
    if len(parts) > 3 or not all(0 <= part < limit for part, limit in zip(parts, limits)):
        raise click.BadParameter(f"'{given}' is not a time; expected seconds, 1:30 or 1:02:03.5")
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


def size(given: str) -> float:
    """500M or 4G -> bytes; a usage error for everything else."""
    number, unit = given[:-1], given[-1:].upper()
    if unit not in UNITS or not number.isdecimal() or not int(number):
        raise click.BadParameter(
            f"'{given}' is not a size; expected a number and M or G, such as 4G"
        )
    return int(number) * UNITS[unit]


def keep(context: click.Context, option: click.Parameter, value: Any) -> None:
    """Puts a value where `given_in` finds it."""
    context.meta.setdefault(GIVEN, {})[option.name] = value


def option(
    *names: str, metavar: str | None = None, **settings: Any
) -> Callable[[Command], Command]:
    """A shared option: the verb's function is not passed it."""
    return click.option(*names, metavar=metavar, expose_value=False, callback=keep, **settings)


def output_option(name: str, about: Option) -> Callable[[Command], Command]:
    """Returns the click option of an option of `unhaze.outputs`."""
    kind: Any = None
    if about.choices:
        kind = click.Choice(about.choices)
    elif about.limits:
        kind = click.IntRange(*about.limits)
    flag = isinstance(about.default, bool)
    return option(
        option_name(name),
        metavar=about.metavar,
        type=kind,
        is_flag=flag,
        default=about.default,
        help=about.help,
    )


def encoding_option(name: str, choice: Choice) -> Callable[[Command], Command]:
    """Returns the click option of a choice; an invalid value is a usage error."""

    def read(text: str) -> Any:
        try:
            return read_choice(name, text)
        except UnhazeError as error:
            raise click.BadParameter(str(error)) from error

    words = {"metavar": choice.metavar, "help": choice.help}
    return option(option_name(name), type=read, **words)


def option_name(name: str) -> str:
    """target_size -> --target-size"""
    return f"--{name.replace('_', '-')}"


OPTIONS = (
    option(
        "--model",
        default="auto",
        metavar="NAME|FILE",
        help="Model name, weights file, or prior with settings, e.g. dcp:omega=0.8.",
    ),
    option(
        "--net",
        metavar="NAME[/PRESET]",
        help="Network of the weights file, if it is not recognised.",
    ),
    option("--strength", default=1.0, metavar="S", help="How much haze to remove, from 0 to 1."),
    *(
        option(
            option_name(name), type=SHARE, default=getattr(AS_MODEL, name), metavar="S", help=about
        )
        for name, about in CONTROLS.items()
    ),
    option(
        "--analysis",
        type=click.IntRange(min=16),
        metavar="PX",
        help="Long side of the network's input. [default: the model's, or 1024]",
    ),
    option("--native", is_flag=True, help="Run the network at full resolution instead."),
    option("--device", type=click.Choice(["auto", *DEVICES]), default="auto"),
    option(
        "--jobs",
        type=click.IntRange(1, 1024),
        metavar="N",
        help="Photos in parallel. [default: as many as cores and memory allow]",
    ),
    option(
        "--threads",
        type=click.IntRange(1, 1024),
        metavar="N",
        help="Total number of threads. [default: one per core]",
    ),
    option(
        "--memory",
        type=size,
        metavar="SIZE",
        help="Memory limit for inference, e.g. 500M or 4G. [default: what is free]",
    ),
    *(output_option(name, about) for name, about in OUTPUTS.items()),
    option("--overwrite", is_flag=True, help="Replace existing results."),
    option("--resume", is_flag=True, help="Keep the results of an earlier call and do the rest."),
    option("--compare", is_flag=True, help="Also write hazy and restored side by side."),
    option("--save-field", is_flag=True, help="Also write transmission and airlight pictures."),
    option("--start", type=seconds, metavar="TIME", help="Start time (videos only)."),
    option("--end", type=seconds, metavar="TIME", help="End time (videos only)."),
    *(encoding_option(name, choice) for name, choice in CHOICES.items()),
    option(
        "--encoding",
        "encoding_file",
        type=PATH,
        metavar="FILE",
        help="TOML file with codec, crf and so on; options override it.",
    ),
    option("--dry-run", is_flag=True, help="Print inputs and outputs without restoring anything."),
    option("-q", "--quiet", is_flag=True, help="Print errors only."),
    option("-v", "--verbose", is_flag=True, help="Also print what each photo kept and lost."),
    option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout."),
)


def shared_options(command: Command) -> Command:
    """Gives a verb all of `OPTIONS`."""
    for each in reversed(OPTIONS):
        command = each(command)
    return command
