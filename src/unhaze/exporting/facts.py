"""Costs of a network: multiplications, memory, and size of its context."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from unhaze.restore.engine import Engine, described_only
from unhaze.restore.resources import TIMED

COUNTED = 128  # side in pixels of the picture on which strides are counted
MEASURED = (256, 320)  # height and width of the picture on which memory is measured
PROBES = ((48, 512), (48, 1536))  # width and length of the pictures for measuring the context
TOLERANCE = 0.1 / 255
ROUNDED = 32
LARGE = (256, 512)  # sides in pixels of the pictures for measuring how the cost grows

RUNS = 8  # of which the largest counts: equal runs differ by a sixth, as memory is free or not
# VmHWM is the peak since the program started. The peak of getrusage is not usable: it starts with
# that of the parent process, which has loaded PyTorch.
RUN_ONCE = """
import sys, numpy
from unhaze.restore.engine import Engine
def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))
engine = Engine(sys.argv[1], "cpu", threads=1)
hazy = numpy.full((1, 3, int(sys.argv[2]), int(sys.argv[3])), 0.5, "float32")
before = status("VmRSS:")
engine(hazy)
print(status("VmHWM:") - before)
"""


def count_macs(net: nn.Module, height: int, width: int) -> int:
    """Returns the multiplications for a picture of this size, as PyTorch counts them, without
    computing it."""
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, torch.no_grad():
        shapes: dict[str, torch.Tensor] = {
            name: fake.from_tensor(each) for name, each in tensors.items()
        }
        with FlopCounterMode(display=False) as counter:
            functional_call(net, shapes, (torch.empty(1, 3, height, width),))
    return counter.get_total_flops() // 2


def count_costs(net: nn.Module) -> dict[str, int]:
    """Returns the multiplications from which `tell_cost` predicts the cost of a picture.

    `macs_per_pixel`: per further pixel, from 256 x 256 to 512 x 512. `macs_fixed`: constant part,
    of networks that also process every picture at one size. `macs_small`: for a picture of
    `TIMED`, which some networks enlarge first.
    """
    first, second = (count_macs(net, side, side) for side in LARGE)
    slope = (second - first) / (LARGE[1] ** 2 - LARGE[0] ** 2)
    return {
        "macs_per_pixel": round(slope),
        "macs_fixed": max(0, round(first - slope * LARGE[0] ** 2)),
        "macs_small": count_macs(net, *TIMED),
    }


def measure_strides(model: onnx.ModelProto, values: list[str]) -> list[int]:
    """Returns pixels of the picture per row of the inner `values`, which are (1,C,h,w)."""
    if not values:
        return []
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in values)
    # One thread, and none of the optimisations, which take longer than the run.
    session = onnxruntime.InferenceSession(
        opened.SerializeToString(), described_only(), providers=["CPUExecutionProvider"]
    )
    hazy = np.full((1, 3, COUNTED, COUNTED), 0.5, np.float32)
    found = session.run(values, {"hazy": hazy})
    return [max(1, COUNTED // np.asarray(each).shape[2]) for each in found]


def measure_memory(model: Path) -> int | None:
    """Returns peak bytes per pixel of a run on the CPU; None if the system does not report it."""
    if not Path("/proc/self/status").exists():
        return None
    command = [sys.executable, "-c", RUN_ONCE, str(model), *map(str, MEASURED)]
    runs = (subprocess.run(command, capture_output=True, check=True) for _ in range(RUNS))
    return max(1, round(max(int(run.stdout) for run in runs) / (MEASURED[0] * MEASURED[1])))


def measure_context(model: Path) -> int | None:
    """Returns the margin in pixels that a part needs to be restored as in the whole picture.

    Half of a picture is cut away; the margin is the distance from the cut up to which the other
    half changes by more than TOLERANCE. Both use the means of the whole picture. None: it changes
    everywhere (the network depends on more than these means) and cannot run on tiles.
    """
    engine = Engine(model, "cpu", threads=torch.get_num_threads())
    for width, length in PROBES:
        limit, context = 0.75 * length / 2, 0
        for hazy in probe_pictures(width, length):
            context = max(context, -(-reach_of(engine, hazy) // ROUNDED) * ROUNDED)
            if context > limit:  # the other pictures, which take minutes, could only add
                break
        else:
            return context
    return None


def reach_of(engine: Engine, hazy: np.ndarray) -> int:
    """Returns the largest distance in pixels from a cut across the longer side with an effect."""
    axis = 2 if hazy.shape[2] > hazy.shape[3] else 3
    rest = np.split(hazy, 2, axis)[1]
    restored, pools = engine.with_pools(hazy)
    whole = np.split(restored, 2, axis)[1]
    half = engine(np.ascontiguousarray(rest), pools)
    across = tuple({0, 1, 2, 3} - {axis})
    changed = np.flatnonzero(np.abs(half - whole).max(across) > TOLERANCE)
    return int(changed[-1]) + 1 if changed.size else 0


def probe_pictures(width: int, length: int) -> list[np.ndarray]:
    """(1,3,width,length) and (1,3,length,width) float32 in [0,1], where networks have long reach.

    A bright sky without structure (where AECR-Net's deformable convolutions reach farthest: 135
    pixels, 76 on noise), noise that darkens, and blocks in increasing haze. In the last two, the
    remaining half differs from the whole in all statistics.
    """
    random = np.random.default_rng(0)
    sky = np.full((1, 3, width, length), 0.9, np.float32)
    noise = random.uniform(0.5, 1, sky.shape) * np.linspace(1, 0.6, length)
    blocks = random.random((1, 3, width // 16, length // 16), dtype=np.float32)
    clear = blocks.repeat(16, 2).repeat(16, 3)
    transmission = np.linspace(0.9, 0.1, length)
    hazy = clear * transmission + 0.85 * (1 - transmission)
    lying = [each.astype(np.float32) for each in (sky, noise, hazy)]
    return lying + [each.transpose(0, 1, 3, 2) for each in lying]
