"""Trains a recipe: builds everything before step 0, then runs the loop."""

import contextlib
import copy
import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import nn

from unhaze import runs
from unhaze.config import Recipe
from unhaze.convolution.layers import speed_up
from unhaze.data import Batch, PairedBatch, PairedData, UnpairedData
from unhaze.data.build import create_data
from unhaze.data.checked import check_pair
from unhaze.data.folders import PairedFolders
from unhaze.data.unpaired import UnpairedFolders
from unhaze.errors import UnhazeError, counted
from unhaze.losses import find_loss
from unhaze.methods import find_method
from unhaze.methods.steps import Setup
from unhaze.nets import create_net, find_net
from unhaze.published import open_weights
from unhaze.restore.resources import keep_freed_memory
from unhaze.training.checked import build_loss, check_method
from unhaze.training.loop import Trainer, TrainResult, saved_networks
from unhaze.training.machine import fitted
from unhaze.training.steps import batches_from
from unhaze.validation import check_arguments, check_callable
from unhaze.weights import load_into, newest_state

# Names of SLURM jobs that are shells: a training started in one is a single process.
INTERACTIVE = ("bash", "interactive")
SLACK = 0.01  # of the range of pictures: what rounding may do


def train(
    recipe: Recipe,
    *,
    out: Path | str | None = None,
    resume: Path | str | None = None,
    check: bool = False,
    budget_minutes: float | None = None,
) -> TrainResult:
    """Trains `recipe` in the new run folder `out`, or continues in the folder `resume`.

    budget_minutes: lifetime of this process, including loading, after which it saves and stops.
    check: does one step and one validation picture and writes nothing; with `resume`, the next step
        of that run.

    Under torchrun or SLURM all processes call this. UnhazeError for errors that the user can fix,
    before step 0.
    """
    if budget_minutes is not None and not 0 < budget_minutes < math.inf:
        raise UnhazeError(f"budget is {budget_minutes} minutes; expected more than 0")
    keep_freed_memory()
    recipe = fitted(recipe)
    fabric = make_fabric(recipe)
    check_names(recipe)
    run = None if resume is None else Path(resume)
    if run is not None:  # before the data, which may take minutes
        runs.open_run(recipe, run)
    elif out is not None and fabric.is_global_zero and not check:
        runs.check_new(Path(out))
    data = create_data(recipe.data)  # before the losses, whose weights may be downloaded
    check_length(f"data '{recipe.data.name}'", data)
    validation = create_validation(recipe)
    torch.manual_seed(recipe.seed)
    net = create_net(recipe.net.name, **recipe.net.arguments)
    saved = run is not None and any(run.glob("state-*"))  # not if killed before its first save
    if recipe.start and not saved:
        load_start(net, recipe.start)
    method, ema, facts = build_method(recipe, fabric, net)
    low, high = recipe.augment.scale
    resizes = any(recipe.augment.resize)  # then file headers do not show whether the crop fits
    if low == high == 1 and not resizes and isinstance(data, PairedFolders | UnpairedFolders):
        data.check_crop(recipe.augment.crop)
    first = next(batches_from(recipe, fabric, data, 0))  # A crop that does not fit raises here.
    check_batches(recipe, first, getattr(method, "smallest", 1))
    progress = {"step": 0, "best": -math.inf, "seconds": 0.0, "facts": facts}
    if run is not None and saved:
        networks = saved_networks(method, ema)
        progress = runs.load_state(newest_state(run), networks, method.optimizers)
        check_facts(progress.get("facts", {}), facts, run)
        progress["facts"] = facts
    elif run is None and not check and fabric.is_global_zero:
        run = runs.create_run(recipe, Path(out) if out else None)
    run = None if check else fabric.broadcast(run)
    trainer = Trainer(recipe, fabric, method, ema, data, validation, run)
    if run is None:  # a check
        step = progress["step"]
        trainer.one_step(step, first)
        return TrainResult(None, step + 1, True, *trainer.validate(limit=1))
    alone = runs.started if resume is None else runs.locked
    with alone(run) if fabric.is_global_zero else contextlib.nullcontext():
        return trainer.go(progress, budget=60 * (budget_minutes or math.inf))


