"""Trains a recipe: build everything, then step, log, validate, save, until done or told to stop."""

import contextlib
import copy
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from unhaze import photo, runs
from unhaze.config import Recipe, Schedule
from unhaze.data import PairedBatch, PairedData
from unhaze.data.build import create_data
from unhaze.errors import UnhazeError
from unhaze.losses import create_loss
from unhaze.methods import METHODS
from unhaze.methods.steps import NonFiniteLoss
from unhaze.metrics import measure
from unhaze.names import check_arguments, lookup
from unhaze.nets import create_net
from unhaze.tensors import save_tensors
from unhaze.weights import load_into, load_model, newest_state, save_weights

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
COMPILE_MODES = ("none", "default", "reduce-overhead", "max-autotune")


@dataclass(frozen=True)
class TrainResult:
    """run: its folder (None after a check). finished: False if a signal stopped it. psnr: of the
    averaged weights on the validation data, in dB under protocol `aecr`; nan without such data."""

    run: Path | None
    step: int
    finished: bool
    psnr: float
    hazy_psnr: float


def train(
    recipe: Recipe,
    *,
    out: Path | str | None = None,
    resume: Path | str | None = None,
    check: bool = False,
) -> TrainResult:
    """Trains `recipe` in the new run folder `out`, or goes on in the folder `resume`.

    `check` does one step and one validation picture and leaves nothing behind. Under torchrun or
    SLURM all processes call this. UnhazeError for whatever the user can mend, before step 0.
    """
    fabric = make_fabric(recipe)
    torch.manual_seed(recipe.seed)
    net = create_net(recipe.net.name, **recipe.net.arguments)
    if recipe.start and resume is None:
        load_into(net, load_model(recipe.start).net.state_dict(), recipe.start)
    method, ema = build_method(recipe, fabric, net)
    data = create_data(recipe.data)
    validation = create_data(recipe.validation) if recipe.validation else None
    first = next(batches_from(recipe, fabric, data, 0))  # A crop that does not fit ends here.
    run, progress = None, {"step": 0, "best": -math.inf, "seconds": 0.0}
    if resume is not None:
        run = Path(resume)
        runs.open_run(recipe, run)
        networks = method.networks | {"ema": ema}
        progress = runs.load_state(newest_state(run), networks, method.optimizers)
    elif not check and fabric.is_global_zero:
        run = runs.create_run(recipe, Path(out) if out else None)
    run = fabric.broadcast(run)
    trainer = Trainer(recipe, fabric, method, ema, data, validation, run)
    if check:
        trainer.one_step(0, first)
        return TrainResult(None, 1, True, *trainer.validate(limit=1))
    return trainer.go(progress)


def make_fabric(recipe: Recipe) -> Fabric:
    """One process, or as many as torchrun or SLURM started."""
    environment = os.environ
    if "LOCAL_WORLD_SIZE" in environment:
        devices = int(environment["LOCAL_WORLD_SIZE"])
        nodes = int(environment["WORLD_SIZE"]) // devices
    elif "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") != "bash":
        nodes = int(environment.get("SLURM_NNODES", 1))
        devices = int(environment["SLURM_NTASKS"]) // nodes
    else:
        devices, nodes = 1, 1
    strategy = "ddp" if devices * nodes > 1 else "auto"
    one_of("hardware.precision", recipe.hardware.precision, PRECISIONS)
    one_of("hardware.compile", recipe.hardware.compile, COMPILE_MODES)
    fabric = Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        precision=recipe.hardware.precision,
    )
    fabric.launch()
    parts = fabric.world_size * recipe.schedule.accumulate
    if recipe.schedule.batch % parts:
        given = f"schedule.batch is {recipe.schedule.batch}; it must be a multiple of {parts}"
        raise UnhazeError(f"{given}, the number of processes times schedule.accumulate")
    torch.set_float32_matmul_precision("high")
    return fabric


def build_method(recipe: Recipe, fabric: Fabric, net: nn.Module) -> tuple[Any, nn.Module]:
    """The method over `net`, on the device, and the copy that averages its weights."""
    losses = {
        name: create_loss(name, **part.arguments).to(fabric.device)
        for name, part in recipe.losses.items()
    }
    if not losses:
        raise UnhazeError("the recipe has no loss; add for example [losses.l1]")
    entry = lookup(METHODS, recipe.method.name, "method")
    reserved = ("fabric", "net", "forward", "losses", "weights", "optimizer", "clip")
    check_arguments(
        entry.build, recipe.method.arguments, f"method '{recipe.method.name}'", reserved
    )
    mode = recipe.hardware.compile
    layout = torch.channels_last if recipe.hardware.channels_last else torch.contiguous_format
    net = net.to(fabric.device, memory_format=layout)
    ema = copy.deepcopy(net).eval().requires_grad_(False)
    method = entry.build(
        fabric=fabric,
        net=net,
        forward=compiled(net, mode),
        losses={name: compiled(loss, mode) for name, loss in losses.items()},
        weights={name: part.weight for name, part in recipe.losses.items()},
        optimizer=recipe.optimizer,
        clip=recipe.schedule.clip,
        **recipe.method.arguments,
    )
    return method, ema


