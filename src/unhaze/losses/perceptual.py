"""Perceptual loss: the restored and the clear image compared by their VGG features.

Perceptual Losses for Real-Time Style Transfer and Super-Resolution (Johnson et al., ECCV 2016,
arXiv:1603.08155), as GridDehazeNet (arXiv:1908.03245) uses it for dehazing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.losses.contrastive import checked_layer_weights
from unhaze.losses.vgg import VGG19
from unhaze.names import one_of

DISTANCES = {"l1": functional.l1_loss, "l2": functional.mse_loss}


class Perceptual(nn.Module):
    """Sum over VGG layers of weight * mean distance of features ("l1" or squared, "l2").

    layer_weights: of relu1_1, relu2_1, relu3_1, relu4_1, relu5_1. Differs: GridDehazeNet takes the
        mean over relu1_2, relu2_2 and relu3_3 of VGG-16; these are the nearest taps of VGG-19.
        KDDN takes all five by "l1".
    weights, normalize: see VGG19. Not a ratio: its size depends on which weights are used.
    """

    def __init__(
        self,
        *,
        weights: str = "torchvision",
        layer_weights: Sequence[float] = (1 / 3, 1 / 3, 1 / 3, 0, 0),
        distance: str = "l2",
        normalize: bool = False,
    ):
        super().__init__()
        one_of("loss 'perceptual': distance", distance, DISTANCES)
        self.layer_weights = checked_layer_weights(layer_weights)
        self.distance = distance
        self.vgg = VGG19(weights, normalize=normalize, taps=len(self.layer_weights))

    def forward(self, restored: Tensor, clear: Tensor, hazy: Tensor) -> Tensor:
        with torch.no_grad():
            clear_features = self.vgg(clear)
        compare = DISTANCES[self.distance]
        terms = [
            weight * compare(anchor.float(), target.float())
            for weight, anchor, target in zip(
                self.layer_weights, self.vgg(restored), clear_features
            )
            if weight > 0
        ]
        return torch.stack(terms).sum()
