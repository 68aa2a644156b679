"""Reports the expected cost of a heavy model before it starts."""

import logging
import time

import numpy as np

from unhaze.restore.models import Model

HEAVY = 300e9  # multiplications per picture from which on a model is heavy
TIMED = (96, 128)  # height and width of the picture for timing
MEGAPIXEL = 1_000_000

logger = logging.getLogger(__name__)
told: set[tuple[str, int | None]] = set()


def tell_cost(model: Model, analysis: int, *, native: bool) -> None:
    """Writes one line to stderr, once per model and size, if a picture takes long.

    Seconds follow from a run on a small picture, multiplications and memory from the model's card.
    `analysis`: long side in pixels of the network's input, taken as 4:3; `native`: per megapixel.
    """
    each = model.card.get("macs_per_pixel")
    pixels = MEGAPIXEL if native else analysis * analysis * 3 // 4
    key = (str(model.path), None if native else analysis)
    if not isinstance(each, int) or key in told:
        return
    macs = each * pixels + model.card.get("macs_fixed", 0)
    if macs < HEAVY:
        return
    told.add(key)
    seconds = time_of(model) * macs / model.card.get("macs_small", each * TIMED[0] * TIMED[1])
    memory = model.card.get("bytes_per_pixel")
    needed = f" and {memory * pixels / 1e9:.1f} GB of memory" if isinstance(memory, int) else ""
    size = "for each megapixel" if native else f"for each picture, at {analysis} pixels"
    logger.warning(
        "this network is heavy: about %.0f s%s %s (%.0f GMAC, on %s); a smaller --analysis or"
        " another --device is quicker",
        max(seconds, 1),
        needed,
        size,
        macs / 1e9,
        model.device,
    )


def time_of(model: Model) -> float:
    """Returns the seconds for a picture of `TIMED`; the first run, which prepares, does not
    count.
    """
    hazy = np.full((1, 3, *TIMED), 0.5, np.float32)
    model(hazy)
    started = time.perf_counter()
    model(hazy)
    return time.perf_counter() - started
