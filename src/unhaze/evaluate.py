"""Measures a model on photos: restore each, compare it with the clear one, keep what was seen."""

import contextlib
import csv
import hashlib
import json
import math
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from unhaze import photo
from unhaze.data.catalog import PairFiles, fit_clear
from unhaze.errors import UnhazeError
from unhaze.hardware import describe_cpu
from unhaze.metrics import METRICS, PROTOCOLS, WITH_CLEAR, measure
from unhaze.metrics.fade import fade
from unhaze.names import lookup

# All that a saved evaluation consists of: what --overwrite may replace.
SAVED = ("restored", "strips", "per_image.csv", "evaluation.json")


@dataclass(frozen=True)
class Evaluation:
    """What was measured, on what, with what. Means over the pictures; None was not measured.

    recipe, step, training (samples, seconds, hardware): where the weights come from, if they say.

    psnr in dB; fade_hazy is the FADE of the inputs. change: mean |restored - hazy| in [0,1].
    params: None where an .onnx file does not say. seconds: restoring all pictures, without reading
    and measuring them. per_image: name, numbers and seconds of each picture.
    """

    model: str
    images: int
    protocol: str
    psnr: float | None
    ssim: float | None
    ciede2000: float | None
    fade: float | None
    fade_hazy: float | None
    change: float
    params: int | None
    seconds: float
    weights_sha256: str | None
    hardware: str
    recipe: str | None
    step: int | None
    training: dict[str, Any] | None
    version: str
    commit: str | None
    date: str
    per_image: list[dict[str, Any]]

    def to_json(self) -> str:
        """One JSON document; what was not measured is null."""
        return json.dumps(without_nan(asdict(self)), indent=1)


@dataclass(frozen=True)
class Model:
    """restore: hazy (H,W,3) float32 in [0,1] -> restored, same shape, not clamped.

    facts: what the file says of itself.
    """

    restore: Callable[[np.ndarray], np.ndarray]
    params: int | None
    weights_sha256: str | None
    hardware: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def evaluate(
    model: str | Path,
    pairs: Sequence[PairFiles],
    *,
    protocol: str = "aecr",
    metrics: Sequence[str] | None = None,
    limit: int | None = None,
    save: Path | str | None = None,
    overwrite: bool = False,
    device: str = "auto",
    progress: bool = False,
) -> Evaluation:
    """Restores the whole hazy picture of each pair and measures the unrounded result.

    model: shipped name, prior, .onnx, .safetensors, run folder (averaged weights, newest state), or
    `identity`. metrics: by default those that need a clear picture, or FADE where none of the pairs
    has one. limit: only the first so many. save: a new folder for restored/ and strips/ (hazy |
    restored | clear) of PNGs, per_image.csv and evaluation.json; it appears whole at the end, and
    `overwrite` replaces nothing but an evaluation. progress: counts on stderr.
    UnhazeError for all that the user can mend; one that concerns a picture names it.
    """
    pairs, metrics = check_request(pairs, protocol, metrics, limit, save)
    loaded = load(str(model), device)
    with new_folder(None if save is None else Path(save), overwrite) as folder:
        rows = []
        for pair in pairs:
            if progress:
                print(f"{len(rows) + 1}/{len(pairs)} {pair.name}", file=sys.stderr)
            rows.append(evaluate_pair(loaded, pair, protocol, metrics, folder))
        evaluation = Evaluation(
            model=str(model),
            images=len(rows),
            protocol=protocol,
            **{name: mean(rows, name) for name in (*METRICS, "fade_hazy", "change")},
            params=loaded.params,
            seconds=sum(row["seconds"] for row in rows),
            weights_sha256=loaded.weights_sha256,
            hardware=loaded.hardware,
            **{name: loaded.facts.get(name) for name in ("recipe", "step", "training")},
            version=version("unhaze"),
            commit=commit(),
            date=datetime.now(UTC).date().isoformat(),
            per_image=rows,
        )
        if folder is not None:
            write_tables(evaluation, folder)
    return evaluation


