"""A real server for the web tests: uvicorn in a thread, on a port of its own."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from unhaze.web import Settings, create_app
from unhaze.web.work import Clearer


@dataclass(frozen=True)
class Running:
    """Where it answers, and what is inside it."""

    url: str
    port: int
    clearer: Clearer

    def files(self) -> list[Path]:
        """What lies in its private folder."""
        return [file for file in self.clearer.shelf.folder.rglob("*") if file.is_file()]


@contextmanager
def serving(settings: Settings) -> Iterator[Running]:
    """Runs until the block ends; every file of it is gone then."""
    app = create_app(settings)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="on")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Running(f"http://127.0.0.1:{port}", port, app.state.clearer)
    finally:
        server.should_exit = True
        thread.join(60)
    assert not app.state.clearer.shelf.folder.exists()
