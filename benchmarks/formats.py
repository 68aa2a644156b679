"""`python -m benchmarks.formats`: photos as phones and cameras write them; every written format.

Whole commands: an HEIC of 12 megapixels (10 bits, Display P3, on its side, a depth map beside it),
a raw DNG of 24, and a JPEG of 12 megapixels into each format, of 20 into AVIF. Needs heif-enc, the
extras `heic`, `raw` and `formats`, and tifffile. Two minutes on two cores.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import pyvips

from benchmarks.camera_files import dng, phone_photo
from benchmarks.measure import ROOT, Row, python, table, write_record
from benchmarks.pictures import write_picture
from unhaze.formats import NAMED
from unhaze.photo.profile import srgb_curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, default=12, help="of a phone's photo")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--result", type=Path, default=ROOT / "results" / "benchmark-formats.json")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source, options in files(folder, given.megapixels):
            words = ["-m", "unhaze", "run", source, "--model", given.model, "--overwrite", *options]
            measured = python(*words, runs=given.runs)
            row: Row = {"file": source.name, "options": " ".join(options)}
            rows.append(row | measured.facts())
            print(table(rows[-1:]), flush=True)
    print(table(rows))
    numbers = {"model": given.model, "runs": given.runs, "load_before": load, "rows": rows}
    write_record(given.result, "formats", numbers)


def files(folder: Path, megapixels: float) -> list[tuple[Path, list[str]]]:
    """Files made in `folder`, and the options of a run on each."""
    photo, large = folder / f"{megapixels:g} MP.jpg", folder / f"{megapixels * 5 / 3:g} MP.jpg"
    write_picture(photo, megapixels)
    write_picture(large, megapixels * 5 / 3)
    phone, raw = folder / f"{megapixels:g} MP.heic", folder / f"{megapixels * 2:g} MP.dng"
    phone_photo(phone, photo)
    write_raw(raw, megapixels * 2)
    found = [(phone, []), (phone, ["--format", "avif"]), (raw, []), (raw, ["--format", "jpg"])]
    found += [(photo, ["--format", each]) for each in NAMED]
    return [*found, (large, ["--format", "avif"])]


def write_raw(path: Path, megapixels: float) -> None:
    """A DNG of 14 bits of such a picture."""
    seen = path.with_suffix(".png")
    write_picture(seen, megapixels)
    pixels = pyvips.Image.new_from_file(str(seen)).numpy()
    seen.unlink()
    even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
    path.write_bytes(dng(srgb_curve(even / np.float32(255)), (2.0, 1.0, 1.5)))


if __name__ == "__main__":
    main()
