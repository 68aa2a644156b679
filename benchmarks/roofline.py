"""`python -m benchmarks.roofline`: each hot path beside what this machine could do at best.

The peak is what a large matrix product reaches, the bandwidth what a large copy does, both in this
process. A path's floor is the longer of operations / peak and bytes / bandwidth, where bytes are
only those that must be moved once: input, output and weights. Writes results/ and the table between
the markers of docs/roofline.md. A minute on two cores.
"""

import argparse
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.measure import ROOT, Row, repeated, table, write_record
from tools.report.readme import fill
from unhaze.hardware import describe_cpu
from unhaze.report.results import markdown
from unhaze.restore.models import list_models, open_model
from unhaze.restore.resources import usable_cores

SQUARE = 3072  # side of the matrices
COPIED = 1 << 28  # bytes
ANALYSIS = (768, 1024)  # rows and columns of the picture that a network usually sees
AECR_SIZE = (256, 256)
DEFORM = (256, 64, 64)  # channels, rows, columns: AECR-Net's at 256 x 256
PHOTO = (3000, 4000)
FADE_SIZE = (480, 640)
# Operations of a pixel, counted in the source: additions, multiplications, divisions.
FIT_FIELD = 201  # restore.field: means of 18 planes at 9, products, gains and offsets
APPLY_FIELD = 24  # interpolation down 12, gain and offset 6, limits 6
FADE = 520  # metrics.fade: two 7x7 windows, six convolutions of 20 taps, what is left
JPEG = 22  # 8x8 DCT at 8.5 a sample (Arai), 1.5 samples, colours; the entropy code is not counted


@dataclass(frozen=True)
class HotPath:
    """operations and bytes: of one call, at least."""

    name: str
    size: str
    operations: float
    bytes: float
    call: Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of all sides, for a quick look")
    parser.add_argument("--light", action="store_true", help="leave out what needs PyTorch")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "roofline.md")
    parser.add_argument("--result", type=Path, default=ROOT / "results" / "benchmark-roofline.json")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    peak, bandwidth = measure_peak(given.scale), measure_bandwidth(given.scale)
    with tempfile.TemporaryDirectory() as folder:
        paths = hot_paths(Path(folder), given.scale, light=given.light)
        rows = [row_of(path, peak, bandwidth, given.runs) for path in paths]
    machine = {"gflops": round(peak / 1e9, 1), "gigabytes_per_second": round(bandwidth / 1e9, 1)}
    print(table(rows), f"\n{machine}")
    numbers = machine | {"threads": usable_cores(), "rows": rows, "runs": given.runs}
    write_record(given.result, "roofline", numbers | {"load_before": load})
    text = given.page.read_text(encoding="utf-8")
    found = page_table(rows, machine)
    given.page.write_text(fill(text, "roofline", found), encoding="utf-8")
    print(f"wrote {given.page}")


def measure_peak(scale: float) -> float:
    """Operations a second of a matrix product in float32, on all threads."""
    side = max(64, round(SQUARE * scale))
    factor = np.random.default_rng(0).random((side, side), np.float32)
    return 2 * side**3 / repeated(lambda: factor @ factor, 5).fastest


