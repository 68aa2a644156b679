"""The soak of the web server: everything that clients should not do, all at once, beside good ones.

    python -m benchmarks.serve --hostile --seconds 300

True when /healthz answers within 2 s all the while, memory of the server and its workers stays
under 1.5 GB, and all places are free again within 30 s. The hostile come from 127.0.0.2, the good
from 127.0.0.1 (Linux). The video of 601 kB needs the command ffmpeg.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from benchmarks.measure import table, write_record
from benchmarks.serve import ask, family, resident_mb, server, valley

GOOD, BAD = "127.0.0.1", "127.0.0.2"
IDLE = 260
MOST_SECONDS, MOST_MB, FREE_SECONDS = 2.0, 1500.0, 30.0
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'>" + b"<g/>" * 900_000
VIDEO = "color=black:s=8192x8192:r=30"


def soak(seconds: float, result: Path | None) -> int:
    """Runs it, prints what was seen, and returns 0 if it was true, else 1."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        os.environ["TMPDIR"] = folder  # of the server, so that its files can be counted
        video = black_video(Path(folder))
        with server("--client-places", "4") as (port, process):
            crowd = Crowd(port, process.pid, Path(folder), video)
            facts = crowd.run(seconds)
    print(table([{"fact": key, "value": str(value)} for key, value in facts.items()]))
    if result:
        write_record(result, "serve-hostile", facts)
    good = (
        facts["worst_healthz_s"] < MOST_SECONDS
        and facts["failed_healthz"] == 0
        and facts["worst_rss_mb"] < MOST_MB
        and facts["free_again_s"] < FREE_SECONDS
        and not any(
            status.startswith("5") for each in facts["statuses"].values() for status in each
        )
    )
    print(f"\nhealthz under {MOST_SECONDS:g} s, memory under {MOST_MB:g} MB, places free within "
          f"{FREE_SECONDS:g} s, no 5xx: {'yes' if good else 'NO'}")  # fmt: skip
    return 0 if good else 1


def black_video(folder: Path) -> bytes:
    """20 s of 8192x8192 black in some 600 kB; empty without ffmpeg."""
    if shutil.which("ffmpeg") is None:
        return b""
    target = folder / "big.mp4"
    words = ["-f", "lavfi", "-i", VIDEO, "-t", "20", "-c:v", "libx264", "-preset", "ultrafast"]
    command = ["ffmpeg", "-v", "error", *words, "-qp", "51", str(target)]
    subprocess.run(command, check=True)
    content = target.read_bytes()
    target.unlink()
    return content


