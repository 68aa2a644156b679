"""Small C kernels: one that came along, else one that is built at first use, else none.

A wheel may bring a library beside its source (NAME.so, NAME.dylib or NAME.dll). Where there is none
and a C compiler is, it is built once and kept in the cache (`cache_folder`). Callers have a plain
way for machines with neither. UNHAZE_KERNELS=off: none.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unhaze.atomic import made_aside
from unhaze.cache import cache_folder
from unhaze.errors import UnhazeError

SUFFIXES = (".so", ".dylib", ".dll")
# Sums may be reordered. Not -ffast-math, which would flush tiny numbers in the whole process.
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
FLAGS += ("-fno-signed-zeros", "-fassociative-math")
WIDE = (*FLAGS, "-mprefer-vector-width=512")
THREADED = (*WIDE, "-fopenmp")  # not in every compiler; without it, one thread


def load_kernel(source: Path, flags: tuple[str, ...] = FLAGS) -> ctypes.CDLL | None:
    """The library of a C file, loaded; None where it neither came along nor can be built."""
    if os.environ.get("UNHAZE_KERNELS") == "off":
        return None
    ready = [source.with_suffix(suffix) for suffix in SUFFIXES]
    try:
        path = next((each for each in ready if each.exists()), None) or _built(source, flags)
        return None if path is None else ctypes.CDLL(str(path))
    except (OSError, UnhazeError, subprocess.SubprocessError):
        return None


def load_threaded_kernel(
    source: Path, shape: type[ctypes.Structure], functions: Mapping[str, Sequence[Any]]
) -> ctypes.CDLL | None:
    """As `load_kernel`, for wide vectors and, where the compiler has OpenMP, threads.

    functions: by name, the types of the arguments of each, between a pointer to a `shape`, which
    comes first, and the number of threads, which comes last. None returns anything.
    """
    loaded = load_kernel(source, THREADED) or load_kernel(source, WIDE)
    for name, arguments in functions.items() if loaded else ():
        function = getattr(loaded, name)
        function.argtypes = [ctypes.POINTER(shape), *arguments, ctypes.c_int]
        function.restype = None
    return loaded


def _built(source: Path, flags: tuple[str, ...]) -> Path | None:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    # -march=native: a home folder may be shared by machines of several kinds.
    kind = "".join((compiler, *flags, platform.machine(), _processor_flags()))
    name = hashlib.sha256(source.read_bytes() + kind.encode()).hexdigest()[:16]
    kept = cache_folder() / f"{source.stem}-{name}.so"
    if not kept.exists():
        with made_aside(kept, parents=True) as fresh:
            command = [*compiler.split(), *flags, str(source), "-o", str(fresh), "-lm"]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
    return kept


def _processor_flags() -> str:
    """Returns the processor's features that compiled code depends on, if the system lists them."""
    described = Path("/proc/cpuinfo")
    if not described.exists():
        return platform.processor()
    lines = described.read_text().splitlines()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
