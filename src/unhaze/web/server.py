"""Runs the application on a socket: connections time out, and it ends in bounded time.

Hypercorn closes a connection on which no whole request head comes within `IDLE_SECONDS`. uvicorn
keeps those for ever (260 of them shut its server), granian those that have sent nothing yet.
"""

import asyncio
import signal
import socket
import sys
from contextlib import suppress

from fastapi import FastAPI
from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.middleware import ProxyFixMiddleware

IDLE_SECONDS = 10  # without a request, or with only a part of its head
DRAIN_SECONDS = 10.0  # that work which has begun may still take when the server is told to stop
END_SECONDS = 5.0  # that answers may still be sent after that
BACKLOG = 512


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0: a free one. OSError: the address is taken, or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def run(app: FastAPI, listening: socket.socket, *, behind_proxy: bool) -> None:
    """Serves until SIGINT or SIGTERM."""
    raise_descriptor_limit()

    async def until_signal() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Windows' loop knows no handlers; there Ctrl-C raises KeyboardInterrupt.
            with suppress(NotImplementedError):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve_until(app, listening, stop, behind_proxy=behind_proxy)

    asyncio.run(until_signal())


async def serve_until(
    app: FastAPI, listening: socket.socket, stop: asyncio.Event, *, behind_proxy: bool = False
) -> None:
    """Serves until `stop` is set: then nothing begins, what runs may end, the rest is told 503."""
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.keep_alive_timeout = IDLE_SECONDS
    config.graceful_timeout = END_SECONDS
    config.include_server_header = False
    config.loglevel = "WARNING"
    shown = ProxyFixMiddleware(app, mode="legacy", trusted_hops=1) if behind_proxy else app
    drained = asyncio.Event()
    serving = asyncio.ensure_future(serve(shown, config, shutdown_trigger=drained.wait))
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if stopped.done():
        await app.state.clearer.drain(DRAIN_SECONDS)
        drained.set()
        # A client that takes its answer slowly must not hold the server up.
        await asyncio.wait({serving}, timeout=2 * END_SECONDS)
    stopped.cancel()
    if not serving.done():
        serving.cancel()
        await asyncio.wait({serving}, timeout=END_SECONDS)
        await asyncio.to_thread(app.state.clearer.close)
        return
    await serving


def raise_descriptor_limit() -> None:
    """As many open connections and files as the system lets this process have."""
    if sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
