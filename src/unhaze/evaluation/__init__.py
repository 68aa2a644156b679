"""Measures a model: restores each picture, compares it with the clear one, saves the results.

While one picture is restored, the previous one is measured.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from unhaze import photo
from unhaze.data.catalog import PairFiles, fit_clear
from unhaze.errors import UnhazeError
from unhaze.evaluation.models import Subject, open_subject, sha256
from unhaze.evaluation.precomputed import read_precomputed
from unhaze.evaluation.saving import (
    commit,
    new_folder,
    save_pictures,
    without_nan,
    write_result,
    write_tables,
)
from unhaze.image import LUMA, fitted, resized, scaled, to_float
from unhaze.metrics import METRICS, PROTOCOLS, WITH_CLEAR, measure
from unhaze.metrics.fog_density import fade
from unhaze.metrics.side_effects import HARM, harm
from unhaze.validation import lookup

__all__ = ["Evaluation", "commit", "evaluate", "sha256", "write_result"]

MEANS = (*METRICS, "fade_hazy", "change", "luminance")  # fields: means
ORIGIN = ("recipe", "step", "training", "settings")  # fields from the weights
LONG_SIDES = (16, 16_384)  # in pixels
RESCALES = (0.05, 8.0)
UNSEEN = 60.0  # dB; PSNR of a smaller difference than that of rounding to 8 bits, 58.9 dB
AT_ONCE = 3  # pictures: one being restored, two being read or measured


@dataclass(frozen=True)
class Evaluation:
    """A measurement. Values are means over the pictures; None: not measured.

    recipe, step, training (samples, seconds, hardware), settings (see `resolved`): the origin of
    the weights, if they state it.

    psnr in dB, of clear photos that should not change at most UNSEEN each; fade_hazy is the FADE of
    the inputs. change: mean |restored - hazy| in [0,1]. luminance: mean relative change of the
    pictures' mean luminance (-0.05: 5 % darker). harm: means of `metrics.side_effects.HARM`, for
    pictures without ground truth and for unchanged clear ones.
    compared_with: the reference of psnr, ssim, ciede2000, vi and ri: "clear"; "input" for clear
    photos that should not change; or None. long_side: pixels to which all pictures were resized;
    None: unchanged. rescale: see `evaluate`. params: None if an .onnx file does not state it.
    seconds: for restoring all pictures, without reading and measuring, which run in parallel.
    per_image: name, numbers and seconds of each picture. failed: name and error of each picture
    that could not be measured, which is not included in means or images.
    """

    model: str
    images: int
    protocol: str
    psnr: float | None
    ssim: float | None
    ciede2000: float | None
    fade: float | None
    vi: float | None
    ri: float | None
    fade_hazy: float | None
    change: float | None
    luminance: float | None
    harm: dict[str, float | None] | None
    compared_with: str | None
    long_side: int | None
    rescale: float
    params: int | None
    seconds: float
    weights_sha256: str | None
    hardware: str
    recipe: str | None
    step: int | None
    training: dict[str, Any] | None
    settings: dict[str, Any] | None
    version: str
    commit: str | None
    date: str
    per_image: list[dict[str, Any]]
    failed: list[dict[str, str]]

    def to_json(self) -> str:
        """Returns one JSON document; values that were not measured are null."""
        return json.dumps(without_nan(asdict(self)), indent=1)


def evaluate(
    model: str | Path,
    pairs: Sequence[PairFiles],
    *,
    protocol: str = "aecr",
    metrics: Sequence[str] | None = None,
    limit: int | None = None,
    long_side: int | None = None,
    rescale: float = 1.0,
    save: Path | str | None = None,
    overwrite: bool = False,
    device: str = "auto",
    net: str | None = None,
    progress: bool = False,
) -> Evaluation:
    """Restores the hazy picture of each pair at full size and measures the unrounded result.

    model: shipped name, prior, .onnx, .safetensors, run folder (averaged weights, newest state),
    published checkpoint, name of `unhaze zoo get`, `identity`, or a folder of pictures restored by
    another program, named like the hazy ones. net: network of a checkpoint, "name" or
    "name/preset". metrics: by default those that need a clear picture, or FADE if no pair has one;
    a clear picture paired with itself should not change. limit: number of pictures, from the first.
    long_side: every picture is resized to it first. rescale: factor by which the hazy picture is
    resized for the model; the result is resized back before it is measured. save: a new folder for
    restored/ and strips/ (hazy | restored | clear) of PNGs, per_image.csv and evaluation.json; it
    appears when it is complete, and `overwrite` replaces only an evaluation. progress: counts on
    stderr. A picture that cannot be measured is listed in `failed`, and the others are measured.
    UnhazeError for all other errors, and if no picture could be measured.
    """
    check_sizes(long_side, rescale)
    pairs, metrics = check_request(pairs, protocol, metrics, limit, save)
    subject = rescalable(open_subject(str(model), device, net), rescale)
    with nullcontext() if save is None else new_folder(Path(save), overwrite) as folder:
        measured = partial(
            evaluate_pair, subject, protocol=protocol, metrics=metrics, rescale=rescale
        )
        rows, failed = evaluate_each(pairs, partial(measured, folder=folder), long_side, progress)
        evaluation = Evaluation(
            model=str(model),
            images=len(rows),
            protocol=protocol,
            **{name: mean(rows, name) for name in MEANS},
            harm=mean_harm(rows, pairs),
            compared_with=compared_with(pairs),
            long_side=long_side,
            rescale=float(rescale),
            params=subject.params,
            seconds=sum(row["seconds"] for row in rows),
            weights_sha256=subject.weights_sha256,
            hardware=subject.hardware,
            **{name: subject.facts.get(name) for name in ORIGIN},
            version=version("unhaze"),
            commit=commit(),
            date=datetime.now(UTC).date().isoformat(),
            per_image=rows,
            failed=failed,
        )
        if folder is not None:
            write_tables(evaluation, folder)
    return evaluation


def evaluate_each(
    pairs: Sequence[PairFiles],
    measured: Callable[[PairFiles, tuple[np.ndarray, np.ndarray | None]], dict[str, Any]],
    long_side: int | None,
    progress: bool,
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Returns `per_image` and `failed`. UnhazeError if no picture could be measured."""

    def row_of(pair: PairFiles) -> dict[str, Any] | UnhazeError:
        try:
            return measured(pair, read_pair(pair, long_side))
        except UnhazeError as error:
            return error

    rows, failed = [], []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number, (pair, row) in enumerate(zip(pairs, pool.map(row_of, pairs)), start=1):
            if progress:
                print(f"{number}/{len(pairs)} {pair.name}", file=sys.stderr)
            if isinstance(row, UnhazeError):
                failed.append({"name": pair.name, "error": str(row)})
            else:
                rows.append(row)
    if not rows:
        rest = f"; so it is with all {len(failed)} pictures" if len(failed) > 1 else ""
        raise UnhazeError(failed[0]["error"] + rest)
    return rows, failed


