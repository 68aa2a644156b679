"""`unhaze run`: hazy photos and videos in, restored ones out; also of pipes, URLs, sequences."""

import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from unhaze.cli.options import Given, given_in, option_name, shared_options
from unhaze.cli.places import TEXT
from unhaze.cli.progress import Reporter, follow_video, print_plan, say, stopped_by
from unhaze.errors import UnhazeError, counted
from unhaze.formats import SUFFIXES

if TYPE_CHECKING:
    from unhaze.batch import Settings
    from unhaze.batch.jobs import Work
    from unhaze.restore.restorer import Restorer
    from unhaze.restore.video import VideoReport
    from unhaze.restore.video.streams import Piped

OUT_HELP = "File for one input, folder for several, - for stdout, URL. [default: beside the input]"
LIST_HELP = "File with more inputs, one per line or NUL-terminated; - is stdin."
CONTAINERS = ("matroska", "mpegts", "y4m", "flv")
NETWORK_HELP = "Allow FFmpeg to read and write the given URLs."
CONTAINER_HELP = "Container of a video on stdout or at a URL. [default: the source's or the URL's]"
RECONNECT_HELP = "How long to reconnect to a lost live source. [default: 30]"
FPS_HELP = "Frame rate of a sequence that becomes a video. [default: 25]"
NUMBER_HELP = "First number of a sequence, read or written. [default: 1]"


@dataclass(frozen=True)
class Streaming:
    """The options that are for streams and sequences alone; None: not given."""

    allow_network: bool
    container: str | None
    reconnect: float | None
    fps: float | None
    start_number: int | None


def as_streams(command: Callable[..., int]) -> Callable[..., int]:
    """Gives a verb these options, in one argument `streaming`."""

    @click.option("--allow-network", is_flag=True, help=NETWORK_HELP)
    @click.option("--container", type=click.Choice(CONTAINERS), help=CONTAINER_HELP)
    @click.option(
        "--reconnect", type=click.FloatRange(0, 86400), metavar="SECONDS", help=RECONNECT_HELP
    )
    @click.option("--fps", type=click.FloatRange(0.01, 1000), metavar="N", help=FPS_HELP)
    @click.option("--start-number", type=click.IntRange(0), metavar="N", help=NUMBER_HELP)
    @wraps(command)
    def with_streams(
        allow_network: bool,
        container: str | None,
        reconnect: float | None,
        fps: float | None,
        start_number: int | None,
        **others: Any,
    ) -> int:
        streaming = Streaming(allow_network, container, reconnect, fps, start_number)
        return command(streaming=streaming, **others)

    return with_streams


@click.command(short_help="Removes haze from photos and videos.")
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("-o", "--out", type=TEXT, metavar="OUT", help=OUT_HELP)
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
    """Removes haze from photos and videos: files, folders, globs, - (stdin to stdout), sequences
    (frames/%05d.png), and with --allow-network URLs.

    photo.jpg becomes photo.unhazed.jpg, and the path of every result is printed. In a folder given
    with -o, names and structure stay as they are. A file that fails is reported, and the others
    continue.
    """
    given = given_in(context)
    if len(inputs) == 1 and is_photo(Path(inputs[0])) and not given.dry_run:
        from unhaze.restore.models import begun, open_ahead

        open_ahead(given.model, given.device, threads=given.threads or 0)
        context.call_on_close(begun.clear)
    from unhaze.batch import (
        BatchStats,
        ExecutorConfig,
        is_video,
        plan_files,
        read_list,
        restore_files,
    )

    work = given.work()
    streamed = streams_in(inputs, out, streaming)
    if streamed or "-" in inputs or out == "-":
        how = {"streamed": streamed, "listed": files_from is not None}
        return run_stream(inputs, out, given, work, streaming, **how)
    listed = read_list(files_from.read(), files_from.name) if files_from else []
    plan = plan_files([*inputs, *listed], out, work.settings)
    names = [job.source for job in (*plan.jobs, *(each.job for each in plan.known))]
    videos = sum(map(is_video, names))
    check_kinds(work.settings, photos=len(names) - videos, videos=videos)
    if given.dry_run:
        return print_plan(plan, work, as_json=given.as_json)
    reporter, stats = Reporter(given, files=True), BatchStats()
    how = {"watch": None if given.quiet else follow_video, "stats": stats}
    with stopped_by(signal.SIGINT) as stop:
        executor = ExecutorConfig(jobs=given.at_once)
        for outcome in restore_files(plan, work, executor, stop=stop, **how):
            reporter.report(stats, outcome)
        return reporter.summarize(stats, stop, plan.passed)


def run_stream(
    inputs: tuple[str, ...],
    out: str | None,
    given: Given,
    work: "Work",
    streaming: Streaming,
    *,
    streamed: bool,
    listed: bool,
) -> int:
    """`run` for one input where stdin, stdout, a URL or a sequence takes part.

    streamed: by a URL or a sequence. listed: more inputs come from `--files-from`.
    """
    from unhaze.batch.worker import restorer_for
    from unhaze.restore.video.streams import is_sequence, is_video_head

    settings = work.settings
    refused = ["files_from"] * listed
    refused += [name for name in ("resume", "compare", "save_field") if getattr(settings, name)]
    refused += ["dry_run"] * given.dry_run
    refused += ["json"] * (given.as_json and (not streamed or out == "-"))
    check_pipes(inputs, out, refused)
    source, head = source_of(inputs[0])
    use = "video" if streamed or is_video_head(head) else "photo"
    pictures = use == "photo" or is_sequence(out or "-")
    check_kinds(settings, photos=pictures, videos=use == "video")
    restorer = restorer_for(work, use)
    if use == "photo":
        return restore_pipe(inputs[0], head, out or "-", restorer, settings)
    said = {"as_json": given.as_json, "quiet": given.quiet}
    return restore_stream(source, out or "-", restorer, settings, streaming, **said)


