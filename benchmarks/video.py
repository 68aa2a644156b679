"""`python -m benchmarks.video speed|flicker`: how fast a video is restored, how little it flickers.

speed: a pan over a photo, 1080p with noise, H.264 in and out as a user runs it; frames a second,
where the time goes, the network apart from the application of its field, and the peak memory.
flicker: still noisy clips, compressed as a cheap camera does; standard deviation over time of their
mean luminance, and of that of blocks of 32 x 32 (levels of 255): as they are, restored frame by
frame, and restored with smoothing.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyvips

from benchmarks.measure import ROOT, Measured, python, write_record
from unhaze.evaluation import sha256
from unhaze.image import LUMA
from unhaze.restore.field import apply_field, fit_field
from unhaze.restore.models import FRAME_ANALYSIS
from unhaze.restore.restorer import Restorer, analysis_image
from unhaze.restore.video import read_frames, restore_frames
from unhaze.restore.video.temporal import HOLD, SMOOTHING

RATE = 25
NOISE = 6.0  # standard deviation in levels of 255
GOOD, CHEAP = "18", "30"  # cameras, by the quality (crf) that x264 aims at
BLOCK = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["speed", "flicker"])
    parser.add_argument("photos", type=Path, nargs="*", default=[ROOT / "samples" / "valley.jpg"])
    parser.add_argument("--model", default="auto")
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--analysis", type=int, default=FRAME_ANALYSIS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--before", type=Path, help="src/ of another version, to compare with")
    parser.add_argument("--codec", default="h264")
    parser.add_argument("--result", type=Path)
    given = parser.parse_args()
    width, height = (int(side) for side in given.size.split("x"))
    load = os.getloadavg()[0]
    restorer = Restorer(given.model, analysis=given.analysis, use="video")
    path = restorer.model.path
    if given.what == "speed":
        measured = measure_speed(given, (width, height), restorer)
    else:
        clips = [measure_flicker(each, (width, height), given, restorer) for each in given.photos]
        measured = mean_flicker(clips)
    print(json.dumps(measured, indent=1))
    numbers = {
        "model": given.model,
        "weights_sha256": sha256([path]) if path else None,
        "photos": [each.name for each in given.photos],
        "size": given.size,
        "frames": given.frames,
        "analysis": given.analysis,
        "smoothing": SMOOTHING,
        "hold": HOLD,
        "load_before": load,
    }
    result = given.result or ROOT / "results" / f"benchmark-video-{given.what}.json"
    write_record(result, f"video {given.what}", numbers | measured)


def measure_speed(
    given: argparse.Namespace, size: tuple[int, int], restorer: Restorer
) -> dict[str, Any]:
    """Frames a second and memory of whole processes, milliseconds a frame of their parts.

    `codecs`: the same without the network and the field, which is what decoding and encoding
    alone allow. `before`: another version, run in turn with this one.
    """
    ways = {"now": (ROOT / "src", 1.0), "codecs": (ROOT / "src", 0.0)}
    if given.before is not None:
        ways["before"] = given.before, 1.0
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.mp4"), Path(folder, "out.mp4")
        write_clip(source, pan(given.photos[0], size, given.frames), GOOD)
        words = ["run", source, "-o", target, "--model", given.model, "--json", "--overwrite"]
        words += ["--analysis", given.analysis, "--codec", given.codec]
        for _ in range(given.runs):
            for name, (path, strength) in ways.items():
                whole = python("-m", "unhaze", *words, "--strength", strength, PYTHONPATH=str(path))
                share = target.stat().st_size / source.stat().st_size
                found[name].append(facts_of(whole) | {"size_of_source": round(share, 2)})
        alone = measure_parts(source, restorer)
    middle = {name: sorted(each, key=by_rate)[len(each) // 2] for name, each in found.items()}
    return middle.pop("now") | {"alone": alone} | middle


def by_rate(facts: dict[str, Any]) -> float:
    return facts["frames_per_second"]


def facts_of(whole: Measured) -> dict[str, Any]:
    """Of a run of the command."""
    video = json.loads(whole.stdout)["files"][0]["video"]
    stages = {name: 1000 * seconds / video["frames"] for name, seconds in video["stages"].items()}
    return {
        "frames_per_second": round(video["frames"] / video["seconds"], 2),
        "frames_per_second_of_the_command": round(video["frames"] / whole.seconds, 2),
        "cpu_ms_per_frame": round(1000 * whole.cpu_seconds / video["frames"], 1),
        **whole.facts(),
        "estimates": video["estimates"],
        "stage_ms_per_frame": {name: round(each, 1) for name, each in stages.items()},
    }


def measure_parts(source: Path, restorer: Restorer) -> dict[str, float]:
    """Milliseconds of one run of the network, one fit and one application of the field, alone."""
    with av.open(str(source)) as container:
        pixels = next(container.decode(video=0)).to_ndarray(format="rgb24")
    small = analysis_image(pixels, restorer.frame_analysis)
    maps = restorer.estimate(small)
    estimate = best_of(lambda: restorer.estimate(small))
    fit = best_of(lambda: fit_field(small, small, threads=restorer.threads))
    apply = best_of(lambda: apply_field(maps, pixels, threads=restorer.threads))
    parts = {"network_ms": estimate - fit, "fit_ms": fit, "apply_ms": apply}
    return {name: round(milliseconds, 1) for name, milliseconds in parts.items()}


def best_of(work: Callable[[], object], times: int = 5) -> float:
    """Milliseconds of the fastest of some calls: what the work costs when nothing disturbs it."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - start))
    return min(taken)


