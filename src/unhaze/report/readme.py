"""The tables of a README between its markers, from model cards and measurements."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unhaze.errors import UnhazeError
from unhaze.report.results import markdown, number, read_results
from unhaze.report.speed import read_records, speed_table
from unhaze.restore.models import ModelCard, list_models, pick_card


def update_readme(readme: Path, results: Path, *, check: bool = False) -> bool:
    """Rewrites the tables in `readme`; answers whether they were out of date.

    check: writes nothing. UnhazeError: no such file, or a marker that is not there exactly once.
    """
    try:
        before = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise UnhazeError(f"cannot read '{readme}': {error.strerror}") from error
    after = with_tables(before, list_models(), read_results(results), read_records(results))
    if before != after and not check:
        readme.write_text(after, encoding="utf-8")
    return before != after


def with_tables(
    text: str,
    cards: Sequence[ModelCard],
    results: Sequence[dict[str, Any]],
    records: Sequence[dict[str, Any]] = (),
) -> str:
    """`text` with what lies between its markers replaced. `records`: of benchmarks."""
    text = fill(text, "models", models_table(cards))
    text = fill(text, "results", results_table(results))
    return fill(text, "speed", speed_table(records))


def fill(text: str, name: str, table: str) -> str:
    """`text` with `table` between the markers `name`. UnhazeError: they are not there once."""
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    pattern = re.compile(f"{start}.*?{end}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise UnhazeError(f"the page needs {start} and {end} once")
    return pattern.sub(lambda _: f"{start}\n{table}{end}", text)


def models_table(cards: Sequence[ModelCard]) -> str:
    """Name, purpose, size, training and measurements of each shipped model."""
    default = pick_card(cards, "cpu", None, "photo") if cards else None
    rows = []
    for card in cards:
        name = f"`{card.name}`" + (" (default)" if card is default else "")
        measured = "; ".join(f"{what}: {value:g}" for what, value in card.measured.items())
        rows.append(
            [name, f"{card.purpose} {card.limits}", f"{card.params:,}", card.data, measured or "-"]
        )
    return markdown(["model", "for", "parameters", "trained on", "measured"], rows)


def results_table(results: Sequence[dict[str, Any]]) -> str:
    """One row a measurement, linked to its file; those of docs/models.md stand there."""
    rows = [
        [
            f"[{shown_name(result)}](results/{result['file']})",
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
    """What the measured model is called."""
    return "hazy input" if result["model"] == "identity" else str(result["model"])
