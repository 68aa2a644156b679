"""Parts of each step: batches, learning rate, averaging of weights, stopping."""

import contextlib
import dataclasses
import math
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from unhaze.config import Recipe, Schedule
from unhaze.data import Batch, PairedData, UnpairedData
from unhaze.data.checked import draw
from unhaze.data.folders import PairedFolders
from unhaze.methods.steps import follow
from unhaze.processes import part_of


def batches_from(
    recipe: Recipe, fabric: Fabric, data: PairedData | UnpairedData, step: int
) -> Iterator[list[Batch]]:
    """Yields this process's part of each step's batch, drawn ahead in threads."""
    schedule, prefetch = recipe.schedule, recipe.hardware.prefetch
    size = schedule.batch // schedule.accumulate

    def draw(step: int) -> list[Batch]:
        drawn = (step * schedule.accumulate + turn for turn in range(schedule.accumulate))
        return [
            draw_part(data, recipe, number, size=size, device=fabric.device) for number in drawn
        ]

    if prefetch == 0:
        yield from map(draw, range(step, schedule.steps))
        return
    with ThreadPoolExecutor(prefetch) as pool:
        ahead = [
            pool.submit(draw, each) for each in range(step, min(step + prefetch, schedule.steps))
        ]
        for following in range(step + prefetch, schedule.steps + prefetch):
            batches = ahead.pop(0).result()
            if following < schedule.steps:
                ahead.append(pool.submit(draw, following))
            yield batches


def draw_part(
    data: PairedData | UnpairedData, recipe: Recipe, number: int, *, size: int, device: torch.device
) -> Batch:
    """Returns this process's part of the `size` samples of batch `number` of all processes.

    Random numbers are drawn for all of them, so that several processes see the same as one.
    """
    words = {"size": size, "augment": recipe.augment, "device": device}
    own = part_of(size)
    if isinstance(data, PairedFolders):  # decodes only what is needed
        return data.draw(recipe.seed, number, own=own, **words)
    whole = draw(data, recipe.seed, number, **words)
    return dataclasses.replace(whole, hazy=whole.hazy[own], clear=whole.clear[own])


def learning_rate(step: int, schedule: Schedule, lr: float) -> float:
    """Returns the learning rate of one step, from `lr` at the start; see `config.Schedule`."""
    if step < schedule.warmup:
        return lr * (step + 1) / schedule.warmup
    start = schedule.warmup + schedule.hold * (schedule.steps - schedule.warmup)
    since, span = max(step - start, 0), max(schedule.steps - start, 1)
    if schedule.decay == "none":
        return lr
    if schedule.decay == "stairs":
        return lr * schedule.factor ** int(schedule.stairs * since / span)
    cosine = 0.5 * (1 + math.cos(math.pi * since / span))
    share = cosine if schedule.decay == "cosine" else 1 - since / span
    return lr * (schedule.final_lr + (1 - schedule.final_lr) * share)


@torch.no_grad()
def average(ema: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """ema <- decay * ema + (1 - decay) * net, with a lower decay at the start. Copies buffers."""
    decay = min(decay, (1 + step) / (10 + step))
    follow(ema, net, 1 - decay)
    for averaged, current in zip(ema.buffers(), net.buffers()):
        averaged.copy_(current)


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Yields a list to which SIGTERM or SIGINT is added; a second one interrupts at once."""
    received: list[int] = []

    def note(number: int, _frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        print("stopping after this step; the state is being saved", file=sys.stderr)

    # Only the main thread may set handlers; a training in another thread is stopped by its owner.
    main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGTERM, signal.SIGINT) if main else ()
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
