"""The table of published networks: their facts, and what was measured of them here."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unhaze.nets import NETS
from unhaze.zoo import Network, list_networks, list_offers

# Of a clone of the project; without these files the rows have no measurements.
RESULTS = Path("results/benchmark-zoo.json")  # written by benchmarks/zoo.py
MEASURED = "results/sots-indoor-part-{name}-aecr.json"  # written by `unhaze eval NAME --result`
NUMBERS = ("gmacs_256", "seconds_256", "beside_256", "seconds_1024", "beside_1024")

# What rows can be sorted by; those without such a number come last.
ORDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "name": lambda row: row["name"],
    "score": lambda row: -float(row["scores"].get("sots_indoor", "0").split(" ")[0]),
    "cost": lambda row: row["gmacs_256"] or float("inf"),
    "size": lambda row: row["parameters"],
    "year": lambda row: -row["year"],
}


def list_rows(order: str = "name") -> list[dict[str, Any]]:
    """One row per variant: the facts of `Network`, and `here`, `parity`, `get`, cost and speed.

    here: its network is in `NETS`. parity: proven by our tests. get: names for `unhaze zoo get`.
    gmacs_256: multiplications, in 10^9, at 256 x 256; seconds_256, seconds_1024: on two cores;
    beside_256, beside_1024: how many cores other programs kept busy meanwhile; None where not
    measured. measured: name of weights -> "dB / SSIM" on the part of SOTS indoor.
    """
    measured = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    rows = [row_of(network, measured.get("networks", {})) for network in list_networks().values()]
    return rows if order == "name" else sorted(rows, key=ORDERS[order])


def row_of(network: Network, measured: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Returns the row of one variant."""
    here = network.net in NETS and (not network.preset or network.preset in presets(network))
    numbers = measured.get(network.name, {})
    own = [each for each in list_offers().values() if each.network == network.name]
    get = list(dict.fromkeys(network.name if each.part else each.name for each in own))
    return asdict(network) | {
        "here": here,
        "parity": here and network.parity,
        "get": get,
        "measured": {each.name: score for each in own if (score := score_of(each.name))},
        **{name: numbers.get(name) for name in NUMBERS},
    }


def presets(network: Network) -> dict[str, dict[str, Any]]:
    """Returns the presets of the network's entry in `NETS`."""
    return NETS[network.net].presets


def score_of(name: str) -> str:
    """dB and SSIM of published weights, "" where they were not measured."""
    record = Path(MEASURED.format(name=name))
    if not record.is_file():
        return ""
    numbers = json.loads(record.read_text(encoding="utf-8"))
    return f"{numbers['psnr']:.2f} / {numbers['ssim']:.4f}"
