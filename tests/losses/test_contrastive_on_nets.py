"""Contrastive regularization on any network: two lines of a recipe, and no start that explodes."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.quick import slow_but
from unhaze.config import load_config
from unhaze.data import PairedBatch
from unhaze.data.build import create_data
from unhaze.haze import add_haze
from unhaze.losses import create_loss
from unhaze.nets import NETS, Net, create_net
from unhaze.training import build_method, make_fabric, train
from unhaze.training.steps import batches_from

TINY = Path(__file__).parents[2] / "samples" / "tiny"

RECIPE = f"""
title = "any net"
[net]
name = "NAME"
[losses.l1]
[data]
name = "rgbd"
root = "{TINY}"
beta = [1.0, 2.0]
[augment]
crop = 32
[optimizer]
lr = 1e-3
[schedule]
steps = 25
batch = 2
"""
TWO_LINES = """
[losses.contrastive]
weight = 0.1
"""
OFFLINE = "losses.contrastive.weights=random"
QUICK = "losses.contrastive.layer_weights=[0.5, 1, 0, 0, 0]"


EVERY_NET_SLOWLY = pytest.mark.parametrize(
    "name", slow_but(["aodnet", "aecr", "ffanet", "kddn"], NETS)
)


@EVERY_NET_SLOWLY
def test_any_network_by_two_lines(name: str, tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace("NAME", name) + TWO_LINES)
    values = {
        key: list(each) if isinstance(each, tuple) else each
        for key, each in NETS[name].tiny.items()
    }
    tiny = [f"net.{key}={value}" for key, value in values.items()]
    result = train(load_config(path, [OFFLINE, *tiny]), check=True)
    assert result.step == 1


@EVERY_NET_SLOWLY
def test_at_the_start_it_is_one_of_several_and_not_all(name: str):
    """With the guard, the gradient of 0.1 CR is at most a few times that of L1."""
    torch.manual_seed(5)
    net = create_net(name, **NETS[name].tiny).train()
    clear, hazy = scene()
    norms = {}
    for loss, weight in (("l1", 1.0), ("contrastive", 0.1)):
        arguments = {"weights": "random"} if loss == "contrastive" else {}
        net.zero_grad()
        value = weight * create_loss(loss, **arguments)(net(hazy), clear, hazy)
        value.backward()
        gradients = [each.grad for each in net.parameters() if each.grad is not None]
        norms[loss] = torch.stack([each.norm() for each in gradients]).norm().item()
        assert value.isfinite()
    assert 0 < norms["contrastive"] < 10 * norms["l1"], norms


class Residual(nn.Module):
    """Starts as the identity: what it adds to the picture is zero."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(3, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 3, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, hazy: Tensor) -> Tensor:
        return hazy + self.last(torch.relu(self.inner(hazy)))


def scene() -> tuple[Tensor, Tensor]:
    """clear and hazy (2,3,32,32)."""
    random = torch.Generator().manual_seed(3)
    clear = nn.functional.interpolate(torch.rand(2, 3, 8, 8, generator=random), scale_factor=4)
    return clear, add_haze(clear, torch.full((2, 1, 1, 1), 0.4), torch.ones(2, 3, 1, 1))


def steps(folder: Path, monkeypatch, *settings: str) -> list[dict[str, Tensor]]:
    """The terms of each step of a training that starts with d(restored, hazy) = 0."""
    entry = Net(f"{__name__}:Residual", title="", paper="", reproduces="", licence="")
    monkeypatch.setitem(NETS, "residual", entry)
    path = folder / "recipe.toml"
    path.write_text(RECIPE.replace("NAME", "residual") + TWO_LINES)
    recipe = load_config(path, [OFFLINE, QUICK, *settings])
    torch.manual_seed(1)
    fabric = make_fabric(recipe)
    method, *_ = build_method(recipe, fabric, create_net("residual"))
    batches = batches_from(recipe, fabric, create_data(recipe.data), 0)
    return [method.step(batch, 1e-3) for batch in batches]


def test_a_network_that_starts_as_the_identity(tmp_path: Path, monkeypatch):
    """The bare ratio is a million times L1 there; the guarded one is bounded, and is learned."""
    guarded = steps(tmp_path, monkeypatch)
    bare = steps(tmp_path, monkeypatch, "losses.contrastive.floor=0", "schedule.steps=1")
    assert bare[0]["contrastive"] > 1e5 * guarded[0]["l1"]
    values = torch.stack([terms["contrastive"] for terms in guarded])
    assert values[0] == pytest.approx(1.5 / 0.25, rel=1e-3), "the sum of weights over the floor"
    assert values.max() < 1.01 * values[0]
    assert values[-5:].mean() < 0.7 * values[0]


def test_the_negative_is_the_picture_itself_and_not_what_a_network_makes_of_it(monkeypatch):
    """FFA-Net normalises inside: the loss still gets hazy pictures in [0,1]."""
    seen = []

    class Spy(nn.Module):
        def forward(self, restored: Tensor, clear: Tensor, hazy: Tensor) -> Tensor:
            seen.append((clear, hazy))
            return restored.square().mean()

    path = TINY.parents[1] / "recipes" / "table3" / "ffanet-cr.toml"
    tiny = [f"net.{key}={value}" for key, value in NETS["ffanet"].tiny.items()]
    recipe = load_config(path, [OFFLINE, *tiny])
    module = sys.modules["unhaze.training"]
    monkeypatch.setattr(module, "build_loss", lambda key, part: Spy())
    fabric = make_fabric(recipe)
    method, *_ = build_method(recipe, fabric, create_net("ffanet", **NETS["ffanet"].tiny))
    clear, hazy = scene()
    method.step([PairedBatch(hazy, clear)], 1e-4)
    assert len(seen) == 2
    for positive, negative in seen:
        assert torch.equal(positive, clear)
        assert torch.equal(negative, hazy)
