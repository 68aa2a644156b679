"""Recipes say what they claim: rows of a table differ only in what the row is about."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from tests.quick import slow_but
from unhaze.config import LossPart, Part, Recipe, load_config, to_table
from unhaze.data.catalog import DATASETS
from unhaze.nets import NETS, create_net
from unhaze.validation import check_arguments, lookup
from unhaze.zoo import list_networks

training = pytest.importorskip("unhaze.training")
weights = pytest.importorskip("unhaze.weights")

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
OVERLAYS = RECIPES / "overlays"
FULL = RECIPES / "aecr" / "sots-indoor.toml"
ALL = sorted(set(RECIPES.rglob("*.toml")) - set(OVERLAYS.iterdir()))

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
    "table4/1-1": ({}, CR),
    "table4/1-10": ({}, {"positives": 1, "negatives": 10}),
    "table4/10-1": ({}, {"positives": 10, "negatives": 1}),
    "table4/10-10": ({}, {"positives": 10, "negatives": 10}),
}
# Table 1: SOTS indoor, Dense-Haze and NH-HAZE where the paper has them; parameters of the network.
TABLE1: dict[str, tuple[dict[str, tuple[float, float]], int]] = {
    name: (dict(zip(("sots-indoor", "dense-haze", "nh-haze"), published)), parameters)
    for name, parameters, *published in (
        ("dehazenet", 8_305 + 624, (20.64, 0.7995), (13.84, 0.4252), (16.62, 0.5238)),
        ("aodnet", 1_761, (19.82, 0.8178), (13.14, 0.4144), (15.40, 0.5693)),
        ("griddehazenet", 958_051, (32.16, 0.9836), (13.31, 0.3681), (13.80, 0.5370)),
        ("ffanet", 4_455_913, (36.39, 0.9886), (14.39, 0.4524), (19.87, 0.6915)),
        ("msbdn", 31_353_061, (33.79, 0.9840), (15.37, 0.4858), (19.23, 0.7056)),
        ("kddn", 5_853_187, (34.72, 0.9845), (14.28, 0.4074), (17.39, 0.5897)),
        ("kddn-teacher", 557_443),
        ("pfdn", 11_268_611, (32.68, 0.9760)),
        ("aecr", 2_614_229, (37.17, 0.9901), (15.80, 0.4660), (19.88, 0.7173)),
    )
}
# Table 3: without and with CR; PFDN is not in the paper's.
TABLE3 = {
    "griddehazenet": ((32.16, 0.9836), (32.99, 0.9863)),
    "ffanet": ((36.39, 0.9886), (36.74, 0.9906)),
    "kddn": ((34.72, 0.9845), (35.18, 0.9854)),
    "msbdn": ((33.79, 0.9840), (34.45, 0.9861)),
    "pfdn": (None, None),
}


def name_of(path: Path) -> str:
    return path.relative_to(RECIPES).as_posix()


def differences(first: Recipe, second: Recipe) -> dict[str, tuple[Any, Any]]:
    tables = to_table(first), to_table(second)
    keys = tables[0].keys() | tables[1].keys()
    pairs = {key: (tables[0].get(key), tables[1].get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def test_every_published_variant_has_a_recipe_in_the_form_that_trains():
    trained = {"deanet/paper": "deanet/train", "dmshn/published": "dmshn/paper"}
    found = {
        f"{net.name}/{net.arguments['preset']}"
        for net in (load_config(path).net for path in (RECIPES / "zoo").glob("*.toml"))
    }
    names = {f"{each.net}/{each.preset or 'paper'}" for each in list_networks().values()}
    assert found == {trained.get(name, name) for name in names}


def test_every_row_of_the_tables_is_there():
    rows = ROWS.keys() | {f"table1/{name}" for name in TABLE1}
    rows |= {f"table3/{name}{suffix}" for name in TABLE3 for suffix in ("", "-cr")}
    found = {path.with_suffix("") for path in RECIPES.glob("table*/*.toml")}
    assert {path.relative_to(RECIPES).as_posix() for path in found} == rows


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_says_where_its_settings_come_from(path: Path):
    assert load_config(path).source


@pytest.mark.parametrize("row", ROWS)
def test_a_row_differs_only_in_what_it_is_about(row: str):
    arguments, contrastive = ROWS[row]
    full, recipe = load_config(FULL), load_config(RECIPES / f"{row}.toml")
    assert recipe.net == Part("aecr", full.net.arguments | arguments)
    given = full.losses["contrastive"]
    if contrastive is None:
        given = dataclasses.replace(given, weight=0.0)
    else:
        given = dataclasses.replace(given, arguments=given.arguments | contrastive)
    assert recipe.losses == full.losses | {"contrastive": given}
    assert differences(full, recipe).keys() <= {"title", "source", "published", "net", "losses"}


@pytest.mark.parametrize("row", TABLE1)
def test_table_1(row: str):
    published, parameters = TABLE1[row]
    recipe = load_config(RECIPES / "table1" / f"{row}.toml")
    assert recipe.published == published
    net = create_net(recipe.net.name, **recipe.net.arguments)
    assert sum(each.numel() for each in net.parameters()) == parameters


@pytest.mark.parametrize("row", TABLE3)
def test_table_3_adds_contrastive_regularization_and_nothing_else(row: str):
    own, without, with_cr = (
        load_config(RECIPES / f"{name}.toml")
        for name in (f"table1/{row}", f"table3/{row}", f"table3/{row}-cr")
    )
    words = {"title", "source", "published"}
    assert differences(own, without).keys() <= words
    assert differences(without, with_cr).keys() <= words | {"losses"}
    assert with_cr.losses == without.losses | {"contrastive": LossPart(0.1)}
    numbers = tuple(each.published.get("sots-indoor") for each in (without, with_cr))
    assert numbers == TABLE3[row]


def test_titles_tell_rows_apart():
    """A result is of the row whose title it has, or followed by a comma and an overlay's title."""
    titles = [load_config(path).title for path in RECIPES.glob("table*/*.toml")]
    for title in titles:
        alike = [each for each in titles if each == title or each.startswith(f"{title},")]
        assert alike == [title]


