"""One direction of the contrast between a translated picture and its source, layer by layer."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from unhaze.losses.patchnce import adversarial_contrast, patch_contrast, spread
from unhaze.methods.memories import NegativeQueue
from unhaze.methods.steps import follow
from unhaze.nets.cddgan_training import FreeNegatives, NegativeGenerators, ProjectionHeads
from unhaze.validation import one_of

# "patches" are real patches of the source, the others are generated; some of these are trained.
NEGATIVES = ("adversarial", "frozen", "free", "patches")
TRAINED_NEGATIVES = ("adversarial", "free")


@dataclass(frozen=True)
class Comparison:
    """Features to compare, (B,C,h,w) for each layer: of a source (keys), of its translation
    (queries) and optionally of a clear picture, whose patches are further positives (exemplars).

    direction: the generator that translated. seer: the generator whose encoder saw the queries.
    """

    direction: str
    seer: str
    keys: list[Tensor]
    queries: list[Tensor]
    exemplars: list[Tensor] | None = None

    def detached(self) -> "Comparison":
        """The same without gradients to any encoder."""
        keys, queries = ([each.detach() for each in part] for part in (self.keys, self.queries))
        return replace(self, keys=keys, queries=queries)


@dataclass(frozen=True)
class Compared:
    """contrast: mean loss of the layers. spread: of the negatives, mean of the layers; None if they
    are real patches. negatives: (B,L,M,D) of the L layers, detached."""

    direction: str
    contrast: Tensor
    spread: Tensor | None
    negatives: Tensor | None


class PatchContrast:
    """The heads of one encoder and the negatives of its direction.

    channels: of the features of each layer. The rest as in `CDDGAN`.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        negatives: str,
        patches: int,
        dimension: int,
        noise: int,
        count: int,
        temperature: float,
        queue: int,
        one_exemplar: bool,
    ):
        one_of("method 'cddgan': negatives", negatives, NEGATIVES)
        sizes = {"patches": patches, "dimension": dimension, "noise": noise, "count": count}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature is {temperature}; it must be positive")
        if not channels:
            raise ValueError("layers is empty; name some, or set contrast = 0")
        self.patches, self.temperature, self.one_exemplar = patches, temperature, one_exemplar
        self.heads = ProjectionHeads(channels, dimension=dimension)
        # Initially copies; NEGCUT's other initialisation is forgotten after fifty steps at 0.9.
        self.momentum_heads = copy.deepcopy(self.heads).requires_grad_(False)
        self.generators: nn.Module | None = None
        if negatives == "free":
            self.generators = FreeNegatives(len(channels), dimension=dimension, count=count)
        elif negatives != "patches":
            self.generators = NegativeGenerators(
                len(channels), dimension=dimension, noise=noise, count=count
            ).requires_grad_(negatives == "adversarial")
        self.queue = NegativeQueue(len(channels), queue)

    def networks(self) -> dict[str, nn.Module]:
        """Returns the networks that a checkpoint saves, by kind."""
        heads = {"heads": self.heads, "momentum-heads": self.momentum_heads}
        return heads | ({"negatives": self.generators} if self.generators is not None else {})

    def compare(
        self, given: Comparison, *, query_heads: ProjectionHeads, attached: bool
    ) -> Compared:
        """Returns the contrast of `given`, with negatives of new noise.

        Gradients go to the queries, the heads and the negative generators, unless they are
        frozen; if `attached`, also to the keys through the negatives. Otherwise keys and
        exemplars are constants. query_heads: those of the encoder that saw the queries.
        """
        contrasts, spreads, made = [], [], []
        for layer, (key_map, query_map) in enumerate(zip(given.keys, given.queries)):
            places = draw_places(key_map, self.patches)
            key = self.constant(key_map, places, layer)
            query = query_heads(patches_at(query_map, places), layer)
            if self.generators is None:
                contrasts.append(patch_contrast(query, key, temperature=self.temperature))
                continue
            negatives = self.make_negatives(key_map if attached else key_map.detach(), layer)
            exemplars = None
            if given.exemplars is not None:
                clear_map = given.exemplars[layer]
                exemplars = self.constant(clear_map, draw_places(clear_map, self.patches), layer)
            contrast = adversarial_contrast(
                query,
                key,
                self.queue.extend(negatives, layer),
                temperature=self.temperature,
                exemplars=exemplars,
                one_exemplar=self.one_exemplar,
            )
            contrasts.append(contrast)
            spreads.append(spread(negatives))
            made.append(negatives.detach())
        return Compared(
            given.direction,
            torch.stack(contrasts).mean(),
            torch.stack(spreads).mean() if spreads else None,
            torch.stack(made, 1) if made else None,
        )

    @torch.no_grad()
    def constant(self, features: Tensor, places: Tensor, layer: int) -> Tensor:
        """Projected patches (B,S,D) without gradient."""
        return self.heads(patches_at(features, places), layer)

    def make_negatives(self, key_map: Tensor, layer: int) -> Tensor:
        """(B,M,D), from the mean of the source's projected features (B,C,h,w)."""
        everywhere = key_map.flatten(2).transpose(1, 2)
        context = self.momentum_heads(everywhere, layer).mean(1)
        assert self.generators is not None  # not needed if the negatives are patches
        return self.generators(context, layer)

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """momentum heads <- momentum * themselves + (1 - momentum) * heads."""
        follow(self.momentum_heads, self.heads, 1 - momentum)

    def remember(self, negatives: Tensor) -> None:
        """Puts negatives (B,L,M,D) into the queue."""
        for layer, each in enumerate(negatives.unbind(1)):
            self.queue.push(each, layer)


def draw_places(features: Tensor, count: int) -> Tensor:
    """Indices of `count` random pixels of (B,C,h,w), or of all if there are fewer."""
    pixels = features.shape[-2] * features.shape[-1]
    return torch.randperm(pixels, device=features.device)[:count]


def patches_at(features: Tensor, places: Tensor) -> Tensor:
    """(B,C,h,w) -> (B,S,C)."""
    return features.flatten(2)[..., places].transpose(1, 2)


def contrast_terms(compared: Sequence[Compared]) -> dict[str, Tensor]:
    """Returns the contrast, summed over the two directions (in each the mean of its
    comparisons), and the mean spread of the negatives, as far as they exist."""
    terms = {}
    if compared:
        terms["contrast"] = 2 * torch.stack([each.contrast for each in compared]).mean()
        spreads = [each.spread for each in compared if each.spread is not None]
        terms |= {"spread": torch.stack(spreads).mean()} if spreads else {}
    return terms
