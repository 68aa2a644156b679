"""Devices, cores and memory that this process may use, inside a container too."""

import contextlib
import ctypes
import importlib.util
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from unhaze.errors import UnhazeError
from unhaze.validation import nearest

CGROUP = Path("/sys/fs/cgroup")
MEMORY_FACTS = Path("/proc/meminfo")
# Of glibc's malloc.h; a number of its mallopt is an int.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def count_threads(threads: int) -> int:
    """`threads`, or one for each core that this process may use where it is 0.

    UnhazeError for anything but a whole number from 0.
    """
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 0:
        raise UnhazeError(f"threads is {threads!r}; expected a whole number, 0 for one per core")
    return threads or usable_cores()


def usable_cores() -> int:
    """The cores that the affinity mask and the container's quota leave, at least 1."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = (CGROUP / "cpu.max").read_text().split()
        cores = min(cores, math.ceil(int(quota) / int(period)))  # "max" is no number: no quota
    return max(1, cores)


def free_memory() -> float:
    """Bytes that can still be used, as far as the system and the container say; else infinity."""
    free = math.inf
    with contextlib.suppress(OSError, StopIteration):
        lines = MEMORY_FACTS.read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        free = 1024.0 * int(line.split()[1])
    with contextlib.suppress(OSError, ValueError):
        limit = int((CGROUP / "memory.max").read_text())
        free = min(free, limit - int((CGROUP / "memory.current").read_text()))
    return free


def share_one_heap() -> None:
    """Lets all threads of this process have one heap in common, where the C library is glibc.

    With a heap for each, what one has freed no other can use: a photo of 12 megapixels takes 290 MB
    and not 200. For threads to come: call it first.
    """
    with contextlib.suppress(OSError, TypeError, AttributeError):  # Windows; other C libraries
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def keep_freed_memory() -> None:
    """Lets this process keep up to 2 GB that it has freed, where the C library is glibc.

    Large tensors would otherwise be given back to the system and fetched page by page at every
    training step: a tenth of a step of AECR-Net on a CPU, a third of its deformable convolution.
    """
    with contextlib.suppress(OSError, TypeError, AttributeError):  # Windows; other C libraries
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@dataclass(frozen=True)
class Device:
    """One entry of `DEVICES`.

    provider: its name in ONNX Runtime, "" for OpenVINO, which runs models itself. install: what
    brings it. automatic: whether "auto" may take it. options: of the provider.
    """

    provider: str
    install: str
    automatic: bool = False
    options: dict[str, str] = field(default_factory=dict)


# Best first. "auto" takes only what runs pictures of any size at once and in float32: MIGraphX
# compiles anew for each size, Core ML and OpenVINO may compute in half precision. For the same
# reason TensorRT is left out altogether: it would build an engine, for minutes, for each size.
DEVICES = {
    "cuda": Device(
        "CUDAExecutionProvider",
        "onnxruntime-gpu in place of onnxruntime",
        automatic=True,
        options={
            # The default tries all algorithms for each new size of picture; this one asks a table.
            "cudnn_conv_algo_search": "HEURISTIC",
            # The default doubles what it holds each time; pictures are large, so take what is due.
            "arena_extend_strategy": "kSameAsRequested",
            # The same picture on every device.
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
    """`device`, or the best one here for "auto". UnhazeError: unknown, or not in this install."""
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
