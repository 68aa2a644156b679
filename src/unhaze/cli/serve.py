"""`unhaze serve`: the web page and the HTTP API."""

import math
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from unhaze.web import Settings

LOCAL = ("127.0.0.1", "localhost", "::1")


def finite(_: click.Context, __: click.Parameter, number: float) -> float:
    """The number; "nan" compares with nothing and passes every range, "inf" is no limit."""
    if not math.isfinite(number):
        raise click.BadParameter(f"{number} is not a finite number")
    return number


def at_least(least: float) -> dict[str, Any]:
    """How an option takes a number."""
    return {"type": click.FloatRange(least), "callback": finite, "show_default": True}


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option(
    "--token",
    envvar="UNHAZE_TOKEN",
    default="",
    help="What clients must show as `Authorization: Bearer TOKEN`. Also: UNHAZE_TOKEN.",
)
@click.option("--workers", type=click.IntRange(min=0), default=0, help="Photos at a time; 0: auto.")
@click.option("--queue", type=click.IntRange(min=0), default=8, show_default=True)
@click.option(
    "--client-places",
    type=click.IntRange(min=0),
    help="For one address; 0: all. Default: half, but all on this computer alone.",
)
@click.option("--models", default="", help="Those that clients may name, as A,B; default: all.")
@click.option("--max-megabytes", default=200, **at_least(0.001))
@click.option("--max-megapixels", default=120, **at_least(0.001))
@click.option("--max-frame-megapixels", default=9, **at_least(0.001))
@click.option("--max-frames", type=click.IntRange(min=1), default=3000, show_default=True)
@click.option("--upload-seconds", default=120, **at_least(0.1))
@click.option("--work-seconds", default=120, **at_least(1))
@click.option("--video-seconds", default=1800, **at_least(1))
@click.option("--worker-megabytes", default=2000, **at_least(200))
@click.option("--keep-minutes", default=30, **at_least(0))
@click.option("--keep-megabytes", default=4000, **at_least(0))
@click.option("--origin", "origins", multiple=True, help="Another site that may use the API.")
@click.option("--device", default="auto", show_default=True)
@click.option("--behind-proxy", is_flag=True, help="Trust X-Forwarded-* of a proxy before this.")
def serve(
    host: str,
    port: int,
    token: str,
    workers: int,
    queue: int,
    client_places: int | None,
    models: str,
    max_megabytes: float,
    max_megapixels: float,
    max_frame_megapixels: float,
    max_frames: int,
    upload_seconds: float,
    work_seconds: float,
    video_seconds: float,
    worker_megabytes: float,
    keep_minutes: float,
    keep_megabytes: float,
    origins: tuple[str, ...],
    device: str,
    behind_proxy: bool,
) -> None:
    """Serves a web page and an HTTP API that clear photos, on this computer by default."""
    from unhaze.web import Settings

    local = host in LOCAL and not behind_proxy
    settings = Settings(
        max_bytes=int(1e6 * max_megabytes),
        max_pixels=int(1e6 * max_megapixels),
        max_frame_pixels=int(1e6 * max_frame_megapixels),
        max_frames=max_frames,
        workers=workers,
        worker_bytes=int(1e6 * worker_megabytes),
        queue=queue,
        body_seconds=upload_seconds,
        work_seconds=work_seconds,
        video_seconds=video_seconds,
        kept_bytes=int(1e6 * keep_megabytes),
        kept_seconds=60 * keep_minutes,
        token=token,
        origins=origins,
        hosts=("127.0.0.1", "localhost", "[::1]") if local else (),
        models=tuple(each.strip() for each in models.split(",") if each.strip()),
        device=device,
    )
    if client_places is None:
        client_places = 0 if local else max(1, (settings.places + queue) // 2)
    start(replace(settings, client_places=client_places), host, port, behind_proxy=behind_proxy)


def start(settings: "Settings", host: str, port: int, *, behind_proxy: bool) -> None:
    """Serves once the model is loaded and the address is ours; says where."""
    from unhaze.web import create_app, server

    app = create_app(settings)
    with ExitStack() as undo:
        undo.callback(app.state.clearer.close)
        app.state.clearer.check()
        config, port = server.listen(host, port)
        undo.pop_all()
    if host not in LOCAL and not settings.token:
        click.echo("unhaze: everyone who reaches this address may use it; see --token", err=True)
    place = f"[{host}]" if ":" in host else host
    query = "?token=TOKEN" if settings.token else ""
    click.echo(f"unhaze: http://{place}:{port}/{query} (stop with Ctrl-C)", err=True)
    server.run(app, config, behind_proxy=behind_proxy)
