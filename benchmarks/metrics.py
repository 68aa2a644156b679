"""`python -m benchmarks.metrics`: how many megapixels a second each measure of quality takes.

PSNR, SSIM (each protocol's), CIEDE2000 and FADE on one thread, beside scikit-image where it has the
same: its PSNR, its SSIM with the window of protocol `skimage`, its CIEDE2000 from sRGB. Half a
minute.
"""

import argparse
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from benchmarks.measure import Row, repeated, table, write_record
from benchmarks.rows import given_options, row_alone

Measure = Callable[[np.ndarray, np.ndarray], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=3)
    given = given_options(parser, measure, result="metrics")
    rows = [row_of(name, given) for name in ours()]
    print(table(rows))
    numbers = {"rows": rows, "megapixels": given.megapixels, "runs": given.runs}
    write_record(given.result, "metrics", numbers | {"load_before": given.load_before})


def row_of(name: str, given: argparse.Namespace) -> Row:
    """Ours and, where it has the same, scikit-image's, each alone."""
    task = {"metric": name, "megapixels": given.megapixels, "runs": given.runs}
    found = row_alone("benchmarks.metrics", task | {"peer": False})
    per_second = round(given.megapixels / found["ms"] * 1e3, 2)
    row = {"metric": name} | found | {"mp_per_second": per_second}
    if name not in PEERS:
        return row
    if find_spec("skimage") is None:
        return row | {"skipped": "scikit-image is not installed"}
    peer = row_alone("benchmarks.metrics", task | {"peer": True})
    row |= {"skimage_ms": peer["ms"], "skimage_peak_mb": peer["peak_mb"]}
    return row | {"ratio": round(peer["ms"] / found["ms"], 2)}


def measure(row: Row) -> Row:
    """In the process of its own."""
    height = max(64, round((row["megapixels"] * 1e6 * 3 / 4) ** 0.5))
    width = max(64, round(row["megapixels"] * 1e6 / height))
    random = np.random.default_rng(0)
    clear = random.random((height, width, 3), np.float32)
    restored = np.clip(clear + random.normal(0, 0.05, clear.shape), 0, 1).astype(np.float32)
    function = PEERS[row["metric"]]() if row["peer"] else ours()[row["metric"]]
    return repeated(lambda: function(restored, clear), row["runs"]).facts()


def ours() -> dict[str, Measure]:
    """By name: what takes two pictures (H,W,3) in [0,1]."""
    from unhaze.metrics import METRICS, PROTOCOLS
    from unhaze.metrics.psnr_ssim import psnr

    found: dict[str, Measure] = {"psnr": psnr}
    found |= {f"ssim ({name})": protocol.ssim for name, protocol in PROTOCOLS.items()}
    found["ciede2000"] = METRICS["ciede2000"].function
    found["fade"] = lambda restored, clear: METRICS["fade"].function(restored)
    return found


def peer_psnr() -> Measure:
    """Scikit-image's."""
    from skimage.metrics import peak_signal_noise_ratio

    return lambda restored, clear: peak_signal_noise_ratio(clear, restored, data_range=1)


def peer_ssim() -> Measure:
    """Scikit-image's, as protocol `skimage` takes it."""
    from skimage.metrics import structural_similarity

    return lambda restored, clear: structural_similarity(
        clear, restored, channel_axis=2, data_range=1
    )


def peer_ciede2000() -> Measure:
    """Scikit-image's, with its own way from sRGB to Lab."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    return lambda restored, clear: deltaE_ciede2000(rgb2lab(clear), rgb2lab(restored)).mean()


PEERS = {"psnr": peer_psnr, "ssim (skimage)": peer_ssim, "ciede2000": peer_ciede2000}


if __name__ == "__main__":
    main()
