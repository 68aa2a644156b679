"""Resolves a recipe with presets and defaults, which identifies its run."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from unhaze.config import Recipe
from unhaze.validation import check_arguments, lookup

# Where files lie on one computer says nothing of the run.
PLACES = {"weights", "teacher", "root", "cache"}


def resolved(recipe: Recipe) -> dict[str, Any]:
    """Flat settings, as in "net.width" or "losses.contrastive.negatives".

    They hold the network with all its arguments, each loss of the sum with its own, the names of
    method and data, crop and batch. UnhazeError for an unknown name or argument.
    """
    from unhaze.losses import find_loss
    from unhaze.nets import find_net

    net = find_net(recipe.net.name)
    given = dict(recipe.net.arguments)
    if (preset := given.pop("preset", None)) is not None:
        given = lookup(net.presets, preset, f"preset of {recipe.net.name}") | given
    flat: dict[str, Any] = {"net": recipe.net.name}
    flat |= filled(net.build, given, "net")
    for name, part in sorted(recipe.losses.items()):
        if part.weight:
            build = find_loss(part.name or name).build
            flat[f"losses.{name}"] = part.weight
            flat |= filled(build, part.arguments, f"losses.{name}")
    flat |= {"method": recipe.method.name, "data": recipe.data.name}
    return flat | {"crop": recipe.augment.crop, "batch": recipe.schedule.batch}


def filled(build: Callable[..., Any], given: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """`given` over the defaults of `build`, as JSON has them, each name behind `prefix`."""
    check_arguments(build, given, prefix)
    parameters = inspect.signature(build).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    values = {name: value for name, value in ({**defaults, **given}).items() if name not in PLACES}
    return {f"{prefix}.{name}": plain(value) for name, value in values.items()}


def plain(value: Any) -> Any:
    """Tuples as lists, as TOML and JSON have them, and whole floats as integers."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