def write_result(
    evaluation: Evaluation,
    path: Path | str,
    *,
    data: str,
    overwrite: bool = False,
) -> None:
    """One file of results/: the name of the data, and the evaluation without `per_image`."""
    path = Path(path)
    if path.exists() and not overwrite:
        raise UnhazeError(f"'{path}' exists; choose another name or overwrite it")
    table = {"data": data} | without_nan(asdict(evaluation))
    table["model"] = Path(evaluation.model).name  # Where it lies on this computer is no result.
    del table["per_image"]
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise UnhazeError(f"cannot write '{path}': {error.strerror}") from error
    finally:
        aside.unlink(missing_ok=True)


def check_request(
    pairs: Sequence[PairFiles],
    protocol: str,
    metrics: Sequence[str] | None,
    limit: int | None,
    save: Path | str | None,
) -> tuple[list[PairFiles], tuple[str, ...]]:
    """The pairs and metrics that are meant, or an UnhazeError before any work is done."""
    lookup(PROTOCOLS, protocol, "protocol")
    if limit is not None and limit < 1:
        raise UnhazeError(f"limit is {limit}; it must be at least 1")
    pairs = list(pairs)[:limit]
    if not pairs:
        raise UnhazeError("there are no pictures to evaluate; check the folders or the data's root")
    blind = [pair for pair in pairs if pair.clear is None]
    if metrics is None:
        metrics = ("fade",) if len(blind) == len(pairs) else WITH_CLEAR
    for name in metrics:
        if lookup(METRICS, name, "metric").needs_clear and blind:
            raise UnhazeError(f"'{blind[0].hazy}' has no clear picture, which '{name}' needs")
    names = [pair.name for pair in pairs]
    twice = next((name for name in names if names.count(name) > 1), None) if save else None
    if twice is not None:
        raise UnhazeError(f"two pictures are named '{twice}'; rename one, or do not save them")
    return pairs, tuple(metrics)


def evaluate_pair(
    model: Model, pair: PairFiles, protocol: str, metrics: tuple[str, ...], folder: Path | None
) -> dict[str, Any]:
    """One row of the table, its pictures saved in `folder`. UnhazeError names the picture."""
    hazy = photo.to_float(photo.read_rgb(pair.hazy))
    clear = None
    if pair.clear is not None:
        clear = fit_clear(pair, photo.to_float(photo.read_rgb(pair.clear)), hazy)
    try:
        started = time.perf_counter()
        restored = model.restore(hazy)
        seconds = time.perf_counter() - started
        numbers = measure(restored, clear, protocol, metrics=metrics)
        if "fade" in metrics:
            numbers["fade_hazy"] = fade(hazy)
    except UnhazeError as error:
        raise UnhazeError(f"'{pair.hazy}': {error}") from error
    restored = np.clip(restored, 0, 1)
    numbers["change"] = float(np.mean(np.abs(restored - hazy), dtype=np.float64))
    if folder is not None:
        save_pictures(folder, pair.name, [hazy, restored] + ([] if clear is None else [clear]))
    return {"name": pair.name} | numbers | {"seconds": seconds}


def load(model: str, device: str) -> Model:
    """Whatever may stand for a model, ready to restore whole pictures on `device`."""
    if model == "identity":
        return Model(lambda hazy: hazy, 0, None, describe_cpu())
    if Path(model).is_dir() or Path(model).suffix == ".safetensors":
        return load_torch(Path(model), device)
    from unhaze.restore.models import open_model
    from unhaze.restore.native import restore_whole

    opened = open_model(model, device)
    params = opened.card.get("params")
    return Model(
        lambda hazy: restore_whole(opened, hazy),
        params if isinstance(params, int) else None,
        None if opened.path is None else sha256([opened.path]),
        describe_cpu() if opened.device == "cpu" else f"{opened.device} by ONNX Runtime",
        opened.card,
    )


