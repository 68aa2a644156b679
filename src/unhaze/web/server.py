"""Runs the application on a socket with limits on connections and time, also of the shutdown.

Hypercorn closes a connection that sends no complete request head within `IDLE_SECONDS`. uvicorn
never closes such connections (260 of them blocked its server), granian those that are silent.
"""

import asyncio
import signal
import sys
from contextlib import suppress
from typing import Any

from fastapi import FastAPI
from hypercorn.config import Config
from hypercorn.middleware import ProxyFixMiddleware

from unhaze.web.connections import Connections

IDLE_SECONDS = 10  # without a request, or with an incomplete head
END_SECONDS = 5.0  # for sending responses after the work has ended
BACKLOG = 512
RESERVED = 384  # descriptors besides connections: files, pipes of workers


def listen(host: str, port: int) -> tuple[Config, int]:
    """Returns the bound socket with its options, and its port; port 0 selects a free one.

    OSError: the address is in use or does not belong to this computer.
    """
    config = Config()
    config.bind = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
    [bound] = config.create_sockets().insecure_sockets
    port = bound.getsockname()[1]
    config.bind = [f"fd://{bound.detach()}"]
    config.backlog = BACKLOG
    config.keep_alive_timeout = IDLE_SECONDS
    config.include_server_header = False
    config.loglevel = "WARNING"
    return config, port


def run(app: FastAPI, config: Config, *, behind_proxy: bool) -> None:
    """Serves until SIGINT or SIGTERM."""

    async def until_signal() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Windows' event loop has no signal handlers; there Ctrl-C raises KeyboardInterrupt.
            with suppress(NotImplementedError):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve_until(app, config, stop, behind_proxy=behind_proxy)

    asyncio.run(until_signal())


async def serve_until(
    app: FastAPI, config: Config, stop: asyncio.Event, *, behind_proxy: bool = False
) -> None:
    """Serves until `stop` is set. Then no work starts, work in progress may finish, and the rest
    gets 503. This takes at most `Settings.stop_seconds` and some 15 seconds.
    """
    settings, clearer = app.state.clearer.settings, app.state.clearer
    shown: Any = app  # the ASGI types of Starlette and Hypercorn are incompatible
    if behind_proxy:
        shown = ProxyFixMiddleware(shown, mode="legacy", trusted_hops=1)
    door = app.state.door
    door.most = min(settings.max_connections, max(1, descriptors() - RESERVED))
    connections = Connections(shown, config, door)
    async with app.router.lifespan_context(app):
        await connections.open()
        await stop.wait()
        await clearer.drain(settings.stop_seconds)
        # A client that reads slowly must not delay the shutdown.
        await connections.close(END_SECONDS)


def descriptors() -> int:
    """Returns the number of files and connections that the system allows this process."""
    if sys.platform == "win32":
        return 1 << 16
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if allowed == resource.RLIM_INFINITY else allowed
