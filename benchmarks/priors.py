"""The dark channel prior and what widespread programs make of it, on pictures with a truth.

`python -m benchmarks.priors HAZY CLEAR -o results/NAME.json [--every N]` measures each variant of
`VARIANTS` (protocol aecr). That shows which of them lie near which published figure.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from unhaze import photo
from unhaze.data.catalog import find_pairs, fit_clear
from unhaze.haze import remove_haze
from unhaze.image import to_float
from unhaze.metrics import measure
from unhaze.restore.priors.dark_channel import DarkChannelPrior


def unclamped_bytes(restored: np.ndarray) -> np.ndarray:
    """8 bits as a plain cast makes them: what is below black comes out white."""
    return (np.floor(restored * 255).astype(np.int64) % 256 / 255).astype(np.float32)


@dataclass(frozen=True)
class Variant:
    """arguments: of the prior. airlight: times the one that was found. finish: of the result."""

    arguments: dict[str, Any] = field(default_factory=dict)
    airlight: float = 1.0
    finish: Callable[[np.ndarray], np.ndarray] = lambda restored: restored


VARIANTS = {
    "as published, guided filter of radius 60": Variant(),
    "colour guide": Variant({"guide": "colour", "epsilon": 1e-3}),
    "radius 30 (a box of size 60 in place of radius 60)": Variant({"radius": 30}),
    "airlight averaged": Variant({"airlight": "mean"}),
    "no refinement": Variant({"refine": "none"}),
    "lower bound of t 0.01": Variant({"smallest": 0.01}),
    "omega 1": Variant({"omega": 1.0}),
    "omega 1, no refinement": Variant({"omega": 1.0, "refine": "none"}),
    "patch 31": Variant({"patch": 31}),
    "patch 7": Variant({"patch": 7}),
    "patch 5": Variant({"patch": 5}),
    "patch 3": Variant({"patch": 3}),
    "airlight 0.9 of what was found": Variant(airlight=0.9),
    "airlight 0.8 of what was found": Variant(airlight=0.8),
    "airlight 0.76 of what was found": Variant(airlight=0.76),
    "cast to 8 bits without a clamp": Variant(finish=unclamped_bytes),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hazy", type=Path)
    parser.add_argument("clear", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="only every Nth picture")
    given = parser.parse_args()
    folders = {"hazy": str(given.hazy.absolute()), "clear": str(given.clear.absolute())}
    pairs = find_pairs("folders", ".", **folders)[:: given.every]
    numbers: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for pair in pairs:
        hazy = to_float(photo.read_rgb(pair.hazy))
        clear = fit_clear(pair, to_float(photo.read_rgb(pair.clear)), hazy)
        for name, variant in VARIANTS.items():
            restored = restore(hazy, variant)
            numbers[name].append(measure(restored, clear, "aecr", metrics=("psnr", "ssim")))
    table = {
        name: {each: round(fmean(row[each] for row in rows), 4) for each in ("psnr", "ssim")}
        for name, rows in numbers.items()
    }
    facts = {"benchmark": "dcp variants", "data": given.hazy.absolute().parent.name}
    facts |= {"images": len(pairs), "protocol": "aecr", "variants": table}
    given.out.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for name, means in table.items():
        print(f"{means['psnr']:6.2f} dB  {means['ssim']:.4f}  {name}")


def restore(hazy_hwc: np.ndarray, variant: Variant) -> np.ndarray:
    """(H,W,3) in [0,1] -> restored, not clamped."""
    hazy = np.ascontiguousarray(hazy_hwc.transpose(2, 0, 1))
    prior = DarkChannelPrior(**variant.arguments)
    airlight = np.float32(variant.airlight) * prior.estimate(hazy).airlight
    transmission = prior.transmission(hazy, airlight)
    restored = remove_haze(hazy, transmission, airlight[:, None, None])
    return variant.finish(restored.transpose(1, 2, 0))


if __name__ == "__main__":
    main()
