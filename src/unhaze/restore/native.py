"""The network on every pixel of a picture, mirrored at the border if the network asks for it."""

import math
from pathlib import Path

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.restore.engine import Engine

BYTES_PER_PIXEL = 2000  # of memory while AECR-Net runs; a model card may say `bytes_per_pixel`


def restore_whole(engine: Engine, hazy_hwc: np.ndarray) -> np.ndarray:
    """(H,W,3) float32 in [0,1] -> restored (H,W,3) float32, not clamped, from one run of the model.

    UnhazeError, before memory runs out, for a picture that is too large.
    """
    height, width = hazy_hwc.shape[:2]
    needed = height * width * int(engine.card.get("bytes_per_pixel", BYTES_PER_PIXEL))
    if engine.device == "cpu" and needed > (free := _free_memory()):
        raise UnhazeError(
            f"running the model on {width} x {height} pixels at once needs about"
            f" {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; leave out --native,"
            " or choose a smaller --analysis"
        )
    multiple = int(engine.card.get("multiple", 1))
    margin = ((0, -height % multiple), (0, -width % multiple), (0, 0))
    padded = np.pad(hazy_hwc, margin, "reflect") if any(map(any, margin)) else hazy_hwc
    restored = engine(np.ascontiguousarray(padded.transpose(2, 0, 1))[None])
    return restored[0, :, :height, :width].transpose(1, 2, 0)


def _free_memory() -> float:
    """Bytes that can still be used, as far as this system says."""
    facts = Path("/proc/meminfo")
    for line in facts.read_text().splitlines() if facts.exists() else ():
        if line.startswith("MemAvailable:"):
            return 1024.0 * int(line.split()[1])
    return math.inf
