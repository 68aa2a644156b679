"""Cost and speed of every published network that is here: multiplications, seconds on two cores.

python -m benchmarks.zoo [--macs] [NAME...]     writes results/benchmark-zoo.json for `unhaze zoo`

--macs counts multiplications only: moments for all, and no quiet machine is needed. Seconds are
recorded with the load that was there before, and marked in the table where that was one or more.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from unhaze.config import Part
from unhaze.exporting import export
from unhaze.exporting.facts import count_macs
from unhaze.hardware import describe_cpu
from unhaze.nets import NETS, create_net
from unhaze.restore.engine import Engine
from unhaze.weights import save_weights
from unhaze.zoo import Network, list_networks

RESULT = Path("results/benchmark-zoo.json")
THREADS = 2
REPEATS = {256: 3, 1024: 1}  # runs, after one at the first size that prepares
COUNTED = 256
LONGEST = 300  # seconds: at 1024 a network that would take longer is left out
TOLERANCE = 1e-3  # largest difference of the ONNX file from PyTorch


def main(names: list[str], *, macs: bool) -> None:
    """Measures the networks called `names`, all by default, and keeps what is known of others.

    macs: counts only, and keeps the seconds that are known.
    """
    torch.set_num_threads(THREADS)
    load = round(os.getloadavg()[0], 1)
    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {"networks": {}}
    for network in list_networks().values():
        if network.net not in NETS or (names and network.name not in names):
            continue
        numbers = known["networks"].get(network.name, {}) | {"gmacs_256": count(network)}
        if not macs:
            numbers |= measure(network) | {"load_before": load}
            known |= {"hardware": describe_cpu(), "threads": THREADS}
        known["networks"][network.name] = numbers
        RESULT.write_text(json.dumps(known, indent=1) + "\n")
        print(network.name, numbers, flush=True)


def count(network: Network) -> float:
    """Multiplications at 256 x 256, in 10^9."""
    with torch.device("meta"):
        net = create_net(network.net, preset=network.preset).eval()
    return round(count_macs(net, side=COUNTED) * COUNTED**2 / 1e9, 3)


def measure(network: Network) -> dict[str, float]:
    """Seconds through the ONNX file at 256 and 1024, and how far that is from PyTorch."""
    arguments = {} if network.preset is None else {"preset": network.preset}
    net = create_net(network.net, **arguments).eval()
    numbers: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "w.safetensors"
        save_weights(weights, net, Part(network.net, arguments))
        report = export(weights, Path(folder) / "m.onnx", tolerance=TOLERANCE)
        numbers["difference"] = float(f"{report.max_difference:.1e}")
        numbers["seconds_export"] = round(report.seconds, 1)
        engine = Engine(Path(folder) / "m.onnx", "cpu", threads=THREADS)
        fastest(engine, min(REPEATS), 1)  # prepares
        for side, repeats in REPEATS.items():
            expected = numbers.get("seconds_256", 0) * (side / 256) ** 2
            if expected < LONGEST:
                numbers[f"seconds_{side}"] = round(fastest(engine, side, repeats), 4)
    return numbers


def fastest(engine: Engine, side: int, repeats: int) -> float:
    """Seconds of the quickest of some runs."""
    hazy = np.random.default_rng(0).random((1, 3, side, side), dtype=np.float32)
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        engine(hazy)
        times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--macs", action="store_true")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    main(given.names, macs=given.macs)