def measure_flicker(
    photo: Path, size: tuple[int, int], given: argparse.Namespace, restorer: Restorer
) -> dict[str, tuple[float, float]]:
    """`flicker` of a still clip: as it is, restored frame by frame, and restored with smoothing."""
    with tempfile.TemporaryDirectory() as folder:
        write_clip(Path(folder, "in.mp4"), still(photo, size, given.frames), CHEAP)
        hazy = list(read_frames(Path(folder, "in.mp4")))
    alone = restore_frames(hazy, restorer, smoothing=0, hold=1)
    steady = restore_frames(hazy, restorer)
    return {"hazy": flicker(hazy), "frame_by_frame": flicker(alone), "smoothed": flicker(steady)}


def mean_flicker(clips: list[dict[str, tuple[float, float]]]) -> dict[str, dict[str, float]]:
    """For each measure the mean over the clips."""
    return {
        measure: {
            kind: round(float(np.mean([clip[kind][index] for clip in clips])), 4)
            for kind in clips[0]
        }
        for index, measure in enumerate(("of_the_mean_luminance", "of_blocks"))
    }


def flicker(frames: Iterable[np.ndarray]) -> tuple[float, float]:
    """Standard deviation over time of the mean luminance, and of that of blocks (their mean)."""
    blocks = []
    for frame in frames:
        luma = frame @ LUMA
        rows, columns = luma.shape[0] // BLOCK, luma.shape[1] // BLOCK
        whole = luma[: rows * BLOCK, : columns * BLOCK]
        blocks.append(whole.reshape(rows, BLOCK, columns, BLOCK).mean((1, 3), dtype=np.float64))
    over_time = np.stack(blocks)
    return float(over_time.mean((1, 2)).std()), float(over_time.std(0).mean())


def pan(photo: Path, size: tuple[int, int], count: int) -> Iterator[np.ndarray]:
    """The camera moves over the photo by 3 pixels a frame, to and fro, with noise."""
    width, height = size
    scene = scaled(photo, width + 200, height + 40)
    for number in range(count):
        right = 200 - abs(200 - 3 * number % 400)
        yield from noisy(scene[20 : 20 + height, right : right + width], 1, number)


def still(photo: Path, size: tuple[int, int], count: int) -> Iterator[np.ndarray]:
    """The camera rests; only the noise changes."""
    return noisy(scaled(photo, *size), count, 0)


def noisy(scene: np.ndarray, count: int, seed: int) -> Iterator[np.ndarray]:
    """Frames of one scene with the noise of a sensor."""
    noise = np.random.default_rng(seed)
    for _ in range(count):
        frame = noise.standard_normal(scene.shape, np.float32)
        frame *= NOISE
        frame += scene
        yield np.clip(np.rint(frame), 0, 255).astype(np.uint8)


def scaled(photo: Path, width: int, height: int) -> np.ndarray:
    """The photo, cut and scaled to that size: (height,width,3) uint8."""
    image = pyvips.Image.thumbnail(str(photo), width, height=height, crop="centre", size="both")
    return np.ascontiguousarray(image.numpy()[..., :3])


def write_clip(path: Path, frames: Iterator[np.ndarray], quality: str) -> None:
    """H.264 with a key frame every second."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": quality, "g": str(RATE)})
        video.pix_fmt = "yuv420p"
        for number, pixels in enumerate(frames):
            if not number:
                video.height, video.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


if __name__ == "__main__":
    main()
