"""Recipes in layers: the file that one extends, files laid over it, then single settings."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unhaze.errors import UnhazeError

Table = dict[str, Any]

PACKAGE = Path(__file__).parent
# Those that come with unhaze: in an installed package, and beside src/ in a checkout.
SHIPPED = next(
    (each for each in (PACKAGE / "recipes", PACKAGE.parents[1] / "recipes") if each.is_dir()),
    PACKAGE / "recipes",
)

# What a file says of itself; a recipe that extends it says its own.
OWN = ("title", "source", "published")


def read_layers(path: Path, overlays: Sequence[Path] = (), overrides: Sequence[str] = ()) -> Table:
    """The table of recipe `path` with the files `overlays` laid over it, then the `overrides`.

    An overlay serves many recipes: its settings of losses are for those that a recipe has and bring
    in no new ones, and its title is added to that of the recipe.
    A path where no file is may be the name of a shipped recipe, such as table2/cr.
    UnhazeError for files that cannot be read, circles, and overrides that are not `a.b=value`.
    """
    table = read_recipe(find_recipe(path))
    for overlay in overlays:
        upper = read_recipe(find_recipe(overlay))
        if isinstance(upper.get("losses"), dict) and isinstance(table.get("losses"), dict):
            known = table["losses"]
            upper["losses"] = {
                name: each for name, each in upper["losses"].items() if name in known
            }
        own = {key: upper.pop(key) for key in OWN if key in upper}
        table = lay_over(table, upper)
        if "title" in own:
            table["title"] = f"{table.get('title', path.stem)}, {own['title']}"
    for override in overrides:
        apply_override(table, override)
    return table


def find_recipe(given: Path) -> Path:
    """`given`, or, where there is no such file, the shipped recipe of that name (table2/cr)."""
    if given.exists() or given.is_absolute():
        return given
    shipped = SHIPPED / given.with_suffix(".toml")
    return shipped if shipped.is_file() else given


def read_recipe(path: Path, above: tuple[Path, ...] = ()) -> Table:
    """The file and under it the one that its key `extends` names, relative to it, and so on."""
    table = read_toml(path)
    if "extends" not in table:
        return table
    above = (*above, path.resolve())
    extended = table.pop("extends")
    if not isinstance(extended, str):
        raise UnhazeError(f"recipe '{path}': extends must be the name of a file, not {extended!r}")
    if (path.parent / extended).resolve() in above:
        raise UnhazeError(f"recipe '{path}' extends '{extended}', which extends it in turn")
    lower = read_recipe(path.parent / extended, above)
    return lay_over({key: lower[key] for key in lower if key not in OWN}, table)


def lay_over(lower: Table, upper: Table) -> Table:
    """`lower` with the values of `upper`, table by table; neither is changed.

    A table with another `name` is not merged: its keys are arguments of what is named.
    """
    merged = dict(lower)
    for key, value in upper.items():
        below = lower.get(key)
        merged[key] = value
        if isinstance(value, dict) and isinstance(below, dict):
            same = value.get("name", below.get("name")) == below.get("name")
            merged[key] = lay_over(below, value) if same else value
    return merged


def read_toml(path: Path, kind: str = "recipe") -> Table:
    """A TOML file; `kind` says in messages of what."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnhazeError(f"cannot read {kind} '{path}': {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnhazeError(f"{kind} '{path}' is not valid TOML: {error}") from error


def apply_override(table: Table, override: str) -> None:
    """Sets `a.b=value` in the nested `table`."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UnhazeError(f"--set '{override}': expected KEY=VALUE, as in schedule.steps=1000")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.strip().split(".")
    if not all((*parents, last)):
        raise UnhazeError(f"--set '{override}': a part of its key is empty")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise UnhazeError(f"--set '{override}': '{parent}' is not a table")
    table[last] = value
