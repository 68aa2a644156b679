"""`unhaze serve` as a process of its own, for the tests of what is installed."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen


@contextmanager
def serving(folder: Path, **variables: str) -> Iterator[str]:
    """Yields its address; what it says goes into a file in `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    words = ("-m", "unhaze", "serve", "--port", address.rpartition(":")[2])
    said = folder / "said"
    with said.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, *words], stdout=out, stderr=out, env=os.environ | variables
        )
        try:
            await_answer(address, server, said)
            yield address
        finally:
            server.terminate()
            server.wait(60)


def await_answer(address: str, server: subprocess.Popen, said: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            with urlopen(f"{address}/healthz", timeout=5):
                return
        except URLError:
            time.sleep(0.1)
    raise AssertionError(said.read_text())
