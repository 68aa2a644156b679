"""The tables of the AECR-Net paper (arXiv:2104.09367): its numbers beside those measured here.

A row is a recipe in a folder `table1` ... `table4`, with the paper's numbers in its `published`. A
measurement belongs to the row whose title its own recipe has, or starts with (a shorter study).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unhaze.config import load_config
from unhaze.errors import UnhazeError
from unhaze.report.results import number, read_results

TABLES = {
    "table1": "Table 1: compared methods",
    "table2": "Table 2: what each part of AECR-Net brings",
    "table3": "Table 3: contrastive regularization on other networks",
    "table4": "Table 4: rates of positives and negatives",
}
INTRODUCTION = """\
PSNR in dB and SSIM under protocol `aecr`: what the paper prints, and what was measured here.
The difference says little unless the budget is the paper's: 500,000 steps of 16 crops, 100 hours
on one GPU. A row with several budgets is there several times.
`unhaze report paper --markdown` wrote this page."""
HEAD = ("row", "test set", "paper", "ours", "difference", "pictures", "budget")
PROTOCOL = "aecr"

# What the paper lists that has no recipe, because nothing is trained: title, `unhaze eval MODEL`.
UNTRAINED = {"DCP": "dcp"}
UNTRAINED_PUBLISHED = {
    "DCP": {
        "sots-indoor": (15.09, 0.7649),
        "dense-haze": (10.06, 0.3856),
        "nh-haze": (10.57, 0.5196),
    }
}


@dataclass(frozen=True)
class Row:
    """One cell pair of the paper and at most one measurement of ours; PSNR in dB.

    samples, seconds, hardware: what the training took; None where nothing was trained or measured.
    """

    table: str
    title: str
    data: str
    paper_psnr: float
    paper_ssim: float
    psnr: float | None = None
    ssim: float | None = None
    measured_on: str | None = None
    images: int | None = None
    params: int | None = None
    recipe: str | None = None
    samples: int | None = None
    seconds: int | None = None
    hardware: str | None = None


def paper_rows(recipes: Path, results: Path) -> list[Row]:
    """All rows in the order of tables and titles, one for each measurement, or one without.

    UnhazeError: no tables in `recipes`, no folder `results`.
    """
    measured = [each for each in read_results(results, deep=True) if each["protocol"] == PROTOCOL]
    rows = []
    for table, title, published, model in published_rows(recipes):
        for data, (psnr, ssim) in published.items():
            paper = Row(table, title, data, psnr, ssim)
            ours = [each for each in measured if belongs(each, title, model, data)]
            rows += [with_measurement(paper, each) for each in ours] or [paper]
    return rows


def published_rows(
    recipes: Path,
) -> Iterator[tuple[str, str, dict[str, tuple[float, float]], str | None]]:
    """(table, title, published numbers, model of an untrained method) of every row."""
    folders = {name: sorted(recipes.rglob(f"{name}/*.toml")) for name in TABLES}
    if not any(folders.values()):
        raise UnhazeError(f"'{recipes}' holds no recipes of {', '.join(TABLES)}; give --recipes")
    for title, model in UNTRAINED.items():
        yield "table1", title, UNTRAINED_PUBLISHED[title], model
    for table, files in folders.items():
        for file in files:
            recipe = load_config(file)
            if recipe.published:
                yield table, recipe.title, recipe.published, None


def belongs(result: dict[str, Any], title: str, model: str | None, data: str) -> bool:
    """Whether a measurement is of this row, on this test set or a part of it."""
    recipe = str(result.get("recipe") or "")
    same = result["model"] == model if model else recipe == title or recipe.startswith(f"{title},")
    return same and str(result["data"]).split()[0] in (data, f"{data}-part")


def with_measurement(paper: Row, result: dict[str, Any]) -> Row:
    """The row with our side filled in."""
    training = result.get("training") or {}
    return Row(
        *(paper.table, paper.title, paper.data, paper.paper_psnr, paper.paper_ssim),
        psnr=result["psnr"],
        ssim=result["ssim"],
        measured_on=result["data"],
        images=result["images"],
        params=result["params"],
        recipe=result.get("recipe"),
        samples=training.get("samples"),
        seconds=training.get("seconds"),
        hardware=training.get("hardware"),
    )


def table_of(rows: Sequence[Row], table: str) -> list[list[str]]:
    """The cells under `HEAD` of one table."""
    cells = []
    for row in rows:
        if row.table != table:
            continue
        paper = f"{row.paper_psnr:.2f} / {row.paper_ssim:.4f}"
        if row.psnr is None or row.ssim is None:
            cells.append([row.title, row.data, paper, "-", "-", "-", "not measured"])
            continue
        ours = f"{row.psnr:.2f} / {row.ssim:.4f}"
        difference = f"{row.psnr - row.paper_psnr:+.2f} / {row.ssim - row.paper_ssim:+.4f}"
        pictures = f"{row.images} of {row.measured_on}"
        cells.append(
            [row.recipe or row.title, row.data, paper, ours, difference, pictures, budget(row)]
        )
    return cells


def budget(row: Row) -> str:
    """What the training took, in words."""
    if row.samples is None:
        if row.title in UNTRAINED:
            return "none"
        return "its authors'" if "published weights" in (row.recipe or "") else "not stated"
    return (
        f"{row.samples:,} samples, {number((row.seconds or 0) / 60, '{:.0f}')} min, {row.hardware}"
    )
