"""The parts of unpaired training: the game on one contrast, memories, alarms."""

import pytest
import torch
from torch import Tensor, nn

from unhaze import processes
from unhaze.methods.alarms import Alarm, Watcher
from unhaze.methods.contrast import Comparison, PatchContrast
from unhaze.methods.given_haze import GivenHaze
from unhaze.methods.memories import ImagePool, NegativeQueue
from unhaze.methods.steps import frozen
from unhaze.nets.cddgan import CDDGenerator, Haze
from unhaze.nets.cddgan_training import NegativeGenerators


def weights_of(net: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in net.state_dict().values()]


def test_frozen_is_undone_after_an_error():
    net = nn.Linear(2, 2)
    with pytest.raises(ZeroDivisionError), frozen(net):
        assert not net.weight.requires_grad
        raise ZeroDivisionError
    assert net.weight.requires_grad


def test_processes_share_the_random_numbers_of_one(monkeypatch):
    torch.manual_seed(0)
    negatives = NegativeGenerators(1, dimension=4, noise=3, count=5)
    given = GivenHaze(CDDGenerator(width=4, blocks=1, head="haze"), [0.5, 2.0], found=False)

    def drawn_by(rank: int, count: int) -> list[Tensor]:
        monkeypatch.setattr(processes, "world", lambda: (rank, count))
        torch.manual_seed(1)
        part = 4 // count
        found = Haze(torch.ones(part, 1, 1, 1), torch.full((part, 3, 1, 1), 0.75))
        _, other, _ = given(found)
        assert other is not None
        return [negatives(torch.zeros(part, 4), 0), other.depth, other.airlight]

    one, first, second = drawn_by(0, 1), drawn_by(0, 2), drawn_by(1, 2)
    for whole, *halves in zip(one, first, second, strict=True):
        torch.testing.assert_close(torch.cat(halves), whole)


def parts(seed: int = 0, **arguments) -> tuple[PatchContrast, Comparison]:
    torch.manual_seed(seed)
    settings = {"patches": 16, "dimension": 16, "noise": 4, "count": 16, "temperature": 0.5}
    settings |= {"negatives": "adversarial", "queue": 0, "one_exemplar": False} | arguments
    part = PatchContrast([6], **settings)
    keys = torch.randn(2, 6, 8, 8)
    queries = (keys + 0.5 * torch.randn_like(keys)).requires_grad_()
    return part, Comparison("restorer", "restorer", [keys], [queries])


def contrast(part: PatchContrast, given: Comparison, **arguments) -> Tensor:
    torch.manual_seed(9)  # the same places and noise, so that only weights make a difference
    return part.compare(given, query_heads=part.heads, attached=True, **arguments).contrast


@pytest.mark.parametrize("kind", ["adversarial", "free"])
def test_negatives_raise_the_contrast_and_the_encoder_lowers_it(kind):
    """The min-max game: alternating steps of both sides on one objective."""
    part, given = parts(negatives=kind)
    raising = list(part.generators.parameters())
    lowering = [*part.heads.parameters(), *given.queries]
    for _ in range(5):
        before = contrast(part, given)
        move(raising, before, length=1e-3)
        raised = contrast(part, given)
        assert raised > before
        move(lowering, raised, length=-1e-3)
        assert contrast(part, given) < raised


def move(parameters: list[Tensor], objective: Tensor, *, length: float) -> None:
    """A step of `length` along the gradient: up if it is positive."""
    gradients = torch.autograd.grad(objective, parameters)
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients):
            parameter += length * gradient / norm


def test_momentum_heads_follow():
    part, _ = parts()
    with torch.no_grad():
        for parameter in part.heads.parameters():
            parameter += 1
    before = weights_of(part.momentum_heads)
    part.follow(0.9)
    for one, other in zip(before, weights_of(part.momentum_heads)):
        torch.testing.assert_close(other - one, torch.full_like(one, 0.1))


def test_attached_negatives_reach_the_encoder():
    for attached in (True, False):
        part, given = parts()
        keys = given.keys[0].requires_grad_()
        compared = part.compare(given, query_heads=part.heads, attached=attached)
        compared.contrast.backward()
        assert (keys.grad is not None) == attached


def test_pool_fills_then_exchanges():
    torch.manual_seed(0)
    pool = ImagePool(3)
    first = torch.rand(3, 3, 4, 4)
    assert torch.equal(pool.exchange(first), first)
    kept, again = 0, 0
    for _ in range(100):
        fresh = torch.rand(1, 3, 4, 4)
        shown = pool.exchange(fresh)
        assert len(pool.images) == 3
        again += torch.equal(shown, fresh)
        kept += any(torch.equal(image, fresh[0].half()) for image in pool.images)
    assert 30 < again < 70 and again + kept == 100
    nothing = ImagePool(0)
    assert torch.equal(nothing.exchange(first), first) and not nothing.images


def test_queue_is_first_in_first_out():
    queue = NegativeQueue(2, 3)
    assert queue.extend(torch.zeros(2, 1, 4), 0).shape == (2, 1, 4)
    for value in range(4):
        queue.push(torch.full((1, 1, 4), float(value)), 0)
    extended = queue.extend(torch.full((2, 1, 4), 9.0), 0)
    assert extended[1, :, 0].tolist() == [9, 1, 2, 3]
    assert queue.extend(torch.zeros(2, 1, 4), 1).shape == (2, 1, 4)
    restored = NegativeQueue(2, 3)
    restored.load_state_dict(queue.state_dict())
    assert torch.equal(restored.extend(torch.full((2, 1, 4), 9.0), 0), extended)


def test_older_negatives_count_as_negatives():
    part, given = parts(queue=16)
    with torch.no_grad():
        alone = contrast(part, given)
        part.remember(part.compare(given, query_heads=part.heads, attached=True).negatives)
        assert contrast(part, given) > alone


def test_an_alarm_needs_patience_and_speaks_once_an_episode():
    watcher = Watcher((Alarm("spread", 0.1, 2.0, 20, "they collapse"),))
    assert watcher.look(0, {"spread": 0.5}) == []
    assert watcher.look(10, {"spread": 0.01}) == []
    assert watcher.look(20, {"spread": 0.02}) == []
    line = "step 30: spread is 0.03, for 20 steps outside [0.1, 2]: they collapse"
    assert watcher.look(30, {"spread": 0.03}) == [line]
    assert watcher.look(40, {"spread": 0.03}) == []
    assert watcher.look(50, {"spread": 0.5}) == []
    assert watcher.look(60, {"spread": 3.0}) == []
    assert watcher.look(70, {"total": 1.0}) == []
    assert watcher.look(80, {"spread": 3.0}) == []
    assert len(watcher.look(100, {"spread": 3.0})) == 1
