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

    beta: GridDehazeNet (arXiv:1908.03245) uses 1, where images in [0,1] never leave the squared
    branch.
    """

    def __init__(self, *, beta: float = 1.0):
        super().__init__()
        if not beta > 0:
            raise ValueError(f"beta is {beta}; it must be positive")
        self.beta = beta

    def forward(self, restored: Tensor, clear: Tensor, hazy: Tensor) -> Tensor:
        return functional.smooth_l1_loss(restored.to(clear.dtype), clear, beta=self.beta)


class Gradient(nn.Module):
    """Mean |gradient of restored - gradient of clear|, horizontal and vertical.

    L1 hardly penalises glows beside edges and missing contrast in the distance. Like the gradient
    terms of DCPDN (Zhang and Patel, CVPR 2018), but on pictures.
    """

    def forward(self, restored: Tensor, clear: Tensor, hazy: Tensor) -> Tensor:
        error = restored.to(clear.dtype) - clear
        down = error[..., 1:, :] - error[..., :-1, :]
        across = error[..., :, 1:] - error[..., :, :-1]
        return (down.abs().mean() + across.abs().mean()) / 2


class Pinball(nn.Module):
    """Mean of 2 q |clear - restored| where restored is darker than clear, of 2 (1 - q) |...| else.

    For a picture whose mean |hazy - clear| is h, q = 0.5 + (quantile - 0.5) exp(-h / haze). Errors
    towards dark thus weigh more where there is little haze: a network that cannot distinguish
    white objects from haze leaves clear pictures unchanged, and still removes haze. q = 0.5 is
    L1. quantile in (0,1); haze > 0, in units of the range [0,1]. The loss is that of quantile
    regression (Koenker and Bassett, 1978); the dependence on h is ours.
    """

    def __init__(self, *, quantile: float = 0.75, haze: float = 0.05):
        super().__init__()
        if not 0 < quantile < 1:
            raise ValueError(f"quantile is {quantile}; it must be between 0 and 1")
        if not haze > 0:
            raise ValueError(f"haze is {haze}; it must be positive")
        self.quantile, self.haze = quantile, haze

    def forward(self, restored: Tensor, clear: Tensor, hazy: Tensor) -> Tensor:
        missing = clear - restored.to(clear.dtype)
        little = torch.exp(-(hazy - clear).abs().mean((1, 2, 3), keepdim=True) / self.haze).detach()
        quantile = 0.5 + (self.quantile - 0.5) * little
        return 2 * torch.maximum(quantile * missing, (quantile - 1) * missing).mean()
