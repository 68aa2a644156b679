"""DMPHN and DMSHN: fast deep multi-patch hierarchical network (Das, Dutta, CVPR Workshops 2020).

arXiv:2005.05999. Reproduces: NH-HAZE 16.94 dB / 0.6177 (DMPHN), 5,424,393 parameters. Names and
shapes are those of the six published files (diptamath/Nonhomogeneous_Image_Dehazing), joined.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.nets.blocks import pad_to_multiple, sized

Level = TypeVar("Level", bound=nn.Module)


class DMPHN(nn.Module):
    """Four quarters of the image, then its halves, then the whole, each using the previous level.

    hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape, unbounded. Inside, images
    run from -0.5 to 0.5.

    width: channels at full size, doubled at each of two halvings.
    """

    def __init__(self, *, width: int = 32):
        super().__init__()
        self.encoder_lv1, self.encoder_lv2, self.encoder_lv3 = levels(Encoder, width)
        self.decoder_lv1, self.decoder_lv2, self.decoder_lv3 = levels(Decoder, width)

    def forward(self, hazy: Tensor) -> Tensor:
        height, width = hazy.shape[-2:]
        # Rows and columns of a patch's features.
        rows, columns = (height + 7) // 8, (width + 7) // 8
        image = sized(pad_to_multiple(hazy, 8) - 0.5, 8 * rows, 8 * columns)
        halves = split(image, -2, 4 * rows)
        joined = []
        for half in halves:
            quarters = split(half, -1, 4 * columns)
            quarters = [sized(self.encoder_lv3(each), rows, columns) for each in quarters]
            joined.append(torch.cat(quarters, dim=-1))
        residuals = [sized(self.decoder_lv3(each), 4 * rows, 8 * columns) for each in joined]
        entered = [
            sized(self.encoder_lv2(half + residual), rows, 2 * columns)
            for half, residual in zip(halves, residuals)
        ]
        features = torch.cat(entered, dim=-2) + torch.cat(joined, dim=-2)
        residual = sized(self.decoder_lv2(features), 8 * rows, 8 * columns)
        features = features + sized(self.encoder_lv1(image + residual), 2 * rows, 2 * columns)
        return (self.decoder_lv1(features) + 0.5)[..., :height, :width]


class DMSHN(nn.Module):
    """The same with the image at a quarter, half and full size instead of patches.

    hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape, unbounded.

    own_level1: whether the full size has an encoder and a decoder of its own, as in the paper.
    The authors' test reuses those of level 2, as does False: level 1 then has no influence.
    """

    def __init__(self, *, width: int = 32, own_level1: bool = False):
        super().__init__()
        self.own_level1 = own_level1
        self.encoder_lv1, self.encoder_lv2, self.encoder_lv3 = levels(Encoder, width)
        self.decoder_lv1, self.decoder_lv2, self.decoder_lv3 = levels(Decoder, width)

    def forward(self, hazy: Tensor) -> Tensor:
        height, width = hazy.shape[-2:]
        # Rows and columns of the features at a quarter.
        rows, columns = (height + 15) // 16, (width + 15) // 16
        image = sized(pad_to_multiple(hazy, 16) - 0.5, 16 * rows, 16 * columns)
        half = resize(image, 8 * rows, 8 * columns)
        quarter = resize(half, 4 * rows, 4 * columns)
        features = sized(self.encoder_lv3(quarter), rows, columns)
        residual = resize(self.decoder_lv3(features), 8 * rows, 8 * columns)
        middle = sized(self.encoder_lv2(half + residual), 2 * rows, 2 * columns)
        residual = self.decoder_lv2(middle + resize(features, 2 * rows, 2 * columns))
        residual = resize(residual, 16 * rows, 16 * columns)
        encoder = self.encoder_lv1 if self.own_level1 else self.encoder_lv2
        decoder = self.decoder_lv1 if self.own_level1 else self.decoder_lv2
        features = sized(encoder(image + residual), 4 * rows, 4 * columns)
        features = features + resize(middle, 4 * rows, 4 * columns)
        return (decoder(features) + 0.5)[..., :height, :width]


def levels(kind: Callable[[int], Level], width: int) -> tuple[Level, Level, Level]:
    """One module per level, 1 is the finest; attributes are named as in the published files."""
    if width < 1:
        raise ValueError(f"width is {width}; it must be at least 1")
    return kind(width), kind(width), kind(width)


def split(images: Tensor, dim: int, size: int) -> list[Tensor]:
    """Returns both halves along `dim`, of `size` each."""
    first = torch.arange(size, device=images.device)
    return [images.index_select(dim, first), images.index_select(dim, first + size)]


def resize(images: Tensor, rows: int, columns: int) -> Tensor:
    """(B,C,h,w) -> (B,C,rows,columns), bilinear."""
    return functional.interpolate(images, size=(rows, columns), mode="bilinear")


class Encoder(nn.Module):
    """(B,3,h,w) -> (B,4*width,h/4,w/4); the numbers of the layers are those of the checkpoints."""

    def __init__(self, width: int):
        super().__init__()
        self.layer1 = nn.Conv2d(3, width, 3, padding=1)
        self.layer2 = pair(width)
        self.layer3 = pair(width)
        self.layer5 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.layer6 = pair(2 * width)
        self.layer7 = pair(2 * width)
        self.layer9 = nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1)
        self.layer10 = pair(4 * width)
        self.layer11 = pair(4 * width)

    def forward(self, image: Tensor) -> Tensor:
        features = self.layer1(image)
        features = residual(features, self.layer2, self.layer3)
        features = self.layer5(features)
        features = residual(features, self.layer6, self.layer7)
        features = self.layer9(features)
        return residual(features, self.layer10, self.layer11)


class Decoder(nn.Module):
    """(B,4*width,h/4,w/4) -> (B,3,h,w)."""

    def __init__(self, width: int):
        super().__init__()
        self.layer13 = pair(4 * width)
        self.layer14 = pair(4 * width)
        self.layer16 = nn.ConvTranspose2d(4 * width, 2 * width, 4, stride=2, padding=1)
        self.layer17 = pair(2 * width)
        self.layer18 = pair(2 * width)
        self.layer20 = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.layer21 = pair(width)
        self.layer22 = pair(width)
        self.layer24 = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        features = residual(features, self.layer13, self.layer14)
        features = self.layer16(features)
        features = residual(features, self.layer17, self.layer18)
        features = self.layer20(features)
        features = residual(features, self.layer21, self.layer22)
        return self.layer24(features)


def residual(features: Tensor, *pairs: nn.Module) -> Tensor:
    """Applies each of `pairs` in turn with a skip connection."""
    for each in pairs:
        features = each(features) + features
    return features


def pair(channels: int) -> nn.Sequential:
    """Convolution, ReLU, convolution."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
    )
