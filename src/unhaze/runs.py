"""The run folder: recipe, log, pictures, and a state that any kill leaves whole.

RUN/recipe.toml, log.jsonl, events.*, strips/, best.safetensors, and state-000001000/ with
restorer.safetensors, ema.safetensors, optimizer-NAME.safetensors and progress.json.
"""

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unhaze.atomic import made_aside
from unhaze.config import Recipe, load_config, to_table, to_toml
from unhaze.errors import UnhazeError
from unhaze.tensors import load_tensors, save_tensors

# A run may go on elsewhere (hardware, roots), be watched otherwise, or be made longer.
FREE_TO_CHANGE = ("hardware", "watch", "title", "source", "start", "data.root", "validation.root")
FREE_TO_CHANGE += (
    "schedule.steps",
    "data.resident",
    "data.hazy.root",
    "data.clear.root",
    "published",
    "method.teacher",
    "method.photos",
)
# Those of the parts of a dataset, and of a loss's network, which `facts` of the state recognise.
PARTS, WEIGHTS = re.compile(r"\.parts\.\d+"), re.compile(r"losses\.[^.]+\.weights")


def create_run(recipe: Recipe, folder: Path | None) -> Path:
    """A new run folder with its recipe; by default runs/TITLE-DATE. Refuses one that exists."""
    if folder is None:
        slug = "".join(c if c.isalnum() else "-" for c in recipe.title.lower()).strip("-")
        folder = Path("runs") / f"{slug}-{time.strftime('%Y%m%d-%H%M%S')}"
    check_new(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with made_aside(folder / "recipe.toml") as aside:
            aside.write_text(to_toml(recipe), encoding="utf-8")
    except OSError as error:
        raise UnhazeError(f"cannot create the run folder '{folder}': {error.strerror}") from error
    return folder


def check_new(folder: Path) -> None:
    """UnhazeError if there is something in `folder`."""
    if folder.exists() and any(folder.iterdir()):
        raise UnhazeError(f"'{folder}' exists; resume it with --resume, or choose another --out")


def open_run(recipe: Recipe, folder: Path) -> None:
    """Checks that `folder` was started with the same recipe, but for what may change on the way."""
    before = flat(to_table(load_config(folder / "recipe.toml")))
    now = flat(to_table(recipe))
    for key in sorted(before.keys() | now.keys()):
        was, given = before.get(key), now.get(key)
        moved = WEIGHTS.fullmatch(key) and "random" not in (was, given)
        if moved or PARTS.sub("", key).startswith(FREE_TO_CHANGE) or was == given:
            continue
        change = f"{key} was {was!r} and is {given!r}"
        raise UnhazeError(f"'{folder}' was started with another recipe: {change}")


def save_state(
    folder: Path,
    networks: dict[str, nn.Module],
    optimizers: dict[str, torch.optim.Optimizer],
    *,
    progress: dict[str, Any],
    facts: dict[str, Any],
) -> Path:
    """Writes state-STEP, whole or not at all, then removes the older ones."""
    final = folder / f"state-{progress['step']:09d}"
    if final.exists():
        return final
    for abandoned in folder.glob(".*state-*"):
        shutil.rmtree(abandoned)
    with made_aside(final) as aside:
        aside.mkdir()
        for name, net in networks.items():
            save_tensors(aside, name, net.state_dict(), facts)
        for name, optimizer in optimizers.items():
            tensors = {
                f"{index}.{key}": torch.as_tensor(value)
                for index, entries in optimizer.state_dict()["state"].items()
                for key, value in entries.items()
            }
            save_tensors(aside, f"optimizer-{name}", tensors)
        (aside / "progress.json").write_text(json.dumps(progress), encoding="utf-8")
        for file in aside.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
    for old in folder.glob("state-*"):
        if old != final:
            shutil.rmtree(old)
    return final


def load_state(
    state: Path, networks: dict[str, nn.Module], optimizers: dict[str, torch.optim.Optimizer]
) -> dict[str, Any]:
    """Fills networks and optimizers from a state folder; returns its progress."""
    for name, net in networks.items():
        net.load_state_dict(load_tensors(state, name)[0])
    for name, optimizer in optimizers.items():
        entries: dict[int, dict[str, torch.Tensor]] = {}
        for key, tensor in load_tensors(state, f"optimizer-{name}")[0].items():
            index, _, entry = key.partition(".")
            entries.setdefault(int(index), {})[entry] = tensor
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": entries, "param_groups": groups})
    file = state / "progress.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnhazeError(f"the state is damaged: cannot read '{file}' ({error})") from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The run folder for this process alone. UnhazeError if another trains in it."""
    with (folder / ".lock").open("w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows
            pass
        except BlockingIOError as error:
            raise UnhazeError(
                f"another process is training in '{folder}'; wait until it ends"
            ) from error
        yield


@contextlib.contextmanager
def started(folder: Path) -> Iterator[None]:
    """Like `locked`, for a new run folder, which is removed if the run ends before it has logged
    or saved anything: the corrected recipe can start under the same name."""
    with locked(folder):
        try:
            yield
        finally:
            names = {each.name for each in folder.iterdir()} - {"recipe.toml", ".lock"}
            if all(name.startswith("events.") for name in names):
                shutil.rmtree(folder, ignore_errors=True)  # Windows keeps the open .lock


def append_log(folder: Path, entry: dict[str, Any]) -> None:
    """One JSON line in log.jsonl; a last line that a kill has cut off is ended first."""
    path = folder / "log.jsonl"
    try:
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(json.dumps(entry).encode() + b"\n")
    except OSError as error:
        raise UnhazeError(f"cannot write '{path}': {error.strerror}") from error


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}, 'c': [{'d': 2}]} -> {'a.b': 1, 'c.0.d': 2}."""
    items: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            value = {str(place): each for place, each in enumerate(value)}
        if isinstance(value, dict):
            items |= flat(value, f"{prefix}{key}.")
        else:
            items[prefix + key] = value
    return items
