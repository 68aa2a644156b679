"""`--set key=value`, wherever a verb takes settings."""

from collections.abc import Sequence
from typing import Any

import click

TAKEN = ("name", "root", "sample", "crop")
settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="K=V",
    help="An argument of the dataset, as in border=10. May be repeated.",
)


def parse_settings(settings: Sequence[str], *taken: str) -> dict[str, Any]:
    """["border=10", "split=all"] -> {"border": 10, "split": "all"}; UnhazeError without a `=`, and
    for what commands set otherwise: `TAKEN` and `taken`."""
    from unhaze.errors import UnhazeError
    from unhaze.recipe_layers import apply_override

    table: dict[str, Any] = {}
    for setting in settings:
        apply_override(table, setting)
    for name in (*TAKEN, *taken):
        if name in table:
            raise UnhazeError(f"--set {name}: the command has an argument or option of this name")
    return table
