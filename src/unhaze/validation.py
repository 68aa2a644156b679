"""Looks names up in tables and arguments up in signatures; names the nearest to a wrong one."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from unhaze.errors import UnhazeError

T = TypeVar("T")

# Annotation of an argument: the types that its value may have; True is no number.
ACCEPTED = {bool: (bool,), int: (int,), float: (float, int), str: (str,)}

RENAMED = {"answers": "outputs"}  # keys of recipes of earlier versions -> their names now


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """`table[name]`, or an UnhazeError that names the nearest key; `kind` says what it is."""
    if name in table:
        return table[name]
    raise UnhazeError(f"no {kind} '{name}'; {nearest(name, table)}")


def check_arguments(
    build: Callable[..., Any],
    arguments: Mapping[str, Any],
    owner: str,
    reserved: Iterable[str] = (),
    beside: Iterable[str] = (),
) -> None:
    """Raises an UnhazeError unless `build(**arguments)` binds and plain types match.

    `owner` opens the message, as in "net 'aecr'"; `reserved` arguments are the caller's to fill in;
    arguments `beside` are those that the caller has taken out, to be suggested as well.
    """
    try:
        parameters = inspect.signature(build).parameters
    except ValueError as error:
        raise UnhazeError(f"{owner}: {error}; expected a class of Python") from error
    keywords = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    allowed = [
        name
        for name, parameter in parameters.items()
        if parameter.kind in keywords and name not in {"self", *reserved}
    ]
    for name in arguments:
        if name not in allowed:
            raise UnhazeError(
                f"{owner} has no argument '{name}'; {nearest(name, [*allowed, *beside])}"
            )
    for name in allowed:
        if parameters[name].default is inspect.Parameter.empty and name not in arguments:
            raise UnhazeError(f"{owner} needs the argument '{name}'")
    try:
        hints = get_type_hints(build.__init__ if inspect.isclass(build) else build)
    except NameError as error:
        raise UnhazeError(f"{owner} has an annotation that is unknown there: {error}") from error
    check_types(arguments, hints, owner)


def check_callable(
    owner: str, made: object, name: str, *places: str, named: Iterable[str] = ()
) -> None:
    """Raises an UnhazeError unless `made` has a function `name` that takes as many arguments by
    place as there are `places`, and those that are `named` by name.

    It is not called: an error within it is another matter.
    """
    function = getattr(made, name, None)
    expected = f"{name}({', '.join([*places, *(f'{each}=...' for each in named)])})"
    if not callable(function):
        raise UnhazeError(f"{owner} is a {type(made).__name__} without {expected}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # compiled code shows none
    try:
        signature.bind(*places, **dict.fromkeys(named))
    except TypeError as error:
        given = f"{name}({', '.join(map(str, signature.parameters))})"
        raise UnhazeError(f"{owner} has {given}; expected {expected}: {error}") from error


def check_types(values: Mapping[str, Any], hints: Mapping[str, Any], owner: str) -> None:
    """Raises an UnhazeError that names the first of `values` that is not of its type in `hints`."""
    for name, value in values.items():
        if name in hints and not fits(value, hints[name]):
            wanted = hints[name].__name__ if hints[name] in ACCEPTED else str(hints[name])
            wanted = re.sub(r"collections\.abc\.Sequence\[(\w+)\]", r"list or tuple of \1", wanted)
            wanted = wanted.replace("collections.abc.Mapping", "dict")
            raise UnhazeError(f"{owner}: '{name}' must be of type {wanted}, not {value!r}")


def fits(value: Any, hint: Any) -> bool:
    """Returns whether a `value` of TOML (lists for tuples) is of the annotated type `hint`."""
    if hint in ACCEPTED:
        return type(value) in ACCEPTED[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union):
        return any(fits(value, each) for each in inner)
    if origin is tuple:
        of_length = isinstance(value, (list, tuple)) and len(value) == len(inner)
        return of_length and all(map(fits, value, inner))
    if origin in (list, Sequence):
        return isinstance(value, (list, tuple)) and all(fits(each, inner[0]) for each in value)
    if origin is Mapping:
        return isinstance(value, dict) and all(fits(each, inner[1]) for each in value.values())
    return not isinstance(hint, type) or hint is Any or isinstance(value, hint)


def one_of(what: str, value: str, allowed: Iterable[str]) -> None:
    """UnhazeError unless `value` is one of `allowed`; `what` opens the message."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise UnhazeError(f"{what} is '{value}'; it must be one of {', '.join(allowed)}")


def nearest(name: str, names: Iterable[str]) -> str:
    """The second half of an error message: the closest of `names`, or all of them."""
    names = list(names)
    from difflib import get_close_matches  # after an error only

    close = get_close_matches(RENAMED.get(name, name), names, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"there are: {', '.join(names)}" if names else "there are none"
