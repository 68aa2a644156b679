"""`unhaze run`: hazy photos and videos in, restored ones out."""

import math
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from unhaze.cli.progress import follow_video, report, stopped_by_control_c
from unhaze.errors import UnhazeError
from unhaze.restore.devices import DEVICES

if TYPE_CHECKING:
    from unhaze.batch import FileJob, Settings
    from unhaze.restore.restorer import Restorer

OUT_HELP = "File for one input, folder for several, - for stdout. [default: beside the input]"
LIST_HELP = "More inputs, one a line or ended by zero bytes; - is stdin."
UNITS = {"M": 1e6, "G": 1e9}
RESUME_HELP = "Keep results that exist and are not older than their input."


def seconds(context: click.Context, option: click.Parameter, given: str | None) -> float | None:
    """90, 1:30 or 1:02:03.5 -> seconds; a usage error for everything else."""
    if given is None:
        return None
    try:
        parts = [float(part) for part in given.split(":")]
    except ValueError:
        parts = [math.nan]
    if len(parts) > 3 or not all(0 <= part < math.inf for part in parts):
        raise click.BadParameter(f"'{given}' is no time; expected seconds, 1:30 or 1:02:03.5")
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


def size(context: click.Context, option: click.Parameter, given: str | None) -> float | None:
    """500M or 4G -> bytes; a usage error for everything else."""
    if given is None:
        return None
    number, unit = given[:-1], given[-1:].upper()
    if unit not in UNITS or not number.isdecimal() or not int(number):
        raise click.BadParameter(f"'{given}' is no size; expected a number and M or G, as in 4G")
    return int(number) * UNITS[unit]


@click.command(short_help="Clears haze from photos and videos.")
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("-o", "--out", metavar="OUT", help=OUT_HELP)
@click.option("--files-from", type=click.File("rb"), metavar="FILE", help=LIST_HELP)
@click.option("--model", default="auto", metavar="NAME|FILE", help="Listed name or .onnx file.")
@click.option("--strength", default=1.0, metavar="S", help="0 changes nothing, 1 clears fully.")
@click.option(
    "--analysis",
    type=click.IntRange(min=16),
    metavar="PX",
    help="Long side of the small picture that the network sees. [default: 1024]",
)
@click.option("--native", is_flag=True, help="Let the network see every pixel instead.")
@click.option("--device", type=click.Choice(["auto", *DEVICES]), default="auto")
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Photos at a time. [default: as many as cores and memory allow]",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Threads in all. [default: one per core]",
)
@click.option(
    "--memory",
    callback=size,
    metavar="SIZE",
    help="That the network may take, as in 500M or 4G. [default: what is free]",
)
@click.option("--overwrite", is_flag=True, help="Replace results that exist.")
@click.option("--resume", is_flag=True, help=RESUME_HELP)
@click.option("--compare", is_flag=True, help="Also write a strip: hazy beside restored.")
@click.option("--save-field", is_flag=True, help="Also write transmission and airlight pictures.")
@click.option("--start", callback=seconds, metavar="TIME", help="Of a video: from here on.")
@click.option("--end", callback=seconds, metavar="TIME", help="Of a video: up to here.")
@click.option("--codec", metavar="NAME", help="Of a video: h264, h265, av1, ffv1, prores.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def run(
    inputs: tuple[str, ...],
    out: str | None,
    files_from: BinaryIO | None,
    model: str,
    strength: float,
    analysis: int | None,
    native: bool,
    device: str,
    jobs: int | None,
    threads: int | None,
    memory: float | None,
    overwrite: bool,
    resume: bool,
    compare: bool,
    save_field: bool,
    start: float | None,
    end: float | None,
    codec: str | None,
    as_json: bool,
) -> int:
    """Clears haze from photos and videos: files, folders, globs, or - (stdin to stdout).

    photo.jpg becomes photo.unhazed.jpg, and the path of every result is printed. In a folder given
    with -o, names and structure stay as they are. A file that fails is named and the rest goes on.
    """
    check_options(strength, analysis if native else None, start, end)
    from unhaze.batch import Settings, plan_files, read_list, restore_files
    from unhaze.restore.restorer import Restorer

    settings = Settings(
        *(strength, overwrite, resume, compare, save_field, start, end, codec, analysis)
    )
    open_restorer = partial(Restorer, model, device, analysis=analysis or 1024, native=native)
    if "-" in inputs or out == "-":
        check_pipes(inputs, out, settings, only_files=as_json or files_from is not None)
        restorer = open_restorer(threads=threads or 0, memory=memory)
        return restore_pipe(inputs[0], out or "-", restorer, settings)
    listed = read_list(files_from.read()) if files_from else []
    plan = plan_files([*inputs, *listed], out)
    check_videos(plan, settings)
    with stopped_by_control_c() as stop:
        results = restore_files(
            plan,
            open_restorer,
            settings,
            at_once=jobs or int(native),
            threads=threads or 0,
            memory=memory,
            stop=stop,
            watch=follow_video,
        )
        return report(results, len(plan), model, stop, as_json)


