"""Writes an evaluation: pictures and tables into a folder, a record into results/."""

import contextlib
import csv
import json
import math
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unhaze import photo
from unhaze.atomic import check_replaceable, made_aside
from unhaze.errors import UnhazeError, target_exists
from unhaze.image import to_u8

if TYPE_CHECKING:
    from unhaze.evaluation import Evaluation

# Everything in a saved evaluation, folders first: --overwrite may replace these.
SAVED = ("restored", "strips", "per_image.csv", "evaluation.json")


def write_result(
    evaluation: "Evaluation",
    path: Path | str,
    *,
    data: str,
    overwrite: bool = False,
) -> None:
    """Writes one file of results/: the name of the data, and the evaluation without `per_image`."""
    path = Path(path)
    check_replaceable(path, overwrite)
    table = {"data": data} | without_nan(asdict(evaluation))
    table["model"] = Path(evaluation.model).name  # local paths are no result
    del table["per_image"]
    if not evaluation.failed:
        del table["failed"]
    with made_aside(path, parents=True) as aside:
        aside.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def new_folder(
    final: Path, overwrite: bool, *, parts: Sequence[str] = SAVED, whole: str = "evaluation"
) -> Iterator[Path]:
    """Yields a folder that is renamed to `final` when the block succeeds, and removed otherwise.

    parts: its future content; those without a suffix are folders, created at once. UnhazeError if
    `final` exists: only an older `whole` is replaced, if `overwrite`.
    """
    check_folder(final, overwrite, parts, whole)
    with made_aside(final, parents=True) as aside:
        aside.mkdir()
        for name in parts:
            if not Path(name).suffix:
                (aside / name).mkdir()
        yield aside


def check_folder(final: Path, overwrite: bool, parts: Sequence[str], whole: str) -> None:
    """Raises UnhazeError if `final` exists and may not be overwritten."""
    if final.exists() and not final.is_dir():
        raise UnhazeError(f"'{final}' is a file; expected a folder to save the {whole} in")
    found = sorted(each.name for each in final.iterdir()) if final.exists() else []
    foreign = [name for name in found if name not in parts]
    if foreign:
        raise UnhazeError(
            f"'{final}' also holds '{foreign[0]}', which is not part of the {whole}; choose "
            "another folder"
        )
    if found and not overwrite:
        raise target_exists(final, "is not empty")


def save_pictures(folder: Path, name: str, pictures: list[np.ndarray]) -> None:
    """Writes restored/NAME.png, and [hazy, restored, (clear)] side by side as strips/NAME.png."""
    rounded = [to_u8(each) for each in pictures]
    gap = np.full((rounded[0].shape[0], 4, 3), 255, np.uint8)
    strip = [part for each in rounded for part in (gap, each)][1:]
    photo.write_rgb(folder / "restored" / f"{name}.png", rounded[1])
    photo.write_rgb(folder / "strips" / f"{name}.png", np.concatenate(strip, axis=1))


def write_tables(evaluation: "Evaluation", folder: Path) -> None:
    """Writes per_image.csv and evaluation.json."""
    rows = evaluation.per_image
    target = folder / "per_image.csv"
    with target.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "evaluation.json").write_text(evaluation.to_json() + "\n", encoding="utf-8")


def without_nan(value: Any) -> Any:
    """Replaces NaN, which JSON does not support, by null."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def commit() -> str | None:
    """Returns the commit of the program, `-dirty` if files differ; None outside a checkout."""
    root = Path(__file__).parents[3]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(
        [git, "-C", str(root), *describe], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None
