"""The web server: seconds for a 12-megapixel photo, latency of the slider, many clients.

    python -m benchmarks.serve --result results/serve.json
    python -m benchmarks.serve --hostile --seconds 300     # the soak of benchmarks/hostile.py

The server is `unhaze serve` in a process of its own, on loopback. `page` needs Chromium: from the
choice of the file to the picture in the page, and from the slider's move to the next frame drawn.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import table, write_record
from unhaze import photo

ROOT = Path(__file__).parents[1]
LARGE = (3000, 4000)  # height, width


def main() -> None:
    """Measures what the arguments ask for and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hostile", action="store_true", help="what clients should not do")
    parser.add_argument("--seconds", type=float, help="of the load test (60), of --hostile (300)")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3, help="of the 12-megapixel photo")
    parser.add_argument("--megapixels", type=float, default=1.0, help="of the load test's photos")
    parser.add_argument("--result", type=Path)
    given = parser.parse_args()
    if given.hostile:
        from benchmarks.hostile import soak

        raise SystemExit(soak(given.seconds or 300, given.result))
    given.seconds = given.seconds or 60
    load_before = os.getloadavg()[0]
    with server() as (port, process):
        numbers: dict[str, Any] = {"api": api_times(port, given.runs)}
        numbers["page"] = page_times(port, given.runs)
        body = valley(given.megapixels)
        load = LoadTest(port, process, body)
        numbers["load"] = {"megapixels": given.megapixels} | load.run(given.clients, given.seconds)
    for name, facts in numbers.items():
        print(f"\n{name}")
        print(table([{"fact": key, "value": str(value)} for key, value in facts.items()]))
    if given.result:
        write_record(given.result, "serve", {"load_before": round(load_before, 2)} | numbers)


@contextmanager
def server(*words: str) -> Iterator[tuple[int, subprocess.Popen]]:
    """`unhaze serve WORDS`, answering; stopped as by Ctrl-C at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "unhaze", "serve", "--port", str(port), "--device", "cpu"]
    command += words
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not is_up(port):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit("the server does not answer; try `unhaze serve`")
            time.sleep(0.1)
        yield port, process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def is_up(port: int) -> bool:
    """Whether the server takes connections."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def valley(megapixels: float) -> bytes:
    """The sample photo as JPEG, in another size."""
    height, width = (round(side * (megapixels / 12) ** 0.5) for side in LARGE)
    pixels = photo.read_rgb(ROOT / "samples" / "valley.jpg")
    rows = np.linspace(0, len(pixels) - 1, height).astype(int)
    columns = np.linspace(0, pixels.shape[1] - 1, width).astype(int)
    return photo.encode(photo.Photo(np.ascontiguousarray(pixels[rows][:, columns])), ".jpg")


def ask(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, bytes, float]:
    """(status, body, seconds) of one request."""
    started = time.perf_counter()
    line = HTTPConnection("127.0.0.1", port, timeout=120)
    line.request(method, path, body or None)
    answer = line.getresponse()
    content = answer.read()
    line.close()
    return answer.status, content, time.perf_counter() - started


def api_times(port: int, runs: int) -> dict[str, Any]:
    """Seconds of each run for 12 megapixels: sent to previewed, result at another strength, and
    everything in one call. The first run also loads the model.
    """
    body = valley(12)
    cleared, result, once = [], [], []
    for number in range(runs):
        status, answer, seconds = ask(port, "POST", "/v1/photos?name=large.jpg", body)
        if status != 201:
            raise SystemExit(f"the server returned status {status}: {answer.decode()}")
        path = f"/v1/photos/{json.loads(answer)['id']}"
        preview = ask(port, "GET", f"{path}/preview?size=1600")[2]
        cleared.append(round(seconds + preview, 3))
        strength = (number + 1) / (runs + 1)
        result.append(round(ask(port, "GET", f"{path}/result?strength={strength}")[2], 3))
        once.append(round(ask(port, "POST", "/v1/dehaze", body)[2], 3))
        ask(port, "DELETE", path)
    return {
        "bytes": len(body),
        "upload_to_preview_s": cleared,
        "result_at_new_strength_s": result,
        "one_call_s": once,
    }


def page_times(port: int, runs: int) -> dict[str, Any]:
    """As a person sees it; empty where there is no browser."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        return {}
    from playwright.sync_api import sync_playwright

    from benchmarks.site_speed import SLIDE

    cleared, slider = [], []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "large.jpg")
        file.write_bytes(valley(12))
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for _ in range(runs):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"http://127.0.0.1:{port}/", wait_until="networkidle")
            started = time.perf_counter()
            page.set_input_files("#files", file)
            page.wait_for_selector("#stage:not([data-ready=''])")
            cleared.append(round(time.perf_counter() - started, 3))
            moves = (page.evaluate(SLIDE, ["strength", value]) for value in range(10, 100, 15))
            slider += [round(each / 1000, 4) for each in moves]
            page.close()
        browser.close()
    return {"file_to_picture_s": cleared, "slider_to_next_frame_s": slider}


class LoadTest:
    """Clients that send photos one after the other, while the server's memory is watched."""

    def __init__(self, port: int, process: subprocess.Popen, body: bytes) -> None:
        self.port, self.process, self.body = port, process, body
        self.answers: list[tuple[int, float]] = []
        self.stop = threading.Event()

    def run(self, clients: int, seconds: float) -> dict[str, Any]:
        """What came back: statuses, seconds of the good answers, MB of memory over time."""
        memory: list[float] = []
        with ThreadPoolExecutor(clients) as pool:
            jobs = [pool.submit(self.client) for _ in range(clients)]
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                memory.append(round(resident_mb(self.process.pid), 1))
                time.sleep(min(1.0, seconds / 5))
            self.stop.set()
            for job in jobs:
                job.result()
        good = sorted(seconds for status, seconds in self.answers if status == 200)
        percentiles = {f"p{share}_s": percentile(good, share) for share in (50, 90, 95, 99)}
        statuses = Counter(str(status) for status, _ in self.answers)
        half = memory[len(memory) // 2 :]
        return {
            "clients": clients,
            "seconds": seconds,
            "statuses": dict(sorted(statuses.items())),
            "errors_other_than_429": sum(
                count for status, count in statuses.items() if status not in ("200", "429")
            ),
            "photos_per_second": round(len(good) / seconds, 2),
            **percentiles,
            "memory_mb": memory,
            "memory_growth_in_second_half": round(max(half) / half[0], 3),
        }

    def client(self) -> None:
        """Sends until the time is over; after a 429 it waits as a polite client does, but less."""
        while not self.stop.is_set():
            status, _, seconds = ask(self.port, "POST", "/v1/dehaze?name=load.jpg", self.body)
            self.answers.append((status, seconds))
            if status == 429:
                self.stop.wait(0.5)


def resident_mb(process: int) -> float:
    """10^6 bytes that a process and its workers hold now (Linux)."""
    return sum(map(bytes_of, family(process))) / 1e6


def bytes_of(process: int) -> int:
    """That a process holds; 0 if it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def family(process: int) -> list[int]:
    """A process and those that it has started."""
    found = [process]
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            facts = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(facts[1]) == process:
            found.append(int(place.parent.name))
    return found


def percentile(ordered: list[float], share: int) -> float | None:
    """Of ordered seconds; None if there are none."""
    return round(float(np.percentile(ordered, share)), 3) if ordered else None


if __name__ == "__main__":
    main()
