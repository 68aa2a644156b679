"""Resolves "auto" in a recipe's `[hardware]` for this machine."""

import dataclasses
import shutil

import torch

from unhaze.config import Recipe
from unhaze.hardware import cpu_flags
from unhaze.validation import one_of

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "auto")
COMPILE_MODES = ("none", "default", "reduce-overhead", "max-autotune", "auto")
# Flags of processors that multiply in bfloat16: three times as fast with AMX, twice with AVX-512.
BFLOAT16 = {"amx_bf16", "avx512_bf16"}
WORTH_COMPILING = 2000  # steps; compiling takes a minute or two, and wins a tenth or more of a step


def fitted(recipe: Recipe) -> Recipe:
    """`recipe` with its hardware's "auto" settled; UnhazeError for what there is not.

    precision: "bf16-mixed" on a GPU or CPU that has bfloat16, else "32-true". compile: "default"
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
    """Returns whether matrix products in bfloat16 have units of their own here."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(BFLOAT16 & cpu_flags())
