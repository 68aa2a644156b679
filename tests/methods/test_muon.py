"""Muon: orthogonal updates where a weight is a matrix, Adam's where it is not."""

import copy

import pytest
import torch
from torch import nn

from unhaze.config import Optimizer
from unhaze.methods.muon import Muon, is_wide_matrix, orthogonalise
from unhaze.methods.steps import build_optimizer
from unhaze.nets import create_net


def test_only_wide_matrices_are_orthogonalised():
    assert is_wide_matrix(torch.empty(64, 32, 3, 3))
    assert is_wide_matrix(torch.empty(8, 8))
    for shape in [(64,), (64, 3, 7, 7), (3, 64, 7, 7), (64, 1, 3, 3), ()]:
        assert not is_wide_matrix(torch.empty(shape)), shape


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape) * 1e-3
    values = torch.linalg.svdvals(orthogonalise(matrix).float())
    assert values.min() > 0.5 and values.max() < 1.4
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    alignment = (orthogonalise(matrix).float() * (left @ right)).sum() / min(shape)
    assert alignment > 0.7


def test_one_update_has_the_size_of_adams():
    """Liu et al.: scaled by 0.2 sqrt(max(n, m)) the root mean square of an update is about 0.2."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(32, 16, 3, 3))
    before = weight.detach().clone()
    optimizer = Muon([weight], lr=1e-3)
    weight.grad = torch.randn_like(weight)
    optimizer.step()
    change = (weight.detach() - before).square().mean().sqrt() / 1e-3
    assert float(change) == pytest.approx(0.2, rel=0.2)


def test_other_parameters_are_updated_as_by_adam():
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    muon = Muon([ours], lr=1e-2, betas=(0.8, 0.99))
    adam = torch.optim.Adam([theirs], lr=1e-2, betas=(0.8, 0.99))
    for _ in range(5):
        ours.grad = theirs.grad = torch.randn(7)
        muon.step()
        adam.step()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_it_learns_a_linear_map_and_its_state_continues_exactly():
    torch.manual_seed(0)
    target = torch.randn(12, 12)
    inputs = torch.randn(64, 12)

    def losses(layer: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
        seen = []
        for _ in range(steps):
            loss = (layer(inputs) - inputs @ target.T).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        return seen

    layer = nn.Linear(12, 12)
    optimizer = build_optimizer(layer, Optimizer(name="muon", lr=0.05))
    first = losses(layer, optimizer, 400)
    assert first[-1] < 0.05 * first[0]
    other = copy.deepcopy(layer)
    resumed = build_optimizer(other, Optimizer(name="muon", lr=0.05))
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert losses(other, resumed, 3) == losses(layer, optimizer, 3)


def test_aecr_net_is_mostly_matrices():
    net = create_net("aecr", preset="code")
    wide = sum(each.numel() for each in net.parameters() if is_wide_matrix(each))
    assert wide > 0.98 * sum(each.numel() for each in net.parameters())


def test_plain_is_after_with_its_offsets_at_their_start():
    torch.manual_seed(0)
    after = create_net("aecr", preset="code", width=8).eval()
    plain = create_net("aecr", preset="code", width=8, dfe="plain").eval()
    plain.load_state_dict(after.state_dict())
    hazy = torch.rand(2, 3, 21, 34)
    torch.testing.assert_close(plain(hazy), after(hazy), atol=1e-6, rtol=0)


def test_running_statistics_make_a_batch_its_pictures():
    torch.manual_seed(0)
    net = create_net("aecr", preset="code", width=8, whitening_statistics="running").train()
    hazy = torch.rand(3, 3, 24, 24)
    singly = torch.cat([net(each[None]) for each in hazy])
    torch.testing.assert_close(net(hazy), singly, atol=1e-5, rtol=0)
    assert torch.equal(net.whitening.running_mean, torch.zeros(27))
