"""The types of arguments and options that name files and folders."""

from pathlib import Path
from typing import Any

import click


class Place(click.Path):
    """A path or URL, which may not be empty: pathlib takes an empty one for the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns the value as `click.Path` does; a usage error if it is empty."""
        if not value:
            self.fail("the name is empty", param, ctx)
        return super().convert(value, param, ctx)


PATH = Place(path_type=Path)
TEXT = Place(readable=False)  # as given: it may be a URL, `-` or the name of a model
