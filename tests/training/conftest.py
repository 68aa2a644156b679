"""The recipe of a test file: its `RECIPE`, on small scenes."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from unhaze.config import Recipe


@pytest.fixture(scope="module")
def recipe_file(request: pytest.FixtureRequest, scenes: Path, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(request.module.RECIPE.format(scenes=scenes))
    return path


@pytest.fixture
def recipe(recipe_file: Path) -> "Recipe":
    from unhaze.config import load_config

    return load_config(recipe_file)