class Crowd:
    """All clients, and what is watched meanwhile."""

    def __init__(self, port: int, process: int, folder: Path, video: bytes) -> None:
        self.port, self.process, self.folder, self.video = port, process, folder, video
        self.large, self.small = valley(12), valley(1)
        self.stop = threading.Event()
        self.statuses: dict[str, Counter[str]] = defaultdict(Counter)
        self.health: list[float] = []
        self.failed = 0
        self.seen: dict[str, float] = defaultdict(float)

    def run(self, seconds: float) -> dict[str, Any]:
        """What was seen in so many seconds, and how long the places were taken after them."""
        clients = [self.idle, self.svg, self.slow, self.archive, self.normal, self.watch]
        clients += [self.bad_video] if self.video else []
        threads = [threading.Thread(target=self.again, args=(each,)) for each in clients]
        threads.append(threading.Thread(target=self.ask_health))
        for thread in threads:
            thread.start()
        self.stop.wait(seconds)
        self.stop.set()
        stopped = time.monotonic()
        while self.places_taken() and time.monotonic() - stopped < 120:
            time.sleep(0.2)
        free = time.monotonic() - stopped
        for thread in threads:
            thread.join()
        return {
            "seconds": seconds,
            "worst_healthz_s": round(max(self.health), 3),
            "median_healthz_s": round(sorted(self.health)[len(self.health) // 2], 4),
            "asked_healthz": len(self.health),
            "failed_healthz": self.failed,
            "free_again_s": round(free, 1),
            **{key: round(value, 1) for key, value in self.seen.items()},
            "load_average": os.getloadavg()[0],
            "statuses": {key: dict(sorted(value.items())) for key, value in self.statuses.items()},
        }

    def again(self, client: Callable[[], None]) -> None:
        """One client's doings, until the time is over."""
        while not self.stop.is_set():
            try:
                client()
            except (OSError, HTTPException) as error:
                self.statuses[client.__name__][type(error).__name__] += 1
                self.stop.wait(1)

    def send(
        self, name: str, method: str, path: str, body: bytes = b"", source: str = BAD
    ) -> bytes:
        """The body of an answer, whose status is counted; waits where it is told to."""
        line = HTTPConnection("127.0.0.1", self.port, timeout=150, source_address=(source, 0))
        try:
            line.request(method, path, body or None)
            answer = line.getresponse()
            content = answer.read()
        finally:
            line.close()
        self.statuses[name][str(answer.status)] += 1
        if answer.status == 429:
            self.stop.wait(min(5.0, float(answer.headers["Retry-After"])))
        return content if answer.status < 300 else b""

    def idle(self) -> None:
        """260 connections, half of them with half a request; opened again when they are closed."""
        lines = [
            socket.create_connection(("127.0.0.1", self.port), 10, (BAD, 0)) for _ in range(IDLE)
        ]
        for line in lines[: IDLE // 2]:
            line.sendall(b"POST /v1/dehaze HTTP/1.1\r\nHost:")
        self.stop.wait(15)
        for line in lines:
            line.close()

    def svg(self) -> None:
        self.send("svg", "POST", "/v1/dehaze", SVG)
        self.stop.wait(5)

    def bad_video(self) -> None:
        entry = self.send("video", "POST", "/v1/videos?name=big.mp4", self.video)
        while entry and not self.stop.is_set():
            state = json.loads(
                self.send("video state", "GET", f"/v1/videos/{json.loads(entry)['id']}")
            )
            if state["state"] in ("done", "failed"):
                self.statuses["video"][state["error"][:60] or "done"] += 1
                break
            self.stop.wait(1)
        self.stop.wait(5)

    def slow(self) -> None:
        """Nine requests for the dearest that is allowed, whose clients leave after a second."""
        path = "/v1/dehaze?model=dcp-soft-matting&analysis=1024"
        lines = [
            HTTPConnection("127.0.0.1", self.port, timeout=30, source_address=(BAD, 0))
            for _ in range(9)
        ]
        for line in lines:
            line.request("POST", path, self.large)
        self.stop.wait(1)
        for line in lines:
            line.close()
        self.statuses["slow"]["left"] += len(lines)
        self.stop.wait(4)

    def archive(self) -> None:
        """One ID forty times, and one ID in forty strengths."""
        entry = self.send("archive photo", "POST", "/v1/photos?name=large.jpg", self.large)
        if not entry:
            return
        ident = json.loads(entry)["id"]
        same = "&".join(f"item={ident}:1" for _ in range(40))
        self.send("archive", "GET", f"/v1/archive?{same}")
        different = "&".join(f"item={ident}:{number / 40}" for number in range(40))
        self.send("archive of strengths", "GET", f"/v1/archive?{different}")

    def normal(self) -> None:
        """A good client, who waits as long as he is told to."""
        self.send("normal", "POST", "/v1/dehaze?name=good.jpg", self.small, GOOD)

    def ask_health(self) -> None:
        while not self.stop.is_set():
            try:
                status, _, seconds = ask(self.port, "GET", "/healthz")
            except (OSError, HTTPException):
                status, seconds = 0, MOST_SECONDS
            self.health.append(seconds)
            self.failed += status != 200
            self.stop.wait(0.25)

    def watch(self) -> None:
        """The most of everything so far."""
        descriptors = len(list(Path(f"/proc/{self.process}/fd").iterdir()))
        disk = 0
        for place, _, names in os.walk(self.folder):
            for name in names:
                try:
                    disk += (Path(place) / name).stat().st_size
                except OSError:
                    continue  # gone meanwhile
        now = {
            "worst_rss_mb": resident_mb(self.process),
            "worst_disk_mb": disk / 1e6,
            "worst_descriptors": descriptors,
            "worst_processes": len(family(self.process)),
        }
        for key, value in now.items():
            self.seen[key] = max(self.seen[key], value)
        self.stop.wait(0.25)

    def places_taken(self) -> int:
        return json.loads(ask(self.port, "GET", "/healthz")[1])["places_taken"]
