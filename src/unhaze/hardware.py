"""What a number was measured on, in words."""

import contextlib
import os
import platform
from pathlib import Path


def describe_cpu() -> str:
    """For example "AMD EPYC 7B13, 2 cores"."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        named = next(line for line in lines if line.startswith("model name"))
        return f"{named.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
