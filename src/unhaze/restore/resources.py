"""Cores and memory that this process may use, inside a container too."""

import contextlib
import ctypes
import math
import os
from pathlib import Path

from unhaze.errors import UnhazeError

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