def is_photo(path: Path) -> bool:
    """Returns whether it is the file of a photo, by its name."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def check_kinds(settings: "Settings", *, photos: int, videos: int) -> None:
    """A usage error if options for photos, or for videos, have none to work on."""
    from unhaze.batch.jobs import PLAIN

    for_photos = [name for name in ("compare", "save_field") if getattr(settings, name)]
    for_photos += settings.output.for_photos
    plain, wanted = asdict(PLAIN.encoding), asdict(settings.encoding)
    for_videos = [name for name in ("start", "end") if getattr(settings, name) is not None]
    for_videos += [name for name in wanted if wanted[name] != plain[name]]
    for kind, names, count in (("photos", for_photos, photos), ("videos", for_videos, videos)):
        if names and not count:
            said = ", ".join(map(option_name, names))
            raise click.UsageError(f"{said}: for {kind}, and no input is one")
    if videos and (settings.compare or settings.save_field):
        say("--compare and --save-field do not apply to the videos")


def check_pipes(inputs: tuple[str, ...], out: str | None, refused: list[str]) -> None:
    """stdin and stdout each carry one picture or video and nothing else. refused: options given."""
    if len(inputs) != 1:
        raise click.UsageError("- stands for one picture or video; give one INPUT")
    if refused:
        said = ", ".join(map(option_name, refused))
        raise click.UsageError(f"{said} cannot be used with -, a URL or a sequence")
    if out in (None, "-") and sys.stdout.isatty():
        raise click.UsageError("stdout is a terminal; redirect it or give -o FILE")
    if "-" in inputs and sys.stdin.isatty():
        raise click.UsageError("stdin is a terminal; pipe a picture into it")


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


def streams_in(inputs: tuple[str, ...], out: str | None, streaming: Streaming) -> bool:
    """Returns whether an input or `out` is a URL or a sequence, or a video goes to stdout.

    A usage error if it is not alone, or needs the network and may not have it.
    """
    from unhaze.batch import is_video

    words = (*inputs, *([out] if out else []))
    urls: list[str] = []
    sequences: list[str] = []
    if any("://" in each or "%" in each for each in words):
        from unhaze.restore.video.streams import is_sequence, scheme_of

        urls = [each for each in words if scheme_of(each)]
        sequences = [each for each in words if is_sequence(each)]
    special = urls or sequences
    if special and len(inputs) != 1:
        raise click.UsageError("a URL or a sequence of pictures must be the only INPUT")
    if urls and not streaming.allow_network:
        raise click.UsageError(f"'{urls[0]}' is a URL; --allow-network lets FFmpeg open it")
    if special and out is None:
        raise click.UsageError(f"give -o FILE for '{inputs[0]}', or -o - for stdout")
    to_stdout = out == "-" and len(inputs) == 1 and is_video(inputs[0])
    piped = "-" in words
    for name, value in asdict(streaming).items():
        if value and not (special or piped) and name != "allow_network":
            where = "sequences" if name in ("fps", "start_number") else "stdout and URLs"
            raise click.UsageError(f"--{name.replace('_', '-')} is for {where}")
    return bool(special) or to_stdout


def restore_stream(
    source: Any,
    out: str,
    restorer: "Restorer",
    settings: "Settings",
    streaming: Streaming,
    *,
    as_json: bool = False,
    quiet: bool = False,
) -> int:
    """Restores one video or sequence, and returns the exit status; what is said goes to stderr."""
    from unhaze.restore.video.frames import require_av

    begin, name = time.perf_counter(), getattr(source, "name", source)
    name = "stdin" if name == "<stdin>" else str(name)
    watch = None if quiet else follow_video(Path(name))
    try:
        require_av("restoring a video")
        report = _restored(source, out, restorer, settings, streaming, watch)
    except UnhazeError as error:
        say(f"error: {error}" if name in str(error) else f"error: '{name}': {error}")
        return 1
    seconds = time.perf_counter() - begin
    if not quiet:
        for note in report.notes:
            say(f"{name}: {note}")
        rate = report.frames / seconds
        say(f"{name}: {seconds:.2f} s, {counted(report.frames, 'frame')}, {rate:.1f} frames/s")
    if as_json:
        click.echo(json.dumps(asdict(report) | {"target": str(report.target)}, indent=2))
    elif out != "-":
        click.echo(out)
    return 0


def _restored(
    source: Any,
    out: str,
    restorer: "Restorer",
    settings: "Settings",
    streaming: Streaming,
    watch: Callable[[int, int | None, float], None] | None,
) -> "VideoReport":
    from unhaze.restore.video import restore_video
    from unhaze.restore.video.sequences import restore_sequence
    from unhaze.restore.video.streams import RECONNECT, is_sequence

    how: dict[str, Any] = {
        "restorer": restorer,
        "strength": settings.strength,
        "overwrite": settings.overwrite,
        "progress": watch,
    }
    how |= {"start": settings.start, "end": settings.end, "encoding": settings.encoding}
    how["container"], target = streaming.container, sys.stdout.buffer if out == "-" else out
    if is_sequence(source) or is_sequence(out):
        numbers = {"fps": streaming.fps, "start_number": streaming.start_number}
        return restore_sequence(source, target, output=settings.output, **numbers, **how)
    how["reconnect"] = RECONNECT if streaming.reconnect is None else streaming.reconnect
    return restore_video(source, target, **how)
