"""`unhaze run`: hazy photos and videos in, restored ones out."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from unhaze.cli.options import given_in, option_name, shared_options
from unhaze.cli.progress import Teller, follow_video, stopped_by, tell_plan
from unhaze.cli.streams import Streaming, as_streams, restore_stream, streams_in
from unhaze.errors import UnhazeError

if TYPE_CHECKING:
    from unhaze.batch import Plan, Settings
    from unhaze.restore.restorer import Restorer
    from unhaze.restore.video.streams import Piped

OUT_HELP = "File for one input, folder for several, - for stdout, URL. [default: beside the input]"
LIST_HELP = "File with more inputs, one per line or NUL-terminated; - is stdin."


@click.command(short_help="Clears haze from photos and videos.")
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("-o", "--out", metavar="OUT", help=OUT_HELP)
@click.option("--files-from", type=click.File("rb"), metavar="FILE", help=LIST_HELP)
@as_streams
@shared_options
@click.pass_context
def run(
    context: click.Context,
    inputs: tuple[str, ...],
    out: str | None,
    files_from: BinaryIO | None,
    streaming: Streaming,
) -> int:
    """Clears haze from photos and videos: files, folders, globs, - (stdin to stdout), sequences
    (frames/%05d.png), and with --allow-network URLs.

    photo.jpg becomes photo.unhazed.jpg, and the path of every result is printed. In a folder given
    with -o, names and structure stay as they are. A file that fails is named and the rest goes on.
    """
    given = given_in(context)
    from unhaze.batch import BatchStats, ExecutorConfig, plan_files, read_list, restore_files
    from unhaze.restore.video.streams import is_video_head

    work = given.work()
    settings, streamed = work.settings, streams_in(inputs, out, streaming)
    if streamed or "-" in inputs or out == "-":
        only_files = given.dry_run or files_from is not None
        as_json = given.as_json and (not streamed or out == "-")
        check_pipes(inputs, out, settings, only_files=only_files or as_json)
        source, head = source_of(inputs[0])
        use = "video" if streamed or is_video_head(head) else "photo"
        restorer = work.restorer(use)
        if use == "photo":
            return restore_pipe(inputs[0], head, out or "-", restorer, settings)
        said = {"as_json": given.as_json, "quiet": given.quiet}
        return restore_stream(source, out or "-", restorer, settings, streaming, **said)
    listed = read_list(files_from.read()) if files_from else []
    plan = plan_files([*inputs, *listed], out, settings)
    check_videos(plan, settings)
    if given.dry_run:
        return tell_plan(plan, work, as_json=given.as_json)
    teller, stats = Teller(given, files=True), BatchStats()
    how = {"watch": None if given.quiet else follow_video, "stats": stats}
    with stopped_by(signal.SIGINT) as stop:
        executor = ExecutorConfig(jobs=given.at_once)
        for outcome in restore_files(plan, work, executor, stop=stop, **how):
            teller.hear(stats, outcome)
        return teller.conclude(stats, stop, plan.passed)


def check_videos(plan: "Plan", settings: "Settings") -> None:
    """A usage error if options for videos, or for photos, have none to work on."""
    from unhaze.batch import is_video
    from unhaze.restore.encoding import CHOICES, Encoding

    names = [job.source for job in (*plan.jobs, *(each.job for each in plan.known))]
    videos = sum(is_video(Path(name)) for name in names)
    for_videos = (settings.start, settings.end, settings.encoding) != (None, None, Encoding())
    if videos == 0 and for_videos:
        said = ", ".join(["--start", "--end", *map(option_name, CHOICES)])
        raise click.UsageError(f"{said} are for videos, and there is none")
    if videos and (settings.compare or settings.save_field):
        if videos == plan.total:
            raise click.UsageError("--compare and --save-field are for photos, and there is none")
        click.echo("unhaze: --compare and --save-field leave out the videos", err=True)


def check_pipes(
    inputs: tuple[str, ...], out: str | None, settings: "Settings", *, only_files: bool
) -> None:
    """stdin and stdout each carry one picture or video and nothing else."""
    if len(inputs) != 1:
        raise click.UsageError("- stands for one picture or video; give one INPUT")
    if only_files or settings.resume or settings.compare or settings.save_field:
        options = "--json, --dry-run, --files-from, --resume, --compare and --save-field"
        raise click.UsageError(f"{options} are for files; they do not go with -")
    if out in (None, "-") and sys.stdout.isatty():
        raise click.UsageError("stdout is a terminal; redirect it or give -o FILE")
    if "-" in inputs and sys.stdin.isatty():
        raise click.UsageError("stdin is a terminal; send a picture into it")


def source_of(given: str) -> "tuple[str | Piped | BinaryIO, bytes]":
    """Returns the source that an argument names, and the first bytes of stdin."""
    from unhaze.restore.video.streams import Piped, peek

    if given != "-":
        return given, b""
    stdin, head = sys.stdin.buffer, peek(sys.stdin.buffer)
    if stdin.seekable():  # a file: what has its index at the end is read, too
        stdin.seek(0)
        return stdin, head
    return Piped(stdin, head), head


def restore_pipe(
    source: str, head: bytes, out: str, restorer: "Restorer", settings: "Settings"
) -> int:
    """Restores one picture from stdin, or to stdout, or both, and returns the exit status.

    `head`: what has been taken from stdin. On stdout the picture keeps its format, or becomes PNG
    where that is only read.
    """
    from unhaze import photo

    try:
        stdin = sys.stdin.buffer
        if source == "-":
            encoded = stdin.read() if stdin.seekable() else head + stdin.read()
        else:
            encoded = Path(source).read_bytes()
        if out == "-":
            sys.stdout.buffer.write(
                restorer.restore_bytes(encoded, strength=settings.strength, output=settings.output)
            )
        else:
            hazy = photo.read(encoded, bands=settings.output.channels)
            restored = restorer.restore(hazy, settings.strength)
            how = {"overwrite": settings.overwrite, "output": settings.output}
            photo.write(restored, out, **how)
            click.echo(out)
    except UnhazeError as error:
        whose = "" if source == "-" else f"'{source}': "
        click.echo(f"unhaze: error: {whose}{error}", err=True)
        return 1
    return 0
