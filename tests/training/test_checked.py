"""Losses, data sets and methods of other packages that are built wrongly are named in one line."""

import re
import sys
from pathlib import Path

import pytest

from unhaze.config import load_config
from unhaze.errors import UnhazeError
from unhaze.training import train

TINY = Path(__file__).parents[2] / "samples" / "tiny"
RECIPE = f"""
title = "wrong"
net = {{ name = "aodnet" }}
losses = {{ l1 = {{}}, edge = {{ name = "l2" }} }}
data = {{ name = "rgbd", root = "{TINY.as_posix()}", scenes = [0, 1] }}
augment = {{ crop = 16 }}
schedule = {{ steps = 3, batch = 2 }}
hardware = {{ prefetch = 0 }}
"""
PLUGIN = """
import torch
from torch import nn
from unhaze.data import Pair, PairedBatch
from unhaze.methods.steps import Supervised

side = torch.full((2, 3, 16, 16), 0.5)

class Loss(nn.Module):
    def forward(self, restored, clear, hazy):
        return (restored - clear).abs().mean()

class Data:
    def __init__(self, *, root="", scenes=()):
        pass
    def __len__(self):
        return 1
    def pair(self, index):
        return Pair("a", side[0], side[0])
    def draw(self, seed, step, *, size, augment, device):
        return PairedBatch(side, side)

class Method:
    def __init__(self, setup):
        self.inner = Supervised(setup)
        self.networks, self.optimizers = self.inner.networks, self.inner.optimizers
    def step(self, batches, lr):
        return self.inner.step(batches, lr)
"""
LOSS, METHOD = "losses.edge.name=plugin:Loss", "method.name=plugin:Method"
DATA, VALIDATION = "data.name=plugin:Data", "validation.name=plugin:Data"


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch):
    """Checks a recipe with the plug-in changed from `old` to `new`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "recipe.toml").write_text(RECIPE)

    def check(setting: str, old: str, new: str) -> None:
        assert old in PLUGIN
        (tmp_path / "plugin.py").write_text(PLUGIN.replace(old, new, 1))
        train(load_config(tmp_path / "recipe.toml", [setting]), check=True)

    yield check
    sys.modules.pop("plugin", None)


@pytest.mark.parametrize("setting", [LOSS, DATA, METHOD, VALIDATION])
def test_a_plugin_that_keeps_the_contract_trains(plugged, setting: str):
    plugged(setting, "", "")


@pytest.mark.parametrize(
    ("setting", "old", "new", "message"),
    [
        (LOSS, "nn.Module", "object", "losses.edge.name = 'plugin:Loss' is a Loss; expected an nn"),
        (LOSS, "def forward", "def former", "'plugin:Loss' has no forward(restored, clear, hazy)"),
        (
            LOSS,
            "restored, clear, hazy",
            "restored, clear",
            "losses.edge.name = 'plugin:Loss' has forward(restored, clear); expected"
            " forward(restored, clear, hazy): too many positional arguments",
        ),
        (LOSS, ".mean()", ".mean().item()", "loss 'edge' is a float; expected a scalar Tensor"),
        (DATA, "def draw", "def drew", "data.name = 'plugin:Data' is a Data without draw(seed, "),
        (DATA, "def __len__", "def size", "'plugin:Data' is a Data without __len__()"),
        (DATA, "*, size, ", "*, ", "draw(seed, step, augment, device); expected draw(seed, step, "),
        (DATA, "PairedBatch(side, side)", "side, side", "'plugin:Data': draw returns a tuple; exp"),
        (DATA, "Batch(side,", "Batch(side.numpy(),", "draw returns as hazy a ndarray; expected a"),
        (DATA, "Batch(side,", "Batch(side[:1],", "as hazy a Tensor of shape (1, 3, 16, 16); expe"),
        (VALIDATION, "(self, index)", "(self)", "validation.name = 'plugin:Data' has pair(); expe"),
        (VALIDATION, 'Pair("a", side[0], side[0])', "side[0], side[0]", "pair returns a tuple; ex"),
        (
            VALIDATION,
            '"a", side[0]',
            '"a", side',
            "validation data 'plugin:Data': pair returns a T",
        ),
        (METHOD, "(self, setup)", "(self)", "method.name = 'plugin:Method' has build(); expected"),
        (METHOD, "def step", "def steps", "is a Method without step(batches, lr)"),
        (METHOD, "batches, lr):", "batches):", "has step(batches); expected step(batches, lr): to"),
        (METHOD, "self.optimizers =", "self.other =", "has no `optimizers`; expected a dict of"),
        (METHOD, "self.inner.networks,", "{},", "has no networks['restorer']; expected the net"),
        (METHOD, "return self.inner", "self.inner", "step returns a NoneType; expected a dict of"),
        (METHOD, "batches, lr)\n", "batches, lr) | {'a': side}\n", "step returns as 'a' a Tensor"),
        (
            DATA,
            'root=""',
            'root: "Missing" = ""',
            "has an annotation that is unknown there: name 'M",
        ),
        ("losses.edge.name=builtins:dict", "", "", "loss 'builtins:dict': no signature found"),
    ],
)
def test_a_plugin_that_breaks_it_is_named(plugged, setting: str, old: str, new: str, message: str):
    with pytest.raises(UnhazeError, match=re.escape(message)) as error:
        plugged(setting, old, new)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "old"),
    [
        (LOSS, "return (restored"),
        (DATA, "return PairedBatch"),
        (DATA, "pass"),
        (VALIDATION, "return Pair("),
        (METHOD, "self.inner = "),
        (METHOD, "return self.inner"),
    ],
)
def test_an_error_within_the_plugin_is_not_hidden(plugged, setting: str, old: str):
    with pytest.raises(TypeError, match="object is not callable"):
        plugged(setting, old, f"None(); {old}")
