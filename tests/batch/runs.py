"""What the tests of `unhaze batch` share: many small photos, the command, and how to count."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.halving import picture
from unhaze import photo


def write_photos(folder: Path, count: int, size: tuple[int, int] = (40, 56)) -> Path:
    """0.png ... in subfolders of ten, all alike."""
    encoded = photo.encode(photo.Photo(picture(*size)), ".png")
    for number in range(count):
        path = folder / f"{number // 10:02}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)
    return folder


def begin(*words: object) -> subprocess.Popen:
    """`unhaze batch WORDS` in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "unhaze", "batch", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Whoever runs the tests in the background has SIGINT ignored, and children inherit that.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def lines_of(manifest: Path) -> list[dict]:
    """What the whole lines of a manifest tell of files."""
    text = manifest.read_bytes() if manifest.exists() else b""
    whole = text[: text.rfind(b"\n") + 1]
    return [entry for entry in map(json.loads, whole.splitlines()) if "batch" not in entry]


def await_lines(manifest: Path, count: int, process: subprocess.Popen) -> list[dict]:
    """Waits until the manifest tells of so many files."""
    wait_until(lambda: len(lines_of(manifest)) >= count or process.poll() is not None)
    lines = lines_of(manifest)
    assert len(lines) >= count, process.communicate()
    return lines


def kill_worker(manifest: Path, after: int, process: subprocess.Popen) -> set[str]:
    """Kills the worker of the newest line once there are so many; the targets told of by then."""
    victim = int(await_lines(manifest, after, process)[-1]["worker"].rpartition(":")[2])
    os.kill(victim, signal.SIGKILL)
    return {line["target"] for line in lines_of(manifest)}


def wait_until(condition: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def done_twice(lines: list[dict]) -> list[str]:
    """Files of which the manifest says so more than once."""
    counts = Counter(line["source"] for line in lines if line["state"] == "done")
    return [source for source, count in counts.items() if count > 1]


def states_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Of every result: when it was written, and its inode, which a rewritten file has anew."""
    facts = {path: path.stat() for path in folder.rglob("*.png")}
    return {str(path): (each.st_mtime_ns, each.st_ino) for path, each in facts.items()}