def load_start(net: nn.Module, start: str) -> None:
    """Fills `net` with the weights of the recipe's key `start`."""
    try:
        weights = open_weights(start)
        load_into(net, weights.net.state_dict(), f"'{start}' has net '{weights.part.name}'")
    except UnhazeError as error:
        raise UnhazeError(f"recipe key 'start': {error}") from error


def create_validation(recipe: Recipe) -> PairedData | None:
    """Returns the data of [validation], or None. UnhazeError for data without pairs."""
    if recipe.validation is None:
        return None
    data = create_data(recipe.validation, "validation")
    if not isinstance(data, PairedData):
        raise UnhazeError(f"validation data '{recipe.validation.name}' has no pairs to measure on")
    check_length(f"validation data '{recipe.validation.name}'", data)
    return data


def check_length(owner: str, data: PairedData | UnpairedData) -> None:
    """Raises UnhazeError if the last of the pairs that the data claim to have is none."""
    if not isinstance(data, PairedData):
        return
    try:
        pair = data.pair(len(data) - 1)
    except (LookupError, OSError) as error:
        why = f"{type(error).__name__}: {error}"
        raise UnhazeError(
            f"{owner} have a length of {len(data)}, and pair {len(data) - 1} is not there"
            f" ({why}); correct `__len__` or `pair`"
        ) from error
    check_pair(pair, owner)


def make_fabric(recipe: Recipe) -> Fabric:
    """Returns a Fabric for one process, or for as many as torchrun or SLURM started."""
    environment = os.environ
    if "LOCAL_WORLD_SIZE" in environment:
        devices = int(environment["LOCAL_WORLD_SIZE"])
        nodes = int(environment["WORLD_SIZE"]) // devices
    elif "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in INTERACTIVE:
        nodes = int(environment.get("SLURM_NNODES", 1))
        devices = int(environment["SLURM_NTASKS"]) // nodes
    else:
        devices, nodes = 1, 1
    strategy = "ddp" if devices * nodes > 1 else "auto"
    recipe = fitted(recipe)
    fabric = Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        precision=cast(Any, recipe.hardware.precision),  # one of Fabric's values, checked above
    )
    fabric.launch()
    batch, turns = recipe.schedule.batch, recipe.schedule.accumulate
    if batch % turns:
        given = f"schedule.batch is {batch}; it must be a multiple of {turns}"
        raise UnhazeError(f"{given}, schedule.accumulate")
    size, processes = batch // turns, fabric.world_size
    even = not find_method(recipe.method.name).accumulates  # the method averages gradients itself
    if size < processes or (even and size % processes):
        expected = f"a multiple of {processes}" if even else f"at least {processes}"
        raise UnhazeError(
            f"{processes} processes share {counted(size, 'sample')}, schedule.batch over"
            f" schedule.accumulate; expected {expected}"
        )
    torch.set_float32_matmul_precision("high")
    return fabric


def build_method(
    recipe: Recipe, fabric: Fabric, net: nn.Module
) -> tuple[Any, nn.Module, dict[str, Any]]:
    """Returns the method for `net` on the device, the copy with averaged weights, and the facts
    that must be the same when the run is resumed."""
    losses = {
        name: build_loss(name, part).to(fabric.device)
        for name, part in recipe.losses.items()
        if part.weight
    }
    entry = find_method(recipe.method.name)
    check_arguments(
        entry.build, recipe.method.arguments, f"method '{recipe.method.name}'", ("setup",)
    )
    owner = f"method.name = '{recipe.method.name}'"
    check_callable(owner, entry, "build", "setup", named=recipe.method.arguments)
    mode = recipe.hardware.compile
    layout = torch.channels_last if recipe.hardware.channels_last else torch.contiguous_format
    if fabric.device.type == "cpu" and recipe.hardware.precision.startswith("bf16"):
        speed_up(net)
    # PyTorch's overloads lack memory_format.
    net = net.to(fabric.device, memory_format=layout)  # pyright: ignore[reportCallIssue]
    ema = copy.deepcopy(net).eval().requires_grad_(False)
    try:
        setup = Setup(
            fabric=fabric,
            net=net,
            forward=compiled(net, mode),
            losses={name: compiled(loss, mode) for name, loss in losses.items()},
            weights={name: part.weight for name, part in recipe.losses.items()},
            optimizer=recipe.optimizer,
            clip=recipe.schedule.clip,
        )
        method = entry.build(setup, **recipe.method.arguments)
    except ValueError as error:
        raise UnhazeError(f"method '{recipe.method.name}': {error}") from error
    check_method(method, owner)
    return method, ema, getattr(method, "facts", {}) | hashes(losses, recipe)


