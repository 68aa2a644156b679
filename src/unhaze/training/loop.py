"""The training loop: steps, logs, validates and saves until finished or stopped."""

import contextlib
import math
import sys
import time
from collections.abc import Sequence
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
from unhaze.config import Recipe
from unhaze.data import Batch, PairedData, UnpairedData
from unhaze.errors import UnhazeError
from unhaze.hardware import describe_cpu, seconds_since_start
from unhaze.methods.alarms import Watcher
from unhaze.methods.steps import NonFiniteLoss
from unhaze.metrics import measure
from unhaze.resolved import resolved
from unhaze.tensors import save_tensors
from unhaze.training.board import board
from unhaze.training.checked import check_terms
from unhaze.training.pace import Pace, measure_peak
from unhaze.training.steps import average, batches_from, learning_rate, stop_signals
from unhaze.weights import save_weights


@dataclass(frozen=True)
class TrainResult:
    """run: its folder (None after a check). finished: False if stopped by a signal or the end of
    its time (`out_of_time`). psnr: of the averaged weights on the validation data, in dB under
    protocol `aecr`; nan without validation data."""

    run: Path | None
    step: int
    finished: bool
    psnr: float
    hazy_psnr: float
    out_of_time: bool = False


class Trainer:
    """The constants of a training run."""

    def __init__(
        self,
        recipe: Recipe,
        fabric: Fabric,
        method: Any,
        ema: nn.Module,
        data: PairedData | UnpairedData,
        validation: PairedData | None,
        run: Path | None,
    ):
        self.recipe, self.fabric, self.method, self.ema = recipe, fabric, method, ema
        self.data, self.validation, self.run = data, validation, run
        self.watcher = Watcher(getattr(method, "alarms", ()))

    @property
    def folder(self) -> Path:
        """Returns the run folder, for code that runs only if there is one."""
        assert self.run is not None  # a check does one step and writes nothing
        return self.run

    def go(self, progress: dict[str, Any], *, budget: float = math.inf) -> TrainResult:
        """Trains from `progress` to the end of the schedule, until SIGTERM or SIGINT, or until this
        process is `budget` seconds old, but at least for one step."""
        recipe, watch, first = self.recipe, self.recipe.watch, self.fabric.is_global_zero
        step, steps = progress["step"], recipe.schedule.steps
        events = board(self.folder, step) if first else contextlib.nullcontext()
        # In a log file, the progress bar writes a line now and then, not one per step.
        pause = 0.1 if sys.stderr.isatty() else 60.0
        bar = tqdm(
            total=steps,
            initial=step,
            disable=not first,
            unit="step",
            smoothing=0.05,
            mininterval=pause,
        )
        scores, pace = (math.nan, math.nan), self.pace()
        started, saved = time.monotonic() - progress["seconds"], time.monotonic()
        stop = spent = False
        with stop_signals() as stopped, contextlib.closing(bar), events as writer:
            for batches in batches_from(recipe, self.fabric, self.data, step):
                with pace.step(step):
                    terms = self.one_step(step, batches)
                step += 1
                bar.update()
                if writer and (step % watch.log_every == 0 or step == steps):
                    measured = terms | pace.look(step)
                    self.log(writer, bar, step, measured, time.monotonic() - started)
                if writer and step % watch.pictures_every == 0:
                    self.picture(writer, step, batches[0])
                if step % watch.validate_every == 0 or step == steps:
                    scores = self.validate(watch.validate_limit)
                    facts = self.facts(step, time.monotonic() - started)
                    progress["best"] = self.keep_best(writer, facts, scores, progress["best"])
                overdue = time.monotonic() - saved > 60 * watch.save_minutes
                spent = seconds_since_start() > budget
                stop, overdue, spent = self.agree(bool(stopped), overdue, spent)
                if stop or spent or overdue or step == steps or step % watch.save_every == 0:
                    progress |= {"step": step, "seconds": time.monotonic() - started}
                    self.save(progress)
                    saved = time.monotonic()
                if stop or spent:
                    break
        if step >= steps and math.isnan(scores[0]):
            scores = self.validate(watch.validate_limit)
        late = spent and not stop and step < steps
        return TrainResult(self.run, step, step >= steps, *scores, out_of_time=late)

    def pace(self) -> Pace:
        """Returns the clock of the run; prints the hardware's peak once, if requested."""
        hardware = self.recipe.hardware
        if not (hardware.measure_peak and self.fabric.is_global_zero):
            return Pace(None)
        peak = measure_peak(self.fabric.device, hardware.precision)
        print(f"unhaze: peak {peak / 1e12:.3g} TFLOP/s in {hardware.precision}", file=sys.stderr)
        return Pace(peak)

    def one_step(self, step: int, batches: Sequence[Batch]) -> dict[str, torch.Tensor]:
        """One optimisation step and the averaging of the weights."""
        # Random numbers inside a net or loss then depend on (seed, step) as well.
        torch.manual_seed(self.recipe.seed + step)
        lr = learning_rate(step, self.recipe.schedule, self.recipe.optimizer.lr)
        try:
            terms = self.method.step(batches, lr)
        except NonFiniteLoss as error:
            raise UnhazeError(self.describe_nonfinite(step, batches, str(error))) from error
        check_terms(terms, f"method.name = '{self.recipe.method.name}'")
        average(self.ema, self.method.networks["restorer"], self.recipe.schedule.ema, step)
        return terms | {"lr": torch.tensor(lr, dtype=torch.float64)}

    def describe_nonfinite(self, step: int, batches: Sequence[Batch], values: str) -> str:
        """Saves the batch in the run folder, so that the failure can be examined."""
        message = f"step {step}: the loss is not finite ({values})"
        if self.run is None:
            return message
        tensors = {}
        for index, batch in enumerate(batches):
            tensors |= {f"hazy-{index}": batch.hazy, f"clear-{index}": batch.clear}
        stem = f"nonfinite-{step:09d}-rank{self.fabric.global_rank}"
        path = save_tensors(self.run, stem, tensors, {"step": step, "values": values})
        state = next(self.run.glob("state-*"), None)
        good = f", the last good state in '{state}'" if state else "; no state was saved before"
        return f"{message}; its batch is in '{path}'{good}"

    def validate(self, limit: int) -> tuple[float, float]:
        """Returns the mean PSNR in dB of the averaged weights and of the hazy pictures."""
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
        self,
        writer: SummaryWriter | None,
        facts: dict[str, Any],
        scores: tuple[float, float],
        best: float,
    ) -> float:
        """Logs a validation and keeps best.safetensors; returns the best PSNR so far."""
        (psnr, hazy_psnr), step = scores, facts["step"]
        if writer is None or math.isnan(psnr):
            return best
        writer.add_scalar("validation/psnr", psnr, step)
        entry = {"step": step, "validation_psnr": psnr, "validation_hazy_psnr": hazy_psnr}
        runs.append_log(self.folder, entry)
        if psnr > best:
            path = self.folder / "best.safetensors"
            save_weights(path, self.ema, self.recipe.net, validation_psnr=psnr, **facts)
        return max(psnr, best)

    def log(
        self,
        writer: SummaryWriter,
        bar: tqdm,
        step: int,
        terms: dict[str, torch.Tensor | float],
        seconds: float,
    ) -> None:
        """Writes scalars to TensorBoard, to log.jsonl and beside the progress bar."""
        values = {name: float(value) for name, value in terms.items()}
        for name, value in values.items():
            writer.add_scalar(f"train/{name}", value, step)
        shown = {name: f"{values[name]:.4g}" for name in values if name != "lr"}
        bar.set_postfix(shown, refresh=sys.stderr.isatty())
        runs.append_log(self.folder, {"step": step, "seconds": round(seconds, 1)} | values)
        for line in self.watcher.look(step, values):
            bar.write(f"unhaze: {line}", file=sys.stderr)
            writer.add_text("alarm", line, step)
            runs.append_log(self.folder, {"step": step, "alarm": line})

    def picture(self, writer: SummaryWriter, step: int, batch: Batch) -> None:
        """Writes a strip hazy | restored | clear of up to four samples, or the method's columns."""
        few = type(batch)(batch.hazy[:4], batch.clear[:4])
        with torch.no_grad(), self.fabric.autocast():
            if hasattr(self.method, "columns"):
                columns = self.method.columns(self.ema, few)
            else:
                columns = {"hazy": few.hazy, "restored": self.ema(few.hazy), "clear": few.clear}
        rows = torch.cat([torch.cat(list(each.float()), -2) for each in columns.values()], -1)
        strip = rows.clamp(0, 1).cpu()
        writer.add_image(" | ".join(columns), strip, step)
        (self.folder / "strips").mkdir(exist_ok=True)
        pixels = (strip.permute(1, 2, 0) * 255).round().byte().numpy()
        photo.write_rgb(self.folder / "strips" / f"{step:09d}.png", pixels)

    def save(self, progress: dict[str, Any]) -> None:
        """Saves the state of this step; only the first process writes."""
        if self.fabric.is_global_zero:
            networks = saved_networks(self.method, self.ema)
            optimizers = self.method.optimizers
            net = self.recipe.net
            facts = {"net": net.name, "arguments": net.arguments}
            facts |= self.facts(progress["step"], progress["seconds"])
            runs.save_state(self.folder, networks, optimizers, progress=progress, facts=facts)
        self.fabric.barrier()

    def facts(self, step: int, seconds: float) -> dict[str, Any]:
        """Returns the facts for a weights file of this run: recipe, step, and cost so far."""
        device = self.fabric.device
        cuda = device.type == "cuda"
        training = {
            "samples": step * self.recipe.schedule.batch,
            "seconds": round(seconds),
            "hardware": torch.cuda.get_device_name(device) if cuda else describe_cpu(),
        }
        facts = {"recipe": self.recipe.title, "step": step, "training": training}
        return facts | {"settings": resolved(self.recipe)}

    def agree(self, *here: bool) -> tuple[bool, ...]:
        """Each is true if true in any process, as all must stop and save at the same step."""
        if self.fabric.world_size == 1:
            return here
        flags = torch.tensor([float(each) for each in here], device=self.fabric.device)
        return tuple(bool(flag > 0) for flag in self.fabric.all_reduce(flags, reduce_op="sum"))


def psnr(image_hwc: np.ndarray, clear_hwc: np.ndarray) -> float:
    """PSNR in dB, under protocol `aecr`."""
    return measure(image_hwc, clear_hwc, "aecr", metrics=("psnr",))["psnr"]


def as_hwc(image: torch.Tensor) -> np.ndarray:
    """(3,H,W) tensor -> (H,W,3)."""
    return image.permute(1, 2, 0).numpy()


def saved_networks(method: Any, ema: nn.Module) -> dict[str, Any]:
    """Returns everything that a checkpoint saves by state dict, without optimizers, by name."""
    return method.networks | getattr(method, "memories", {}) | {"ema": ema}
