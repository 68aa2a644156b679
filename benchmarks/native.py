"""`python -m benchmarks.native [PHOTO...]`: how much tiles differ from the whole picture.

In steps of 8 bits, after rounding is left out: as `--native` makes tiles, and, for comparison,
tiles of which each takes means of its own. Photos should have a megapixel at least; without any,
samples/valley.jpg is taken. Takes a minute.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import ROOT, table, write_record
from unhaze import photo
from unhaze.restore.engine import Engine
from unhaze.restore.models import list_models, open_model
from unhaze.restore.native import restore_whole

MEGAPIXEL = 1e6


class Alone:
    """A model that does not hand the means of the whole picture to its tiles."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.card, self.device = engine, engine.card, engine.device
        self.path = engine.path

    def __call__(self, hazy: np.ndarray) -> np.ndarray:
        """One tile for itself."""
        return self.engine(hazy)

    def pools(self, hazy: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
        """None."""
        return [], []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="*", type=Path, default=[ROOT / "samples" / "valley.jpg"])
    parser.add_argument("--models", nargs="+", default=[card.name for card in list_models()])
    parser.add_argument("--parts", type=float, default=3, help="of the memory that it would take")
    parser.add_argument("--result", type=Path, default=ROOT / "results" / "benchmark-native.json")
    given = parser.parse_args()
    rows = [row for name in given.models for row in compare(name, given.photos, given.parts)]
    print(table(rows))
    write_record(given.result, "native", {"rows": rows})


def compare(name: str, photos: Sequence[Path], parts: float) -> list[dict[str, Any]]:
    """One row a photo and kind of tiles."""
    model = open_model(name, "cpu")
    rows = []
    for path in photos:
        pixels = photo.read_rgb(path)
        whole = restore_whole(model, pixels, memory=math.inf)
        memory = pixels.shape[0] * pixels.shape[1] * (model.card["bytes_per_pixel"] + 36) / parts
        for kind, each in (("tiles", model), ("tiles, each alone", Alone(model))):
            tiled = restore_whole(each, pixels, memory=memory)
            steps = np.abs(np.clip(tiled, 0, 1) - np.clip(whole, 0, 1)) * 255
            error = float(np.mean(steps**2, dtype=np.float64))
            rows.append(
                {"model": name, "photo": path.name, "megapixels": pixels[..., 0].size / MEGAPIXEL}
                | {"kind": kind, "memory_mb": memory / 1e6, "max": round(float(steps.max()), 4)}
                | {"p99.9": round(float(np.quantile(steps, 0.999)), 4)}
                | {"psnr": round(10 * math.log10(255**2 / max(error, 1e-12)), 1)}
            )
    return rows


if __name__ == "__main__":
    main()
