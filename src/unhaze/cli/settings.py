"""`--set key=value`, wherever a verb takes settings."""

from collections.abc import Sequence
from typing import Any

import click

settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="K=V",
    help="An argument of the dataset, as in border=10. May be repeated.",
)


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """["border=10", "split=all"] -> {"border": 10, "split": "all"}; UnhazeError without a `=`."""
    from unhaze.recipe_layers import apply_override

    table: dict[str, Any] = {}
    for setting in settings:
        apply_override(table, setting)
    return table
