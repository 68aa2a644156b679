"""Resolves "auto" in a recipe's `[hardware]` for this machine."""

import dataclasses
import shutil

import torch

from unhaze.config import Recipe
from unhaze.hardware import cpu_flags
from unhaze.validation import one_of

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "auto")
COMPILE_MODES = ("none", "default", "reduce-overhead", "max-autotune", "auto")
# CPU flags of bfloat16 multiplication: three times as fast with AMX, twice with AVX-512.
BFLOAT16 = {"amx_bf16", "avx512_bf16"}
WORTH_COMPILING = 2000  # steps; compiling takes a minute or two, and saves at least a tenth


def fitted(recipe: Recipe) -> Recipe:
    """Returns `recipe` with "auto" resolved; UnhazeError for unavailable hardware.

    precision: "bf16-mixed" on a GPU or CPU with bfloat16, else "32-true". compile: "default"
    for trainings of `WORTH_COMPILING` steps on such a machine, on a CPU only with a C++ compiler;
    else "none".
    """
    hardware = recipe.hardware
    one_of("hardware.precision", hardware.precision, PRECISIONS)
    one_of("hardware.compile", hardware.compile, COMPILE_MODES)
    gains = has_bfloat16()
    precision, mode = hardware.precision, hardware.compile
    if precision == "auto":
        precision = "bf16-mixed" if gains else "32-true"
    if mode == "auto":
        can = torch.cuda.is_available() or any(map(shutil.which, ("c++", "g++", "clang++")))
        worth = gains and can and recipe.schedule.steps >= WORTH_COMPILING
        mode = "default" if worth else "none"
    settled = dataclasses.replace(hardware, precision=precision, compile=mode)
    return dataclasses.replace(recipe, hardware=settled)


def has_bfloat16() -> bool:
    """Returns whether this device has hardware for matrix products in bfloat16."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(BFLOAT16 & cpu_flags())
