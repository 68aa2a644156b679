"""`unhaze serve`: the web page and the HTTP API."""

import math

import click

LOCAL = ("127.0.0.1", "localhost", "::1")


class Finite(click.FloatRange):
    """A number in a range; "nan" compares with nothing and would pass, "inf" is no limit."""

    def convert(
        self, value: object, param: click.Parameter | None, context: click.Context | None
    ) -> float:
        number = super().convert(value, param, context)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, context)
        return number


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
@click.option("--max-megabytes", type=Finite(0.001), default=200, show_default=True)
@click.option("--max-megapixels", type=Finite(0.001), default=120, show_default=True)
@click.option("--max-frame-megapixels", type=Finite(0.001), default=9, show_default=True)
@click.option("--max-frames", type=click.IntRange(min=1), default=3000, show_default=True)
@click.option("--upload-seconds", type=Finite(0.1), default=120, show_default=True)
@click.option("--work-seconds", type=Finite(1), default=120, show_default=True)
@click.option("--video-seconds", type=Finite(1), default=1800, show_default=True)
@click.option("--worker-megabytes", type=Finite(200), default=2000, show_default=True)
@click.option("--keep-minutes", type=Finite(0), default=30, show_default=True)
@click.option("--keep-megabytes", type=Finite(0), default=4000, show_default=True)
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
    from dataclasses import replace

    from unhaze.web import Settings, create_app, server

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
    app = create_app(replace(settings, client_places=client_places))
    try:
        app.state.clearer.check()
        listening = server.listen(host, port)
    except BaseException:
        app.state.clearer.close()
        raise
    if host not in LOCAL and not token:
        click.echo("unhaze: everyone who reaches this address may use it; see --token", err=True)
    place = f"[{host}]" if ":" in host else host
    query = "?token=TOKEN" if token else ""
    port = listening.getsockname()[1]
    click.echo(f"unhaze: http://{place}:{port}/{query} (stop with Ctrl-C)", err=True)
    server.run(app, listening, behind_proxy=behind_proxy)
