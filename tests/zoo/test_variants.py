"""Every published variant that is here is told by its file, in three layouts, and no other is."""

import pytest
import torch
from torch import Tensor

from tests.zoo.variants import NETWORKS, slow_if_large
from unhaze.nets import NETS, create_net
from unhaze.published.identify import identify

HERE = {name: each for name, each in NETWORKS.items() if each.net in NETS}
# Those whose names and shapes another one has, too.
TWINS = ("fsnet-its", "fsnet-ots", "dmphn", "dmshn")


def bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As `torch.save(net.state_dict())` writes it."""
    return state


def parallel(state: dict[str, Tensor]) -> dict[str, object]:
    """As DataParallel names it, in what a training writes."""
    return {"epoch": 9, "state_dict": {f"module.{name}": each for name, each in state.items()}}


def averaged(state: dict[str, Tensor]) -> dict[str, object]:
    """With an average over training beside the last weights."""
    return {"net": state, "ema": {f"module.{name}": each for name, each in state.items()}}


LAYOUTS = {"a.pth": bare, "b.pk": parallel, "c.ckpt": averaged}


def zeros(name: str, preset: str | None) -> dict[str, Tensor]:
    """Names and shapes of the network; every tensor is a view of one zero, so files stay small."""
    with torch.device("meta"):
        state = create_net(name, preset=preset).state_dict()
    return {
        key: torch.zeros((), dtype=each.dtype).expand(each.shape) for key, each in state.items()
    }


@pytest.mark.parametrize("name", slow_if_large(HERE))
def test_a_published_variant_is_told_in_each_layout(name, tmp_path):
    network = HERE[name]
    (tmp_path / name).mkdir()  # words of the path tell twins apart
    state = zeros(network.net, network.preset)
    for file, layout in LAYOUTS.items():
        path = tmp_path / name / file
        torch.save(layout(state), path)
        found = identify(path)
        assert (found.kind, found.net) == ("checkpoint", network.net), found.told
        assert found.preset == (network.preset or next(iter(NETS[network.net].presets)))
        assert found.certain == (name not in TWINS), found.told
        assert ("average over training" in found.told) == (layout is averaged)
