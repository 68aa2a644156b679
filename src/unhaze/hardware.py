"""Describes the hardware of a measurement."""

import contextlib
import os
import platform
import time
from pathlib import Path

LOADED = time.monotonic()


def describe_cpu() -> str:
    """For example "AMD EPYC 7B13, 2 cores"."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        named = next(line for line in lines if line.startswith("model name"))
        return f"{named.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def cpu_flags() -> set[str]:
    """Returns Linux's names of processor features, such as "avx2"; empty elsewhere."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return set(next(line for line in lines if line.startswith("flags")).split()[2:])
    return set()


def seconds_since_start() -> float:
    """Since this process was started, importing and loading included.

    From /proc where there is one; elsewhere since this file was loaded.
    """
    with contextlib.suppress(OSError, AttributeError):
        # After the name, which may hold spaces and ends with ")": field 22 is the start in ticks.
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        booted = time.clock_gettime(time.CLOCK_BOOTTIME)
        return booted - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - LOADED
