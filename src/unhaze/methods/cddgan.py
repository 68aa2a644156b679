"""CDD-GAN, reconstructed: unpaired training by cycles, critics and an adversarial contrast.

Chen et al., ECCV 2022, arXiv:2203.07677. docs/cddgan.md states which choices are in the paper and
which are inferred, with their sources.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from unhaze.data import UnpairedBatch
from unhaze.errors import UnhazeError
from unhaze.losses.adversarial import ADVERSARIAL, reconstruction
from unhaze.methods.alarms import adversarial_alarms
from unhaze.methods.contrast import (
    TRAINED_NEGATIVES,
    Compared,
    Comparison,
    PatchContrast,
    contrast_terms,
)
from unhaze.methods.given_haze import GivenHaze, missed
from unhaze.methods.memories import ImagePool, NegativeQueue
from unhaze.methods.steps import (
    Setup,
    added,
    apply_gradients,
    average_gradients,
    frozen,
    gather,
    require_finite,
    set_up_optimizer,
)
from unhaze.nets.cddgan import CDDGenerator
from unhaze.nets.cddgan_training import PatchCritic
from unhaze.validation import lookup, one_of

WEIGHTED: tuple[str, ...] = ("adversarial", "contrast", "cycle", "identity", "haze")
DIRECTIONS = ("restorer", "hazer")
SIDES = ("clear", "hazy")
EXEMPLARS = ("identity", "mean", "one", "none")
ENCODERS = ("same", "dual")
Memory = ImagePool | NegativeQueue


class CDDGAN:
    """Two generators and two critics; each generator has projection heads and negatives.

    net: the hazy-to-clear generator ("restorer"); the other one ("hazer") is its `opposite`.
    adversarial, contrast, cycle, identity: weights of the critics' loss, the adversarial
        contrast, the cycle and the identity distance; only their ratios matter to Adam. 0 removes
        a term; contrast = 0 is CycleGAN.
    negatives: "adversarial", generated and trained to maximise the contrast; "frozen", generated
        by networks that are not trained; "free", trained parameters; "patches", the other patches
        of the source picture (CUT).
    diversity: weight of the term that keeps negatives of different noise apart; NEGCUT's, with a
        contrast of weight 1 in each direction.
    exemplars: how unpaired clear pictures enhance task-relevant features. "identity": contrast of a
        clear picture with the restorer's output for it (NEGCUT), and likewise in the other
        direction; "mean" or "one": their patches are further positives of restored ones; "none".
    encoder: "same", the encoder of the direction's generator sees source and translation; "dual":
        the other generator's encoder sees the translation (DCD-GAN).
    attached: the contrast also trains the source's encoder through the negatives (NEGCUT).
    layers, patches, dimension, noise, count, temperature, momentum: of the contrast: layers of the
        generator, patches per layer, length of projected features and of noise, negatives per
        layer, temperature, and the share of itself that a momentum head keeps in each step.
    queue: number of negatives of earlier steps that are added in each layer.
    densities: Differs: two factors, such as 0.5 and 2. The hazer adds the haze that the restorer
        found in another hazy picture of the batch, its mean optical depth times a factor between
        them and its airlight changed at random by up to 0.2; in the cycle, the haze that was
        removed, which no picture without haze can tell; and none for the identity. Empty: it
        chooses the haze (CycleGAN).
    haze: Differs: weight of the distance between the haze that the hazer added to a clear picture
        and the haze that the restorer finds there (as D4's pseudo labels); needs densities.
    gan: "lsgan" or "hinge". critic_width, critic_norm, critic_shrink: see `PatchCritic`.
        critic_lr, negatives_lr: learning rates as shares of the generators'. pool: number of
        generated pictures that are kept for each critic.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        adversarial: float = 1.0,
        contrast: float = 1.0,
        cycle: float = 10.0,
        identity: float = 5.0,
        diversity: float = 1.0,
        negatives: str = "adversarial",
        exemplars: str = "identity",
        encoder: str = "same",
        attached: bool = True,
        layers: Sequence[int] = (0, 4, 8, 12, 16),
        patches: int = 256,
        dimension: int = 256,
        noise: int = 64,
        count: int = 256,
        temperature: float = 0.07,
        momentum: float = 0.9,
        queue: int = 0,
        densities: Sequence[float] = (),
        haze: float = 0.0,
        gan: str = "lsgan",
        critic_width: int = 64,
        critic_norm: str = "instance",
        critic_shrink: int = 1,
        critic_lr: float = 1.0,
        negatives_lr: float = 1.0,
        pool: int = 50,
    ):
        net = check(setup, exemplars, encoder)
        self.weights = dict(zip(WEIGHTED, (adversarial, contrast, cycle, identity, haze)))
        check_numbers(self.weights, diversity, momentum, critic_lr, negatives_lr)
        self.fabric, self.clip, self.momentum = setup.fabric, setup.clip, momentum
        self.exemplars, self.attached, self.encoder = exemplars, attached, encoder
        self.given_haze = GivenHaze(net, densities, haze)
        self.layers, self.loss = tuple(layers) if contrast else (), lookup(ADVERSARIAL, gan, "gan")
        self.generators = {"restorer": net, "hazer": net.opposite()}
        critic = partial(PatchCritic, width=critic_width, norm=critic_norm, shrink=critic_shrink)
        critics = {f"critic-{side}": critic() for side in SIDES}
        self.smallest = critics["critic-clear"].smallest
        self.networks: dict[str, nn.Module] = {**self.generators, **critics}
        self.memories: dict[str, Memory] = {f"pool-{side}": ImagePool(pool) for side in SIDES}
        channels = [net.channels(layer) for layer in self.layers]
        build = partial(PatchContrast, channels, negatives=negatives, temperature=temperature)
        build = partial(build, patches=patches, dimension=dimension, noise=noise, count=count)
        build = partial(build, queue=queue, one_exemplar=exemplars == "one")
        self.contrasts = {name: build() for name in (DIRECTIONS if contrast else ())}
        self.diversity = diversity / dimension**0.5 if contrast else 0.0
        self.include(self.contrasts)
        settle(self.networks, self.fabric.device)
        self.groups = groups(self.networks, train_negatives=negatives in TRAINED_NEGATIVES)
        set_up = partial(set_up_optimizer, self.fabric, settings=setup.optimizer)
        self.optimizers = {name: set_up(group) for name, group in self.groups.items()}
        self.shares = {"critics": critic_lr, "negatives": negatives_lr, "generators": 1.0}
        self.alarms = adversarial_alarms(self.loss.undecided)

    def include(self, contrasts: dict[str, PatchContrast]) -> None:
        """Adds their networks and queues to those that a checkpoint saves."""
        for name, part in contrasts.items():
            self.networks |= {f"{kind}-{name}": each for kind, each in part.networks().items()}
            self.memories[f"queue-{name}"] = part.queue

    def step(self, batches: Sequence[UnpairedBatch], lr: float) -> dict[str, Tensor]:
        """Updates the critics, then the negative generators, then generators and heads.

        `lr` is the generators' learning rate. Returns the terms, without their weights.
        """
        (batch,) = batches
        with self.fabric.autocast():
            made, seen, found = self.make(batch)
            comparisons = self.comparisons(batch, made, seen)
            terms = {
                "critic_clear": self.judge("clear", batch.clear, made["restored"]),
                "critic_hazy": self.judge("hazy", batch.hazy, made["hazed"]),
            }
        self.update("critics", terms, terms["critic_clear"] + terms["critic_hazy"], lr)

        if "negatives" in self.groups:
            with self.fabric.autocast(), frozen(self.groups["generators"]):
                compared = self.compare([each.detached() for each in comparisons])
            # They maximise contrast and diversity, both summed over directions.
            raised = contrast_terms(compared)
            apart = len(DIRECTIONS) * raised["spread"]
            objective = -raised["contrast"] - self.diversity * apart
            self.update("negatives", raised, objective, lr)

        with self.fabric.autocast(), frozen(*self.all_but("generators")):
            for side, name in (("clear", "restored"), ("hazy", "hazed")):
                scores = self.networks[f"critic-{side}"](made[name])
                terms[f"adversarial_{side}"] = self.loss.generator(scores)
            compared = self.compare(comparisons)
            measured = found | distances(batch, made) | contrast_terms(compared)
            pleased = terms["adversarial_clear"] + terms["adversarial_hazy"]
            summed = measured | {"adversarial": pleased}
            total = added(weight * summed[name] for name, weight in self.weights.items() if weight)
        terms |= measured | {"total": total}
        self.update("generators", terms, total, lr)

        for each in compared:
            if each.negatives is not None:
                self.contrasts[each.direction].remember(gather(self.fabric, each.negatives))
        for part in self.contrasts.values():
            part.follow(self.momentum)
        return {name: value.detach() for name, value in terms.items()}

    def make(
        self, batch: UnpairedBatch
    ) -> tuple[dict[str, Tensor], dict[str, list[Tensor]], dict[str, Tensor]]:
        """Generates all pictures that a term needs, the encoders' features of their sources, and
        the term `haze`."""
        restorer, hazer = self.generators["restorer"], self.generators["hazer"]
        restored = restorer.translate(batch.hazy, self.layers)
        removed, other, nothing = self.given_haze(restored.haze)
        sources = [("hazed", hazer, batch.clear, other)]
        if self.weights["identity"] or (self.contrasts and self.exemplars == "identity"):
            sources += [("same_clear", restorer, batch.clear, None)]
            sources += [("same_hazy", hazer, batch.hazy, nothing)]
        translated = {"restored": restored}
        for name, generator, image, haze in sources:
            translated[name] = generator.translate(image, self.layers, haze)
        made = {name: each.picture for name, each in translated.items()}
        seen = {name: each.features for name, each in translated.items()}
        found = {}
        if self.weights["cycle"] or self.weights["haze"]:
            again = restorer.translate(made["hazed"], ())
            if self.weights["haze"]:
                found["haze"] = missed(translated["hazed"].haze, again.haze)
            if self.weights["cycle"]:
                made["clear_again"] = again.picture
                made["hazy_again"] = hazer.translate(made["restored"], (), removed).picture
        return made, seen, found

    def columns(self, restorer: CDDGenerator, batch: UnpairedBatch) -> dict[str, Tensor]:
        """Returns the pictures of a strip; haze that is given is that of the hazy picture."""
        hazer, restored = self.generators["hazer"], restorer.translate(batch.hazy, ())
        haze = restored.haze if self.given_haze.densities else None
        hazed = hazer.translate(batch.clear, (), haze).picture
        return {
            "hazy": batch.hazy,
            "restored": restored.picture,
            "hazy again": hazer.translate(restored.picture, (), haze).picture,
            "clear": batch.clear,
            "hazed": hazed,
            "clear again": restorer.translate(hazed, ()).picture,
        }

    def comparisons(
        self, batch: UnpairedBatch, made: dict[str, Tensor], seen: dict[str, list[Tensor]]
    ) -> list[Comparison]:
        """Returns the features of each translated picture and of its source."""
        comparisons = []
        if not self.contrasts:
            return comparisons
        for name, direction, other in (
            ("restored", "restorer", "hazer"),
            ("hazed", "hazer", "restorer"),
            ("same_clear", "restorer", "restorer"),
            ("same_hazy", "hazer", "hazer"),
        ):
            if name.startswith("same") and self.exemplars != "identity":
                continue
            seer = other if self.encoder == "dual" else direction
            exemplars = None
            if name == "restored" and self.exemplars in ("mean", "one"):
                with torch.no_grad():
                    exemplars = self.generators["restorer"].encode(batch.clear, self.layers)
            queries = self.generators[seer].encode(made[name], self.layers)
            comparisons.append(Comparison(direction, seer, seen[name], queries, exemplars))
        return comparisons

    def compare(self, comparisons: Sequence[Comparison]) -> list[Compared]:
        """Returns the contrast of each comparison, with negatives of new noise."""
        return [
            self.contrasts[each.direction].compare(
                each, query_heads=self.contrasts[each.seer].heads, attached=self.attached
            )
            for each in comparisons
        ]

    def all_but(self, group: str) -> list[nn.ModuleList]:
        """Returns the other groups of networks."""
        return [each for name, each in self.groups.items() if name != group]

    def judge(self, side: str, real: Tensor, made: Tensor) -> Tensor:
        """Returns the loss of the critic of `side`; generated pictures may be older ones."""
        # The pool is the same in all processes: each adds all pictures and takes its own part.
        pool = self.memories[f"pool-{side}"]
        assert isinstance(pool, ImagePool)  # the others are queues
        everyone = pool.exchange(gather(self.fabric, made.detach()))
        shown = everyone.chunk(self.fabric.world_size)[self.fabric.global_rank]
        critic = self.networks[f"critic-{side}"]
        return self.loss.critic(critic(real), critic(shown))

    def update(self, group: str, terms: dict[str, Tensor], objective: Tensor, lr: float) -> None:
        """One optimizer step of a group that minimises `objective`, if all `terms` are finite."""
        require_finite(terms)
        self.fabric.backward(objective)
        average_gradients(self.fabric, self.groups[group])
        rate = lr * self.shares[group]
        optimizer = self.optimizers[group]
        apply_gradients(self.fabric, self.groups[group], optimizer, lr=rate, clip=self.clip)


