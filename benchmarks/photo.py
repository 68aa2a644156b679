"""`python -m benchmarks.photo`: whole runs of `unhaze` on photos of 1 to 100 megapixels.

Time and peak memory of the process, beside the same picture through AECR-Net in eager PyTorch; the
cost of the field alone; many small files one at a time and side by side. Takes about ten minutes on
two cores; `--megapixels 1 --peer 0.25 --runs 1 --files 8` takes one.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import ROOT, Measured, Row, python, table, write_record
from benchmarks.pictures import write_picture
from unhaze.restore.resources import free_memory

PEER_BYTES_PER_PIXEL = 2000
SECONDS = ("seconds", "cpu_seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 12, 100], metavar="MP")
    parser.add_argument("--peer", type=float, nargs="*", default=[1, 4, 12], metavar="MP")
    parser.add_argument("--formats", nargs="+", default=["jpg", "tif"])
    parser.add_argument("--files", type=int, default=48, help="small files; 0: leave that out")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--result", type=Path, default=ROOT / "results" / "benchmark-photo.json")
    given = parser.parse_args()
    numbers: Row = {"model": given.model, "runs": given.runs, "load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        photos = whole_runs(folder, given.megapixels, given.formats, given.model, given.runs)
        print(table(photos), end="\n\n")
        numbers |= {"photos": photos, "growth": growth(photos), "marginal": marginal(photos)}
        for what, factor in numbers["growth"].items():
            print(f"memory, {what}: x {factor}")
        if numbers["marginal"]:
            print("\neach further megapixel, without start-up and network:")
            print(table(numbers["marginal"]))
        if given.peer:
            numbers["peer"] = peers(folder, given.peer, photos, given.model, given.runs)
            print("\nAECR-Net (paper) in eager PyTorch, whole picture:")
            print(table(numbers["peer"]))
        if given.files:
            numbers["many"] = many_files(folder, given.files, given.model, given.runs)
            print(f"\n{given.files} JPEG files of 0.3 megapixels:")
            print(table(numbers["many"]))
    numbers["field"] = field_alone(given.runs)
    print("\nthe field alone, 12 megapixels of 8 bits:")
    print(table(numbers["field"]))
    write_record(given.result, "photo", numbers)


def unhaze(*words: object, runs: int) -> Measured:
    """`unhaze run WORDS` as a whole process; results that exist are replaced."""
    return python("-m", "unhaze", "run", "--overwrite", *words, runs=runs)


def whole_runs(
    folder: Path, sizes: Sequence[float], formats: Sequence[str], model: str, runs: int
) -> list[Row]:
    """One photo, one process: reading, network, field and writing."""
    rows = []
    for suffix in formats:
        for megapixels in sizes:
            source = folder / f"hazy-{megapixels:g}.{suffix}"
            width, height = write_picture(source, megapixels)
            measured = unhaze(source, "--model", model, runs=runs)
            rows.append(
                {"photo": f"{megapixels:g} MP {suffix}", "pixels": f"{width} x {height}"}
                | measured.facts()
                | {"seconds_per_mp": round(measured.seconds / megapixels, 3)}
            )
            source.unlink()
    return rows


def growth(photos: Sequence[Row]) -> dict[str, float]:
    """Peak memory of the last size over that of the one before it, for each format."""
    factors = {}
    for suffix in dict.fromkeys(row["photo"].split()[-1] for row in photos):
        rows = [row for row in photos if row["photo"].endswith(suffix)]
        if len(rows) > 1:
            small, large = rows[-2:]
            name = f"{small['photo']} to {large['photo']}"
            factors[name] = round(large["peak_mb"] / small["peak_mb"], 3)
    return factors


def marginal(photos: Sequence[Row]) -> list[Row]:
    """What a megapixel more costs, from each size to the next: decoding, field and encoding.

    Start-up and the network, which sees a small picture of the same size, cancel out. `ratio`: this
    step's time over that of the step before it; 1 if time grows in proportion.
    """
    rows: list[Row] = []
    for suffix in dict.fromkeys(row["photo"].split()[-1] for row in photos):
        sizes = [row for row in photos if row["photo"].endswith(suffix)]
        before = None
        for small, large in zip(sizes, sizes[1:]):
            more = float(large["photo"].split()[0]) - float(small["photo"].split()[0])
            step = {key: 1e3 * (large[key] - small[key]) / more for key in SECONDS}
            row = {"from": small["photo"], "to": large["photo"]}
            row |= {"ms_per_mp": round(step["seconds"], 2)}
            row |= {"cpu_ms_per_mp": round(step["cpu_seconds"], 2)}
            rows.append(row | {"ratio": round(step["seconds"] / before, 2) if before else None})
            before = step["seconds"]
    return rows


def peers(
    folder: Path, sizes: Sequence[float], photos: Sequence[Row], model: str, runs: int
) -> list[Row]:
    """The same JPEG through both. What memory does not allow is extrapolated, and says so.

    `seconds` is the network alone (no import, no file), against the whole process of `unhaze`:
    the ratio is the least that can be claimed. Its cost is proportional to the number of pixels.
    `cpu_ratio` is of whole processes and processor time, which hold on a busy machine, too.
    """
    free = free_memory()
    fitting = [size for size in sizes if size * 1e6 * PEER_BYTES_PER_PIXEL < free]
    if not fitting:
        raise SystemExit(f"{free / 1e9:.1f} GB are free, too little for any of --peer {sizes}")
    rows = []
    for megapixels in fitting:
        source, target = folder / f"peer-{megapixels:g}.jpg", folder / "peer.png"
        write_picture(source, megapixels)
        ours = unhaze(source, "--model", model, runs=runs)
        theirs = python("-m", "benchmarks.eager", source, target)
        seconds = float(theirs.stdout)
        rows.append(
            {"photo": f"{megapixels:g} MP jpg", "seconds": round(seconds, 2)}
            | {"process": round(theirs.seconds, 2), "peak_mb": round(theirs.peak_mb, 1)}
            | {"unhaze": round(ours.seconds, 2), "ratio": round(seconds / ours.seconds, 1)}
            | {"cpu_ratio": round(theirs.cpu_seconds / ours.cpu_seconds, 1), "measured": True}
        )
    per_megapixel = rows[-1]["seconds"] / fitting[-1]
    for row in photos:
        megapixels = float(row["photo"].split()[0])
        if row["photo"].endswith("jpg") and megapixels > max(fitting):
            seconds = per_megapixel * megapixels
            rows.append(
                {"photo": row["photo"], "seconds": round(seconds, 2), "process": None}
                | {"peak_mb": None, "unhaze": row["seconds"]}
                | {"ratio": round(seconds / row["seconds"], 1), "cpu_ratio": None}
                | {"measured": False}
            )
    return rows


def many_files(folder: Path, count: int, model: str, runs: int) -> list[Row]:
    """A folder of small photos, one at a time on all cores, and side by side."""
    source = folder / "many"
    source.mkdir()
    for number in range(count):
        write_picture(source / f"{number}.jpg", 0.3, seed=number + 1)
    rows = []
    for name, words in (("--jobs 1", ("--jobs", 1)), ("auto", ())):
        measured = unhaze(source, "-o", folder / "out", "--model", model, *words, runs=runs)
        per_second = round(count / measured.seconds, 2)
        rows.append({"jobs": name} | measured.facts() | {"files_per_second": per_second})
    rows[1]["ratio"] = round(rows[0]["seconds"] / rows[1]["seconds"], 2)
    rows[0]["ratio"] = 1.0
    return rows


def field_alone(runs: int) -> list[Row]:
    """Nanoseconds for each pixel of applying a field, without network, reading and writing."""
    import numpy as np

    from unhaze.restore.field import apply_field

    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (3000, 4000, 3), np.uint8)
    maps = random.normal(0, 0.1, (3, 2, 768, 1024)).astype(np.float32)
    maps[:, 0] += 1
    rows = []
    for name, threads in (("1", 1), ("all", 0)):
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            apply_field(maps, pixels, threads=threads)
            seconds.append(time.perf_counter() - start)
        nanoseconds = statistics.median(seconds) / (pixels.size / 3) * 1e9
        rows.append({"threads": name, "ns_per_pixel": round(nanoseconds, 1)})
    return rows


if __name__ == "__main__":
    main()
