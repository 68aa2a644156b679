"""Recipes say what they claim: rows of a table differ only in what the row is about."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from unhaze.config import Part, Recipe, load_config, to_table
from unhaze.data.catalog import DATASETS
from unhaze.data.rgbd import RGBD
from unhaze.losses import LOSSES
from unhaze.methods import METHODS
from unhaze.names import check_arguments, lookup
from unhaze.nets import create_net
from unhaze.train import train

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"
AECR = RECIPES / "aecr"
ALL = sorted(RECIPES.rglob("*.toml"))

# File: network arguments beside the preset, and arguments of CR (None: trained without).
CR = {"positives": 1, "negatives": 1}
ROWS: dict[str, tuple[dict[str, str], dict[str, int] | None]] = {
    "table2/base": ({"dfe": "none", "fusion": "none"}, None),
    "table2/mixup": ({"dfe": "none", "fusion": "mixup"}, None),
    "table2/dfe": ({"dfe": "after", "fusion": "none"}, None),
    "table2/dfe-skip": ({"dfe": "after", "fusion": "sum"}, None),
    "table2/dfe-mixup": ({"dfe": "after", "fusion": "mixup"}, None),
    "table2/dfe-before": ({"dfe": "before", "fusion": "mixup"}, None),
    "table2/cr-star": ({"dfe": "after", "fusion": "mixup"}, {"positives": 1, "negatives": 0}),
    "table2/cr": ({"dfe": "after", "fusion": "mixup"}, CR),
    "table4/1-1": ({"dfe": "after", "fusion": "mixup"}, CR),
    "table4/1-10": ({"dfe": "after", "fusion": "mixup"}, {"positives": 1, "negatives": 10}),
    "table4/10-1": ({"dfe": "after", "fusion": "mixup"}, {"positives": 10, "negatives": 1}),
    "table4/10-10": ({"dfe": "after", "fusion": "mixup"}, {"positives": 10, "negatives": 10}),
}


def name_of(path: Path) -> str:
    return path.relative_to(RECIPES).as_posix()


def differences(first: Recipe, second: Recipe) -> dict[str, tuple[Any, Any]]:
    tables = to_table(first), to_table(second)
    keys = tables[0].keys() | tables[1].keys()
    pairs = {key: (tables[0].get(key), tables[1].get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_names_and_arguments_exist(path: Path):
    recipe = load_config(path)
    for name, part in recipe.losses.items():
        check_arguments(lookup(LOSSES, name, "loss").build, part.arguments, f"loss '{name}'")
    lookup(METHODS, recipe.method.name, "method")
    for part in filter(None, (recipe.data, recipe.validation)):
        check_data(part)
    assert recipe.source, "a recipe says where its settings come from"
    create_net(recipe.net.name, **recipe.net.arguments)


def check_data(part: Part) -> None:
    if part.name == "rgbd":
        check_arguments(RGBD, part.arguments, "dataset 'rgbd'")
        return
    find = lookup(DATASETS, part.name, "dataset").find
    arguments = {key: value for key, value in part.arguments.items() if key != "root"}
    check_arguments(find, arguments, f"dataset '{part.name}'", reserved=("dataset", "root"))


def test_every_row_of_the_tables_is_there():
    found = {
        path.relative_to(AECR).with_suffix("").as_posix() for path in AECR.glob("table*/*.toml")
    }
    assert found == ROWS.keys()


@pytest.mark.parametrize("row", ROWS)
def test_a_row_differs_only_in_what_it_is_about(row: str):
    arguments, contrastive = ROWS[row]
    full, recipe = load_config(AECR / "sots-indoor.toml"), load_config(AECR / f"{row}.toml")
    assert recipe.net == Part("aecr", {"preset": "code"} | arguments)
    losses = dict(full.losses)
    if contrastive is None:
        del losses["contrastive"]
    else:
        given = full.losses["contrastive"]
        losses["contrastive"] = dataclasses.replace(given, arguments=given.arguments | contrastive)
    assert recipe.losses == losses
    assert differences(full, recipe).keys() <= {"title", "source", "net", "losses"}


def test_the_papers_settings():
    recipe = load_config(AECR / "sots-indoor.toml")
    assert (recipe.optimizer.name, recipe.optimizer.lr) == ("adam", 2e-4)
    assert recipe.optimizer.betas == (0.9, 0.999)
    assert (recipe.schedule.steps, recipe.schedule.batch) == (500_000, 16)
    assert recipe.losses["contrastive"].weight == 0.1
    weights = recipe.losses["contrastive"].arguments["layer_weights"]
    assert weights == [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1]
    net = create_net(recipe.net.name, **recipe.net.arguments)
    assert sum(each.numel() for each in net.parameters()) == 2_614_229


@pytest.mark.parametrize("name", ["dense-haze", "nh-haze"])
def test_small_sets_train_on_scenes_1_to_50(name: str):
    recipe = load_config(AECR / f"{name}.toml")
    assert recipe.data.name == name
    assert recipe.data.arguments["split"] == "train"
    assert DATASETS[name].splits == {"train": (1, 50), "test": (51, 55)}


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_no_step_is_chosen_on_a_test_set(path: Path):
    validation = load_config(path).validation
    assert validation is None or validation.name == "rgbd"


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_scenes_are_held_out(path: Path):
    recipe = load_config(path)
    if recipe.validation and recipe.data.name == recipe.validation.name == "rgbd":
        (_, end), (start, _) = (
            part.arguments["scenes"] for part in (recipe.data, recipe.validation)
        )
        assert start >= end


def test_the_tiny_scenes_are_small_and_complete():
    files = [path for path in (ROOT / "samples" / "tiny").rglob("*.*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 400_000
    clear, depth = (
        sorted(path.stem for path in files if path.parent.name == part)
        for part in ("clear", "depth")
    )
    assert clear == depth
    assert len(clear) == 12


def test_the_tiny_recipe_soon_beats_the_hazy_input(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(ROOT)
    shorter = ["schedule.steps=40", "schedule.batch=4", "augment.crop=48"]
    result = train(load_config(RECIPES / "tiny_paired.toml", shorter), out=tmp_path / "run")
    assert result.finished
    assert result.psnr > result.hazy_psnr + 1