def test_the_papers_settings():
    recipe = load_config(FULL)
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
    recipe = load_config(FULL, overlays=[OVERLAYS / f"{name}.toml"])
    assert recipe.data == Part(name, {"root": recipe.data.arguments["root"], "split": "train"})
    assert DATASETS[name].splits == {"train": (1, 50), "test": (51, 55)}
    assert differences(load_config(FULL), recipe).keys() == {"title", "data"}


@pytest.mark.parametrize("row", [*ROWS, *(f"table3/{name}" for name in TABLE3)])
def test_the_study_gives_every_row_the_same_budget(row: str):
    """What a row is about stays: its network, but slim, and its losses."""
    path = RECIPES / f"{row}.toml"
    own, recipe = load_config(path), load_config(path, overlays=[OVERLAYS / "cpu-study.toml"])
    reference = load_config(FULL, overlays=[OVERLAYS / "cpu-study.toml"])
    assert recipe.losses.keys() == own.losses.keys()
    assert recipe.net.arguments == own.net.arguments | {"preset": "slim"}
    for part in ("data", "validation", "augment", "optimizer"):
        assert getattr(recipe, part) == getattr(reference, part), part
    without_stairs = dataclasses.replace(recipe.schedule, stairs=1, factor=0.5)
    assert without_stairs == reference.schedule and recipe.schedule.decay == "cosine"
    net = create_net(recipe.net.name, **recipe.net.arguments)
    assert 0.1e6 < sum(each.numel() for each in net.parameters()) < 0.4e6


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_no_step_is_chosen_on_a_test_set(path: Path):
    assert {name for name, _ in sources(load_config(path).validation)} <= {"rgbd", "outdoor"}


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_scenes_and_photos_are_held_out(path: Path):
    recipe = load_config(path)
    trained = dict(sources(recipe.data))
    for name, arguments in sources(recipe.validation):
        if name in trained:
            which = "scenes" if name == "rgbd" else "pictures"
            assert arguments[which][0] >= trained[name][which][1]


def sources(part: Part | None) -> list[tuple[str, dict[str, Any]]]:
    """(name, arguments) of what the data is mixed from, or of itself."""
    if part is None:
        return []
    if part.name == "mixed":
        return [(each["name"], each) for each in part.arguments["parts"]]
    return [(part.name, part.arguments)]


def tiny_teacher(path: Path, student: Part, imitates: bool) -> str:
    """Weights of a tiny teacher, with features if they are imitated."""
    part = Part(student.name, NETS[student.name].tiny)
    if imitates:
        part = Part("kddn-teacher", NETS["kddn-teacher"].tiny | {"blocks": 6})
    weights.save_weights(path, create_net(part.name, **part.arguments), part)
    return str(path)


