"""The method of CDD-GAN, reconstructed: who learns from what in a step, and what it remembers."""

import copy

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from unhaze.config import Optimizer
from unhaze.data import UnpairedBatch
from unhaze.errors import UnhazeError
from unhaze.methods.alarms import Watcher
from unhaze.methods.cddgan import CDDGAN, WEIGHTED
from unhaze.methods.contrast import contrast_terms
from unhaze.methods.steps import Setup
from unhaze.nets import create_net

SMALL = {"layers": [4, 12], "patches": 16, "dimension": 16, "noise": 4, "count": 8}
SMALL |= {"critic_width": 4, "pool": 2}
PHYSICAL = {"head": "haze", "norm": "none", "shrink": 2}


def method(net: dict | None = None, *, lr: float = 2e-4, **arguments) -> CDDGAN:
    torch.manual_seed(4)
    restorer = create_net("cddgan", **({"width": 4, "blocks": 2} | (net or {})))
    setup = Setup(
        fabric=Fabric(accelerator="cpu", devices=1),
        net=restorer,
        forward=restorer,
        losses={},
        weights={},
        optimizer=Optimizer(lr=lr, betas=(0.5, 0.999)),
        clip=0.0,
    )
    return CDDGAN(setup, **(SMALL | arguments))


def batch(seed: int = 0, *, size: int = 1) -> UnpairedBatch:
    random = torch.Generator().manual_seed(seed)
    hazy, clear = torch.rand(2, size, 3, 32, 32, generator=random)
    return UnpairedBatch(0.4 * hazy + 0.5, clear)


def weights_of(net: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in net.state_dict().values()]


def moved(method: CDDGAN, before: dict[str, list[Tensor]]) -> set[str]:
    """The networks whose weights are no longer those of `before`."""
    return {
        name
        for name, net in method.networks.items()
        if any(not torch.equal(one, other) for one, other in zip(before[name], weights_of(net)))
    }


GENERATORS = {"restorer", "hazer", "heads-restorer", "heads-hazer"}
MOMENTUM = {"momentum-heads-restorer", "momentum-heads-hazer"}
NEGATIVES = {"negatives-restorer", "negatives-hazer"}
CRITICS = {"critic-clear", "critic-hazy"}


def test_a_checkpoint_holds_all_networks_optimizers_and_memories():
    full = method(queue=4)
    assert full.networks.keys() == GENERATORS | MOMENTUM | NEGATIVES | CRITICS
    assert list(full.optimizers) == ["critics", "generators", "negatives"]
    assert full.memories.keys() == {"pool-clear", "pool-hazy", "queue-restorer", "queue-hazer"}


def test_each_update_moves_its_own_networks_only(monkeypatch):
    """By the order of the updates: critics, negatives, generators with heads, momentum heads."""
    full = method()
    seen, update = [], CDDGAN.update

    def watching(self, group, terms, objective, lr):
        before = {name: weights_of(net) for name, net in self.networks.items()}
        update(self, group, terms, objective, lr)
        seen.append((group, moved(self, before)))
        assert all(each.grad is None for net in self.networks.values() for each in net.parameters())

    monkeypatch.setattr(CDDGAN, "update", watching)
    start = {name: weights_of(net) for name, net in full.networks.items()}
    full.step([batch()], 2e-4)
    assert seen == [("critics", CRITICS), ("negatives", NEGATIVES), ("generators", GENERATORS)]
    assert moved(full, start) == GENERATORS | MOMENTUM | NEGATIVES | CRITICS


def gradients_of(full: CDDGAN, group: str, monkeypatch) -> set[str]:
    """The networks that hold a gradient after the backward pass of one update."""
    held: set[str] = set()
    update = CDDGAN.update

    def watching(self, name, terms, objective, lr):
        if name == group:
            objective.backward(retain_graph=True)
            for each, net in self.networks.items():
                if any(parameter.grad is not None for parameter in net.parameters()):
                    held.add(each)
                net.zero_grad()
        update(self, name, terms, objective, lr)

    with monkeypatch.context() as patch:
        patch.setattr(CDDGAN, "update", watching)
        full.step([batch()], 2e-4)
    return held


@pytest.mark.parametrize(
    ("group", "names"),
    [("critics", CRITICS), ("negatives", NEGATIVES), ("generators", GENERATORS)],
)
@pytest.mark.parametrize("arguments", [{}, {"encoder": "dual", "exemplars": "mean"}])
def test_no_gradient_leaks(group, names, arguments, monkeypatch):
    assert gradients_of(method(**arguments), group, monkeypatch) == names


def test_networks_can_be_trained_after_a_step():
    """Freezing is undone, also for the next step."""
    full = method()
    full.step([batch()], 2e-4)
    for name, net in full.networks.items():
        for parameter in net.parameters():
            assert parameter.requires_grad == (name not in MOMENTUM), name


