"""Two replicas behind nginx, as deploy/nginx.conf says: one dies under load, no picture is lost."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import httpx2
import pytest

from tests.web.files import hazy_photo, same_but_colours
from tests.web.test_hostile import wait_until
from tests.web.test_stop import command

ROOT = Path(__file__).parents[2]
CLIENTS = 16
# The pool is large enough that no client is told to come again.
WORDS = ("--behind-proxy", "--queue", "40", "--client-places", "0", "--stop-seconds", "20")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def nginx(folder: Path, *ports: str) -> Iterator[str]:
    """nginx with deploy/nginx.conf, the ports of the replicas and its own changed."""
    port = free_port()
    text = (ROOT / "deploy/nginx.conf").read_text(encoding="utf-8")
    for usual, given in zip(("127.0.0.1:8000", "127.0.0.1:8001"), ports, strict=True):
        assert usual in text
        text = text.replace(usual, given.removeprefix("http://"))
    text = re.sub(r"listen 80;", f"listen 127.0.0.1:{port};", text)
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    head = f"daemon off; pid {folder}/pid; error_log {folder}/error; events {{}}"
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(f"{user}{head} http {{ access_log off; {places}\n{text}\n}}")
    words = [shutil.which("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: process.poll() is not None or is_up(url), 20)
        assert process.poll() is None, (folder / "error").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(20)


def is_up(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/v1/models", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here; apt-get install nginx")
@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_no_picture_is_lost_when_a_replica_goes(tmp_path, how):
    for name in ("one", "two", "proxy"):
        (tmp_path / name).mkdir()
    hazy, stop = hazy_photo(), Event()
    with (
        command(*WORDS, folder=tmp_path / "one") as (first, first_url),
        command(*WORDS, folder=tmp_path / "two") as (second, second_url),
        nginx(tmp_path / "proxy", first_url, second_url) as url,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        lost: list[float] = []

        def send_again_and_again() -> list[tuple[float, int, bytes]]:
            seen = []
            with httpx2.Client(timeout=60) as client:
                while not stop.is_set():
                    started = time.monotonic()
                    try:
                        answer = client.post(
                            f"{url}/v1/dehaze?name=a.jpg&analysis=64", content=hazy
                        )
                    except httpx2.RemoteProtocolError:  # the answer had begun and broke off
                        lost.append(started)
                        continue
                    seen.append((started, answer.status_code, answer.content))
            return seen

        try:
            jobs = [pool.submit(send_again_and_again) for _ in range(CLIENTS)]
            time.sleep(3)
            getattr(first, how)()
            gone = time.monotonic()
            time.sleep(5)
        finally:
            stop.set()
        seen = [each for job in jobs for each in job.result()]
        first.wait(40)
        assert second.poll() is None
    before = [status for started, status, _ in seen if started < gone]
    after = [status for started, status, _ in seen if started >= gone]
    assert len(before) >= CLIENTS and len(after) >= CLIENTS
    # nginx has the uploads, so that even what the dead one was working on is done by the other; but
    # not what it was just answering, which a stop waits for and a kill cannot.
    assert len(lost) < CLIENTS and all(started < gone for started in lost)
    assert how == "kill" or not lost
    assert set(before) == set(after) == {200}, (before, after)
    assert all(same_but_colours(hazy, content) for _, _, content in seen[:: len(seen) // 8])
