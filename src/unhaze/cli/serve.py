"""`unhaze serve`: the web page and the HTTP API."""

import click

LOCAL = ("127.0.0.1", "localhost", "::1")


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
@click.option("--max-megabytes", type=click.FloatRange(0.001), default=200, show_default=True)
@click.option("--max-megapixels", type=click.FloatRange(0.001), default=120, show_default=True)
@click.option("--max-frames", type=click.IntRange(min=1), default=3000, show_default=True)
@click.option("--upload-seconds", type=click.FloatRange(0.1), default=120, show_default=True)
@click.option("--keep-minutes", type=click.FloatRange(0), default=30, show_default=True)
@click.option("--origin", "origins", multiple=True, help="Another site that may use the API.")
@click.option("--device", default="auto", show_default=True)
@click.option("--behind-proxy", is_flag=True, help="Trust X-Forwarded-* of a proxy before this.")
def serve(
    host: str,
    port: int,
    token: str,
    workers: int,
    queue: int,
    max_megabytes: float,
    max_megapixels: float,
    max_frames: int,
    upload_seconds: float,
    keep_minutes: float,
    origins: tuple[str, ...],
    device: str,
    behind_proxy: bool,
) -> None:
    """Serves a web page and an HTTP API that clear photos, on this computer by default."""
    import uvicorn

    from unhaze.web import Settings, create_app

    local = host in LOCAL and not behind_proxy
    settings = Settings(
        max_bytes=int(1e6 * max_megabytes),
        max_pixels=int(1e6 * max_megapixels),
        max_frames=max_frames,
        workers=workers,
        queue=queue,
        body_seconds=upload_seconds,
        kept_seconds=60 * keep_minutes,
        token=token,
        origins=origins,
        hosts=("127.0.0.1", "localhost", "[::1]") if local else (),
        device=device,
    )
    if host not in LOCAL and not token:
        click.echo("unhaze: everyone who reaches this address may use it; see --token", err=True)
    place = f"[{host}]" if ":" in host else host
    query = "?token=TOKEN" if token else ""
    click.echo(f"unhaze: http://{place}:{port}/{query} (stop with Ctrl-C)", err=True)
    uvicorn.run(
        create_app(settings),
        host=host,
        port=port,
        log_level="warning",
        server_header=False,
        proxy_headers=behind_proxy,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=30,
        limit_concurrency=256,
    )
