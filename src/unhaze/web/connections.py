"""Connections: so many at a time, so many of one client; who comes besides is told so and closed.

Hypercorn has no such bound, and an application sees no connection before a whole request is there:
so the sockets are accepted here, and each is handed to Hypercorn's own `TCPServer`.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

LINGER_SECONDS = 1.0  # in which a client that is turned away may read why
MOST_LINGERING = 64  # of those; further ones are only closed


class Door:
    """Counts open connections. most: in all; of_one: of one client, 0: all."""

    def __init__(self, most: int, of_one: int = 0) -> None:
        self.most, self.of_one = most, of_one or most
        self.by_client: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """Connections that are served now."""
        return self.by_client.total()

    def refusal(self, client: str) -> tuple[int, str] | None:
        """Status and words for one more of this client; None: it may come in."""
        if self.by_client[client] >= self.of_one:
            return 429, f"you hold {self.of_one} connections, which is all that one client may"
        if self.open >= self.most:
            return 503, f"all {self.most} connections are taken"
        return None

    @contextmanager
    def inside(self, client: str) -> Iterator[None]:
        """Counts a connection until the block ends."""
        self.by_client[client] += 1
        try:
            yield
        finally:
            self.by_client[client] -= 1
            self.by_client += Counter()  # drops the zeros


class Connections:
    """All connections of one server; `close` lets answers that have begun be sent."""

    def __init__(self, app: Any, config: Config, door: Door) -> None:
        """app: by ASGI, for which Starlette and Hypercorn have types that do not fit together."""
        self.app, self.config, self.door = ASGIWrapper(app), config, door
        self.contexts: set[WorkerContext] = set()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.servers: list[asyncio.Server] = []
        self.lingering = 0

    async def open(self) -> None:
        """Accepts from now on."""
        for each in self.config.create_sockets().insecure_sockets:
            server = await asyncio.start_server(
                self.connected, sock=each, backlog=self.config.backlog
            )
            self.servers.append(server)

    async def close(self, seconds: float) -> None:
        """Accepts nothing more, and ends connections that take longer than this to end."""
        for server in self.servers:
            server.close()
        for context in self.contexts:
            await context.terminated.set()  # without a request it ends at once
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection to its end, or turns it away."""
        task = asyncio.current_task()
        assert task is not None  # asyncio makes one of each connection
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        client = network_of((writer.get_extra_info("peername") or ("",))[0])
        refusal = self.door.refusal(client)
        if refusal is not None:
            await self.turn_away(reader, writer, *refusal)
            return
        context, loop = WorkerContext(None), asyncio.get_running_loop()
        self.contexts.add(context)
        # In place of a StreamReader, of which Hypercorn calls `read` alone.
        watched: Any = Watched(reader, context)
        try:
            with self.door.inside(client):
                await TCPServer(self.app, loop, self.config, context, {}, watched, writer)
        finally:
            self.contexts.discard(context)

    async def turn_away(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int, why: str
    ) -> None:
        """Says why; what the client sends meanwhile is read, as its kernel would else drop it."""
        if self.lingering >= MOST_LINGERING:
            writer.transport.abort()
            return
        self.lingering += 1
        try:
            writer.write(refusal_bytes(status, why, self.config.keep_alive_timeout))
            writer.write_eof()
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(LINGER_SECONDS):
                    while await reader.read(1 << 16):
                        pass
        finally:
            self.lingering -= 1
            writer.transport.abort()


@dataclass(frozen=True)
class Watched:
    """What `TCPServer` reads from. It would keep a connection that its client has closed for as
    long as an idle one; the context is told of the end, and that ends the waiting.
    """

    reader: asyncio.StreamReader
    context: WorkerContext

    def at_eof(self) -> bool:
        return self.reader.at_eof()

    async def read(self, size: int) -> bytes:
        piece = await self.reader.read(size)
        if not piece:
            await self.context.terminated.set()
        return piece


def refusal_bytes(status: int, why: str, seconds: float) -> bytes:
    """A whole answer. Connections without a request are closed after so many seconds."""
    words = {429: "Too Many Requests", 503: "Service Unavailable"}[status]
    wait = max(1, round(seconds))
    body = json.dumps({"detail": f"{why}; try again in {wait} seconds"}).encode()
    lines = [
        f"HTTP/1.1 {status} {words}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        f"retry-after: {wait}",
        "connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def network_of(host: str) -> str:
    """What stands for one client: an address, of IPv6 the network, as one has many there."""
    return ":".join(host.split(":")[:4]) if host.count(":") > 3 else host
