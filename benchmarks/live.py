"""`python -m benchmarks.live`: from a picture that is sent to the same one restored, how long.

ffmpeg sends a photo by UDP or HTTP, H.264 in MPEG-TS, in real time; the time of sending is drawn
into each picture as a row of black and white blocks. `unhaze URL -o -` restores it, its stdout is
decoded here: the difference of the times is the whole delay, from drawing to decoding. The row
`copied` is the same with `ffmpeg -c copy` in place of unhaze.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
import pyvips

from benchmarks.measure import ROOT, table, write_record

BITS, BLOCK = 16, 40  # of the time in milliseconds; pixels along a block
WARM = 5.0  # seconds at the start that do not count: programs load, queues run empty
PROTOCOLS = ("udp", "http")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--photo", type=Path, default=ROOT / "samples" / "valley.jpg")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--rate", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--protocols", nargs="*", choices=PROTOCOLS, default=PROTOCOLS)
    parser.add_argument("--model", default="auto")
    parser.add_argument(
        "--result", type=Path, default=ROOT / "results" / "benchmark-video-live.json"
    )
    given = parser.parse_args()
    if int(given.size.split("x")[0]) < BITS * BLOCK:
        parser.error(f"--size {given.size}: the time takes {BITS * BLOCK} columns")
    load, rows = os.getloadavg()[0], []
    for protocol in given.protocols:
        for way in ("unhaze", "copied"):
            rows.append({"protocol": protocol, "way": way} | measure(given, protocol, way))
            print(json.dumps(rows[-1]), flush=True)
    print(table(rows))
    facts = {"model": given.model, "size": given.size, "rate": given.rate, "load_before": load}
    write_record(given.result, "video live", facts | {"rows": rows})


def measure(given: argparse.Namespace, protocol: str, way: str) -> dict[str, Any]:
    """Delays in milliseconds, and how many of the pictures sent meanwhile came out."""
    port = free_port()
    url = f"{protocol}://127.0.0.1:{port}" + ("/live.ts" if protocol == "http" else "")
    with sender(given, url, listens=protocol == "http") as sent:
        if protocol == "http":
            time.sleep(1)  # ffmpeg listens
        run = [sys.executable, "-m", "unhaze", "run", url, "--allow-network", "-o", "-"]
        run += ["--container", "matroska", "--model", given.model, "-q"]
        if way == "copied":
            quick = ["-fflags", "nobuffer", "-analyzeduration", "1000000", "-i", url]
            written = ["-c", "copy", "-f", "matroska", "-cluster_time_limit", "50"]
            run = ["ffmpeg", "-v", "error", *quick, *written, "-flush_packets", "1", "-"]
        with subprocess.Popen(run, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None  # it is a pipe
            delays = list(received(process.stdout, given.seconds))
            process.kill()
    if not delays:
        raise SystemExit(f"{way} over {protocol}: no picture came")
    expected = given.seconds * given.rate
    return {
        "median_ms": round(statistics.median(delays), 1),
        "p95_ms": round(float(np.percentile(delays, 95)), 1),
        "worst_ms": round(max(delays), 1),
        "pictures": len(delays),
        "share": round(len(delays) / expected, 3),
        "sent": len(sent),
    }


@contextmanager
def sender(given: argparse.Namespace, url: str, *, listens: bool) -> Iterator[list[float]]:
    """ffmpeg sends pictures as long as the block runs; the times at which they were drawn."""
    width, height = (int(side) for side in given.size.split("x"))
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", given.size, "-r", str(given.rate)]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "30"]
    target = ["-listen", "1", url] if listens else [f"{url}?pkt_size=1316"]
    command = ["ffmpeg", "-v", "error", *raw, "-i", "-", *coded, "-f", "mpegts"]
    sent, over = [], threading.Event()
    with subprocess.Popen([*command, *target], stdin=subprocess.PIPE) as process:
        planes = picture(given.photo, width, height)
        words = (process.stdin, planes, width, height, given.rate, sent, over)
        thread = threading.Thread(target=draw_all, args=words, daemon=True)
        thread.start()
        try:
            yield sent
        finally:
            over.set()
            process.kill()
            thread.join(5)


def picture(photo: Path, width: int, height: int) -> np.ndarray:
    """YUV 4:2:0 of the photo, in one row of bytes."""
    image = pyvips.Image.thumbnail(str(photo), width, height=height, size="force")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image.numpy()[..., :3]), "rgb24")
    return frame.reformat(format="yuv420p").to_ndarray().reshape(-1)


def draw_all(
    pipe: IO[bytes],
    planes: np.ndarray,
    width: int,
    height: int,
    rate: int,
    sent: list[float],
    over: threading.Event,
) -> None:
    """A picture each 1 / `rate` seconds, with its time."""
    luma, due = planes[: width * height].reshape(height, width), time.monotonic()
    while not over.is_set():
        now = time.monotonic()
        for bit in range(BITS):
            white = int(now * 1000) >> bit & 1
            luma[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 235 if white else 16
        sent.append(now)
        try:
            pipe.write(planes.tobytes())
            pipe.flush()
        except (BrokenPipeError, ValueError):
            return
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))


def received(pipe: IO[bytes], seconds: float) -> Iterator[float]:
    """The delay of each picture in milliseconds, for so long after the start."""
    options = {"analyzeduration": "0", "probesize": "32768", "fflags": "nobuffer"}
    with av.open(Unbuffered(pipe), "r", format="matroska", options=options) as container:
        container.streams.video[0].thread_type = "SLICE"
        begin = None
        for frame in container.decode(video=0):
            now = time.monotonic()
            begin = begin or now
            if now - begin > WARM + seconds:
                return
            if now - begin > WARM:
                row = frame.to_ndarray(format="gray")[BLOCK // 2]
                bits = [int(row[bit * BLOCK + BLOCK // 2] > 125) for bit in range(BITS)]
                drawn = sum(bit << place for place, bit in enumerate(bits))
                yield float((int(now * 1000) - drawn) % (1 << BITS))


class Unbuffered:
    """A pipe of which a read gives what is there."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.pipe = pipe

    def read(self, size: int) -> bytes:
        return os.read(self.pipe.fileno(), size)


def free_port() -> int:
    """A port that nothing uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
