"""Runs the application on a socket: connections are bounded and time out, and it ends in time.

Hypercorn closes a connection on which no whole request head comes within `IDLE_SECONDS`. uvicorn
keeps those for ever (260 of them shut its server), granian those that have sent nothing yet.
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

IDLE_SECONDS = 10  # without a request, or with only a part of its head
END_SECONDS = 5.0  # that answers may still be sent after the work has ended
BACKLOG = 512
RESERVED = 384  # descriptors for all but connections: files, pipes of workers


def listen(host: str, port: int) -> tuple[Config, int]:
    """The bound socket with what is to hold for it, and its port; port 0 asks for a free one.

    OSError: the address is taken, or not this computer's.
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
            # Windows' loop knows no handlers; there Ctrl-C raises KeyboardInterrupt.
            with suppress(NotImplementedError):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve_until(app, config, stop, behind_proxy=behind_proxy)

    asyncio.run(until_signal())


async def serve_until(
    app: FastAPI, config: Config, stop: asyncio.Event, *, behind_proxy: bool = False
) -> None:
    """Serves until `stop` is set: then nothing begins, what has begun may end, the rest is told
    503. All of that takes at most `Settings.stop_seconds` and some 15 seconds.
    """
    settings, clearer = app.state.clearer.settings, app.state.clearer
    shown: Any = app  # Starlette's and Hypercorn's types of ASGI do not fit together
    if behind_proxy:
        shown = ProxyFixMiddleware(shown, mode="legacy", trusted_hops=1)
    door = app.state.door
    door.most = min(settings.max_connections, max(1, descriptors() - RESERVED))
    connections = Connections(shown, config, door)
    async with app.router.lifespan_context(app):
        await connections.open()
        await stop.wait()
        await clearer.drain(settings.stop_seconds)
        # A client that takes its answer slowly must not hold the server up.
        await connections.close(END_SECONDS)


def descriptors() -> int:
    """Connections and files that this process may have open: as many as the system lets it."""
    if sys.platform == "win32":
        return 1 << 16
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if allowed == resource.RLIM_INFINITY else allowed