def hashes(losses: dict[str, nn.Module], recipe: Recipe) -> dict[str, str]:
    """Returns the sha256 of the tensors of each loss whose `weights` come from a file."""
    found = {}
    for name, loss in losses.items():
        if recipe.losses[name].arguments.get("weights", "random") != "random":
            summed = hashlib.sha256()
            for tensor in loss.buffers():
                summed.update(tensor.cpu().contiguous().numpy().tobytes())
            found[f"losses.{name}.weights sha256"] = summed.hexdigest()
    return found


def check_names(recipe: Recipe) -> None:
    """Raises UnhazeError for unknown nets, methods and losses, before data are read."""
    find_net(recipe.net.name)
    find_method(recipe.method.name)
    for name, part in recipe.losses.items():
        build = find_loss(part.name or name).build
        owner = f"loss '{part.name or name}'"
        check_arguments(build, part.arguments, owner, beside=("weight", "name"))


def check_batches(recipe: Recipe, batches: Sequence[Batch], smallest: int = 1) -> None:
    """Raises UnhazeError unless these batches of one step have the method's batch type, and
    pictures of at least `smallest` pixels."""
    name, method = recipe.method.name, find_method(recipe.method.name)
    if len(batches) > 1 and not method.accumulates:
        raise UnhazeError(
            f"method '{name}' learns in turns and cannot accumulate; set schedule.accumulate = 1"
        )
    if not isinstance(batches[0], method.batch):
        pairs = method.batch is PairedBatch
        kind = "pairs of one scene" if pairs else "unpaired pictures"
        advice = "paired data, or method.name = cddgan" if pairs else "data.name = unpaired"
        given = f"data '{recipe.data.name}' does not draw"
        raise UnhazeError(f"method '{name}' learns from {kind}, which {given}; use {advice}")
    for side in (batches[0].hazy, batches[0].clear):
        low, high = side.min().item(), side.max().item()
        pictures = side.ndim == 4 and side.shape[1] == 3 and side.is_floating_point()
        if not pictures or low < -SLACK or high > 1 + SLACK:
            drawn = f"{tuple(side.shape)} {side.dtype} from {low:g} to {high:g}"
            expected = "expected (B,3,H,W) of floats in [0,1]"
            raise UnhazeError(f"data '{recipe.data.name}' draws {drawn}; {expected}")
        if (given := min(side.shape[-2:])) < smallest:
            needed = f"method '{name}' needs crops of at least {smallest} pixels, not {given}"
            raise UnhazeError(f"{needed}: set augment.crop higher")


def check_facts(before: dict[str, Any], now: dict[str, Any], run: Path) -> None:
    """Raises UnhazeError unless the facts `now` equal those of the saved state."""
    for name in sorted(before):
        if before[name] != now.get(name):
            change = f"{name} was {before.get(name)} and is {now.get(name)}"
            raise UnhazeError(
                f"'{run}' cannot be resumed: {change}; restore what it was started with"
            )


def compiled(module: nn.Module, mode: str) -> nn.Module:
    """Returns `module`, or a compiled module with the same parameters."""
    if mode == "none":
        return module
    made = torch.compile(module, mode=mode)
    assert isinstance(made, nn.Module)  # torch.compile returns a function for a function
    return made
