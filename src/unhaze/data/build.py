"""Builds the dataset of a recipe's [data] table."""

import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from unhaze.config import Part
from unhaze.data import PairedData, UnpairedData
from unhaze.data.catalog import find_dataset, find_pairs
from unhaze.data.checked import check_data
from unhaze.data.folders import PairedFolders
from unhaze.data.mixed import Camera, Mixed
from unhaze.data.outdoor import Outdoor
from unhaze.data.rgbd import RGBD
from unhaze.data.spoiling import Spoiling
from unhaze.data.unpaired import Unpaired, UnpairedFolders
from unhaze.errors import UnhazeError
from unhaze.haze import HazeLaw
from unhaze.validation import check_arguments, nearest


def create_data(part: Part, table: str = "data") -> PairedData | UnpairedData:
    """Builds the dataset `part.name` of `DATASETS`: finds its files (and decodes those of `rgbd`).

    Arguments are those of the dataset's `find` (of `RGBD` for `rgbd`), `root`, and `cache`.
    table: of the recipe that describes it, for messages.
    UnhazeError: unknown name or argument, no such folder, files without a partner, no clear
    pictures, or no `split` for a dataset with splits, so that the test set is not trained on.
    """
    dataset = find_dataset(part.name)
    arguments = dict(part.arguments)
    if dataset.build is not None:
        check_arguments(dataset.build, arguments, f"data '{part.name}'")
        try:
            data = dataset.build(**arguments)
        except ValueError as error:
            raise UnhazeError(f"data '{part.name}': {error}") from error
        check_data(data, f"{table}.name = '{part.name}'")
        return data
    if part.name == "rgbd":
        law = law_of(RGBD, arguments, "data 'rgbd'")
        return RGBD(arguments.pop("root"), law, **arguments)
    if part.name == "outdoor":
        law = law_of(Outdoor, arguments, "data 'outdoor'")
        return Outdoor(arguments.pop("roots"), law, **arguments)
    if part.name == "mixed":
        return create_mixed(arguments)
    if part.name == "unpaired":
        return create_unpaired(arguments)
    if part.name == "unpaired-folders":
        check_arguments(UnpairedFolders, arguments, "data 'unpaired-folders'")
        return UnpairedFolders(**arguments)
    assert dataset.find is not None  # datasets without `find` have been built above
    own = inspect.signature(dataset.find).parameters
    allowed = ["root", "cache", *(name for name in own if name not in ("dataset", "root"))]
    for name in arguments:
        if name not in allowed:
            raise UnhazeError(
                f"data '{part.name}' has no argument '{name}'; {nearest(name, allowed)}"
            )
    if not dataset.has_clear:
        raise UnhazeError(
            f"'{part.name}' has no clear pictures; it cannot be used for paired training"
        )
    if dataset.splits and "split" not in arguments:
        splits = ", ".join(f"'{name}'" for name in dataset.splits)
        raise UnhazeError(f"data '{part.name}' needs split: one of {splits} or 'all'")
    root, cache = arguments.pop("root", "."), arguments.pop("cache", False)
    return PairedFolders(find_pairs(part.name, Path(str(root)), **arguments), cache=cache)


def law_of(build: Callable[..., Any], arguments: dict[str, Any], owner: str) -> HazeLaw:
    """Returns the default law of `build`, changed by the `arguments` that are its fields.

    They are removed from `arguments`; all arguments are checked.
    """
    names = [each.name for each in fields(HazeLaw)]
    own = {name: arguments.pop(name) for name in names if name in arguments}
    check_arguments(HazeLaw, own, owner)
    check_arguments(build, arguments, owner, reserved=("law",), beside=names)
    plain = {key: tuple(each) if isinstance(each, list) else each for key, each in own.items()}
    return replace(inspect.signature(build).parameters["law"].default, **plain)


def create_mixed(arguments: dict[str, Any]) -> Mixed:
    """`parts`: a list of [data] tables, each with its `share`; `spoiling`: a table of
    `Spoiling`; the other arguments are those of `Camera`."""
    tables = arguments.pop("parts", None)
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise UnhazeError(f"data 'mixed' has parts = {tables!r}; expected a list of tables")
    parts, shares = [], []
    for table in tables:
        rest = {"share": 1.0, "name": ""} | table
        share, name = rest.pop("share"), rest.pop("name")
        if isinstance(share, bool) or not isinstance(share, int | float):
            raise UnhazeError(f"data 'mixed': share is {share!r}; expected a number")
        part = create_data(Part(name, rest), "data.parts")
        if not isinstance(part, PairedData):
            raise UnhazeError(f"data 'mixed': '{name}' has no pairs; use paired data")
        parts.append(part)
        shares.append(float(share))
    table = arguments.pop("spoiling", {})
    if not isinstance(table, dict):
        raise UnhazeError(f"data 'mixed' has spoiling = {table!r}; expected a table")
    check_arguments(Spoiling, table, "data 'mixed', spoiling")
    check_arguments(Camera, arguments, "data 'mixed'")
    return Mixed(parts, shares, Camera(**arguments), Spoiling(**table))


def create_unpaired(arguments: dict[str, Any]) -> Unpaired:
    """`hazy` and `clear`: [data] tables of paired datasets."""
    sides = {}
    for side in ("hazy", "clear"):
        table = arguments.pop(side, None)
        if not isinstance(table, dict) or "name" not in table:
            raise UnhazeError(f"data 'unpaired' needs a table [data.{side}] with a name")
        rest = dict(table)
        name = rest.pop("name")
        if str(name).startswith("unpaired"):
            raise UnhazeError(
                f"data 'unpaired': '{name}' is not a paired dataset; use one such as rgbd"
            )
        sides[side] = create_data(Part(name, rest), f"data.{side}")
    for name in arguments:
        raise UnhazeError(f"data 'unpaired' has no argument '{name}'; there are: hazy, clear")
    return Unpaired(**sides)