def measure_bandwidth(scale: float) -> float:
    """Bytes a second that a copy reads and writes, in as many threads as there are cores."""
    from concurrent.futures import ThreadPoolExecutor

    threads = usable_cores()
    source = np.ones((threads, max(1, round(COPIED * scale)) // threads), np.uint8)
    target = np.empty_like(source)
    with ThreadPoolExecutor(threads) as pool:
        times = repeated(lambda: list(pool.map(np.copyto, target, source)), 5)
    return 2 * source.nbytes / times.fastest


def row_of(path: HotPath, peak: float, bandwidth: float, runs: int) -> Row:
    """The floor and how far we are from it."""
    compute, memory = path.operations / peak * 1e3, path.bytes / bandwidth * 1e3
    floor = max(compute, memory)
    times = repeated(path.call, runs)
    return {
        "path": path.name,
        "size": path.size,
        "gflop": round(path.operations / 1e9, 3),
        "megabytes": round(path.bytes / 1e6, 1),
        "floor_ms": round(floor, 3),
        "bound_by": "arithmetic" if compute > memory else "memory",
        **times.facts(),
        "distance": round(times.seconds * 1e3 / floor, 1),
    }


def page_table(rows: list[Row], machine: Row) -> str:
    """Markdown, with what it was measured on."""
    measured_on = (
        f"Measured on {describe_cpu()}, {datetime.now(UTC).date()}:"
        f" {machine['gflops']:,.0f} * 10^9 operations and {machine['gigabytes_per_second']:.0f} GB"
        " a second at best.\n\n"
    )
    head = ["hot path", "size", "10^9 operations", "MB", "floor (ms)", "bound by", "ours (ms)"]
    cells = [
        [row["path"], row["size"], f"{row['gflop']:g}", f"{row['megabytes']:g}"]
        + [f"{row['floor_ms']:.3g}", row["bound_by"], f"{row['ms']:.3g}", f"{row['distance']:g}"]
        for row in rows
    ]
    return measured_on + markdown([*head, "times the floor"], cells)


def hot_paths(folder: Path, scale: float, *, light: bool) -> Iterator[HotPath]:
    """All of them, one after the other: what one held is gone before the next is made."""
    for card in list_models():
        model = open_model(card.name, "cpu")
        yield network(f"network `{card.name}`", model, scaled(ANALYSIS, scale), card.macs_per_pixel)
    if not light:
        yield aecr(folder, scaled(AECR_SIZE, scale))
        yield deformable(DEFORM[0], *scaled(DEFORM[1:], scale))
    yield from field(scaled(ANALYSIS, scale), scaled(PHOTO, scale))
    yield from jpeg(folder, scaled(PHOTO, scale))
    yield fade(scaled(FADE_SIZE, scale))


def scaled(sides: tuple[int, ...], scale: float) -> tuple[int, ...]:
    """Sides in pixels, multiples of 16."""
    return tuple(max(16, round(side * scale / 16) * 16) for side in sides)


def shown(sides: tuple[int, ...]) -> str:
    """Columns x rows."""
    return f"{sides[1]} x {sides[0]}"


def network(
    name: str, engine: Callable[..., object], sides: tuple[int, ...], macs: float
) -> HotPath:
    """A forward pass in ONNX Runtime: two operations a multiplication."""
    hazy = np.random.default_rng(0).random((1, 3, *sides), np.float32)
    moved = 2 * hazy.nbytes + engine.path.stat().st_size
    pixels = sides[0] * sides[1]
    return HotPath(name, shown(sides), 2 * macs * pixels, moved, lambda: engine(hazy))


def aecr(folder: Path, sides: tuple[int, ...]) -> HotPath:
    """AECR-Net as its paper has it, with random weights."""
    from benchmarks.engines import write_aecr
    from unhaze.exporting.facts import count_macs
    from unhaze.nets import create_net
    from unhaze.restore.engine import Engine

    macs = count_macs(create_net("aecr", preset="paper").eval(), *sides) / math.prod(sides)
    return network("network AECR-Net (paper)", Engine(write_aecr(folder), "cpu"), sides, macs)


def deformable(channels: int, height: int, width: int) -> HotPath:
    """Nine taps, each of four neighbours weighed, and a 3x3 convolution, in ONNX Runtime."""
    from benchmarks.deform import in_onnxruntime, inputs

    given = inputs(channels, height, width)
    values = sum(tensor.numel() for tensor in given.values()) + channels * height * width
    operations = 2 * 9 * channels * height * width * (channels + 4)
    call = in_onnxruntime(given, usable_cores())
    size = f"{channels} channels, {width} x {height}"
    return HotPath("deformable convolution", size, operations, 4 * values, call)


def field(analysis: tuple[int, ...], photo: tuple[int, ...]) -> Iterator[HotPath]:
    """Estimating the affine field, and applying it to a photo of 8 bits."""
    from unhaze.restore.field import apply_field, fit_field

    random = np.random.default_rng(0)
    hazy, restored = (random.random((*analysis, 3), np.float32) for _ in range(2))
    pixels = analysis[0] * analysis[1]
    yield HotPath(
        "field, estimated",
        shown(analysis),
        FIT_FIELD * pixels,
        (12 + 12 + 24) * pixels,
        lambda: fit_field(hazy, restored),
    )
    maps = fit_field(hazy, restored)
    levels = random.integers(0, 256, (*photo, 3), np.uint8)
    pixels = photo[0] * photo[1]
    yield HotPath(
        "field, applied",
        shown(photo),
        APPLY_FIELD * pixels,
        6 * pixels + maps.nbytes,
        lambda: apply_field(maps, levels),
    )


def jpeg(folder: Path, sides: tuple[int, ...]) -> Iterator[HotPath]:
    """libvips reading and writing the files that photos are, through our own doors."""
    from benchmarks.pictures import write_picture
    from unhaze import photo

    path = folder / "photo.jpg"
    width, height = write_picture(path, sides[0] * sides[1] / 1e6)
    pixels, size = width * height, path.stat().st_size
    moved = 3 * pixels + size
    decoded = photo.read_rgb(path)
    yield HotPath(
        "JPEG, decoded",
        f"{width} x {height}",
        JPEG * pixels,
        moved,
        lambda: photo.read_rgb(path),
    )
    yield HotPath(
        "JPEG, encoded",
        f"{width} x {height}",
        JPEG * pixels,
        moved,
        lambda: photo.write_rgb(folder / "written.jpg", decoded),
    )


def fade(sides: tuple[int, ...]) -> HotPath:
    """The measure, in float64 and on one thread."""
    from unhaze.metrics import METRICS

    picture = np.random.default_rng(0).random((*sides, 3), np.float32)
    measure = METRICS["fade"].function
    pixels = sides[0] * sides[1]
    return HotPath("FADE", shown(sides), FADE * pixels, 12 * pixels, lambda: measure(picture))


if __name__ == "__main__":
    main()