def contrast_after(steps: int, **arguments) -> dict[str, float]:
    """Terms of one batch after `steps` steps in which only critics and negatives learn."""
    full = method(negatives_lr=1e6, critic_lr=0.0, cycle=0.0, identity=0.0, **arguments)
    for _ in range(steps):
        torch.manual_seed(7)
        terms = full.step([batch()], 1e-9)
    return {name: value.item() for name, value in terms.items()}


def test_in_whole_steps_trained_negatives_raise_the_contrast():
    trained = contrast_after(4, diversity=0.0)
    frozen_ones = contrast_after(4, negatives="frozen", diversity=0.0)
    assert trained["contrast"] > 1.05 * frozen_ones["contrast"]


def test_diversity_keeps_negatives_apart():
    assert (
        contrast_after(4, diversity=50.0)["spread"]
        > 1.1 * contrast_after(4, diversity=0.0)["spread"]
    )


def test_diversity_of_one_weighs_as_in_negcut(monkeypatch):
    """There each direction has -contrast - mean |one half of its negatives - the other half|."""
    full, seen = method(diversity=1.0, exemplars="none"), {}
    compare, update = full.compare, full.update

    def note(comparisons):
        seen["compared"] = compare(comparisons)
        return seen["compared"]

    def catch(group, terms, objective, lr):
        if group == "negatives":
            seen["expected"] = sum(
                -each.contrast - (made[:, :4] - made[:, 4:]).abs().mean()
                for each in seen["compared"]
                for made in [each.negatives.flatten(0, 1)]
            )
            seen["objective"] = objective
        update(group, terms, objective, lr)

    monkeypatch.setattr(full, "compare", note)
    monkeypatch.setattr(full, "update", catch)
    full.step([batch()], 2e-4)
    torch.testing.assert_close(seen["objective"], seen["expected"])


def test_frozen_negatives_stay_as_they_started():
    still = method(negatives="frozen")
    before = {name: weights_of(net) for name, net in still.networks.items()}
    still.step([batch()], 2e-4)
    assert moved(still, before) == GENERATORS | MOMENTUM | CRITICS
    assert list(still.optimizers) == ["critics", "generators"]


@pytest.mark.parametrize(
    ("arguments", "terms"),
    [
        ({"contrast": 0.0}, {"cycle", "identity"}),
        ({"contrast": 0.0, "identity": 0.0}, {"cycle"}),
        ({"cycle": 0.0, "identity": 0.0, "exemplars": "none"}, {"contrast", "spread"}),
        ({"negatives": "patches"}, {"cycle", "identity", "contrast"}),
        ({"negatives": "free"}, {"cycle", "identity", "contrast", "spread"}),
        ({"gan": "hinge", "exemplars": "one"}, {"cycle", "identity", "contrast", "spread"}),
        ({"encoder": "dual", "queue": 3}, {"cycle", "identity", "contrast", "spread"}),
        ({"attached": False, "layers": [0, 8]}, {"cycle", "identity", "contrast", "spread"}),
    ],
)
@pytest.mark.parametrize("net", [{}, PHYSICAL])
def test_every_choice_learns(net, arguments, terms):
    always = {"critic_clear", "critic_hazy", "adversarial_clear", "adversarial_hazy", "total"}
    full = method(net, **arguments)
    before = weights_of(full.networks["restorer"])
    for step in range(2):
        answered = full.step([batch(step)], 2e-4)
    assert answered.keys() == always | terms
    assert all(value.isfinite() and not value.requires_grad for value in answered.values())
    assert any(
        not torch.equal(*pair) for pair in zip(before, weights_of(full.networks["restorer"]))
    )


def test_total_is_the_weighted_sum():
    full = method(adversarial=4.0, cycle=3.0, identity=2.0, contrast=0.5)
    terms = {name: value.item() for name, value in full.step([batch()], 2e-4).items()}
    adversarial = terms["adversarial_clear"] + terms["adversarial_hazy"]
    weighted = 3 * terms["cycle"] + 2 * terms["identity"] + 0.5 * terms["contrast"]
    assert terms["total"] == pytest.approx(4 * adversarial + weighted, rel=1e-5)


def test_without_contrast_all_else_starts_equal():
    """So that CycleGAN and CDD-GAN are compared from the same weights."""
    full, plain = method(), method(contrast=0.0)
    for name in ("restorer", "hazer", "critic-clear", "critic-hazy"):
        pairs = zip(weights_of(full.networks[name]), weights_of(plain.networks[name]))
        assert all(torch.equal(*pair) for pair in pairs)


def test_identity_contrast_looks_at_clear_pictures_too():
    full = method()
    given = batch()
    made, seen, _ = full.make(given)
    compared = full.comparisons(given, made, seen)
    assert [(each.direction, each.seer) for each in compared] == [
        ("restorer", "restorer"),
        ("hazer", "hazer"),
        ("restorer", "restorer"),
        ("hazer", "hazer"),
    ]
    clear = full.networks["restorer"].encode(given.clear, full.layers)
    assert all(torch.equal(*pair) for pair in zip(compared[2].keys, clear))


