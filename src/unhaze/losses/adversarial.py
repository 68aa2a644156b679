"""Losses of critics and generators in unpaired training, on scores of any shape, in float32.

LSGAN: Mao et al., arXiv:1611.04076. Hinge: Lim and Ye, arXiv:1705.02894.
Reconstruction: CycleGAN, Zhu et al., arXiv:1703.10593.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class AdversarialLoss:
    """critic(real scores, generated scores) and generator(generated scores) -> scalar.

    undecided: the critic's loss where it cannot distinguish real from generated pictures.
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    undecided: float


def lsgan_critic(real: Tensor, made: Tensor) -> Tensor:
    """Half of mean (real - 1)^2 + mean made^2."""
    return ((real.float() - 1).square().mean() + made.float().square().mean()) / 2


def lsgan_generator(made: Tensor) -> Tensor:
    """Mean (made - 1)^2."""
    return (made.float() - 1).square().mean()


def hinge_critic(real: Tensor, made: Tensor) -> Tensor:
    """Half of mean max(0, 1 - real) + mean max(0, 1 + made)."""
    return ((1 - real.float()).relu().mean() + (1 + made.float()).relu().mean()) / 2


def hinge_generator(made: Tensor) -> Tensor:
    """-mean made."""
    return -made.float().mean()


ADVERSARIAL = {
    "lsgan": AdversarialLoss(lsgan_critic, lsgan_generator, undecided=0.25),
    "hinge": AdversarialLoss(hinge_critic, hinge_generator, undecided=1.0),
}


def reconstruction(again: Tensor, image: Tensor) -> Tensor:
    """Mean |again - image| of pictures scaled to [-1,1], as the published loss weights assume.

    again: `image` (B,3,H,W) translated and back (cycle), or to its own domain (identity).
    """
    return 2 * (again.float() - image.float()).abs().mean()
