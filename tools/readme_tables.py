"""Writes the tables of README.md from the cards of the shipped models and from results/*.json.

`python tools/readme_tables.py` rewrites the README; with `--check` it only exits with 1 if the
README is not what it would write.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unhaze.restore.models import ModelCard, list_models

ROOT = Path(__file__).parents[1]
# What `unhaze eval --result` writes at least; other files in results/ are no measurements.
NEEDED = ("model", "data", "protocol", "images", "psnr", "ssim", "fade", "params")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    after = with_tables(before, list_models(), read_results(ROOT / "results"))
    if check and before != after:
        print("README.md is not what results/ and the model cards say; run `make tables`")
        return 1
    if before != after:
        readme.write_text(after, encoding="utf-8")
    return 0


def with_tables(text: str, cards: Sequence[ModelCard], results: Sequence[dict[str, Any]]) -> str:
    """`text` with what lies between its markers replaced."""
    for name, table in (("models", models_table(cards)), ("results", results_table(results))):
        start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
        pattern = re.compile(f"{start}.*?{end}", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise SystemExit(f"README.md needs {start} and {end} once")
        text = pattern.sub(lambda _, filled=f"{start}\n{table}{end}": filled, text)
    return text


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The measurements in `folder`, by data, protocol, and the better first."""
    found = []
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(result, dict) and all(key in result for key in NEEDED):
            found.append(result | {"file": path.name})
    return sorted(found, key=order)


def order(result: dict[str, Any]) -> tuple:
    return (
        *(str(result["data"]), result["protocol"]),
        *(-result["images"], -(result["psnr"] or 0), result["file"]),
    )


def models_table(cards: Sequence[ModelCard]) -> str:
    """Name, purpose, size, training and measurements of each shipped model."""
    rows = []
    for card in cards:
        name = f"`{card.name}`" + (" (default)" if card.default else "")
        measured = "; ".join(f"{what}: {number:g}" for what, number in card.measured.items())
        rows.append([name, card.purpose, f"{card.params:,}", card.data, measured or "-"])
    return table(["model", "for", "parameters", "trained on", "measured"], rows)


def results_table(results: Sequence[dict[str, Any]]) -> str:
    """One row a measurement, linked to its file."""
    rows = [
        [
            f"[{'hazy input' if result['model'] == 'identity' else result_name(result)}]"
            f"(results/{result['file']})",
            str(result["data"]),
            f"{result['images']:,}",
            result["protocol"],
            number(result["psnr"], "{:.2f}"),
            number(result["ssim"], "{:.4f}"),
            number(result["fade"], "{:.3f}"),
            number(result["params"] or None, "{:,}"),
        ]
        for result in results
    ]
    head = ["model", "data", "pictures", "protocol", "PSNR (dB)", "SSIM", "FADE", "parameters"]
    return table(head, rows)


def result_name(result: dict[str, Any]) -> str:
    """What the measured model is called: its recipe if it is known, else its file or folder."""
    return str(result.get("recipe") or Path(str(result["model"])).name)


def number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, or a line that says that there is nothing yet."""
    if not rows:
        return "Nothing yet.\n"
    lines = [
        head,
        ["---"] * len(head),
        *([cell.replace("|", "\\|") for cell in row] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    raise SystemExit(main())