def compiled(module: nn.Module, mode: str) -> nn.Module:
    """`module`, or a compiled module over the same parameters."""
    return module if mode == "none" else torch.compile(module, mode=mode)


class Trainer:
    """What stays the same from step to step."""

    def __init__(
        self,
        recipe: Recipe,
        fabric: Fabric,
        method: Any,
        ema: nn.Module,
        data: PairedData,
        validation: PairedData | None,
        run: Path | None,
    ):
        self.recipe, self.fabric, self.method, self.ema = recipe, fabric, method, ema
        self.data, self.validation, self.run = data, validation, run

    def go(self, progress: dict[str, Any]) -> TrainResult:
        """Steps from `progress` to the end of the schedule, or until SIGTERM or SIGINT."""
        recipe, watch, first = self.recipe, self.recipe.watch, self.fabric.is_global_zero
        step, steps = progress["step"], recipe.schedule.steps
        writer = SummaryWriter(self.run, purge_step=step) if first else None
        bar = tqdm(total=steps, initial=step, disable=not first, unit="step", smoothing=0.05)
        scores = (math.nan, math.nan)
        started, saved = time.monotonic() - progress["seconds"], time.monotonic()
        with stop_signals() as stopped, contextlib.closing(bar):
            for batches in batches_from(recipe, self.fabric, self.data, step):
                terms = self.one_step(step, batches)
                step += 1
                bar.update()
                if first and (step % watch.log_every == 0 or step == steps):
                    self.log(writer, bar, step, terms, time.monotonic() - started)
                if first and step % watch.pictures_every == 0:
                    self.picture(writer, step, batches[0])
                if step % watch.validate_every == 0 or step == steps:
                    scores = self.validate(watch.validate_limit)
                    progress["best"] = self.keep_best(writer, step, scores, progress["best"])
                overdue = time.monotonic() - saved > 60 * watch.save_minutes
                stop, overdue = self.agree(bool(stopped), overdue)
                if stop or overdue or step == steps or step % watch.save_every == 0:
                    progress |= {"step": step, "seconds": time.monotonic() - started}
                    self.save(progress)
                    saved = time.monotonic()
                if stop:
                    break
        if first:
            writer.close()
        if step >= steps and math.isnan(scores[0]):
            scores = self.validate(watch.validate_limit)
        return TrainResult(self.run, step, step >= steps, *scores)

    def one_step(self, step: int, batches: list[PairedBatch]) -> dict[str, torch.Tensor]:
        """One optimisation step and the averaging of the weights."""
        # Whatever draws random numbers inside a net or loss is then a function of (seed, step) too.
        torch.manual_seed(self.recipe.seed + step)
        lr = learning_rate(step, self.recipe.schedule, self.recipe.optimizer.lr)
        try:
            terms = self.method.step(batches, lr)
        except NonFiniteLoss as error:
            raise UnhazeError(self.describe_nonfinite(step, batches, str(error))) from error
        average(self.ema, self.method.networks["restorer"], self.recipe.schedule.ema, step)
        return terms | {"lr": torch.tensor(lr, dtype=torch.float64)}

    def describe_nonfinite(self, step: int, batches: list[PairedBatch], values: str) -> str:
        """Saves the batch beside the run, so that the failure can be looked at."""
        message = f"step {step}: the loss is not finite ({values})"
        if self.run is None:
            return message
        tensors = {}
        for index, batch in enumerate(batches):
            tensors |= {f"hazy-{index}": batch.hazy, f"clear-{index}": batch.clear}
        stem = f"nonfinite-{step:09d}-rank{self.fabric.global_rank}"
        paths = save_tensors(self.run, stem, tensors, {"step": step, "values": values})
        return f"{message}; its batch is in '{paths[0]}', the last good state in '{self.run}'"

    def validate(self, limit: int) -> tuple[float, float]:
        """Mean PSNR in dB of the averaged weights, and of the hazy pictures, on held-out pairs."""
        if self.validation is None:
            return math.nan, math.nan
        restored_sum = hazy_sum = 0.0
        count = min(limit, len(self.validation))
        for index in range(count):
            pair = self.validation.pair(index)
            with torch.no_grad(), self.fabric.autocast():
                restored = self.ema(pair.hazy[None].to(self.fabric.device))[0].float().cpu()
            clear = as_hwc(pair.clear)
            restored_sum += psnr(as_hwc(restored), clear)
            hazy_sum += psnr(as_hwc(pair.hazy), clear)
        return restored_sum / count, hazy_sum / count

    def keep_best(
        self, writer: SummaryWriter, step: int, scores: tuple[float, float], best: float
    ) -> float:
        """Logs a validation and keeps best.safetensors; answers the best PSNR so far."""
        psnr, hazy_psnr = scores
        if not self.fabric.is_global_zero or math.isnan(psnr):
            return best
        writer.add_scalar("validation/psnr", psnr, step)
        entry = {"step": step, "validation_psnr": psnr, "validation_hazy_psnr": hazy_psnr}
        runs.append_log(self.run, entry)
        if psnr > best:
            facts = {"recipe": self.recipe.title, "step": step, "validation_psnr": psnr}
            save_weights(self.run / "best.safetensors", self.ema, self.recipe.net, **facts)
        return max(psnr, best)

    def log(
        self,
        writer: SummaryWriter,
        bar: tqdm,
        step: int,
        terms: dict[str, torch.Tensor],
        seconds: float,
    ) -> None:
        """Scalars to TensorBoard, to log.jsonl and beside the progress bar."""
        values = {name: float(value) for name, value in terms.items()}
        for name, value in values.items():
            writer.add_scalar(f"train/{name}", value, step)
        bar.set_postfix({name: f"{values[name]:.4g}" for name in values if name != "lr"})
        runs.append_log(self.run, {"step": step, "seconds": round(seconds, 1)} | values)

    def picture(self, writer: SummaryWriter, step: int, batch: PairedBatch) -> None:
        """A strip hazy | restored | clear of up to four samples."""
        hazy, clear = batch.hazy[:4], batch.clear[:4]
        with torch.no_grad(), self.fabric.autocast():
            restored = self.ema(hazy).float()
        rows = torch.cat([torch.cat(list(each), -2) for each in (hazy, restored, clear)], -1)
        strip = rows.clamp(0, 1).cpu()
        writer.add_image("hazy | restored | clear", strip, step)
        (self.run / "strips").mkdir(exist_ok=True)
        pixels = (strip.permute(1, 2, 0) * 255).round().byte().numpy()
        photo.write_rgb(self.run / "strips" / f"{step:09d}.png", pixels)

    def save(self, progress: dict[str, Any]) -> None:
        """The state of this step; only the first process writes."""
        if self.fabric.is_global_zero:
            networks = self.method.networks | {"ema": self.ema}
            optimizers = self.method.optimizers
            runs.save_state(self.run, networks, optimizers, progress=progress, facts=self.facts())
        self.fabric.barrier()

    def facts(self) -> dict[str, Any]:
        """What a weights file of this run says of itself."""
        net = self.recipe.net
        return {"net": net.name, "arguments": net.arguments, "recipe": self.recipe.title}

    def agree(self, *here: bool) -> tuple[bool, ...]:
        """Each true if true in any process: all must stop and save at the same step."""
        if self.fabric.world_size == 1:
            return here
        flags = torch.tensor([float(each) for each in here], device=self.fabric.device)
        return tuple(bool(flag > 0) for flag in self.fabric.all_reduce(flags, reduce_op="sum"))


