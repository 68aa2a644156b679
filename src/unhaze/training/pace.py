"""Throughput of a run: steps a second, and its share of the hardware's peak."""

import contextlib
import time
import warnings
from collections.abc import Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

SIDES = {"cuda": 8192, "cpu": 1024}  # of the matrices that are multiplied to find the peak
MEASURED = 0.5  # seconds that this takes, about
TYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Pace:
    """Counts the first step's operations, then looks at the clock whenever it is asked."""

    def __init__(self, peak: float | None):
        """peak: floating-point operations a second that the device reaches; None: not asked for."""
        self.peak = peak
        self.operations: int | None = None
        self.mark: tuple[int, float] | None = None

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around step `number`: the first one is counted (a multiplication and an addition are
        two) and, because of that, of compiled parts not compiled; its time does not count."""
        if self.mark is not None:
            yield
            return
        if self.peak is None:
            yield
        else:
            counter = FlopCounterMode(display=False)
            with warnings.catch_warnings(), torch.compiler.set_stance("force_eager"), counter:
                # The counter's own hooks, which are gone before anything is compiled.
                warnings.filterwarnings("ignore", message="Using `torch.compile")
                yield
            self.operations = counter.get_total_flops()
        self.mark = (number + 1, time.monotonic())

    def look(self, done: int) -> dict[str, float]:
        """Since the last look, after `done` steps: `steps_per_s`, and `share_of_peak` if known.

        What else happens meanwhile (validation, saving) counts. Empty before the second step.
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
    """Floating-point operations a second of large matrix products in `precision` on `device`."""
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
