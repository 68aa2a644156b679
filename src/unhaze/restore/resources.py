"""Devices, cores and memory of this process, also inside a container, and what a model takes."""

import contextlib
import ctypes
import importlib.util
import logging
import math
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from unhaze.errors import UnhazeError
from unhaze.validation import nearest

if TYPE_CHECKING:
    from unhaze.restore.models import Model

CGROUP = Path("/sys/fs/cgroup")
MEMORY_FACTS = Path("/proc/meminfo")
# Of glibc's malloc.h; a number of its mallopt is an int.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
HEAVY = 300e9  # multiplications per picture from which on a model is heavy
TIMED = (96, 128)  # height and width of the picture for timing
MEGAPIXEL = 1_000_000

logger = logging.getLogger(__name__)
told: set[tuple[str, bool]] = set()  # models, and whether by the megapixel
telling = threading.Lock()


def count_threads(threads: int) -> int:
    """Returns `threads`, or if it is 0 the number of cores available to this process.

    UnhazeError: not an integer from 0.
    """
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 0:
        raise UnhazeError(f"threads is {threads!r}; expected a whole number, 0 for one per core")
    return threads or usable_cores()


def usable_cores() -> int:
    """Returns the cores left by the affinity mask and the container's quota, at least 1."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = (CGROUP / "cpu.max").read_text().split()
        cores = min(cores, math.ceil(int(quota) / int(period)))  # "max" is not a number: no quota
    return max(1, cores)


def free_memory() -> float:
    """Returns the bytes available according to the system and the container; infinity if
    unknown.
    """
    free = math.inf
    with contextlib.suppress(OSError, StopIteration):
        lines = MEMORY_FACTS.read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        free = 1024.0 * int(line.split()[1])
    with contextlib.suppress(OSError, ValueError):
        limit = int((CGROUP / "memory.max").read_text())
        free = min(free, limit - int((CGROUP / "memory.current").read_text()))
    return free


def share_heaps(heaps: int = 1) -> None:
    """Makes all threads of this process share that many heaps, if the C library is glibc.

    With a heap per thread, freed memory is not available to other threads: a photo of 12 megapixels
    takes 290 MB instead of 190. Affects future threads, so call it first.
    """
    with contextlib.suppress(OSError, TypeError, AttributeError):  # Windows; other C libraries
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, heaps)


def keep_freed_memory() -> None:
    """Lets this process keep up to 2 GB of freed memory, if the C library is glibc.

    Large tensors would otherwise be returned to the system and fetched page by page at every
    training step: a tenth of a step of AECR-Net on a CPU, a third of its deformable convolution.
    """
    with contextlib.suppress(OSError, TypeError, AttributeError):  # Windows; other C libraries
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@dataclass(frozen=True)
class Device:
    """An entry of `DEVICES`.

    provider: its name in ONNX Runtime, "" for OpenVINO, which runs models itself. install: the
    package that contains it. automatic: whether "auto" may select it. options: of the provider.
    """

    provider: str
    install: str
    automatic: bool = False
    options: dict[str, str] = field(default_factory=dict)


# Best first. "auto" selects only devices that run any size at once and in float32: MIGraphX
# compiles for each size, Core ML and OpenVINO may compute in half precision. TensorRT is not
# supported because it would build an engine, for minutes, for each size.
DEVICES = {
    "cuda": Device(
        "CUDAExecutionProvider",
        "onnxruntime-gpu in place of onnxruntime",
        automatic=True,
        options={
            # The default tries all algorithms for each new size of picture; this one uses a table.
            "cudnn_conv_algo_search": "HEURISTIC",
            # The default doubles its allocations; pictures are large, so allocate what is needed.
            "arena_extend_strategy": "kSameAsRequested",
            # Deterministic: the same picture on every device.
            "use_tf32": "0",
        },
    ),
    "directml": Device(
        "DmlExecutionProvider",
        "onnxruntime-directml in place of onnxruntime (Windows)",
        automatic=True,
    ),
    "rocm": Device(
        "MIGraphXExecutionProvider", "an onnxruntime with MIGraphX (AMD's, for ROCm on Linux)"
    ),
    "openvino": Device("", 'pip install "unhaze[openvino]"'),
    "coreml": Device("CoreMLExecutionProvider", "onnxruntime on a Mac"),
    "cpu": Device("CPUExecutionProvider", "onnxruntime", automatic=True),
}


def choose_device(device: str) -> str:
    """Returns `device`, or the best one for "auto". UnhazeError: unknown, or not in this
    install.
    """
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if device == "auto":
        here = (name for name, each in DEVICES.items() if each.automatic)
        return next((name for name in here if DEVICES[name].provider in available), "cpu")
    if device not in DEVICES:
        raise UnhazeError(f"no device '{device}'; {nearest(device, [*DEVICES, 'auto'])}")
    entry = DEVICES[device]
    if not entry.provider and not has_openvino():
        raise UnhazeError(f"device '{device}' needs OpenVINO: {entry.install}")
    if entry.provider and entry.provider not in available:
        raise UnhazeError(
            f"device '{device}' needs an ONNX Runtime with {entry.provider};"
            f" install {entry.install}, or use --device cpu"
        )
    return device


def has_openvino() -> bool:
    """Returns whether it is installed, without loading it."""
    return importlib.util.find_spec("openvino") is not None


def tell_cost(model: "Model", size: tuple[int, int] | None = None) -> None:
    """Writes one line to stderr, once per model, if a picture takes long.

    Seconds follow from a run on a small picture, multiplications and memory from the model's card.
    `size`: (height, width) of the network's input; None: tells the cost of each megapixel.
    """
    each, key = model.card.get("macs_per_pixel"), (str(model.path), size is None)
    if not isinstance(each, int):
        return
    pixels = MEGAPIXEL if size is None else math.prod(size)
    macs = each * pixels + model.card.get("macs_fixed", 0)
    with telling:
        if macs < HEAVY or key in told:
            return
        told.add(key)
    seconds = time_of(model) * macs / model.card.get("macs_small", each * TIMED[0] * TIMED[1])
    memory = model.card.get("bytes_per_pixel")
    needed = f" and {memory * pixels / 1e9:.1f} GB of memory" if isinstance(memory, int) else ""
    what = "each megapixel" if size is None else f"an input of {size[1]} x {size[0]} pixels"
    logger.warning(
        "this network is heavy: about %.0f s%s for %s (%.0f GMAC, on %s); a smaller --analysis or"
        " another --device is quicker",
        max(seconds, 1),
        needed,
        what,
        macs / 1e9,
        model.device,
    )


def time_of(model: "Model") -> float:
    """Returns the seconds for a picture of `TIMED`; the first run, which prepares, does not
    count.
    """
    import numpy as np  # the command line loads this file for its help

    hazy = np.full((1, 3, *TIMED), 0.5, np.float32)
    model(hazy)
    started = time.perf_counter()
    model(hazy)
    return time.perf_counter() - started