def batches_from(
    recipe: Recipe, fabric: Fabric, data: PairedData, step: int
) -> Iterator[list[PairedBatch]]:
    """The parts of each step's batch that this process works on, drawn ahead in threads."""
    schedule, prefetch = recipe.schedule, recipe.hardware.prefetch
    parts = fabric.world_size * schedule.accumulate

    def draw(step: int) -> list[PairedBatch]:
        batches = []
        for turn in range(schedule.accumulate):
            part = step * parts + turn * fabric.world_size + fabric.global_rank
            batch = data.draw(
                recipe.seed,
                part,
                size=schedule.batch // parts,
                augment=recipe.augment,
                device=fabric.device,
            )
            batches.append(batch)
        return batches

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


def one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    """UnhazeError unless the recipe's `key` is one of `allowed`."""
    if value not in allowed:
        raise UnhazeError(f"{key} is '{value}'; it must be one of {', '.join(allowed)}")


def learning_rate(step: int, schedule: Schedule, lr: float) -> float:
    """Linear warm-up, then cosine from `lr` to `final_lr * lr` at the last step."""
    if step < schedule.warmup:
        return lr * (step + 1) / schedule.warmup
    progress = (step - schedule.warmup) / max(schedule.steps - schedule.warmup, 1)
    share = 0.5 * (1 + math.cos(math.pi * progress))
    return lr * (schedule.final_lr + (1 - schedule.final_lr) * share)


@torch.no_grad()
def average(ema: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """ema <- decay * ema + (1 - decay) * net; a young average forgets faster. Copies buffers."""
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - decay)
    for averaged, current in zip(ema.buffers(), net.buffers()):
        averaged.copy_(current)


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that a SIGTERM or SIGINT fills; a second one interrupts at once."""
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


def psnr(image_hwc: np.ndarray, clear_hwc: np.ndarray) -> float:
    """In dB, under protocol `aecr`."""
    return measure(image_hwc, clear_hwc, "aecr", metrics=("psnr",))["psnr"]


def as_hwc(image: torch.Tensor) -> np.ndarray:
    """(3,H,W) tensor -> (H,W,3)."""
    return image.permute(1, 2, 0).numpy()
