"""Recipes: what goes in comes out complete, and each mistake has its own line."""

import dataclasses
from pathlib import Path

import pytest

from unhaze.config import LossPart, Part, Recipe, load_config, to_table, to_toml
from unhaze.errors import UnhazeError

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(set(FOLDER.rglob("*.toml")) - set((FOLDER / "overlays").iterdir()))

SMALL = """
title = "small"
net = { name = "aecr", preset = "slim" }
data = { name = "folders", root = "pictures", border = 10 }

[losses.l1]

[losses.contrastive]
weight = 0.1
layers = [1, 3, 5]

[augment]
crop = 64
scale = [1, 2]

[optimizer]
lr = 1
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def test_values_defaults_and_arguments(recipe_file: Path):
    recipe = load_config(recipe_file)
    assert recipe.net == Part("aecr", {"preset": "slim"})
    assert recipe.data == Part("folders", {"root": "pictures", "border": 10})
    assert recipe.losses["l1"] == LossPart(1.0, {})
    assert recipe.losses["contrastive"] == LossPart(0.1, {"layers": [1, 3, 5]})
    assert recipe.method == Part("supervised")
    assert recipe.validation is None
    assert (recipe.augment.crop, recipe.augment.flip) == (64, True)
    assert recipe.schedule == Recipe("t", recipe.net, recipe.data, {}).schedule


def test_integers_serve_as_numbers(recipe_file: Path):
    recipe = load_config(recipe_file)
    assert (recipe.optimizer.lr, type(recipe.optimizer.lr)) == (1.0, float)
    assert recipe.augment.scale == (1.0, 2.0)
    assert all(type(each) is float for each in recipe.augment.scale)


def test_round_trip_is_exact_and_complete(recipe_file: Path, tmp_path: Path):
    recipe = load_config(recipe_file, ["validation.name=folders", "validation.root=held-out"])
    written = tmp_path / "complete.toml"
    written.write_text(to_toml(recipe), encoding="utf-8")
    assert load_config(written) == recipe
    missing = {each.name for each in dataclasses.fields(Recipe)} - to_table(recipe).keys()
    assert not missing
    assert "prefetch = 2" in written.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("override", "where", "expected"),
    [
        ("schedule.steps=12", ("schedule", "steps"), 12),
        ("optimizer.lr=1e-3", ("optimizer", "lr"), 1e-3),
        ("title=plain words", ("title",), "plain words"),
        ('title="quoted"', ("title",), "quoted"),
        ("hardware.channels_last=false", ("hardware", "channels_last"), False),
        ("augment.scale=[0.5, 2]", ("augment", "scale"), (0.5, 2.0)),
        ("source=a=b", ("source",), "a=b"),
        ("title=", ("title",), ""),
    ],
)
def test_overrides(recipe_file: Path, override: str, where: tuple[str, ...], expected):
    value = load_config(recipe_file, [override])
    for name in where:
        value = getattr(value, name)
    assert value == expected


def test_overrides_reach_arguments_and_the_later_wins(recipe_file: Path):
    overrides = ["net.width=8", "net.width=16", "losses.l1.weight=2", "losses.l2.weight=3"]
    recipe = load_config(recipe_file, overrides)
    assert recipe.net.arguments == {"preset": "slim", "width": 16}
    assert recipe.losses["l1"].weight == 2.0
    assert recipe.losses["l2"] == LossPart(3.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("schedule.stepps=1", "recipe has no key 'schedule.stepps'; did you mean 'steps'?"),
        ("shedule.steps=1", "recipe has no key 'shedule'; did you mean 'schedule'?"),
        ("zzz=1", "recipe has no key 'zzz'; there are: title, net, data"),
        ("schedule.steps=many", "recipe key 'schedule.steps' must be int, not 'many'"),
        ("schedule.steps=1.5", "recipe key 'schedule.steps' must be int, not 1.5"),
        ("schedule.steps=true", "recipe key 'schedule.steps' must be int, not True"),
        ("optimizer.lr=true", "recipe key 'optimizer.lr' must be float, not True"),
        ("augment.flip=1", "recipe key 'augment.flip' must be bool, not 1"),
        ("title=7", "recipe key 'title' must be str, not 7"),
        ("augment.scale=[1]", "recipe key 'augment.scale' must be a list of 2, not [1]"),
        ("augment.scale=[1, 'b']", "recipe key 'augment.scale' must be float, not 'b'"),
        ("augment=3", "recipe key 'augment' must be a table, not 3"),
        ("losses=3", "recipe key 'losses' must be a table, not 3"),
        ("losses.l1=3", "recipe key 'losses.l1' must be a table, not 3"),
        ("net.name=3", "recipe key 'net.name' must be str, not 3"),
        ("validation.root=here", "recipe lacks the key 'validation.name'"),
        ("title.deeper=1", "--set 'title.deeper=1': 'title' is not a table"),
        ("steps", "--set 'steps': expected KEY=VALUE, as in schedule.steps=1000"),
        ("=3", "--set '=3': expected KEY=VALUE, as in schedule.steps=1000"),
        ("schedule..steps=3", "--set 'schedule..steps=3': a part of its key is empty"),
        ("optimizer.lr=nan", "recipe key 'optimizer.lr' must be a finite number, not nan"),
        ("losses.l1.weight=inf", "recipe key 'losses.l1.weight' must be a finite number, not inf"),
        ("schedule.steps=0", "recipe key 'schedule.steps' must be at least 1, not 0"),
        ("losses.l1.weight=-1", "recipe key 'losses.l1.weight' must be at least 0, not -1"),
        ("schedule.accumulate=0", "recipe key 'schedule.accumulate' must be at least 1, not 0"),
        ("optimizer.lr=-1", "recipe key 'optimizer.lr' must be at least 0, not -1.0"),
        ("augment.scale=[0, 1]", "recipe key 'augment.scale' must be from 0.01 to 100, not 0.0"),
        ("schedule.decay=cosin", "recipe key 'schedule.decay' is 'cosin'; it must be one of"),
        ("published.sots=[1]", "recipe key 'published.sots' must be a list of 2, not [1]"),
        ("augment.scale=[2, 1]", "recipe key 'augment.scale' must be [low, high], not [2.0, 1.0]"),
    ],
)
def test_each_mistake_has_its_message(recipe_file: Path, override: str, message: str):
    with pytest.raises(UnhazeError) as caught:
        load_config(recipe_file, [override])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["title", "net", "data"])
def test_a_missing_key_is_named(tmp_path: Path, key: str):
    lines = {
        "title": 'title = "small"',
        "net": 'net = { name = "aecr" }',
        "data": 'data = { name = "folders" }',
    }
    path = tmp_path / "lacking.toml"
    path.write_text("\n".join(line for name, line in lines.items() if name != key))
    with pytest.raises(UnhazeError, match=f"^recipe lacks the key '{key}'$"):
        load_config(path)


def test_files_that_are_no_recipes(tmp_path: Path):
    broken = tmp_path / "broken.toml"
    broken.write_text("title = \n", encoding="utf-8")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, message in (
        (tmp_path / "absent.toml", "cannot read recipe '.*absent.toml': No such file"),
        (tmp_path, "cannot read recipe '.*': Is a directory"),
        (broken, "recipe '.*broken.toml' is not valid TOML: .*line 1"),
        (binary, "recipe '.*binary.toml' is not valid TOML: "),
    ):
        with pytest.raises(UnhazeError, match=message):
            load_config(path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_loads_and_round_trips(path: Path, tmp_path: Path):
    recipe = load_config(path)
    assert recipe.title
    assert recipe.losses or recipe.method.name in ("cddgan", "exposure")
    written = tmp_path / "written.toml"
    written.write_text(to_toml(recipe), encoding="utf-8")
    assert load_config(written) == recipe


def test_there_are_recipes():
    assert RECIPES
