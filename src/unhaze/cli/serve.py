"""`unhaze serve`: the web page and the HTTP API."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unhaze.cli.options import GIVEN, option
from unhaze.cli.places import TEXT
from unhaze.errors import UnhazeError

if TYPE_CHECKING:
    from unhaze.web import Settings

MOST = 1e9  # megabytes, seconds and so on: nobody means more
LOCAL = ("127.0.0.1", "localhost", "::1")


def at_least(least: float) -> Callable[[str], float]:
    """Returns the callback that checks a number; "nan", "inf" and more than `MOST` are refused."""

    def read(given: str) -> float:
        try:
            number = float(given)
        except ValueError as error:
            raise click.BadParameter(f"'{given}' is not a number") from error
        if not math.isfinite(number):
            raise click.BadParameter(f"{number} is not a finite number")
        if number < least:
            raise click.BadParameter(f"{given} is less than {least:g}")
        if number > MOST:
            raise click.BadParameter(f"{given} is more than {MOST:g}")
        return number

    return read


def number(name: str, default: float, least: float, text: str = "") -> Callable:
    """Returns an option that takes a number of at least `least`."""
    shown = {"default": default, "show_default": True, "metavar": "N", "help": text}
    return option(name, type=at_least(least), **shown)


def whole(
    name: str, default: int | None, least: int, text: str = "", most: int | None = None
) -> Callable:
    """Returns an option that takes a whole number; without a default, the text describes it."""
    shown = {"default": default, "show_default": default is not None, "help": text}
    return option(name, type=click.IntRange(least, most), **shown)


PLACES_HELP = "Workers and queue places for one client; 0: all. Default: half; locally, all."
CONNECTIONS_HELP = (
    "The same for one client; 0: all. Default: a quarter; locally and behind a proxy, all."
)
OPTIONS = (
    option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
    option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True),
    option(
        "--token",
        envvar="UNHAZE_TOKEN",
        default="",
        help="Token required as `Authorization: Bearer TOKEN`. Also: UNHAZE_TOKEN.",
    ),
    option(
        "--token-file",
        envvar="UNHAZE_TOKEN_FILE",
        type=TEXT,
        metavar="FILE",
        help="File that contains only the token, e.g. a mounted secret. Also: UNHAZE_TOKEN_FILE.",
    ),
    whole("--workers", 0, 0, "Photos in parallel; 0: one per two cores.", 1024),
    whole("--queue", 8, 0, "Requests that may wait."),
    whole("--client-places", None, 0, PLACES_HELP),
    option("--models", default="", help="Models that clients may choose, as A,B; default: all."),
    number("--max-megabytes", 200, 0.001, "Size limit of an upload."),
    number("--max-megapixels", 120, 0.001, "Size limit of a photo."),
    number("--max-frame-megapixels", 9, 0.001, "Size limit of a video frame."),
    whole("--max-frames", 3000, 1, "Limit of the frames of a video."),
    whole("--max-connections", 1024, 1, "Limit of open connections."),
    whole("--client-connections", None, 0, CONNECTIONS_HELP),
    number("--upload-seconds", 120, 0.1, "Time limit for receiving a request body."),
    number("--work-seconds", 120, 1, "Time limit for one photo."),
    number("--video-seconds", 1800, 1, "Time limit for one video."),
    number("--stop-seconds", 10, 0, "Grace period for running work on shutdown."),
    number("--worker-megabytes", 2000, 200, "Memory limit of each worker process."),
    number("--keep-minutes", 30, 0, "Time until an unused file is deleted."),
    number("--keep-megabytes", 4000, 0, "Total size of kept files."),
    option("--origin", "origins", multiple=True, help="Another origin allowed to use the API."),
    option("--device", default="auto", show_default=True),
    option("--behind-proxy", is_flag=True, help="Trust X-Forwarded-* headers of a reverse proxy."),
    option(
        "--access-log",
        type=click.Choice(["text", "json", "off"]),
        default="text",
        show_default=True,
        help="Log each request on stderr.",
    ),
)


@dataclass(frozen=True)
class Given:
    """The values of the options; None: not given."""

    host: str
    port: int
    token: str
    token_file: str | None
    workers: int
    queue: int
    client_places: int | None
    models: str
    max_megabytes: float
    max_megapixels: float
    max_frame_megapixels: float
    max_frames: int
    max_connections: int
    client_connections: int | None
    upload_seconds: float
    work_seconds: float
    video_seconds: float
    stop_seconds: float
    worker_megabytes: float
    keep_minutes: float
    keep_megabytes: float
    origins: tuple[str, ...]
    device: str
    behind_proxy: bool
    access_log: str

    @property
    def local(self) -> bool:
        """Whether the server listens on this computer only."""
        return self.host in LOCAL and not self.behind_proxy

    def settings(self) -> "Settings":
        """Returns the settings of the server."""
        from unhaze.web import Settings

        settings = Settings(
            max_bytes=int(1e6 * self.max_megabytes),
            max_pixels=int(1e6 * self.max_megapixels),
            max_frame_pixels=int(1e6 * self.max_frame_megapixels),
            max_frames=self.max_frames,
            max_connections=self.max_connections,
            workers=self.workers,
            worker_bytes=int(1e6 * self.worker_megabytes),
            queue=self.queue,
            body_seconds=self.upload_seconds,
            work_seconds=self.work_seconds,
            video_seconds=self.video_seconds,
            stop_seconds=self.stop_seconds,
            kept_bytes=int(1e6 * self.keep_megabytes),
            kept_seconds=60 * self.keep_minutes,
            token=token_of(self.token, self.token_file),
            origins=self.origins,
            hosts=("127.0.0.1", "localhost", "[::1]") if self.local else (),
            models=tuple(each.strip() for each in self.models.split(",") if each.strip()),
            access_log=self.access_log,
            device=self.device,
        )
        places, connections = self.client_places, self.client_connections
        if places is None:
            places = 0 if self.local else max(1, (settings.places + self.queue) // 2)
        if connections is None:  # a proxy's address stands for all of its clients
            few = self.local or self.behind_proxy
            connections = 0 if few else max(1, self.max_connections // 4)
        return replace(settings, client_places=places, client_connections=connections)


def token_of(token: str, file: str | None) -> str:
    """The token, from the file if one is given. UnhazeError: both are, or it cannot be read."""
    if file is None:
        return token
    if token:
        raise UnhazeError("--token and --token-file exclude each other; give one")
    try:
        found = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UnhazeError(f"cannot read the token in '{file}': {why}") from error
    if not found:
        raise UnhazeError(f"the token file '{file}' is empty; anybody could use the server")
    return found


def serve_options(command: Callable) -> Callable:
    """Gives the verb all of `OPTIONS`."""
    for each in reversed(OPTIONS):
        command = each(command)
    return command


@click.command()
@serve_options
@click.pass_context
def serve(context: click.Context) -> None:
    """Serves a web page and an HTTP API that remove haze, by default on this computer only."""
    given = Given(**context.meta[GIVEN])
    start(given.settings(), given.host, given.port, behind_proxy=given.behind_proxy)


def start(settings: "Settings", host: str, port: int, *, behind_proxy: bool) -> None:
    """Serves once the model is loaded and the address is ours; says where."""
    from unhaze.web import access, create_app, server

    access.log_to()
    app = create_app(settings)
    with ExitStack() as undo:
        undo.callback(app.state.clearer.close)
        app.state.clearer.check()
        config, port = server.listen(host, port)
        undo.pop_all()
    if host not in LOCAL and not settings.token:
        click.echo("unhaze: anyone who can reach this address can use it; see --token", err=True)
    place = f"[{host}]" if ":" in host else host
    query = "?token=TOKEN" if settings.token else ""
    click.echo(f"unhaze: http://{place}:{port}/{query} (stop with Ctrl-C)", err=True)
    server.run(app, config, behind_proxy=behind_proxy)
