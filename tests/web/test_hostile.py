"""A real server under what clients should not do: every request ends in 4xx, and the next works."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx2
import numpy as np
import pytest

from tests.web.files import bomb, hazy_photo, same_but_colours
from tests.web.server import Running, serving
from unhaze.web import Settings
from unhaze.web.workers import Workers

MAX_BYTES = 200_000
SLOW = 0.4  # seconds that a body may take here


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    limits = {"max_bytes": MAX_BYTES, "max_pixels": 1_000_000, "body_seconds": SLOW}
    with serving(Settings(device="cpu", workers=1, queue=64, analysis=64, **limits)) as running:
        yield running


def request(
    path: str, *, method: str = "POST", length: int | None = None, headers: str = ""
) -> bytes:
    """The head of a request as bytes, as odd as wanted."""
    size = "" if length is None else f"Content-Length: {length}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{size}{headers}\r\n".encode()


def exchange(server: Running, *parts: bytes, pause: float = 0.0, half: bool = False) -> int:
    """Sends raw bytes, each part after a pause, and answers the status; 0 if there is none.

    half: nothing more will be sent, and the server is told so.
    """
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
        try:
            for part in parts:
                line.sendall(part)
                time.sleep(pause)
            if half:
                line.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has refused already, and says so
        try:
            answer = line.recv(65536)
        except ConnectionResetError:
            return 0
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def post(server: Running, path: str, body: bytes) -> int:
    return exchange(server, request(path, length=len(body)) + body)


def damaged(random: np.random.Generator, suffix: str) -> bytes:
    """A photo cut off in its head, with bytes changed in it, or noise behind a right beginning."""
    whole = hazy_photo(suffix, seed=int(random.integers(1000)))
    kind = random.integers(3)
    if kind == 0:
        return whole[: int(random.integers(1, 60))]
    if kind == 1:
        return random.bytes(int(random.integers(1, 400)))
    return whole[:12] + random.bytes(400)


def hostile_requests(server: Running) -> Iterator[int]:
    """The statuses of 200 requests, no two kinds of which are wrong in the same way."""
    random = np.random.default_rng(6)
    paths = ("/v1/dehaze", "/v1/photos", "/v1/videos")
    for number in range(90):  # truncated and wrong bodies
        body = damaged(random, (".jpg", ".png", ".tif", ".webp")[number % 4])
        yield post(server, f"{paths[number % 3]}?name=..%2f..%2f{number}%00.jpg", body)
    for number in range(20):  # bombs
        yield post(server, paths[number % 2], bomb())
    for number in range(10):  # too large, announced and counted
        yield exchange(server, request(paths[number % 3], length=10**15), bytes(100))
    chunks = [b"10000\r\n" + bytes(0x10000) + b"\r\n"] * 4
    for number in range(10):
        head = request(paths[number % 3], headers="Transfer-Encoding: chunked\r\n")
        yield exchange(server, head, *chunks)
    tricks = ("../../etc/passwd", "%2e%2e%2fapp.py", "/v1/photos/..%2f..%2fx/result", "v1/archive")
    for number in range(20):  # paths
        path = f"/{tricks[number % 4]}?item=..%2f..%2f{number}:1"
        yield exchange(server, request(path, method="GET"))
    models = ("..%2f..%2fx.onnx", "file:%2f%2f%2fetc%2fpasswd", "http:%2f%2fexample.com%2fx.onnx")
    photo = hazy_photo()
    for number in range(20):  # models, numbers and methods
        yield post(server, f"/v1/dehaze?model={models[number % 3]}", photo)
    for wrong in ("strength=1e400", "strength=-1", "analysis=9999999", "analysis=a", "strength="):
        yield post(server, f"/v1/dehaze?{wrong}", photo)
    for method in ("PUT", "PATCH", "TRACE", "BREW", "GET"):
        yield exchange(server, request("/v1/dehaze", method=method))
    for number in range(10):  # no HTTP at all, or half of it
        yield exchange(server, (b"\x16\x03\x01\x02\x00", b"GET / HTTP/9\r\n\r\n")[number % 2] * 9)


def test_two_hundred_hostile_requests_and_then_a_good_one(server):
    statuses = list(hostile_requests(server))
    slow = [request("/v1/dehaze", length=1000), *([b"x"] * 4)]
    with ThreadPoolExecutor(10) as pool:  # bodies that hardly come, and bodies that end early
        jobs = [pool.submit(exchange, server, *slow, pause=SLOW / 3) for _ in range(5)]
        jobs += [pool.submit(exchange, server, *slow, half=True) for _ in range(5)]
        late = [job.result() for job in jobs]
    assert late[:5] == [408] * 5
    assert set(late[5:]) <= {400, 408, 0}  # the server may see that nobody listens any more
    assert len(statuses) + len(late) == 200
    assert all(400 <= status < 500 for status in statuses), sorted(set(statuses))
    photo = hazy_photo()
    answer = fetch(server, photo)
    assert same_but_colours(photo, answer)
    wait_until(lambda: server.clearer.desk.taken == 0)
    wait_until(lambda: not server.files())


def fetch(server: Running, body: bytes, path: str = "/v1/dehaze") -> bytes:
    """The body of a good answer."""
    answer = httpx2.post(server.url + path, content=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.content


def wait_until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_queue_is_bounded_and_says_when_to_come_again(monkeypatch):
    at_work, most, gate = [0], [0], threading.Event()
    restore = Workers.call

    def watched(*words, **more):
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        gate.wait(20)
        try:
            return restore(*words, **more)
        finally:
            at_work[0] -= 1

    monkeypatch.setattr(Workers, "call", watched)
    photo = hazy_photo()
    with (
        serving(Settings(device="cpu", workers=2, queue=3, analysis=64)) as server,
        ThreadPoolExecutor(20) as pool,
    ):
        send = partial(httpx2.post, server.url + "/v1/dehaze", content=photo, timeout=30)
        jobs = [pool.submit(send) for _ in range(20)]
        wait_until(lambda: sum(job.done() for job in jobs) == 15)
        assert httpx2.get(server.url + "/healthz").json()["places_taken"] == 5
        gate.set()
        answers = [job.result() for job in jobs]
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200] * 5 + [429] * 15
        waits = [int(each.headers["retry-after"]) for each in answers if each.status_code == 429]
        assert all(1 <= wait <= 60 for wait in waits)
        assert most[0] == 2  # never more photos in memory than workers
        assert send().status_code == 200
        wait_until(lambda: not server.files())
