"""The tables of the AECR-Net paper (arXiv:2104.09367): its numbers beside those measured here.

A row is a recipe in a folder `table1` ... `table4`, with the paper's numbers in its `published`. A
measurement belongs to every row with the same resolved settings, regardless of its title: see
`differences`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unhaze.config import load_config
from unhaze.errors import UnhazeError
from unhaze.report.results import number, read_results
from unhaze.resolved import resolved

# Heading, and the recipes in the order of the paper's rows.
TABLES = {
    "table1": (
        "Table 1: compared methods",
        ("dehazenet", "aodnet", "griddehazenet", "ffanet", "msbdn", "kddn", "pfdn", "aecr"),
    ),
    "table2": (
        "Table 2: contribution of each part of AECR-Net",
        ("base", "mixup", "dfe", "dfe-skip", "dfe-mixup", "cr-star", "cr"),
    ),
    "table3": (
        "Table 3: contrastive regularization on other networks",
        tuple(
            f"{net}{cr}"
            for net in ("griddehazenet", "ffanet", "kddn", "msbdn")
            for cr in ("", "-cr")
        ),
    ),
    "table4": (
        "Table 4: ratios of positives and negatives",
        ("1-1", "1-10", "10-1", "10-10"),
    ),
}
INTRODUCTION = """\
PSNR in dB and SSIM under protocol `aecr`: the numbers printed in the paper, and those measured
here. The difference says little unless the budget is that of the paper: 500,000 steps of 16 crops,
100 hours on one GPU. **If "differs" names the network or the losses, it is not the paper's
network**; the value of the recipe follows in brackets. A row with several measurements appears
several times; a measurement is shown in every row that has its settings.
`unhaze report paper --markdown` writes this page."""
HEAD = ("row", "test set", "paper", "ours", "difference", "parameters", "differs", "pictures")
HEAD = (*HEAD, "budget")
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

    differs: settings of network and losses unlike the recipe's, and the recipe's in brackets.
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
    differs: tuple[str, ...] = ()
    samples: int | None = None
    seconds: int | None = None
    hardware: str | None = None


@dataclass(frozen=True)
class Published:
    """A row of the paper: data set -> its PSNR in dB and SSIM; what identifies a measurement of it.

    settings: those of its recipe, resolved; model: of a method that is not trained, its name.
    """

    table: str
    title: str
    numbers: dict[str, tuple[float, float]]
    settings: dict[str, Any]
    model: str | None = None


def paper_rows(recipes: Path, results: Path) -> list[Row]:
    """Returns all rows in the paper's order, one per measurement, or one without.

    UnhazeError: no tables in `recipes`, no folder `results`.
    """
    records = read_results(results, deep=True)
    # Studies at budgets of their own have tables of their own.
    measured = [each for each in records if each["protocol"] == PROTOCOL and "study" not in each]
    published = published_rows(recipes)
    telling = {name: discriminating(published, name) for name in nets_of(published)}
    rows = []
    for each in published:
        keys = telling.get(each.settings.get("net", ""), set())
        for data, (psnr, ssim) in each.numbers.items():
            paper = Row(each.table, each.title, data, psnr, ssim)
            ours = [
                with_measurement(paper, result, found)
                for result in measured
                if on_set(result, data) and (found := differences(result, each, keys)) is not None
            ]
            rows += ours or [paper]
    return rows


def published_rows(recipes: Path) -> list[Published]:
    """Every row of the tables, in the paper's order, further recipes of a table's folder last."""
    folders = {name: sorted(recipes.rglob(f"{name}/*.toml")) for name in TABLES}
    if not any(folders.values()):
        raise UnhazeError(f"'{recipes}' holds no recipes of {', '.join(TABLES)}; give --recipes")
    rows = [
        Published("table1", title, UNTRAINED_PUBLISHED[title], {}, model)
        for title, model in UNTRAINED.items()
    ]
    for table, files in folders.items():
        order = TABLES[table][1]
        for file in sorted(files, key=lambda file: place(order, file.stem)):
            recipe = load_config(file)
            if recipe.published:
                rows.append(Published(table, recipe.title, recipe.published, resolved(recipe)))
    return rows


def place(order: Sequence[str], stem: str) -> int:
    """Returns the position of a recipe in its table."""
    return order.index(stem) if stem in order else len(order)


def nets_of(published: Sequence[Published]) -> set[str]:
    """The networks that have rows."""
    return {each.settings["net"] for each in published if each.settings}


def discriminating(published: Sequence[Published], net: str) -> set[str]:
    """The settings in which the rows of one network differ, such as "net.dfe"."""
    of_net = [each.settings for each in published if each.settings.get("net") == net]
    keys = {key for settings in of_net for key in settings if part_of_network(key)}
    return {key for key in keys if any(of_net[0].get(key) != each.get(key) for each in of_net)}


def part_of_network(key: str) -> bool:
    """Returns whether a setting says what is trained, rather than on what and how long."""
    return key.startswith(("net", "losses", "method"))


def differences(result: dict[str, Any], row: Published, keys: set[str]) -> tuple[str, ...] | None:
    """Returns how a measurement differs from the row's settings; None: it is not of this row.

    It is of the row if it has the same network, method and losses, and the row's values of `keys`.
    Published weights, of whose training nothing is known, are of the row of Table 1.
    """
    if row.model is not None:
        return () if result["model"] == row.model else None
    settings = result.get("settings")
    if not settings or settings.get("net") != row.settings["net"]:
        return None
    if "method" not in settings:
        return () if row.table == "table1" else None
    losses = [
        {key for key in each if key.startswith("losses.") and key.count(".") == 1}
        for each in (settings, row.settings)
    ]
    needed = keys | {"method"}
    if losses[0] != losses[1] or any(settings.get(key) != row.settings.get(key) for key in needed):
        return None
    return tuple(
        f"{key.partition('.')[2]} {shown(settings.get(key))} ({shown(value)})"
        for key, value in row.settings.items()
        if part_of_network(key) and settings.get(key) != value
    )


def shown(value: Any) -> str:
    """A setting's value in a cell."""
    return (
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def on_set(result: dict[str, Any], data: str) -> bool:
    """Returns whether it was measured on that test set or a part of it."""
    return result["data"].partition(" ")[0] in (data, f"{data}-part")


def with_measurement(paper: Row, result: dict[str, Any], differs: tuple[str, ...]) -> Row:
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
        differs=differs,
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
            cells.append([row.title, row.data, paper, "-", "-", "-", "-", "-", "not measured"])
            continue
        ours = f"{row.psnr:.2f} / {row.ssim:.4f}"
        difference = f"{row.psnr - row.paper_psnr:+.2f} / {row.ssim - row.paper_ssim:+.4f}"
        pictures = f"{row.images} of {row.measured_on}"
        params = "-" if row.params is None else f"{row.params:,}"
        name, differs = row.recipe or row.title, ", ".join(row.differs) or "-"
        cells.append(
            [name, row.data, paper, ours, difference, params, differs, pictures, budget(row)]
        )
    return cells


def budget(row: Row) -> str:
    """Returns the training's cost in words."""
    if row.samples is None:
        if row.title in UNTRAINED:
            return "none"
        return "its authors'" if by_authors(row) else "not stated"
    return (
        f"{row.samples:,} samples, {number((row.seconds or 0) / 60, '{:.0f}')} min, {row.hardware}"
    )


def by_authors(row: Row) -> bool:
    """Returns whether the weights are those that the authors published."""
    return "published weights" in (row.recipe or "")
