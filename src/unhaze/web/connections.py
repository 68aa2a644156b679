"""Connections: limited in total and per client; further ones get a reply and are closed.

Hypercorn has no such limit, and an application sees a connection only after a complete request.
Therefore the sockets are accepted here and passed to Hypercorn's own `TCPServer`.
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

LINGER_SECONDS = 1.0  # for a refused client to read the reply
MOST_LINGERING = 64  # refused connections that get a reply; further ones are only closed


class Door:
    """Counts open connections. most: in total; of_one: per client, 0: no limit."""

    def __init__(self, most: int, of_one: int = 0) -> None:
        self.most, self.of_one = most, of_one or most
        self.by_client: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """Returns the number of connections being served."""
        return self.by_client.total()

    def refusal(self, client: str) -> tuple[int, str] | None:
        """Returns the status and reason for refusing one more connection of this client, else
        None.
        """
        if self.by_client[client] >= self.of_one:
            return 429, f"you hold {self.of_one} connections, which is all that one client may"
        if self.open >= self.most:
            return 503, f"all {self.most} connections are taken"
        return None

    @contextmanager
    def inside(self, client: str) -> Iterator[None]:
        """Counts a connection of `client` until the block ends."""
        self.by_client[client] += 1
        try:
            yield
        finally:
            self.by_client[client] -= 1
            self.by_client += Counter()  # removes entries of zero


class Connections:
    """All connections of one server; `close` lets responses in progress be sent."""

    def __init__(self, app: Any, config: Config, door: Door) -> None:
        """app: an ASGI application, for which the types of Starlette and Hypercorn differ."""
        self.app, self.config, self.door = ASGIWrapper(app), config, door
        self.contexts: set[WorkerContext] = set()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.servers: list[asyncio.Server] = []
        self.lingering = 0

    async def open(self) -> None:
        """Starts accepting connections."""
        for each in self.config.create_sockets().insecure_sockets:
            server = await asyncio.start_server(
                self.connected, sock=each, backlog=self.config.backlog
            )
            self.servers.append(server)

    async def close(self, seconds: float) -> None:
        """Stops accepting, and ends connections that are still open after `seconds`."""
        for server in self.servers:
            server.close()
        for context in self.contexts:
            await context.terminated.set()  # idle connections end at once
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection to its end, or refuses it."""
        task = asyncio.current_task()
        assert task is not None  # asyncio runs this in a task per connection
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        client = network_of((writer.get_extra_info("peername") or ("",))[0])
        refusal = self.door.refusal(client)
        if refusal is not None:
            await self.turn_away(reader, writer, *refusal)
            return
        context, loop = WorkerContext(None), asyncio.get_running_loop()
        self.contexts.add(context)
        # Replaces the StreamReader, of which Hypercorn calls only `read`.
        watched: Any = Watched(reader, context)
        try:
            with self.door.inside(client):
                await TCPServer(self.app, loop, self.config, context, {}, watched, writer)
        finally:
            self.contexts.discard(context)

    async def turn_away(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int, why: str
    ) -> None:
        """Sends the reason; keeps reading, because the kernel would otherwise discard the reply."""
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
    """The reader that `TCPServer` uses. `TCPServer` would keep a connection closed by its client as
    long as an idle one; reporting the end to the context stops the waiting.
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
    """Returns a complete response. `seconds`: the time after which idle connections are closed."""
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
    """Returns what identifies a client: the address, in IPv6 the network, as one client has many
    there.
    """
    return ":".join(host.split(":")[:4]) if host.count(":") > 3 else host