QUICK = [path for path in ALL if path.parent.name in ("recipes", "aecr", "table2")]


@pytest.mark.parametrize("path", slow_but(QUICK, ALL), ids=name_of)
def test_builds_and_does_one_step(path: Path, tmp_path: Path, monkeypatch):
    """With its own data, losses, method and schedule in kind; the network tiny, the data small."""
    monkeypatch.chdir(ROOT)
    recipe = load_config(path)
    net = recipe.net.arguments | NETS[recipe.net.name].tiny
    if recipe.method.name == "distilled":
        imitates = recipe.method.arguments["imitation"] > 0
        net |= {"groups": 6} if imitates else {}
        teacher = tiny_teacher(tmp_path / "teacher.safetensors", recipe.net, imitates)
        arguments = recipe.method.arguments | {"teacher": teacher}
        recipe = dataclasses.replace(recipe, method=Part("distilled", arguments))
    if recipe.method.name in ("adapted", "exposure"):
        arguments = recipe.method.arguments | {"photos": "samples/tiny/clear", "names": []}
        recipe = dataclasses.replace(recipe, method=Part(recipe.method.name, arguments))
    changes = {
        "start": "",
        "net": Part(recipe.net.name, net),
        "data": small_data(recipe.data),
        "validation": recipe.validation and small_data(recipe.validation),
        "losses": {name: without_download(name, loss) for name, loss in recipe.losses.items()},
        "augment": dataclasses.replace(
            recipe.augment, crop=32 * recipe.method.arguments.get("critic_shrink", 1)
        ),
        "hardware": dataclasses.replace(recipe.hardware, precision="32-true", prefetch=0),
    }
    batch = min(recipe.schedule.batch, 2)
    for loss in recipe.losses.values():
        batch = max(batch, *(loss.arguments.get(key, 1) for key in ("positives", "negatives")))
    changes["schedule"] = dataclasses.replace(recipe.schedule, batch=batch)
    result = training.train(dataclasses.replace(recipe, **changes), check=True)
    assert result.step == 1
    assert math.isnan(result.psnr) == (recipe.validation is None)


def small_data(part: Part) -> Part:
    """The same kind of data, made from the project's own tiny scenes."""
    tiny, arguments = str(ROOT / "samples" / "tiny"), part.arguments
    if part.name == "mixed":
        parts = [
            {"share": each["share"], **flat(small_data(named(each, "share")))}
            for each in arguments["parts"]
        ]
        return Part("mixed", arguments | {"parts": parts})
    if part.name == "unpaired":
        sides = {side: flat(small_data(named(arguments[side]))) for side in ("hazy", "clear")}
        for side, scenes in (("hazy", [0, 6]), ("clear", [6, 12])):
            for each in sides[side].get("parts", [sides[side]]):
                each |= {"scenes": scenes} if each["name"] == "rgbd" else {}
        return Part("unpaired", sides)
    if part.name == "unpaired-folders":
        return small_data(Part("unpaired", {side: {"name": "rgbd"} for side in ("hazy", "clear")}))
    if part.name == "outdoor":
        return Part("outdoor", {**arguments, "roots": [f"{tiny}/clear"], "pictures": None})
    if part.name != "rgbd":
        check_data(part)
        return Part("rgbd", {"root": tiny})
    return Part("rgbd", arguments | {"root": tiny, "border": 0, "scenes": [0, 12]})


def named(table: dict[str, Any], *others: str) -> Part:
    return Part(table["name"], {key: table[key] for key in table if key not in ("name", *others)})


def flat(part: Part) -> dict[str, Any]:
    return {"name": part.name, **part.arguments}


def check_data(part: Part) -> None:
    """The arguments of a published dataset that is not at hand."""
    find = lookup(DATASETS, part.name, "dataset").find
    arguments = {key: value for key, value in part.arguments.items() if key != "root"}
    check_arguments(find, arguments, f"dataset '{part.name}'", reserved=("dataset", "root"))


def without_download(name: str, loss: LossPart) -> LossPart:
    """The loss, by random weights if it needs VGG's."""
    vgg = {"weights": "random"} if name in ("contrastive", "perceptual") else {}
    return dataclasses.replace(loss, arguments=loss.arguments | vgg)


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
    recipe = load_config(RECIPES / "tiny_paired.toml", shorter)
    result = training.train(recipe, out=tmp_path / "run")
    assert result.finished
    assert result.psnr > result.hazy_psnr + 1
