"""`python -m benchmarks.programs`: a photo and a video by this program and by others, in turn.

Whole commands, from file to file. Programs that are not installed are left out, which is said: on
Debian apt-get install darktable rawtherapee gmic ffmpeg. ffmpeg decodes and encodes a video with
the settings that this program uses: what is above it is the price of the haze. ratio: our
time over that of the row.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyvips

from benchmarks.measure import ROOT, Row, compile_modules, table, write_record
from unhaze.restore.video.encoders import CODECS

UNHAZE = (sys.executable, "-m", "unhaze", "run")
ENCODER = ("-c:v", "libx264", "-preset", CODECS["h264"].options["preset"], "-crf", "17")
# {in}, {out}: files. darktable and RawTherapee remove haze by a style of the user's only, G'MIC by
# none of its own: here they decode, take their default steps or a sharpening, and encode.
PHOTO = {
    "unhaze": (*UNHAZE, "{in}", "-o", "{out}", "--overwrite", "-q"),
    "darktable-cli": ("darktable-cli", "{in}", "{out}", "--core", "--library", ":memory:"),
    "rawtherapee-cli": ("rawtherapee-cli", "-o", "{out}", "-Y", "-d", "-c", "{in}"),
    "gmic": ("gmic", "{in}", "unsharp", "2", "output", "{out}"),
}
VIDEO = {
    "unhaze": (*UNHAZE, "{in}", "-o", "{out}", "--overwrite", "-q", "--crf", "17"),
    "ffmpeg": ("ffmpeg", "-v", "error", "-y", "-i", "{in}", *ENCODER, "{out}"),
}
WAY = 200  # pixels that the camera goes to and fro, 2 a frame
PAN = "scale={width}:{height}:force_original_aspect_ratio=increase,loop=-1:1"
PAN += ",crop={size}:x='abs({way}-mod(2*n,2*{way}))':y=0,noise=all_strength=6:all_flags=t"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--photo", type=Path, default=ROOT / "samples" / "valley.jpg")
    parser.add_argument("--result", type=Path, default=ROOT / "results" / "benchmark-programs.json")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    compile_modules()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = large_photo(given.photo, given.megapixels, folder / "in.jpg")
        video = pan(given.photo, given.size, given.frames, folder / "in.mp4")
        rows = in_turn("photo", PHOTO, photo, folder / "out.jpg", given.runs)
        rows += in_turn("video", VIDEO, video, folder / "out.mp4", given.runs)
    print(table(rows))
    facts = {"megapixels": given.megapixels, "size": given.size, "frames": given.frames}
    write_record(given.result, "programs", facts | {"load_before": load, "rows": rows})


def in_turn(
    what: str, programs: dict[str, Sequence[str]], source: Path, target: Path, runs: int
) -> list[Row]:
    """Each program once, `runs` times over, so that what else the machine does meets all."""
    found = {name: words for name, words in programs.items() if shutil.which(words[0])}
    for name in programs.keys() - found.keys():
        print(f"{name} is not installed; left out")
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(runs):
        for name, words in found.items():
            target.unlink(missing_ok=True)
            filled = [word.format(**{"in": source, "out": target}) for word in words]
            begin = time.perf_counter()
            done = subprocess.run(filled, capture_output=True, text=True, errors="replace")
            seconds[name].append(time.perf_counter() - begin)
            if done.returncode or not target.exists():
                raise SystemExit(f"{name} failed:\n{done.stderr or done.stdout}")
    own = statistics.median(seconds["unhaze"])
    middle = {name: statistics.median(each) for name, each in seconds.items()}
    return [
        {"what": what, "program": name, "seconds": round(each, 2), "ratio": round(own / each, 2)}
        for name, each in middle.items()
    ]


def large_photo(photo: Path, megapixels: float, path: Path) -> Path:
    """The photo in that size, as a JPEG of quality 92."""
    image = pyvips.Image.new_from_file(str(photo))
    scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
    image.resize(scale).jpegsave(str(path), Q=92)
    return path


def pan(photo: Path, size: str, frames: int, path: Path) -> Path:
    """A noisy pan over the photo, H.264."""
    width, height = map(int, size.split("x"))
    how = PAN.format(width=width + WAY, height=height, size=f"{width}:{height}", way=WAY)
    moved = ["ffmpeg", "-v", "error", "-y", "-i", str(photo), "-vf", how]
    coded = ["-frames:v", str(frames), "-r", "25", "-pix_fmt", "yuv420p", "-crf", "18", str(path)]
    subprocess.run([*moved, *coded], check=True)
    return path


if __name__ == "__main__":
    main()
