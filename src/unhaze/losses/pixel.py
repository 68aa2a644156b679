"""Losses on pixels: mean distances between the restored and the clear image."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class L1(nn.Module):
    """Mean |restored - clear| over all images, channels and pixels."""

    def forward(self, restored: Tensor, clear: Tensor, hazy: Tensor) -> Tensor:
        return functional.l1_loss(restored.to(clear.dtype), clear)


class L2(nn.Module):
    """Mean (restored - clear)^2."""

    def forward(self, restored: Tensor, clear: Tensor, hazy: Tensor) -> Tensor:
        return functional.mse_loss(restored.to(clear.dtype), clear)


class SmoothL1(nn.Module):
    """Mean of d^2 / (2 beta) where |d| < beta, else |d| - beta/2, with d = restored - clear.

    beta: 1 is the setting of GridDehazeNet (arXiv:1908.03245), where, for images in [0,1], all of
    it is the squared branch.
    """

    def __init__(self, *, beta: float = 1.0):
        super().__init__()
        if not beta > 0:
            raise ValueError(f"beta is {beta}; it must be positive")
        self.beta = beta

    def forward(self, restored: Tensor, clear: Tensor, hazy: Tensor) -> Tensor:
        return functional.smooth_l1_loss(restored.to(clear.dtype), clear, beta=self.beta)


class Pinball(nn.Module):
    """Mean of 2 q |clear - restored| where restored is darker than clear, of 2 (1 - q) |...| else.

    quantile: q in (0,1); 0.5 is L1. Above, a network that cannot tell white things from haze leaves
    them alone rather than darken them. Koenker and Bassett, Regression Quantiles, 1978.
    """

    def __init__(self, *, quantile: float = 0.6):
        super().__init__()
        if not 0 < quantile < 1:
            raise ValueError(f"quantile is {quantile}; it must be between 0 and 1")
        self.quantile = quantile

    def forward(self, restored: Tensor, clear: Tensor, hazy: Tensor) -> Tensor:
        missing = clear - restored.to(clear.dtype)
        return 2 * torch.maximum(self.quantile * missing, (self.quantile - 1) * missing).mean()