def load_torch(source: Path, device: str) -> Model:
    """A .safetensors file or run folder; full float32 precision, also on a GPU."""
    import torch

    from unhaze.weights import load_model, newest_state

    if device not in ("auto", "cpu", "cuda"):
        raise UnhazeError(f"no device '{device}'; there are: auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UnhazeError("there is no CUDA device for PyTorch; use --device cpu")
    kind = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    weights = load_model(source)
    net = weights.net.to(kind)

    def restore(hazy: np.ndarray) -> np.ndarray:
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        try:
            with torch.inference_mode(), exact:
                restored = net(torch.from_numpy(to_bchw(hazy)).to(kind))
                return from_bchw(restored.float().cpu().numpy())
        except torch.OutOfMemoryError as error:
            raise UnhazeError("not enough GPU memory for this picture; use --device cpu") from error

    file = newest_state(source) / "ema.safetensors" if source.is_dir() else source
    parts = sorted(file.parent.glob(f"{file.stem}-[0-9]*.safetensors"))
    shards = [file] if file.exists() else parts
    params = sum(parameter.numel() for parameter in net.parameters())
    hardware = torch.cuda.get_device_name() if kind == "cuda" else describe_cpu()
    return Model(restore, params, sha256(shards), hardware, weights.facts)


def to_bchw(picture_hwc: np.ndarray) -> np.ndarray:
    """(H,W,3) -> (1,3,H,W)."""
    return np.ascontiguousarray(picture_hwc.transpose(2, 0, 1)[None])


def from_bchw(batch: np.ndarray) -> np.ndarray:
    """(1,3,H,W) -> (H,W,3)."""
    return np.ascontiguousarray(batch[0].transpose(1, 2, 0))


@contextlib.contextmanager
def new_folder(final: Path | None, overwrite: bool) -> Iterator[Path | None]:
    """A folder beside `final` that takes its name when the block ends well, else vanishes."""
    if final is None:
        yield None
        return
    check_replaceable(final, overwrite)
    aside = final.with_name(f".{final.name}.{secrets.token_hex(4)}")
    try:
        for name in ("restored", "strips"):
            (aside / name).mkdir(parents=True)
        yield aside
        if final.exists():
            shutil.rmtree(final)
        aside.rename(final)
    except OSError as error:
        raise UnhazeError(f"cannot save in '{final}': {error.strerror}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_replaceable(final: Path, overwrite: bool) -> None:
    """UnhazeError if something lies at `final` that is not an evaluation to be overwritten."""
    if final.exists() and not final.is_dir():
        raise UnhazeError(f"'{final}' is a file; expected a folder to save the evaluation in")
    found = sorted(each.name for each in final.iterdir()) if final.exists() else []
    if found and not overwrite:
        raise UnhazeError(f"'{final}' is not empty; choose another folder or overwrite it")
    foreign = [name for name in found if name not in SAVED]
    if foreign:
        raise UnhazeError(
            f"'{final}' also holds '{foreign[0]}', which is no part of an evaluation; "
            "choose another folder"
        )


def save_pictures(folder: Path, name: str, pictures: list[np.ndarray]) -> None:
    """[hazy, restored, (clear)] -> restored/NAME.png and all side by side in strips/NAME.png."""
    rounded = [np.rint(each * 255).astype(np.uint8) for each in pictures]
    gap = np.full((rounded[0].shape[0], 4, 3), 255, np.uint8)
    strip = [part for each in rounded for part in (gap, each)][1:]
    photo.write_rgb(folder / "restored" / f"{name}.png", rounded[1])
    photo.write_rgb(folder / "strips" / f"{name}.png", np.concatenate(strip, axis=1))


def write_tables(evaluation: Evaluation, folder: Path) -> None:
    """per_image.csv and evaluation.json."""
    rows = evaluation.per_image
    with (folder / "per_image.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "evaluation.json").write_text(evaluation.to_json() + "\n", encoding="utf-8")


def mean(rows: list[dict[str, Any]], name: str) -> float | None:
    """Over the pictures that have the number: FADE has none for a black one."""
    values = [row[name] for row in rows if name in row and not math.isnan(row[name])]
    return math.fsum(values) / len(values) if values else None


def without_nan(value: Any) -> Any:
    """JSON knows no NaN: null instead."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def sha256(files: list[Path]) -> str:
    """Of all `files` one after the other; of one file what `sha256sum` prints."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def commit() -> str | None:
    """The commit that the program runs from, `-dirty` if files differ; None outside a checkout."""
    root = Path(__file__).parents[2]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    answer = subprocess.run(
        [git, "-C", str(root), *describe], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None