def check_request(
    pairs: Sequence[PairFiles],
    protocol: str,
    metrics: Sequence[str] | None,
    limit: int | None,
    save: Path | str | None,
) -> tuple[list[PairFiles], tuple[str, ...]]:
    """Returns the selected pairs and metrics; UnhazeError before any work is done."""
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


def rescalable(subject: Subject, rescale: float) -> Subject:
    """Returns `subject`. UnhazeError if it is finished results, on which no model is run."""
    if subject.precomputed is not None and rescale != 1:
        raise UnhazeError(f"rescale is {rescale}, but the model is a folder of finished results")
    return subject


def check_sizes(long_side: int | None, rescale: float) -> None:
    """Raises UnhazeError for invalid values."""
    low, high = LONG_SIDES
    if long_side is not None and not (isinstance(long_side, int) and low <= long_side <= high):
        raise UnhazeError(f"long side is {long_side!r} pixels; expected {low} to {high:,}")
    low, high = RESCALES
    if not isinstance(rescale, int | float) or not low <= rescale <= high:
        raise UnhazeError(f"rescale is {rescale!r}; expected a number from {low} to {high:g}")


def mean_harm(
    rows: list[dict[str, Any]], pairs: Sequence[PairFiles]
) -> dict[str, float | None] | None:
    """Returns `Evaluation.harm`; None for hazy pictures with clear ones, where PSNR shows harm."""
    if compared_with(pairs) == "clear":
        return None
    return {name: mean(rows, name) for name in HARM}


