"""`python -m benchmarks.killed`: kill -9 in minute three of a four-minute clip, and run again.

The clip is a pan over a photo, made by ffmpeg. Said are the frames that the second run found done,
the seconds of the clip that it did again, and whether the result is whole.
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
from unhaze.restore.video.journal import journal_of

RATE = 25
SAID = re.compile(r"(\d+) frames were there from an earlier run")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seconds", type=int, default=240)
    parser.add_argument("--kill-at", type=float, default=170.0, help="seconds of the result")
    parser.add_argument("--size", default="640x360")
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
    first = subprocess.Popen(run, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert first.stderr is not None  # it is a pipe
    reached = 0
    for line in first.stderr:  # every ten seconds
        found = re.search(r"frame (\d+),", line)
        reached = int(found[1]) if found else reached
        if reached >= kill_at * RATE:
            break
    first.kill()
    first.wait()
    if not journal_of(target).exists() or target.exists():
        raise SystemExit(f"the first run ended at frame {reached}, before it could be killed")
    killed_after = time.perf_counter() - begin
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


if __name__ == "__main__":
    main()
