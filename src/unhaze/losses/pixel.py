"""Losses on pixels: mean distances between the restored and the clear image."""

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
