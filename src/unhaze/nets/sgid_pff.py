"""SGID-PFF: self-guided dehazing using progressive feature fusion (Bai et al., IEEE TIP 31, 2022).

Reproduces: SOTS indoor 38.52 dB / 0.9913, outdoor 30.20 / 0.9754, 13,867,330 parameters. Names and
shapes of the state dict are those of the authors' code (csbhr/SGID-PFF).
"""

import torch
from torch import Tensor, nn

from unhaze.nets.blocks import pad_to_multiple, sized


class SGIDPFF(nn.Module):
    """A first estimate guides a second network; both invert the haze law with a white airlight.

    hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape, unbounded.

    width: channels at full size, doubled at each of two halvings. Differs: sides that are not
    multiples of 4 are mirrored; the authors' script crops the picture.
    """

    def __init__(self, *, width: int = 32):
        super().__init__()
        if width < 1:
            raise ValueError(f"width is {width}; it must be at least 1")
        self.pre_dehaze = FirstEstimate(width)
        self.dehaze = GuidedEstimate(width)

    def forward(self, hazy: Tensor) -> Tensor:
        height, width = hazy.shape[-2:]
        rows, columns = ((side + 3) // 4 for side in (height, width))
        padded = sized(pad_to_multiple(hazy, 4), 4 * rows, 4 * columns)
        first = self.pre_dehaze(padded)
        return self.dehaze(padded, first)[..., :height, :width]


class FirstEstimate(nn.Module):
    """hazy (B,3,4h,4w) -> a first estimate of the clear image, unbounded."""

    def __init__(self, width: int):
        super().__init__()
        self.trans_net = TransmissionNet(width, guided=False)

    def forward(self, hazy: Tensor) -> Tensor:
        return invert_white_haze(hazy, self.trans_net(hazy))


class GuidedEstimate(nn.Module):
    """Estimates the transmission from fused features of the hazy image and the first estimate."""

    def __init__(self, width: int):
        super().__init__()
        self.extra_feat = nn.Sequential(conv(3, width), nn.ReLU(), ResidualBlock(width))
        self.fusion_feat = ProgressiveFusion(width)
        self.trans_net = TransmissionNet(width, guided=True)

    def forward(self, hazy: Tensor, first: Tensor) -> Tensor:
        fused = self.fusion_feat(self.extra_feat(hazy), self.extra_feat(first))
        return invert_white_haze(hazy, self.trans_net(fused))


class ProgressiveFusion(nn.Module):
    """Two feature maps (B,C,h,w) become one, starting from their sum."""

    def __init__(self, channels: int):
        super().__init__()
        self.block1 = FusionBlock(channels)
        self.block2 = FusionBlock(channels)

    def forward(self, hazy: Tensor, guide: Tensor) -> Tensor:
        fused = hazy + guide
        hazy, guide, fused = self.block1(hazy, guide, fused)
        return self.block2(hazy, guide, fused)[2]


class FusionBlock(nn.Module):
    """Refines both inputs by the fused features so far, with one kernel, and adds them."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = conv(2 * channels, channels)
        self.conv2 = conv(2 * channels, channels)

    def forward(self, hazy: Tensor, guide: Tensor, fused: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hazy = torch.relu(self.conv1(torch.cat([hazy, fused], 1)))
        guide = torch.relu(self.conv1(torch.cat([guide, fused], 1)))
        return hazy, guide, fused + self.conv2(torch.cat([hazy, guide], 1))


class TransmissionNet(nn.Module):
    """(B,3,4h,4w), or features (B,width,4h,4w) if `guided` -> transmission (B,1,4h,4w), 1e-8..1."""

    def __init__(self, width: int, *, guided: bool):
        super().__init__()
        self.unet_body = UNet(width, guided=guided)

    def forward(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.unet_body(features)).clamp(min=1e-8)


class UNet(nn.Module):
    """Two halvings with additive skips, three residual blocks at each level; -> (B,1,4h,4w)."""

    def __init__(self, width: int, *, guided: bool):
        super().__init__()
        entry = [] if guided else [nn.Sequential(conv(3, width), nn.ReLU())]
        self.inBlock = nn.Sequential(*entry, *blocks(width))
        self.encoder_1 = nn.Sequential(halved(width), *blocks(2 * width))
        self.encoder_2 = nn.Sequential(halved(2 * width), *blocks(4 * width))
        self.decoder_2 = nn.Sequential(*blocks(4 * width), doubled(4 * width))
        self.decoder_1 = nn.Sequential(*blocks(2 * width), doubled(2 * width))
        self.outBlock = nn.Sequential(*blocks(width), conv(width, 1))

    def forward(self, features: Tensor) -> Tensor:
        rows, columns = (side // 4 for side in features.shape[-2:])
        full = self.inBlock(features)
        half = sized(self.encoder_1(full), 2 * rows, 2 * columns)
        deep = sized(self.encoder_2(half), rows, columns)
        half = half + sized(self.decoder_2(deep), 2 * rows, 2 * columns)
        return self.outBlock(full + sized(self.decoder_1(half), 4 * rows, 4 * columns))


class ResidualBlock(nn.Module):
    """(B,C,h,w) -> same."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = conv(channels, channels)
        self.conv2 = conv(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv2(torch.relu(self.conv1(features)))


def blocks(channels: int) -> list[nn.Module]:
    """Three residual blocks."""
    return [ResidualBlock(channels) for _ in range(3)]


def conv(channels: int, out_channels: int, *, stride: int = 1) -> nn.Conv2d:
    """5x5, zeros around."""
    return nn.Conv2d(channels, out_channels, 5, stride, 2)


def halved(channels: int) -> nn.Sequential:
    """(B,C,2h,2w) -> (B,2C,h,w)."""
    return nn.Sequential(conv(channels, 2 * channels, stride=2), nn.ReLU())


def doubled(channels: int) -> nn.Sequential:
    """(B,C,h,w) -> (B,C/2,2h,2w)."""
    up = nn.ConvTranspose2d(channels, channels // 2, 3, 2, 1, output_padding=1)
    return nn.Sequential(up, nn.ReLU())


def invert_white_haze(hazy: Tensor, transmission: Tensor) -> Tensor:
    """The clear image by the haze law with airlight 1."""
    return (hazy + transmission - 1) / transmission