def check_options(
    strength: float, analysis: int | None, start: float | None, end: float | None
) -> None:
    """Usage errors that are seen before anything is loaded; `analysis`: None if it may be given."""
    if analysis is not None:
        raise click.UsageError("--analysis and --native exclude each other")
    if not 0 <= strength <= 1:
        raise click.UsageError(f"--strength is {strength:g}; it must be from 0 to 1")
    if end is not None and end <= (start or 0):
        raise click.UsageError(f"--end is {end:g} s; it must be after the start, {start or 0:g} s")


def check_videos(plan: "list[FileJob]", settings: "Settings") -> None:
    """A usage error if options for videos, or for photos, have none to work on."""
    from unhaze.batch import is_video

    videos = sum(is_video(job.source) for job in plan)
    if videos == 0 and (settings.start, settings.end, settings.codec) != (None, None, None):
        raise click.UsageError("--start, --end and --codec are for videos, and there is none")
    if videos and (settings.compare or settings.save_field):
        if videos == len(plan):
            raise click.UsageError("--compare and --save-field are for photos, and there is none")
        click.echo("unhaze: --compare and --save-field leave out the videos", err=True)


def check_pipes(
    inputs: tuple[str, ...], out: str | None, settings: "Settings", *, only_files: bool
) -> None:
    """stdin and stdout each carry one picture and nothing else."""
    if len(inputs) != 1:
        raise click.UsageError("- stands for one picture on stdin or stdout; give one INPUT")
    if only_files or settings.resume or settings.compare or settings.save_field:
        options = "--json, --files-from, --resume, --compare and --save-field"
        raise click.UsageError(f"{options} are for files; they do not go with -")
    if out in (None, "-") and sys.stdout.isatty():
        raise click.UsageError("stdout is a terminal; redirect it or give -o FILE")
    if "-" in inputs and sys.stdin.isatty():
        raise click.UsageError("stdin is a terminal; send a picture into it")


def restore_pipe(source: str, out: str, restorer: "Restorer", settings: "Settings") -> int:
    """Restores one picture from stdin, or to stdout, or both, and answers the exit status.

    On stdout the picture keeps its format, or becomes PNG where that is only read.
    """
    from unhaze import photo

    try:
        encoded = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        if out == "-":
            sys.stdout.buffer.write(restorer.restore_bytes(encoded, strength=settings.strength))
        else:
            restored = restorer.restore(photo.read(encoded), settings.strength)
            photo.write(restored, out, overwrite=settings.overwrite)
            click.echo(out)
    except UnhazeError as error:
        whose = "" if source == "-" else f"'{source}': "
        click.echo(f"unhaze: error: {whose}{error}", err=True)
        return 1
    return 0