def distances(batch: UnpairedBatch, made: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the pixel terms whose pictures were generated, summed over both directions."""
    there = {"hazy": batch.hazy, "clear": batch.clear}
    return {
        term: added(reconstruction(made[name.format(side)], there[side]) for side in SIDES)
        for term, name in (("cycle", "{}_again"), ("identity", "same_{}"))
        if name.format("hazy") in made
    }


def check(setup: Setup, exemplars: str, encoder: str) -> CDDGenerator:
    """Returns the net. UnhazeError if this method does not support it."""
    net = setup.net
    one_of("method 'cddgan': exemplars", exemplars, EXEMPLARS)
    one_of("method 'cddgan': encoder", encoder, ENCODERS)
    if setup.losses:
        given = ", ".join(setup.losses)
        raise UnhazeError(
            f"method 'cddgan' has no pairs for [losses] {given}; its terms are weighted in [method]"
        )
    if not isinstance(net, CDDGenerator):
        raise UnhazeError("method 'cddgan' contrasts layers of its own net; set net.name = cddgan")
    if net.head == "veil":
        raise UnhazeError("net.head is 'veil', which adds haze; choose 'tanh' or 'haze'")
    if setup.forward is not net:
        raise UnhazeError("method 'cddgan' cannot be compiled; set hardware.compile = none")
    return net


def check_numbers(
    weights: dict[str, float], diversity: float, momentum: float, *shares: float
) -> None:
    """Raises ValueError for invalid numbers."""
    for name, value in (weights | {"diversity": diversity}).items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}; it must be at least 0")
    if not any(weights.values()):
        raise ValueError(f"{', '.join(weights)} are all 0; at least one must be more")
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum is {momentum}; it must be from 0 to 1")
    if not all(0 <= share < math.inf for share in shares):
        raise ValueError(f"critic_lr and negatives_lr are {shares}; they must be at least 0")


def groups(networks: dict[str, nn.Module], *, train_negatives: bool) -> dict[str, nn.ModuleList]:
    """Returns the groups of networks in the order of updates. Momentum heads are in none."""
    starts = {"critics": "critic-", "generators": ("restorer", "hazer", "heads-")}
    starts |= {"negatives": "negatives-"} if train_negatives else {}
    members = {
        group: [net for name, net in networks.items() if name.startswith(start)]
        for group, start in starts.items()
    }
    return {group: nn.ModuleList(nets) for group, nets in members.items() if nets}


def settle(networks: dict[str, nn.Module], device: torch.device) -> None:
    """Moves all networks to `device`, image networks in the memory layout of the restorer."""
    stem = networks["restorer"].get_parameter("stem.weight")
    last = stem.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    for net in networks.values():
        # PyTorch's overloads lack memory_format.
        net.to(device, memory_format=layout)  # pyright: ignore[reportCallIssue]
