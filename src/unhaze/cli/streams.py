"""`unhaze run` on what is no file: a video on stdin or stdout, a URL, a sequence of pictures."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unhaze.cli.progress import follow_video, say
from unhaze.errors import UnhazeError

if TYPE_CHECKING:
    from unhaze.batch import Settings
    from unhaze.restore.restorer import Restorer
    from unhaze.restore.video import VideoReport

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


def streams_in(inputs: tuple[str, ...], out: str | None, streaming: Streaming) -> bool:
    """Returns whether an input or `out` is a URL or a sequence, or a video goes to stdout.

    A usage error if it is not alone, or needs the network and may not have it.
    """
    from unhaze.batch import is_video
    from unhaze.restore.video.streams import is_sequence, scheme_of

    words = (*inputs, *([out] if out else []))
    urls = [each for each in words if scheme_of(each)]
    special = urls or any(is_sequence(each) for each in words)
    if special and len(inputs) != 1:
        raise click.UsageError("a URL, or a sequence of pictures, goes alone; give one INPUT")
    if urls and not streaming.allow_network:
        raise click.UsageError(f"'{urls[0]}' is a URL; --allow-network lets FFmpeg open it")
    if special and out is None:
        raise click.UsageError(f"where to? give -o FILE for '{inputs[0]}', or -o - for stdout")
    to_stdout = out == "-" and len(inputs) == 1 and is_video(Path(inputs[0]))
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
        say(f"{name}: {seconds:.2f} s, {report.frames} frames, {rate:.1f} frames/s")
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
    if settings.analysis is not None:
        how["analysis"] = settings.analysis
    how |= {"start": settings.start, "end": settings.end, "encoding": settings.encoding}
    if is_sequence(source) or is_sequence(out):
        numbers = {"fps": streaming.fps, "start_number": streaming.start_number}
        return restore_sequence(source, out, output=settings.output, **numbers, **how)
    how["reconnect"] = RECONNECT if streaming.reconnect is None else streaming.reconnect
    if out != "-" or streaming.container:
        how["container"] = streaming.container
    return restore_video(source, sys.stdout.buffer if out == "-" else out, **how)
