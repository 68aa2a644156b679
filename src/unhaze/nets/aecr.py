"""AECR-Net: Contrastive Learning for Compact Single Image Dehazing (Wu et al., CVPR 2021).

arXiv:2104.09367. Reproduces: Table 1 (SOTS indoor 37.17 dB / 0.9901), the rows of Table 2,
2.61 M parameters.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.nets.blocks import FABlock, bias_of, full_precision, pad_to_multiple
from unhaze.nets.deform_conv import ModulatedDeformConv2d
from unhaze.processes import summed
from unhaze.validation import one_of


class AECRNet(nn.Module):
    """Autoencoder-like network: 4x down, shared FA blocks, deformable convolutions, mixup, 4x up.

    hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape, in [-1,1] (head "tanh").

    whitening: statistics-whitened first convolution; in the authors' code, not in the paper.
    whitening_statistics: used in training: those of the "batch" as in the authors' code, or the
        "running" ones of the initial weights. Differs: the noise of small batches slows learning
        (1.5 dB for one set of weights), and with running ones several GPUs equal one. The network
        for inference is the same.
    fa_blocks: how often the one shared FA block is applied; 6 in the paper (section 3.2).
    dfe: dynamic feature enhancement, two passes of one shared deformable convolution, "after" the
        FA blocks as in the paper, "before" them, or "none" (Table 2); "plain": after, with offsets
        and masks fixed at their initial values. Differs: a first stage at a tenth of the cost; with
        the weights of "plain", "after" is the same network.
    fusion: how encoder features reach the decoder: "mixup" (equation 2), "sum" (a plain skip
        connection) or "none" (Table 2).
    head: "tanh" as in the authors' code, or "haze": the last layer predicts gain k = 1/t and
        airlight A, restored = k*hazy - (k-1)*A. Differs: not in the paper; with the
        scattering model in the last layer, slim networks learn several times faster.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        whitening: bool = True,
        whitening_statistics: str = "batch",
        fa_blocks: int = 6,
        dfe: str = "after",
        fusion: str = "mixup",
        head: str = "tanh",
    ):
        super().__init__()
        one_of("net 'aecr': dfe", dfe, ("after", "before", "none", "plain"))
        one_of("net 'aecr': whitening_statistics", whitening_statistics, ("batch", "running"))
        one_of("net 'aecr': fusion", fusion, ("mixup", "sum", "none"))
        one_of("net 'aecr': head", head, ("tanh", "haze"))
        if width < 8 or width % 2:
            raise ValueError(f"width is {width}; AECR-Net needs an even width of at least 8")
        if fa_blocks < 0:
            raise ValueError(f"fa_blocks is {fa_blocks}; it must be at least 0")
        self.fa_blocks, self.dfe_place, self.fusion, self.head = fa_blocks, dfe, fusion, head
        by_batch = whitening_statistics == "batch"
        self.whitening = WhitenedConv2d(by_batch=by_batch) if whitening else nn.Identity()
        self.down1 = nn.Conv2d(3, width, 7, padding=3, padding_mode="reflect")
        self.down2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.down3 = nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1)
        self.fa_block = FABlock(4 * width)
        self.dfe = ModulatedDeformConv2d(4 * width, 4 * width) if dfe != "none" else None
        self.up1 = nn.ConvTranspose2d(4 * width, 2 * width, 3, 2, padding=1, output_padding=1)
        self.up2 = nn.ConvTranspose2d(2 * width, width, 3, 2, padding=1, output_padding=1)
        outputs = 3 if head == "tanh" else 4
        self.up3 = nn.Conv2d(width, outputs, 7, padding=3, padding_mode="reflect")
        if head == "haze":
            # Initially little haze and a bright airlight, instead of half of everything.
            bias_of(self.up3).data = torch.tensor([-2.0, 2.0, 2.0, 2.0])
        # Initial values of the authors' code; the paper only says "learnable".
        self.mix1 = nn.Parameter(torch.tensor(-1.0)) if fusion == "mixup" else None
        self.mix2 = nn.Parameter(torch.tensor(-0.6)) if fusion == "mixup" else None

    def forward(self, hazy: Tensor) -> Tensor:
        height, width = hazy.shape[-2:]
        padded = pad_to_multiple(hazy, 4)
        down1 = torch.relu(self.down1(self.whitening(padded)))
        down2 = torch.relu(self.down2(down1))
        down3 = torch.relu(self.down3(down2))
        features = self.enhance(down3) if self.dfe_place == "before" else down3
        for _ in range(self.fa_blocks):
            features = self.fa_block(features)
        if self.dfe_place in ("after", "plain"):
            features = self.enhance(features)
        up1 = torch.relu(self.up1(self.fuse(down3, features, self.mix1)))
        up2 = torch.relu(self.up2(self.fuse(down2, up1, self.mix2)))
        last = self.up3(up2)
        restored = torch.tanh(last) if self.head == "tanh" else invert_haze(padded, last)
        return restored[..., :height, :width]

    def enhance(self, features: Tensor) -> Tensor:
        assert self.dfe is not None  # never called for "none"
        enhance = self.dfe.as_plain if self.dfe_place == "plain" else self.dfe
        return enhance(enhance(features))

    def fuse(self, shallow: Tensor, deep: Tensor, mix: Tensor | None) -> Tensor:
        if self.fusion == "none":
            return deep
        if mix is None:  # "sum"
            return shallow + deep
        share = torch.sigmoid(mix)
        return share * shallow + (1 - share) * deep


