"""Throughput of a run: steps per second, and its share of the hardware's peak."""

import contextlib
import time
import warnings
from collections.abc import Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

SIDES = {"cuda": 8192, "cpu": 1024}  # side of the matrices that are multiplied to measure the peak
MEASURED = 0.5  # approximate seconds that this takes
TYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Pace:
    """Counts the operations of the first step, then measures the time between calls of `look`."""

    def __init__(self, peak: float | None):
        """peak: floating-point operations per second of the device; None: not requested."""
        self.peak = peak
        self.operations: int | None = None
        self.mark: tuple[int, float] | None = None

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Wraps step `number`. In the first one, operations are counted (a multiplication and an
        addition are two); it therefore runs uncompiled, and its time is not measured."""
        if self.mark is not None:
            yield
            return
        if self.peak is None:
            yield
        else:
            counter = FlopCounterMode(display=False)
            with warnings.catch_warnings(), torch.compiler.set_stance("force_eager"), counter:
                # Hooks of the counter, which are removed before anything is compiled.
                warnings.filterwarnings("ignore", message="Using `torch.compile")
                yield
            self.operations = counter.get_total_flops()
        self.mark = (number + 1, time.monotonic())

    def look(self, done: int) -> dict[str, float]:
        """Returns `steps_per_s`, and `share_of_peak` if known, since the last call; `done` steps.

        Includes validation and saving. Empty before the second step.
        """
        now = time.monotonic()
        if self.mark is None or done <= self.mark[0]:
            return {}
        rate = (done - self.mark[0]) / max(now - self.mark[1], 1e-9)
        self.mark = (done, now)
        if self.peak is None or self.operations is None:
            return {"steps_per_s": rate}
        return {"steps_per_s": rate, "share_of_peak": rate * self.operations / self.peak}


def measure_peak(device: torch.device, precision: str) -> float:
    """Measures floating-point operations per second of large matrix products on `device`."""
    side = SIDES.get(device.type, SIDES["cpu"])
    numbers = torch.Generator(device).manual_seed(0)
    kind = TYPES[precision]
    left, right = torch.randn(2, side, side, device=device, dtype=kind, generator=numbers)
    best, until = float("inf"), time.perf_counter() + MEASURED
    while best == float("inf") or time.perf_counter() < until:
        started = time.perf_counter()
        torch.mm(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best
