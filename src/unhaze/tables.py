"""Tables of facts that came along as TOML files."""

import tomllib
from importlib.resources import files
from typing import Any


def read_tables(package: str, name: str) -> dict[str, Any]:
    """Returns the content of file `name` in `package`, with tuples in place of lists."""
    text = (files(package) / name).read_text(encoding="utf-8")
    return {key: _frozen(table) for key, table in tomllib.loads(text).items()}


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _frozen(each) for key, each in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