def invert_haze(hazy: Tensor, predicted: Tensor) -> Tensor:
    """J = k I - (k-1) A: gain k = 1/t >= 1 from channel 0, A in [0,1] from channels 1 to 3."""
    gain = 1 + functional.softplus(predicted[:, :1].float())
    airlight = torch.sigmoid(predicted[:, 1:].float())
    return gain * hazy - (gain - 1) * airlight


class WhitenedConv2d(nn.Module):
    """FastDeconv, 3 -> 3, 3x3: a convolution on whitened patches (Ye et al., arXiv:1905.11926).

    Uses the statistics of the batch of all processes in training (by_batch) and running ones in
    evaluation, like batch norm. Float32 throughout: the Newton-Schulz iteration overflows in half
    precision.
    """

    running_mean: Tensor
    running_whitening: Tensor

    def __init__(
        self,
        *,
        epsilon: float = 1e-5,
        momentum: float = 0.1,
        iterations: int = 5,
        by_batch: bool = True,
    ):
        super().__init__()
        self.by_batch = by_batch
        self.epsilon, self.momentum, self.iterations = epsilon, momentum, iterations
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.register_buffer("running_mean", torch.zeros(27))
        self.register_buffer("running_whitening", torch.eye(27))

    def forward(self, image: Tensor) -> Tensor:
        with full_precision(image):
            image = image.float()
            mean, whitening = self.statistics(image)
            weight = self.conv.weight.flatten(1) @ whitening
            bias = bias_of(self.conv) - weight @ mean
            return functional.conv2d(image, weight.view(3, 3, 3, 3), bias, padding=1)

    def statistics(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (27,) and inverse square root of the covariance (27,27) of 3x3 patches."""
        if not (self.training and self.by_batch):
            return self.running_mean, self.running_whitening
        with torch.no_grad():
            patches = functional.unfold(image, 3, padding=1, stride=3)
            patches = patches.transpose(1, 2).reshape(-1, 27)
            count = summed(torch.tensor(float(len(patches)), device=image.device))
            mean = summed(patches.sum(0)) / count
            centred = patches - mean
            identity = torch.eye(27, device=image.device)
            covariance = summed(centred.T @ centred) / count + self.epsilon * identity
            whitening = inverse_square_root(covariance, self.iterations)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_whitening.lerp_(whitening, self.momentum)
        return mean, whitening


def inverse_square_root(matrix: Tensor, iterations: int) -> Tensor:
    """Newton-Schulz iteration for a symmetric positive definite (n,n) matrix."""
    norm = matrix.norm()
    identity = torch.eye(len(matrix), device=matrix.device)
    root, inverse_root = matrix / norm, identity
    for _ in range(iterations):
        step = 0.5 * (3 * identity - inverse_root @ root)
        root, inverse_root = root @ step, step @ inverse_root
    return inverse_root / norm.sqrt()
