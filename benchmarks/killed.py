"""`python -m benchmarks.killed`: kill -9 in minute three of a four-minute clip, and run again.

The clip is a pan over a photo, made by ffmpeg. Said are the frames that the first run had encoded
and that the second found done, the seconds of the clip between them, which were done again, and
whether the result is whole. Two minutes on two cores.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av

from benchmarks.measure import ROOT, Row, write_record
from benchmarks.programs import pan
from unhaze.restore.video.journal import HEAD, RECORD, journal_of

RATE = 25
SAID = re.compile(r"(\d+) frames of an earlier run")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seconds", type=int, default=240)
    parser.add_argument("--kill-at", type=float, default=175.0, help="seconds of the result")
    parser.add_argument("--size", default="320x180")
    parser.add_argument("--photo", type=Path, default=ROOT / "samples" / "valley.jpg")
    parser.add_argument("--result", type=Path, default=ROOT / "results" / "benchmark-killed.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        source = pan(given.photo, given.size, given.seconds * RATE, Path(name, "in.mp4"))
        row = killed_and_resumed(source, Path(name, "out.mp4"), given.kill_at)
    print(json.dumps(row, indent=1))
    write_record(given.result, "killed", {"size": given.size, "seconds": given.seconds} | row)


def killed_and_resumed(source: Path, target: Path, kill_at: float) -> Row:
    """What both runs did; SystemExit if the first one ends before it is killed."""
    run = [sys.executable, "-m", "unhaze", "run", str(source), "-o", str(target)]
    begin = time.perf_counter()
    first = subprocess.Popen(run, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while first.poll() is None and encoded(journal_of(target)) < kill_at * RATE:
        time.sleep(0.1)
    first.kill()
    first.wait()
    killed_after, reached = time.perf_counter() - begin, encoded(journal_of(target))
    if not reached or target.exists():
        raise SystemExit(f"the first run ended after {killed_after:.0f} s, not by the kill")
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    kept = SAID.search(done.stderr)
    found = int(kept[1]) if kept else 0
    with av.open(str(source)) as before, av.open(str(target)) as after:
        counts = [sum(1 for _ in each.decode(video=0)) for each in (before, after)]
    return {
        "killed_at_frame": reached,
        "killed_after_s": round(killed_after, 1),
        "kept_frames": found,
        "done_again_s": round(max(0, reached - found) / RATE, 1),
        "frames": counts[1],
        "whole": counts[0] == counts[1] and not journal_of(target).exists(),
    }


def encoded(journal: Path) -> int:
    """The frames that a journal holds; 0 where there is none."""
    if not journal.exists():
        return 0
    count = 0
    with journal.open("rb") as file:
        head = file.read(HEAD.size)
        if len(head) == HEAD.size:
            file.seek(HEAD.unpack(head)[1], 1)
        while len(record := file.read(RECORD.size)) == RECORD.size:
            file.seek(RECORD.unpack(record)[0], 1)
            count += 1
    return count


if __name__ == "__main__":
    main()
