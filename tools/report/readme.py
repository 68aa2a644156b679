"""The tables of README.md and of docs/results.md between their markers, from what was measured."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.report.speed import read_records, speed_summary, speed_table
from unhaze.errors import UnhazeError
from unhaze.report.results import markdown, number, read_results
from unhaze.restore.models import ModelCard, list_models, pick_card


def update_tables(page: Path, results: Path, *, check: bool = False) -> bool:
    """Rewrites the tables in `page`; returns whether they were out of date.

    check: writes nothing. UnhazeError: no such file, no marker in it, or one that does not end.
    """
    try:
        before = page.read_text(encoding="utf-8")
    except OSError as error:
        raise UnhazeError(f"cannot read '{page}': {error.strerror}") from error
    after = with_tables(before, list_models(), read_results(results), read_records(results))
    if before != after and not check:
        page.write_text(after, encoding="utf-8")
    return before != after


def with_tables(
    text: str,
    cards: Sequence[ModelCard],
    results: Sequence[dict[str, Any]],
    records: Sequence[dict[str, Any]] = (),
) -> str:
    """`text` with what lies between its markers replaced. `records`: of benchmarks."""
    tables = {
        "models": models_table(cards),
        "results": results_table(results),
        "speed": speed_table(records),
        "speed-summary": speed_summary(records),
    }
    present = [name for name in tables if f"<!-- {name}:" in text]
    if not present:
        names = ", ".join(f"<!-- {name}:start -->" for name in tables)
        raise UnhazeError(f"the page has none of the markers {names}")
    for name in present:
        text = fill(text, name, tables[name])
    return text


def fill(text: str, name: str, table: str) -> str:
    """`text` with `table` between the markers `name`. UnhazeError: they are not there once."""
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    pattern = re.compile(f"{start}.*?{end}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise UnhazeError(f"the page needs {start} and {end} once")
    return pattern.sub(lambda _: f"{start}\n{table}{end}", text)


def models_table(cards: Sequence[ModelCard]) -> str:
    """Name, purpose and size of each shipped model; docs/models.md has the rest."""
    default = pick_card(cards, "cpu", None, "photo") if cards else None
    rows = []
    for card in cards:
        name = f"`{card.name}`" + (" (default)" if card is default else "")
        rows.append([name, card.purpose.partition(". ")[0].rstrip("."), f"{card.params:,}"])
    return markdown(["model", "for", "parameters"], rows)


def results_table(results: Sequence[dict[str, Any]]) -> str:
    """One row a measurement, linked to its file; those of docs/models.md stand there."""
    rows = [
        [
            f"[{shown_name(result)}](../results/{result['file']})",
            str(result["data"]),
            f"{result['images']:,}",
            result["protocol"],
            number(result["psnr"], "{:.2f}"),
            number(result["ssim"], "{:.4f}"),
            number(result["fade"], "{:.3f}"),
            number(result["params"] or None, "{:,}"),
        ]
        for result in results
        if result.get("long_side") is None and result.get("rescale", 1) == 1
        if result.get("compared_with") != "input"
    ]
    head = ["model", "data", "pictures", "protocol", "PSNR (dB)", "SSIM", "FADE", "parameters"]
    return markdown(head, rows)


def shown_name(result: dict[str, Any]) -> str:
    """Returns the name of the measured model."""
    return "hazy input" if result["model"] == "identity" else str(result["model"])
