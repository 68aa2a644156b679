"""`unhaze run`: hazy photos in, restored photos out."""

import contextlib
import functools
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from unhaze.errors import UnhazeError

if TYPE_CHECKING:
    from unhaze.batch import FileResult, Restore

OUT_HELP = "File for one input, folder for several, - for stdout. [default: beside the input]"


@click.command(short_help="Clears haze from photos.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--out", metavar="OUT", help=OUT_HELP)
@click.option("--model", default="auto", metavar="NAME|FILE", help="Shipped name or .onnx file.")
@click.option("--strength", default=1.0, metavar="S", help="0 changes nothing, 1 clears fully.")
@click.option(
    "--analysis",
    type=click.IntRange(min=16),
    metavar="PX",
    help="Long side of the small picture that the network sees. [default: 1024]",
)
@click.option("--native", is_flag=True, help="Let the network see every pixel instead.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--overwrite", is_flag=True, help="Replace results that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def run(
    inputs: tuple[str, ...],
    out: str | None,
    model: str,
    strength: float,
    analysis: int | None,
    native: bool,
    device: str,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Clears haze from photos: files, folders, globs, or - (stdin to stdout).

    photo.jpg becomes photo.unhazed.jpg, and the path of every result is printed. In a folder given
    with -o, names and structure stay as they are. A file that fails is named and the rest goes on.
    """
    if native and analysis is not None:
        raise click.UsageError("--analysis and --native exclude each other")
    if not 0 <= strength <= 1:
        raise click.UsageError(f"--strength is {strength:g}; it must be from 0 to 1")
    check_pipes(inputs, out, as_json)

    from unhaze.batch import plan_files, restore_files
    from unhaze.restore.restorer import Restorer

    piped = "-" in inputs or out == "-"
    jobs = [] if piped else plan_files(inputs, out)
    restorer = Restorer(model, device=device, analysis=analysis or 1024, native=native)
    restore = functools.partial(restorer.restore, strength=strength)
    if piped:
        return restore_pipe(inputs[0], out or "-", restore, overwrite)
    with noted_interrupts() as interrupts:
        results = until_interrupted(restore_files(jobs, restore, overwrite=overwrite), interrupts)
        return report(results, len(jobs), model, as_json)


@contextlib.contextmanager
def noted_interrupts() -> Iterator[list[int]]:
    """A list that Ctrl-C fills while it also raises KeyboardInterrupt, but for inside pyvips.

    There libvips may be calling Python back, and an exception in such a call is printed and lost.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        while frame is not None:
            if "pyvips" in Path(frame.f_code.co_filename).parts:
                return
            frame = frame.f_back
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, before)


def until_interrupted(
    results: Iterator["FileResult"], interrupts: list[int]
) -> Iterator["FileResult"]:
    """Passes results on; stops after the photo in which an interrupt was only noted."""
    for result in results:
        yield result
        if interrupts:
            raise KeyboardInterrupt


def check_pipes(inputs: tuple[str, ...], out: str | None, as_json: bool) -> None:
    """stdin and stdout each carry one picture and nothing else."""
    if "-" not in inputs and out != "-":
        return
    if len(inputs) > 1:
        raise click.UsageError("- stands for one picture on stdin or stdout; give one INPUT")
    if as_json:
        raise click.UsageError("--json reports on files; it does not go with -")
    if out in (None, "-") and sys.stdout.isatty():
        raise click.UsageError("stdout is a terminal; redirect it or give -o FILE")
    if "-" in inputs and sys.stdin.isatty():
        raise click.UsageError("stdin is a terminal; send a picture into it")


def report(results: Iterator["FileResult"], total: int, model: str, as_json: bool) -> int:
    """Says of each file what became of it as soon as it is known; answers the exit status."""
    entries, failures = [], 0
    for number, result in enumerate(results, start=1):
        done = result.error is None
        failures += not done
        count = f"[{number}/{total}] " if total > 1 else ""
        if done and not as_json:
            click.echo(result.target)
        said = f"{result.source}: {result.seconds:.2f} s" if done else f"error: {result.error}"
        click.echo("unhaze: " + count + " ".join(said.splitlines()), err=True)
        target = str(result.target) if done else None
        seconds = round(result.seconds, 3)
        entries.append(
            {"source": str(result.source), "target": target, "seconds": seconds}
            | {"error": result.error}
        )
    if as_json:
        document = {"model": model, "done": total - failures, "failed": failures, "files": entries}
        click.echo(json.dumps(document, indent=2))
    if failures and total > 1:
        click.echo(f"unhaze: error: {failures} of {total} inputs failed", err=True)
    return 1 if failures else 0


def restore_pipe(source: str, out: str, restore: "Restore", overwrite: bool) -> int:
    """Restores one picture from stdin, or to stdout, or both, and answers the exit status.

    On stdout the picture keeps its format, or becomes PNG where that is only read.
    """
    from unhaze import photo

    try:
        hazy = photo.read(sys.stdin.buffer.read() if source == "-" else source)
        restored = restore(hazy)
        if out == "-":
            suffix = f".{hazy.format}" if f".{hazy.format}" in photo.SAVERS else ".png"
            sys.stdout.buffer.write(photo.encode(restored, suffix))
        else:
            photo.write(restored, out, overwrite=overwrite)
            click.echo(out)
    except UnhazeError as error:
        click.echo(f"unhaze: error: {error}", err=True)
        return 1
    return 0
