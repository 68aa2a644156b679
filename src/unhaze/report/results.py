"""Measurements as `unhaze eval --result` wrote them, and plain tables of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unhaze.errors import UnhazeError
from unhaze.validation import check_types

# What `unhaze eval --result` writes at least; other files in a folder of results are skipped.
NEEDED: dict[str, Any] = {"model": str, "data": str, "protocol": str, "images": int}
NEEDED |= dict.fromkeys(("psnr", "ssim", "fade"), float | None) | {"params": int | None}
TYPES = (
    NEEDED | {"recipe": str | None} | dict.fromkeys(("settings", "training", "study"), dict | None)
)
TRAINING = {"samples": int, "seconds": float, "hardware": str}


def read_results(folder: Path, *, deep: bool = False) -> list[dict[str, Any]]:
    """The measurements in `folder` (deep: and below), by data, protocol, the better first.

    Each is the table of its file, and `file`, its path below `folder`. UnhazeError: no such folder,
    a damaged file, a value of another type.
    """
    if not folder.is_dir():
        raise UnhazeError(f"there is no folder '{folder}'; `unhaze eval --result` fills one")
    found = []
    for path in sorted(folder.glob("**/*.json" if deep else "*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise UnhazeError(f"'{path}' is not valid JSON: {error}") from error
        if isinstance(result, dict) and all(key in result for key in NEEDED):
            check_types(result, TYPES, f"'{path}'")
            check_types(result.get("training") or {}, TRAINING, f"'{path}', training")
            found.append(result | {"file": path.relative_to(folder).as_posix()})
    return sorted(found, key=order)


def order(result: dict[str, Any]) -> tuple:
    """Sorting key: data, protocol, more pictures first, higher PSNR first."""
    return (
        *(result["data"], result["protocol"]),
        *(-result["images"], -(result["psnr"] or 0), result["file"]),
    )


def number(value: float | None, form: str) -> str:
    """`value` in format `form`, a dash where there is none."""
    return "-" if value is None else form.format(value)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, or a line that says that there is nothing yet."""
    if not rows:
        return "Nothing yet.\n"
    lines = [head, ["---"] * len(head), *([escape(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escape(cell: str) -> str:
    """Text that stays within its cell."""
    return cell.replace("|", "\\|")


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same for a terminal: columns of equal width."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths)) for line in lines)
    return "".join(line.rstrip() + "\n" for line in padded)
