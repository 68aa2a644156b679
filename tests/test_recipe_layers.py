"""Recipes in layers: what extends what, what an overlay may, and who says the last word."""

from pathlib import Path

import pytest

from unhaze.config import LossPart, Part, load_config
from unhaze.errors import UnhazeError

LOWER = """
title = "lower"
source = "a paper"
published = { sots-indoor = [30, 0.9] }

[net]
name = "aecr"
width = 8

[losses.l1]

[data]
name = "dense-haze"
root = "pictures"
split = "train"

[schedule]
steps = 100
batch = 2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """lower.toml, and inside/upper.toml, which extends it."""
    (tmp_path / "lower.toml").write_text(LOWER)
    (tmp_path / "inside").mkdir()
    upper = 'extends = "../lower.toml"\ntitle = "upper"\n[schedule]\nsteps = 7\n'
    (tmp_path / "inside" / "upper.toml").write_text(upper + "[losses.contrastive]\nweight = 0.1\n")
    return tmp_path


def test_extending_adds_and_replaces(folder: Path):
    recipe = load_config(folder / "inside" / "upper.toml")
    assert recipe.net == Part("aecr", {"width": 8})
    assert (recipe.schedule.steps, recipe.schedule.batch) == (7, 2)
    assert recipe.losses == {"l1": LossPart(), "contrastive": LossPart(0.1)}


def test_what_a_file_says_of_itself_is_not_inherited(folder: Path):
    recipe = load_config(folder / "inside" / "upper.toml")
    assert (recipe.title, recipe.source, recipe.published) == ("upper", "", {})
    (folder / "nameless.toml").write_text('extends = "lower.toml"\n')
    with pytest.raises(UnhazeError, match="lacks the key 'title'"):
        load_config(folder / "nameless.toml")


def test_extends_in_a_chain(folder: Path):
    last = 'extends = "inside/upper.toml"\ntitle = "last"\n[schedule]\nbatch = 3\n'
    (folder / "last.toml").write_text(last)
    recipe = load_config(folder / "last.toml")
    assert (recipe.schedule.steps, recipe.schedule.batch) == (7, 3)


def test_another_name_brings_its_own_arguments(folder: Path):
    text = 'extends = "lower.toml"\ntitle = "other"\n[data]\nname = "its"\nroot = "its"\n'
    (folder / "other.toml").write_text(text + '[net]\nname = "aecr"\nfusion = "sum"\n')
    recipe = load_config(folder / "other.toml")
    assert recipe.data == Part("its", {"root": "its"})
    assert recipe.net == Part("aecr", {"width": 8, "fusion": "sum"})


def test_overlays_in_order_then_single_settings(folder: Path):
    first, second = folder / "first.toml", folder / "second.toml"
    first.write_text('title = "first"\n[schedule]\nsteps = 11\nbatch = 11\nwarmup = 11\n')
    second.write_text('title = "second"\n[schedule]\nbatch = 12\nwarmup = 12\n')
    recipe = load_config(folder / "lower.toml", ["schedule.warmup=13"], overlays=[first, second])
    schedule = recipe.schedule
    assert (schedule.steps, schedule.batch, schedule.warmup) == (11, 12, 13)
    assert recipe.title == "lower, first, second"
    assert recipe.source == "a paper"
    assert recipe.published == {"sots-indoor": (30, 0.9)}


def test_an_overlay_brings_in_no_loss(folder: Path):
    overlay = folder / "overlay.toml"
    overlay.write_text('[losses.contrastive]\nweights = "random"\n[losses.l2]\nweight = 3\n')
    lower = load_config(folder / "lower.toml", overlays=[overlay])
    assert lower.losses == {"l1": LossPart()}
    upper = load_config(folder / "inside" / "upper.toml", overlays=[overlay])
    assert upper.losses["contrastive"] == LossPart(0.1, {"weights": "random"})
    assert "l2" not in upper.losses


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "absent.toml"', "cannot read recipe '.*absent.toml'"),
        ("extends = 3", "extends must be the name of a file, not 3"),
        ('extends = "self.toml"', "'.*self.toml' extends 'self.toml', which extends it in turn"),
        ('extends = "lower.toml"\ntitle = "t"\nnet = 3', "'net' must be a table"),
    ],
)
def test_mistakes_have_one_line_each(folder: Path, text: str, message: str):
    (folder / "self.toml").write_text(text + "\n")
    with pytest.raises(UnhazeError, match=message) as raised:
        load_config(folder / "self.toml")
    assert "\n" not in str(raised.value)


def test_two_files_that_extend_each_other(folder: Path):
    (folder / "one.toml").write_text('extends = "two.toml"\n')
    (folder / "two.toml").write_text('extends = "one.toml"\n')
    with pytest.raises(UnhazeError, match="extends it in turn"):
        load_config(folder / "one.toml")


def test_an_overlay_over_losses_that_are_none(folder: Path):
    overlay = folder / "overlay.toml"
    overlay.write_text("losses = 3\n")
    with pytest.raises(UnhazeError, match="'losses' must be a table, not 3"):
        load_config(folder / "lower.toml", overlays=[overlay])
