"""A real server for the web tests, as `unhaze serve` runs it: in a thread, on a port of its own."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from unhaze.web import Settings, create_app, server
from unhaze.web.connections import Door
from unhaze.web.work import Clearer


@dataclass(frozen=True)
class Running:
    """Where it answers, and what is inside it."""

    url: str
    port: int
    clearer: Clearer
    door: Door
    loop: asyncio.AbstractEventLoop

    def tasks(self) -> int:
        """How many tasks the server's loop has; a connection has some."""
        return len(asyncio.all_tasks(self.loop))

    def files(self) -> list[Path]:
        """What lies in its private folder, but for the mark that it is in use."""
        # Not by rglob, which fails where a folder goes while it looks.
        found = os.walk(self.clearer.uploads.folder)
        files = [Path(folder) / name for folder, _, names in found for name in names]
        return [file for file in files if file.name != "lease"]


@contextmanager
def serving(settings: Settings) -> Iterator[Running]:
    """Runs until the block ends; every file of it is gone then."""
    app = create_app(settings)
    config, port = server.listen("127.0.0.1", 0)
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(
        target=loop.run_until_complete, args=(server.serve_until(app, config, stop),)
    )
    thread.start()
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not answers(url):
            assert thread.is_alive() and time.monotonic() < deadline
            time.sleep(0.02)
        yield Running(url, port, app.state.clearer, app.state.door, loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()
    assert not app.state.clearer.uploads.folder.exists()


def answers(url: str) -> bool:
    """Whether the server is up."""
    try:
        return httpx2.get(f"{url}/healthz", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False
