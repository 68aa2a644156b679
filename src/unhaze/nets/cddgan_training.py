"""Networks that only the training of CDD-GAN needs: critics, projection heads and negatives."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.nets.cddgan import blur_down, conv
from unhaze.processes import drawn
from unhaze.validation import one_of

CRITIC_NORMS = ("instance", "none")


class PatchCritic(nn.Module):
    """PatchGAN (Isola et al., CVPR 2017) of the 70x70 kind, with anti-aliased sampling.

    image (B,3,H,W) in [0,1], sides of at least `smallest` -> scores (B,1,h,w), any number.
    norm: "instance" as in NEGCUT. Differs: "none", because the norm removes the level and contrast
        of a picture, by which the critic can detect haze.
    shrink: Differs: it judges the picture shrunk by this factor, because haze does not depend on
        fine texture; patches then cover more of the scene, and 2 costs a quarter.
    """

    def __init__(self, *, width: int = 64, norm: str = "instance", shrink: int = 1):
        super().__init__()
        one_of("critic_norm", norm, CRITIC_NORMS)
        for name, value in (("critic_width", width), ("critic_shrink", shrink)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        self.normalized, self.shrink, self.smallest = norm == "instance", shrink, 32 * shrink
        widths = (3, width, 2 * width, 4 * width, 8 * width)
        self.convs = nn.ModuleList(
            conv(before, after, 4, normalized=self.normalized)
            for before, after in zip(widths, widths[1:])
        )
        self.last = conv(widths[-1], 1, 4, normalized=True)

    def forward(self, image: Tensor) -> Tensor:
        features = 2 * functional.avg_pool2d(image, self.shrink) - 1
        for index, layer in enumerate(self.convs):
            features = layer(features)
            if self.normalized and index:
                features = functional.instance_norm(features)
            features = functional.leaky_relu(features, 0.2)
            features = blur_down(features) if index < 3 else features
        return self.last(features)


class ProjectionHeads(nn.Module):
    """One MLP per layer that projects patch features into the space of the comparison.

    features (B,N,C) of `layer` (its place in `channels`) -> (B,N,dimension) of length 1, float32.
    """

    def __init__(self, channels: Sequence[int], *, dimension: int = 256):
        super().__init__()
        self.heads = nn.ModuleList(mlp(each, dimension) for each in channels)

    def forward(self, features: Tensor, layer: int) -> Tensor:
        return unit(self.heads[layer](features))


class NegativeGenerators(nn.Module):
    """One MLP per layer: the mean feature of a picture and noise -> a generated negative.

    context (B,dimension) of `layer` -> (B,count,dimension) of length 1, float32, each from its own
    noise (Instance-wise Hard Negative Example Generation, Wang et al., arXiv:2108.04547).
    """

    def __init__(self, layers: int, *, dimension: int = 256, noise: int = 64, count: int = 256):
        super().__init__()
        self.noise, self.count = noise, count
        self.generators = nn.ModuleList(
            mlp(dimension + noise, dimension, hidden=dimension) for _ in range(layers)
        )

    def forward(self, context: Tensor, layer: int) -> Tensor:
        noise = drawn(torch.randn, len(context), self.count, self.noise, like=context)
        repeated = context[:, None].expand(-1, self.count, -1)
        return unit(self.generators[layer](torch.cat((repeated, noise), -1)))


class FreeNegatives(nn.Module):
    """Negatives that are parameters, the same for every picture (AdCo, arXiv:2011.08435).

    context (B,dimension), of which only B is used -> (B,count,dimension) of length 1.
    """

    def __init__(self, layers: int, *, dimension: int = 256, count: int = 256):
        super().__init__()
        self.banks = nn.ParameterList(torch.randn(count, dimension) for _ in range(layers))

    def forward(self, context: Tensor, layer: int) -> Tensor:
        return unit(self.banks[layer]).expand(len(context), -1, -1)


def mlp(before: int, after: int, hidden: int | None = None) -> nn.Sequential:
    """Linear, ReLU, Linear with NEGCUT's initialisation."""
    enter, leave = nn.Linear(before, hidden or after), nn.Linear(hidden or after, after)
    for layer in (enter, leave):
        nn.init.xavier_normal_(layer.weight, gain=0.02)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(enter, nn.ReLU(), leave)


def unit(vectors: Tensor) -> Tensor:
    """Divides by the length along the last axis; in float32, or 1e-7 would be lost."""
    vectors = vectors.float()
    return vectors / (vectors.norm(dim=-1, keepdim=True) + 1e-7)