@pytest.mark.parametrize("exemplars", ["mean", "one"])
def test_clear_exemplars_are_positives_of_restored_patches_only(exemplars):
    full = method(exemplars=exemplars)
    given = batch()
    compared = full.comparisons(given, *full.make(given)[:2])
    assert [each.exemplars is not None for each in compared] == [True, False]
    clear = full.networks["restorer"].encode(given.clear, full.layers)
    assert all(torch.equal(*pair) for pair in zip(compared[0].exemplars, clear))
    assert not any(each.requires_grad for each in compared[0].exemplars)


def test_the_dual_encoder_is_the_other_generators():
    full = method(encoder="dual")
    given = batch()
    made, seen, _ = full.make(given)
    first = full.comparisons(given, made, seen)[0]
    assert (first.direction, first.seer) == ("restorer", "hazer")
    queries = full.networks["hazer"].encode(made["restored"], full.layers)
    assert all(torch.equal(*pair) for pair in zip(first.queries, queries))


def test_contrast_is_summed_over_directions_and_meant_over_comparisons():
    full = method()
    given = batch()
    compared = full.compare(full.comparisons(given, *full.make(given)[:2]))
    values = [each.contrast.item() for each in compared]
    expected = (values[0] + values[2]) / 2 + (values[1] + values[3]) / 2
    assert contrast_terms(compared)["contrast"].item() == pytest.approx(expected)


def test_a_step_is_a_function_of_what_a_checkpoint_holds():
    """Copies of networks, optimizers and memories give the same next step, bit for bit."""
    one = method(queue=5)
    for step in range(3):
        torch.manual_seed(step)
        one.step([batch(step)], 2e-4)
    other = method(queue=5)
    for name, net in (one.networks | one.memories).items():
        (other.networks | other.memories)[name].load_state_dict(copy.deepcopy(net.state_dict()))
    for name, optimizer in one.optimizers.items():
        other.optimizers[name].load_state_dict(copy.deepcopy(optimizer.state_dict()))
    results = []
    for each in (one, other):
        torch.manual_seed(3)
        results.append({name: value.item() for name, value in each.step([batch(3)], 2e-4).items()})
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"negatives": "hard"}, "adversarial, frozen, free, patches"),
        ({"exemplars": "all"}, "identity, mean, one, none"),
        ({"encoder": "both"}, "same, dual"),
        ({"gan": "wgan"}, "no gan 'wgan'"),
        ({"layers": [99]}, "no layer 99"),
        ({"layers": []}, "layers is empty"),
        ({"patches": 0}, "patches is 0"),
        ({"dimension": 0}, "dimension is 0"),
        (dict.fromkeys(WEIGHTED, 0.0), "haze are all 0"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"pool": -1}, "pool is -1"),
        ({"queue": -1}, "queue is -1"),
        ({"cycle": -1.0}, "cycle is -1"),
        ({"momentum": 1.5}, "momentum is 1.5"),
        ({"critic_lr": -1.0}, "critic_lr"),
        ({"critic_width": 0}, "critic_width is 0"),
        ({"densities": [0.5, 2.0]}, "net that predicts haze"),
        ({"haze": 1.0}, "set method.densities"),
        ({"net": PHYSICAL, "densities": [2.0, 0.5]}, "two factors over 0"),
        ({"net": PHYSICAL, "densities": [0.0, 1.0]}, "two factors over 0"),
        ({"net": PHYSICAL, "densities": [0.5, 1.0, 2.0]}, "two factors over 0"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises((UnhazeError, ValueError), match=message):
        method(**arguments)


def test_needs_its_own_net_unwrapped():
    own, foreign = create_net("cddgan", width=4, blocks=2), create_net("aodnet")
    hazing = own.opposite()
    hazing.head = "veil"
    for net, forward, losses, message in (
        (foreign, foreign, {}, "set net.name = cddgan"),
        (own, nn.Identity(), {}, "cannot be compiled"),
        (own, own, {"l1": nn.Identity()}, "no pairs for \\[losses\\] l1"),
        (hazing, hazing, {}, "adds haze"),
    ):
        fabric = Fabric(accelerator="cpu", devices=1)
        setup = Setup(fabric, net, forward, losses, {}, Optimizer(), clip=0.0)
        with pytest.raises(UnhazeError, match=message):
            CDDGAN(setup)


@pytest.mark.parametrize(
    ("terms", "named"),
    [
        ({"critic_clear": 0.001}, "critic_clear"),
        ({"critic_hazy": 40.0}, "critic_hazy"),
        ({"spread": 0.001}, "negatives no longer differ"),
        ({"contrast": 0.0002}, "the contrast teaches nothing"),
    ],
)
def test_collapse_and_divergence_are_watched(terms, named):
    watcher = Watcher(method().alarms)
    healthy = {"critic_clear": 0.25, "critic_hazy": 0.2, "spread": 0.9, "contrast": 2.0}
    assert not [line for step in range(0, 3000, 100) for line in watcher.look(step, healthy)]
    lines = [
        line for step in range(3000, 6000, 100) for line in watcher.look(step, healthy | terms)
    ]
    assert len(lines) == 1 and named in lines[0]
