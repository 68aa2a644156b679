"""Contrastive regularization (CR) of AECR-Net: near the clear image, far from the hazy one.

Contrastive Learning for Compact Single Image Dehazing (Wu et al., CVPR 2021, arXiv:2104.09367).
Reproduces: the rows CR and CR* of Table 2, all rates of Table 4.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unhaze.errors import UnhazeError, counted
from unhaze.losses.vgg import TAPS, VGG
from unhaze.processes import mean_of_all, share_of, with_following, world

LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)


class Contrastive(nn.Module):
    """Sum over VGG layers of weight * d(restored, clear) / d(restored, hazy).

    d is the mean absolute difference of features over the whole batch. restored is the anchor and
    the only input with gradients, through numerator and denominator.

    positives, negatives: number of clear and hazy images that each anchor is compared with: first
        its own, then those of the next samples of the batch (the k-th of sample i is sample
        (i+k) mod B: the batch is random, and the loss stays a function of it). Distances are
        averaged over them. Batch and means are those of all processes together, so several
        processes equal one. In Table 4, 1:r is negatives=r and r:1 is positives=r. negatives=0
        is CR* of Table 2: the sum of weight * d(restored, clear).
    weights, normalize: see VGG. layer_weights: of relu1_1, relu2_1, relu3_1, relu4_1, relu5_1;
        0 skips a layer, and the network ends at the last layer used.
    epsilon: added to the denominator, as in the authors' code.
    floor: Differs: the authors have none. The denominator is at least floor * d(clear, hazy),
        because a network that starts as the identity has d(restored, hazy) = 0, and the ratio is
        unbounded. In a layer where the floor applies, the gradient only pulls towards the clear
        image. At 1:1, by the triangle inequality, it does not apply in layers where
        d(restored, clear) is below (1 - floor) * d(clear, hazy); there the loss is the authors'.
        0 turns it off.
    """

    def __init__(
        self,
        *,
        weights: str = "torchvision",
        positives: int = 1,
        negatives: int = 1,
        layer_weights: Sequence[float] = LAYER_WEIGHTS,
        normalize: bool = False,
        epsilon: float = 1e-7,
        floor: float = 0.25,
    ):
        super().__init__()
        counts = type(positives) is type(negatives) is int
        if not counts or positives < 1 or negatives < 0:
            raise ValueError(
                f"positives is {positives}, negatives {negatives}; expected whole numbers, at "
                "least 1 and 0"
            )
        if epsilon < 0 or not 0 <= floor < 1:
            raise ValueError(f"epsilon is {epsilon}, floor {floor}; expected >= 0 and in [0, 1)")
        self.layer_weights = checked_layer_weights(layer_weights)
        self.positives, self.negatives = positives, negatives
        self.epsilon, self.floor = epsilon, floor
        self.vgg = VGG(weights, normalize=normalize, taps=TAPS[: len(self.layer_weights)])

    def forward(self, restored: Tensor, clear: Tensor, hazy: Tensor) -> Tensor:
        batch = round(len(clear) * world()[1] / share_of(len(clear)))
        if max(self.positives, self.negatives) > batch:
            raise UnhazeError(
                f"contrastive loss: positives = {self.positives} and negatives = {self.negatives} "
                "come from the batch, and one step's batch here has "
                f"{counted(batch, 'image')}; enlarge it"
            )
        with torch.no_grad():
            counts = [self.positives] if self.negatives == 0 else [self.positives, self.negatives]
            others = [
                with_following(images, count - 1) for images, count in zip((clear, hazy), counts)
            ]
            sizes = [len(images) for images in others]
            features = [layer.split(sizes) for layer in self.vgg(torch.cat(others))]
        terms = [
            weight * self.term(anchor, *layer)
            for weight, anchor, layer in zip(self.layer_weights, self.vgg(restored), features)
            if weight > 0
        ]
        return torch.stack(terms).sum()

    def term(self, anchor: Tensor, clear: Tensor, hazy: Tensor | None = None) -> Tensor:
        """Returns the term of one layer, from features (B,C,H,W) of this process; those of clear
        and hazy images include what `with_following` adds."""
        to_positive = distance(anchor, clear, self.positives)
        if hazy is None:
            return to_positive
        to_negative = distance(anchor, hazy, self.negatives) + self.epsilon
        if self.floor > 0:
            own = clear[: len(anchor)]
            lowest = self.floor * distance(own, hazy, self.negatives)
            to_negative = torch.maximum(to_negative, lowest)
        return to_positive / to_negative


def distance(anchor: Tensor, others: Tensor, count: int) -> Tensor:
    """Mean |anchor - other| over all elements of the whole batch, in float32.

    others: (B,...), where the k-th of a sample is k places further on, cyclically; or, from
    several processes, (B+count-1,...) in order.
    """
    size = len(anchor)
    total = torch.zeros((), device=anchor.device)
    for k in range(count):
        total = total + (anchor - kth(others, k, size)).abs().mean(dtype=torch.float32)
    return mean_of_all(total / count, size)


def kth(others: Tensor, k: int, size: int) -> Tensor:
    """Returns the k-th other image of each of `size` samples."""
    if len(others) > size:
        return others[k : k + size]
    return others.roll(-k, 0) if k else others


def checked_layer_weights(layer_weights: Sequence[float]) -> tuple[float, ...]:
    """Returns one weight per tap, without trailing zeros; an error if one is negative."""
    given = tuple(layer_weights)
    if len(given) != len(TAPS) or min(given) < 0 or max(given) <= 0:
        raise ValueError(
            f"layer_weights is {list(given)}; expected {len(TAPS)} numbers of at least 0, not all "
            f"0, for {', '.join(TAPS)}"
        )
    last = max(index for index, weight in enumerate(given) if weight > 0)
    return given[: last + 1]
