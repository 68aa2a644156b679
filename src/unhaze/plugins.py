"""Networks, losses, data sets and methods of other packages: by entry point or by import path.

An entry point of a group in `GROUPS` gives a plain name to what an installed package has; an import
path ("package.module:Name") needs no installation. Either leads to a class (or function) that
builds the thing, or to an entry as the tables have them (`Net(...)`, `Loss(...)`, ...).
"""

import functools
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from unhaze.errors import UnhazeError
from unhaze.validation import nearest

T = TypeVar("T")

# Kind of thing: the group of its entry points.
GROUPS = {
    "net": "unhaze.nets",
    "loss": "unhaze.losses",
    "dataset": "unhaze.datasets",
    "method": "unhaze.methods",
}
# Packages whose networks a file of weights may name by import path, separated by commas.
TRUST = "UNHAZE_PLUGINS"


def find(table: Mapping[str, T], name: str, kind: str, entry: Callable[[str, Any], T]) -> T:
    """The entry `name`: of `table`, of an entry point, or at an import path.

    entry: makes an entry of the name and of the class or function found there; what is found is
    taken as it is if it has the type of the table's entries. UnhazeError: no such name (the nearest
    is named), or what it names cannot be imported.
    """
    if name in table:
        return table[name]
    points = installed(kind)
    if name in points:
        found = load_point(points[name])
    elif ":" in name:
        found = load_path(name)
    else:
        raise UnhazeError(f"no {kind} '{name}'; {nearest(name, [*table, *points])}")
    made = type(next(iter(table.values())))
    if isinstance(found, made):
        return found
    if not callable(found):
        raise UnhazeError(f"{kind} '{name}' is a {type(found).__name__}; expected a class")
    return entry(name, found)


def everything(
    table: Mapping[str, T], kind: str, entry: Callable[[str, Any], T]
) -> Mapping[str, T]:
    """`table`, and behind it what entry points add."""
    return {**table, **{name: find(table, name, kind, entry) for name in installed(kind)}}


@functools.cache
def installed(kind: str) -> dict[str, EntryPoint]:
    """Entry points of the installed packages, by their names."""
    return {point.name: point for point in entry_points(group=GROUPS[kind])}


def load_point(point: EntryPoint) -> Any:
    """Returns the object that an entry point names."""
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        where = f"entry point '{point.name}' ({point.value}) of group '{point.group}'"
        raise UnhazeError(f"{where} cannot be loaded: {error}") from error


def load_path(path: str) -> Any:
    """Returns the object "package.module:Name", also from the working directory."""
    module, _, name = path.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise UnhazeError(f"'{path}' is no import path; expected package.module:Name")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        importlib.import_module(module)
        return pkgutil.resolve_name(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # it is there, and what it needs is not
        known = f"install its package, or start in the folder that holds '{error.name}'"
        raise UnhazeError(f"no module '{error.name}' for '{path}'; {known}") from error
    except AttributeError as error:
        raise UnhazeError(f"module '{module}' has no '{name}'") from error


def check_trusted(name: str, source: str) -> None:
    """UnhazeError where a file names code that this process was not told to run.

    A recipe is a program that its user starts; a file of weights is data. It may name what the
    process has imported already, and what lies in the packages of the variable `TRUST`.
    """
    module, _, _ = name.partition(":")
    trusted = os.environ.get(TRUST, "").split(",")
    if ":" not in name or module in sys.modules or module.partition(".")[0] in trusted:
        return
    package = module.partition(".")[0]
    raise UnhazeError(
        f"'{source}' is for the network '{name}', which is not part of unhaze; set "
        f"{TRUST}={package} if you trust the code of that package"
    )
