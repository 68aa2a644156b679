"""Perceptual loss: the restored and the clear image compared by their VGG features.

Perceptual Losses for Real-Time Style Transfer and Super-Resolution (Johnson et al., ECCV 2016,
arXiv:1603.08155), as GridDehazeNet (arXiv:1908.03245) uses it for dehazing.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.losses.vgg import VGG, convolutions_of
from unhaze.validation import one_of

DISTANCES = {"l1": functional.l1_loss, "l2": functional.mse_loss}
GRIDDEHAZENET = {"relu1_2": 1 / 3, "relu2_2": 1 / 3, "relu3_3": 1 / 3}


class Perceptual(nn.Module):
    """Sum over VGG layers of weight * mean distance of features ("l1" or squared, "l2").

    network, layers: "vgg16" or "vgg19", and weights by layer name, such as relu3_3. The defaults
        are GridDehazeNet's; KDDN uses relu1_1 to relu5_1 of VGG-19 with "l1".
    weights, normalize: see VGG. The loss is no ratio: its magnitude depends on the VGG weights.
    """

    def __init__(
        self,
        *,
        weights: str = "torchvision",
        network: str = "vgg16",
        layers: Mapping[str, float] = GRIDDEHAZENET,
        distance: str = "l2",
        normalize: bool = False,
    ):
        super().__init__()
        one_of("loss 'perceptual': distance", distance, DISTANCES)
        one_of("loss 'perceptual': network", network, ("vgg16", "vgg19"))
        self.layers = checked_layers(layers, network)
        self.distance = distance
        self.vgg = VGG(weights, network=network, normalize=normalize, taps=tuple(self.layers))

    def forward(self, restored: Tensor, clear: Tensor, hazy: Tensor) -> Tensor:
        with torch.no_grad():
            clear_features = self.vgg(clear)
        compare = DISTANCES[self.distance]
        terms = [
            weight * compare(anchor.float(), target.float())
            for weight, anchor, target in zip(
                self.layers.values(), self.vgg(restored), clear_features
            )
        ]
        return torch.stack(terms).sum()


def checked_layers(layers: Mapping[str, float], network: str) -> dict[str, float]:
    """Returns the layers with positive weight, in the order of the network."""
    order = [name.replace("conv", "relu") for name in convolutions_of(network)]
    for name, weight in layers.items():
        one_of(f"loss 'perceptual': layer of {network}", name, order)
        if type(weight) not in (int, float) or not weight >= 0:
            raise ValueError(f"layer {name} has weight {weight!r}; expected a number of at least 0")
    used = {name: layers[name] for name in order if layers.get(name)}
    if not used:
        raise ValueError(f"layers is {dict(layers)}; give at least one of them a weight")
    return used
