"""Cores and memory are those that this process may use, not those of the computer."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from unhaze.errors import UnhazeError
from unhaze.restore import resources
from unhaze.restore.resources import count_threads, free_memory, usable_cores


@pytest.fixture
def container(tmp_path, monkeypatch):
    """An empty control group and no other source, to be filled by the test."""
    monkeypatch.setattr(resources, "CGROUP", tmp_path)
    monkeypatch.setattr(resources, "MEMORY_FACTS", tmp_path / "meminfo")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


def test_without_limits_all_is_used(container):
    assert usable_cores() == 8
    assert free_memory() == float("inf")
    (container / "cpu.max").write_text("max 100000\n")
    (container / "memory.max").write_text("max\n")
    (container / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2000 kB\n")
    assert usable_cores() == 8
    assert free_memory() == 2000 * 1024


def test_the_limits_of_a_container_hold(container):
    (container / "cpu.max").write_text("150000 100000\n")
    assert usable_cores() == 2
    (container / "cpu.max").write_text("10000 100000\n")
    assert usable_cores() == 1
    (container / "meminfo").write_text("MemAvailable: 2000 kB\n")
    (container / "memory.max").write_text("1000000\n")
    (container / "memory.current").write_text("300000\n")
    assert free_memory() == 700_000


def test_threads(container):
    assert (count_threads(0), count_threads(5)) == (8, 5)
    for wrong in (-1, 2.0, "4", True, float("nan")):
        with pytest.raises(UnhazeError, match="expected a whole number, 0 for one per core"):
            count_threads(wrong)


def test_here_there_is_at_least_a_core_and_some_memory():
    assert usable_cores() >= 1
    assert free_memory() > 1e6


HEAPS = """
import ctypes, sys, threading
from unhaze.restore.resources import share_heaps
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
if "share" in sys.argv:
    share_heaps()
def work():
    for size in range(100, 5000):
        libc.free(ctypes.c_void_p(libc.malloc(size)))
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_info(0, ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w")))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="heaps as glibc has them")
def test_threads_share_one_heap():
    def heaps(*words: str) -> int:
        done = subprocess.run([sys.executable, "-c", HEAPS, *words], capture_output=True, text=True)
        return done.stdout.count("<heap nr")

    assert heaps() > 1
    assert heaps("share") == 1


def test_another_c_library_is_left_alone(monkeypatch):
    def none(_):
        raise TypeError("Windows has no such thing")

    monkeypatch.setattr(ctypes, "CDLL", none)
    resources.share_heaps()
    resources.keep_freed_memory()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="heaps as glibc has them")
def test_freed_memory_is_kept_for_the_next_step():
    """Page faults of ten rounds of 64 MB: one round's where it is kept, ten rounds' otherwise.

    Huge pages, which depend on what else the machine does, would change their number.
    """
    code = """
import resource, sys
import numpy as np
from unhaze.restore.resources import keep_freed_memory
if "keep" in sys.argv:
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.empty(2**26, np.uint8).fill(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

    def faults(*words: str) -> int:
        command = [sys.executable, "-c", code, *words]
        small_pages = os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"}
        return int(subprocess.check_output(command, text=True, env=small_pages))

    assert faults("keep") < 0.4 * faults()
