"""Cost and speed of every published network that is here: multiplications, seconds on two cores.

python -m benchmarks.zoo [--macs] [--minutes M] [NAME...]
    writes results/benchmark-zoo.json for `unhaze zoo`

It measures what is not there yet or was measured beside other programs, of all networks or of those
named, at 256 first: in several quiet windows of M minutes, after --minutes 0 has exported what
takes hours. The ONNX files stay in `MODELS`. Delete a file or a row of the record to have it anew.
--macs counts only.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measure import ROOT, repeated, write_record
from tools.report.zoo import BESIDE
from unhaze.config import Part
from unhaze.exporting import export
from unhaze.exporting.facts import count_macs
from unhaze.nets import NETS, create_net
from unhaze.report.zoo import RESULTS
from unhaze.restore.engine import Engine
from unhaze.weights import save_weights
from unhaze.zoo import Network, list_networks

MODELS = ROOT / "runs" / "zoo"
THREADS = 2
SIDES = (256, 1024)
RUNS = 3
PATIENCE = 10.0  # seconds of `repeated`: a slower run is the only one
LONGEST = 400  # seconds: a network that would take longer is left out
SLOWEST = 0.2  # seconds for 10^9 multiplications, until a network's own are known
TOLERANCE = 1e-3  # largest difference of the ONNX file from PyTorch

Numbers = dict[str, float]


def main(names: list[str], *, macs: bool, minutes: float) -> None:
    """Measures what is missing of the networks called `names`, by default of any.

    macs: counts only. minutes: starts no run that is expected to end later.
    """
    deadline = time.monotonic() + 60 * minutes
    record = ROOT / RESULTS
    known = json.loads(record.read_text())["networks"] if record.is_file() else {}
    chosen = [
        network
        for network in list_networks().values()
        if network.net in NETS and (not names or network.name in names)
    ]
    for network in chosen:
        numbers = known.setdefault(network.name, {})
        if macs or f"gmacs_{SIDES[-1]}" not in numbers:
            numbers |= count(network)
        if not macs:
            model_of(network)
    write_record(record, "zoo", {"threads": THREADS, "networks": known})
    for side in SIDES if not macs else ():
        for network in chosen:
            numbers = known[network.name]
            if is_due(numbers, side, deadline - time.monotonic()):
                numbers |= measure(network, side)
                print(network.name, numbers, flush=True)
                write_record(record, "zoo", {"threads": THREADS, "networks": known})


def count(network: Network) -> Numbers:
    """Multiplications for a picture of each side, in 10^9."""
    net = create_net(network.net, preset=network.preset).eval()
    return {f"gmacs_{side}": round(count_macs(net, side, side) / 1e9, 3) for side in SIDES}


def model_of(network: Network) -> Path:
    """The ONNX file, exported on the first call."""
    model = MODELS / f"{network.name}.onnx"
    if not model.exists():
        arguments = {} if network.preset is None else {"preset": network.preset}
        net = create_net(network.net, **arguments).eval()
        with TemporaryDirectory() as folder:
            weights = Path(folder) / "w.safetensors"
            save_weights(weights, net, Part(network.net, arguments))
            export(weights, model, tolerance=TOLERANCE)
    return model


def is_due(numbers: Numbers, side: int, left: float) -> bool:
    """Whether it is not known in quiet, and `left` seconds will do."""
    if numbers.get(f"beside_{side}", math.inf) < BESIDE:
        return False
    first = numbers["gmacs_256"]
    expected = numbers.get("seconds_256", SLOWEST * first) * numbers[f"gmacs_{side}"] / first
    return expected < LONGEST and expected + PATIENCE < left


def measure(network: Network, side: int) -> Numbers:
    """Seconds through the ONNX file, and how many processors other programs kept busy."""
    engine = Engine(model_of(network), "cpu", threads=THREADS)
    hazy = np.random.default_rng(0).random((1, 3, side, side), dtype=np.float32)
    engine(hazy[..., :64, :64])  # prepares, also where the run is the only one
    began, busy, own = time.perf_counter(), all_busy(), time.process_time()
    times = repeated(lambda: engine(hazy), RUNS, patience=PATIENCE)
    others = all_busy() - busy - (time.process_time() - own)
    beside = max(0.0, others / (time.perf_counter() - began))
    return {f"seconds_{side}": round(times.seconds, 4), f"beside_{side}": round(beside, 2)}


def all_busy() -> float:
    """Seconds that the processors of this Linux computer have worked, for all programs."""
    user, nice, system = Path("/proc/stat").read_text().split()[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--macs", action="store_true")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    main(given.names, macs=given.macs, minutes=given.minutes)
