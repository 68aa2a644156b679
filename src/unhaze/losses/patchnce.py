"""The adversarial contrastive loss on patches, and the diversity of generated negatives.

Contrastive learning for unpaired translation (Park et al., arXiv:2007.15651) with generated
negatives (Wang et al., arXiv:2108.04547); CDD-GAN (arXiv:2203.07677) minimises it over the encoder
and maximises it over the generators of negatives. All vectors are of length 1, all in float32.
"""

import torch
from torch import Tensor
from torch.nn import functional


def adversarial_contrast(
    queries: Tensor,
    keys: Tensor,
    negatives: Tensor,
    *,
    temperature: float = 0.07,
    exemplars: Tensor | None = None,
    one_exemplar: bool = False,
) -> Tensor:
    """Mean over patches of -log(P / (P + N)), a scalar; 0 if no negative is similar.

    queries, keys (B,S,D): patch s of the translated picture and of its source, the positive.
    negatives (B,M,D), shared by all patches of a picture. N is the sum of exp(query.negative / T).
    exemplars (B,E,D): patches of an unpaired clear picture, further positives. P is exp(query.key
    / T), or the mean of that and of the exemplars' values (with `one_exemplar`, of that and of one
    random exemplar per patch).
    """
    with torch.autocast(queries.device.type, enabled=False):
        positive = (queries * keys).sum(-1, keepdim=True) / temperature
        if exemplars is not None:
            further = queries @ exemplars.transpose(1, 2) / temperature
            if one_exemplar:
                drawn = torch.randint(further.shape[-1], further.shape[:2], device=queries.device)
                further = further.gather(-1, drawn[..., None])
            positive = log_mean_exp(torch.cat((positive, further), -1))
        negative = queries @ negatives.transpose(1, 2) / temperature
        everything = torch.logsumexp(torch.cat((positive, negative), -1), -1)
        return (everything - positive[..., 0]).mean()


def patch_contrast(queries: Tensor, keys: Tensor, *, temperature: float = 0.07) -> Tensor:
    """Like `adversarial_contrast`, with the other patches of the source as negatives."""
    with torch.autocast(queries.device.type, enabled=False):
        scores = queries @ keys.transpose(1, 2) / temperature
        own = torch.arange(keys.shape[1], device=keys.device).expand(len(keys), -1)
        return functional.cross_entropy(scores.flatten(0, 1), own.flatten())


def spread(negatives: Tensor) -> Tensor:
    """Returns the distance between the two halves (by noise) of negatives (B,M,D), a scalar.

    Mean absolute difference times sqrt(D): about 1.1 for independent directions, 0 if the noise
    makes no difference. Its negative, without sqrt(D), is NEGCUT's diversity loss.
    """
    half = negatives.shape[1] // 2
    difference = (negatives[:, :half] - negatives[:, half : 2 * half]).abs().mean()
    return difference * negatives.shape[-1] ** 0.5


def log_mean_exp(scores: Tensor) -> Tensor:
    """Logarithm of the mean of exp(scores) along the last axis, which is kept with length 1."""
    return torch.logsumexp(scores, -1, keepdim=True) - torch.log(
        scores.new_tensor(scores.shape[-1])
    )