def compared_with(pairs: Sequence[PairFiles]) -> str | None:
    """Returns the value of `Evaluation.compared_with` for these pairs."""
    if any(pair.clear is None for pair in pairs):
        return None
    return "input" if all(pair.clear == pair.hazy for pair in pairs) else "clear"


def read_pair(pair: PairFiles, long_side: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns hazy and clear (or None) as (H,W,3) float32 in [0,1]."""
    hazy, clear = to_float(photo.read_rgb(pair.hazy)), None
    if pair.clear is not None:
        clear = fit_clear(pair, to_float(photo.read_rgb(pair.clear)), hazy)
    if long_side is None:
        return hazy, clear
    return fitted(hazy, long_side), None if clear is None else fitted(clear, long_side)


def evaluate_pair(
    subject: Subject,
    pair: PairFiles,
    pictures: tuple[np.ndarray, np.ndarray | None],
    protocol: str,
    metrics: tuple[str, ...],
    rescale: float,
    folder: Path | None,
) -> dict[str, Any]:
    """Returns one row of the table; saves pictures in `folder`. UnhazeError names the picture."""
    hazy, clear = pictures
    try:
        if subject.precomputed is not None:
            restored = seen = read_precomputed(subject.precomputed, pair, hazy)
            seconds = 0.0
        else:
            with subject.turn:
                started = time.perf_counter()
                seen = scaled(hazy, rescale)
                restored = subject.restore(seen)
                seconds = time.perf_counter() - started
        if seen.shape != hazy.shape:
            restored = resized(restored, *hazy.shape[:2])
        numbers = measure(restored, clear, protocol, metrics=metrics)
        if "fade" in metrics:
            numbers["fade_hazy"] = fade(hazy)
    except UnhazeError as error:
        raise UnhazeError(f"'{pair.hazy}': {error}") from error
    restored = np.clip(restored, 0, 1)
    numbers["change"] = float(np.mean(np.abs(restored - hazy), dtype=np.float64))
    numbers["luminance"] = luminance_change(restored, hazy)
    if pair.clear == pair.hazy and "psnr" in numbers:
        numbers["psnr"] = min(numbers["psnr"], UNSEEN)
    if clear is None or pair.clear == pair.hazy:
        numbers |= harm(hazy, restored)
    if folder is not None:
        save_pictures(folder, pair.name, [hazy, restored] + ([] if clear is None else [clear]))
    return {"name": pair.name} | numbers | {"seconds": seconds}


def luminance_change(restored: np.ndarray, hazy: np.ndarray) -> float:
    """Relative change of the mean luminance (Rec. 709 weights); NaN for a black hazy picture."""
    before, after = (
        sum(float(LUMA[band] * each[..., band].mean(dtype=np.float64)) for band in range(3))
        for each in (hazy, restored)
    )
    return after / before - 1 if before else math.nan


def mean(rows: list[dict[str, Any]], name: str) -> float | None:
    """Mean over the pictures that have a value; FADE has none for a black picture."""
    values = [row[name] for row in rows if name in row and not math.isnan(row[name])]
    return math.fsum(values) / len(values) if values else None
