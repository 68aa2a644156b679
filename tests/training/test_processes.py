"""Several processes are one: whitening and contrastive regularization see the whole batch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, distributed

from tests.quick import slow_but
from tests.training.forks import ranks, together
from unhaze import photo
from unhaze.cli import main
from unhaze.losses import create_loss
from unhaze.nets import create_net
from unhaze.processes import world
from unhaze.tensors import load_tensors
from unhaze.weights import newest_state

RECIPE = Path(__file__).parents[2] / "recipes" / "aecr" / "sots-indoor.toml"
SIZE = 6


def learn(positives: int, negatives: int) -> dict[str, Tensor]:
    """The network after five steps of SGD on one batch, of which each process has its part, and its
    losses; gradients are averaged over the processes.
    """
    rank, processes = world()
    torch.manual_seed(0)
    net = create_net("aecr", preset="code", width=8, fa_blocks=1, head="haze").train()
    layers = [0.1, 0.2, 0.4, 0.0, 0.0]
    rates = {"positives": positives, "negatives": negatives}
    loss = create_loss("contrastive", weights="random", layer_weights=layers, floor=0.0, **rates)
    clear = torch.rand(SIZE, 3, 24, 24)
    hazy = 0.5 * clear + 0.4 + 0.1 * torch.rand(SIZE, 1, 1, 1)
    part = slice(rank * SIZE // processes, (rank + 1) * SIZE // processes)
    losses = []
    for _ in range(5):
        restored = net(hazy[part])
        term = loss(restored, clear[part], hazy[part])
        total = (restored - clear[part]).abs().mean() + 0.1 * term
        net.zero_grad()
        total.backward()
        losses.append(term.detach())
        for parameter in net.parameters():
            if processes > 1:
                torch.distributed.all_reduce(parameter.grad)
            parameter.data -= 0.05 * parameter.grad / processes
    return net.state_dict() | {"losses": torch.stack(losses)}


def learn_with_others(file: Path, *rates: int) -> None:
    """Writes what the first process learned."""
    distributed.init_process_group("gloo")
    state = learn(*rates)
    if distributed.get_rank() == 0:
        torch.save(state, file)
    distributed.barrier()


@pytest.mark.parametrize(
    "processes, rates",
    slow_but(
        [(2, (1, 1)), (3, (1, 6))],
        [(2, (1, 1)), (3, (1, 1)), (2, (1, 4)), (3, (1, 6)), (2, (4, 1)), (2, (2, 0))],
    ),
)
def test_processes_equal_one_with_whitening_and_cr(processes, rates, tmp_path):
    together(learn_with_others, ranks(processes), tmp_path / "many.pt", *rates)
    many = torch.load(tmp_path / "many.pt", weights_only=True)
    one, start = learn(*rates), create_net("aecr", preset="code", width=8)
    for name in one:
        torch.testing.assert_close(many[name], one[name], rtol=1e-3, atol=1e-4)
    assert (one["whitening.running_mean"] - start.whitening.running_mean).abs().max() > 0.1
    assert one["losses"][-1] < one["losses"][0]


@pytest.fixture(scope="module")
def its(tmp_path_factory) -> Path:
    """Seven pairs under the names of ITS; its clear pictures have a border of ten pixels."""
    root = tmp_path_factory.mktemp("its")
    random = np.random.default_rng(5)
    for folder in ("hazy", "clear"):
        (root / folder).mkdir()
    for scene in range(1, 8):
        coarse = random.random((9, 11, 3)).repeat(8, 0).repeat(8, 1)
        clear = (255 * coarse).astype(np.uint8)
        hazy = (0.5 * clear[10:-10, 10:-10] + 110).astype(np.uint8)
        photo.write_rgb(root / "clear" / f"{scene}.png", clear)
        photo.write_rgb(root / "hazy" / f"{scene}_1_0.9.png", hazy)
    return root


@pytest.mark.parametrize(
    "processes, batch, rate", slow_but([(3, 5, 2)], [(2, 4, 1), (2, 5, 5), (3, 5, 2)])
)
def test_the_papers_recipe_is_the_same_on_any_number_of_processes(
    processes, batch, rate, its, tmp_path
):
    """Five steps of the command, whitening by the batch and CR on, batches that do not divide."""
    words = [str(RECIPE), "--set", f"data.root={its}"]
    for each in (
        *("net.width=8", "net.fa_blocks=2", "augment.crop=32", "schedule.steps=5"),
        *(f"schedule.batch={batch}", f"losses.contrastive.negatives={rate}"),
        *("losses.contrastive.weights=random", "watch.log_every=1"),
    ):
        words += ["--set", each]
    assert main(["train", *words, "--out", str(tmp_path / "one")]) == 0
    many = ["train", *words, "--out", str(tmp_path / "many")]
    assert together(main, ranks(processes), many) == [0] * processes
    one, _ = load_tensors(newest_state(tmp_path / "one"), "restorer")
    many, _ = load_tensors(newest_state(tmp_path / "many"), "restorer")
    torch.manual_seed(666)
    start = create_net("aecr", preset="code", width=8, fa_blocks=2).state_dict()
    for name in one:
        torch.testing.assert_close(many[name], one[name], rtol=0, atol=1e-4)
    moved = max(float((one[name] - start[name]).abs().max()) for name in one)
    assert moved > 7e-4, "the steps change the weights by far more than the processes differ"
