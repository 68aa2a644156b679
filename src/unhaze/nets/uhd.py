"""4KDehazing: ultra-high-definition dehazing by multi-guided bilateral learning (CVPR 2021).

Zheng, Ren, Cao, Hu, Wang, Song, Jia. No score of the published weights is known here; 34,547,655
parameters. Names and shapes of the state dict are those of the authors' code (zzr-idam/4KDehazing).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

# Planes of the bilateral grid, and its rows and columns; 12 numbers are a 3x4 affine colour map.
GRID = 16
# Sides of the resized images that the two U-nets process.
GRID_SIDE, FEATURE_SIDE = 256, 320


class UHDDehazing(nn.Module):
    """Affine colour maps from a small copy, sampled by position and by three learned guides.

    hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape, unbounded. The cost of the
    two U-nets does not grow with the image.

    width: channels of the U-nets at their full size, doubled at each of three halvings.
    """

    def __init__(self, *, width: int = 64):
        super().__init__()
        if width < 1:
            raise ValueError(f"width is {width}; it must be at least 1")
        self.guide_r, self.guide_g, self.guide_b = Guide(), Guide(), Guide()
        self.u_net, self.u_net_mini = UNet(width), UNet(width)
        self.smooth = nn.PReLU()  # In the published checkpoints, unused.
        self.fusion = nn.Sequential(
            nn.Conv2d(9, 16, 3, padding=1), nn.PReLU(), nn.Conv2d(16, 3, 1), nn.PReLU()
        )
        self.x_r_fusion = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.PReLU(), nn.Conv2d(8, 3, 3, padding=1), nn.PReLU()
        )
        self.p = nn.PReLU()
        self.r_point = nn.Conv2d(3, 3, 1)
        self.g_point = nn.Conv2d(3, 3, 1)
        self.b_point = nn.Conv2d(3, 3, 1)

    def forward(self, hazy: Tensor) -> Tensor:
        height, width = hazy.shape[-2:]
        size = height, width
        features = resize(self.u_net_mini(resize(hazy, (FEATURE_SIDE, FEATURE_SIDE))), size)
        # The U-net's three channels, averaged over four rows each, are read as a grid of 12 x 16^3.
        grid = functional.avg_pool2d(self.u_net(resize(hazy, (GRID_SIDE, GRID_SIDE))), (4, 1))
        grid = grid.reshape(-1, 12, GRID, GRID, GRID)
        heads = (
            (self.guide_r, self.r_point), (self.guide_g, self.g_point), (self.guide_b, self.b_point)
        )  # fmt: skip
        guides = [guide(hazy[:, i : i + 1]) for i, (guide, _) in enumerate(heads)]
        maps = slice_grid(grid, guides, size)
        mapped = [
            apply_maps(each, self.p(point(features))) for each, (_, point) in zip(maps, heads)
        ]
        mixed = self.fusion(torch.cat(mapped, dim=1))
        return self.p(self.x_r_fusion(mixed) * hazy - mixed + 1)


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(B,C,h,w) -> (B,C,*size), bicubic, with aligned corners."""
    return functional.interpolate(images, size=size, mode="bicubic", align_corners=True)


def slice_grid(grid: Tensor, guides: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
    """Trilinear sampling of `grid` (B,12,planes,rows,columns) by position and each of `guides`.

    guides: (B,1,H,W) in [-1,1], -1 at the first plane and 1 at the last. Returns (B,12,H,W) for
    each of them.

    Plane by plane, each enlarged once for all guides and weighted by a hat function: equal to
    sampling in three dimensions, which not every ONNX Runtime supports, in less memory.
    """
    planes = grid.shape[2]
    positions = [(guide + 1) / 2 * (planes - 1) for guide in guides]
    sliced = [torch.zeros((), device=grid.device)] * len(guides)
    for index in range(planes):
        plane = functional.interpolate(
            grid[:, :, index], size=size, mode="bilinear", align_corners=True
        )
        sliced = [
            total + plane * torch.relu(1 - (position - index).abs())
            for total, position in zip(sliced, positions)
        ]
    return sliced


def apply_maps(maps: Tensor, features: Tensor) -> Tensor:
    """Applies (B,12,H,W), three rows of 3 + 1 numbers, to features (B,3,H,W) -> (B,3,H,W)."""
    rows = [
        (maps[:, start : start + 3] * features).sum(1, keepdim=True)
        + maps[:, start + 3 : start + 4]
        for start in (0, 4, 8)
    ]
    return torch.cat(rows, dim=1)


class Guide(nn.Module):
    """One channel (B,1,H,W) -> the grid coordinate of each pixel, (B,1,H,W) in [-1,1]."""

    def __init__(self):
        super().__init__()
        self.conv1 = GuideLayer(1, 16, 3)
        self.conv2 = GuideLayer(16, 16, 3)
        self.conv3 = GuideLayer(16, 1, 1, last=True)

    def forward(self, color: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(color)))


class GuideLayer(nn.Module):
    """Convolution, batch normalisation, PReLU; `last`: convolution, tanh."""

    def __init__(self, channels: int, out_channels: int, kernel: int, *, last: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2)
        self.activation = nn.Tanh() if last else nn.PReLU()
        self.bn = nn.Identity() if last else nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.activation(self.bn(self.conv(features)))


class UNet(nn.Module):
    """Four halvings, four doublings; (B,3,h,w) -> (B,3,h,w) in [0,1], h and w multiples of 16."""

    def __init__(self, width: int):
        super().__init__()
        self.inc = DoubleConv(3, width, width)
        self.down1 = Down(width, 2 * width)
        self.down2 = Down(2 * width, 4 * width)
        self.down3 = Down(4 * width, 8 * width)
        self.down4 = Down(8 * width, 8 * width)
        self.up1 = Up(16 * width, 4 * width)
        self.up2 = Up(8 * width, 2 * width)
        self.up3 = Up(4 * width, width)
        self.up4 = Up(2 * width, width)
        self.pre = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        skips = [self.inc(image)]
        for down in (self.down1, self.down2, self.down3):
            skips.append(down(skips[-1]))
        features = self.down4(skips[-1])
        for up in (self.up1, self.up2, self.up3, self.up4):
            features = up(features, skips.pop())
        return torch.sigmoid(self.pre(features))


class DoubleConv(nn.Module):
    """Convolution, batch normalisation, ReLU, twice."""

    def __init__(self, channels: int, inner: int, out_channels: int):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(channels, inner, 3, padding=1),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.double_conv(features)


class Down(nn.Module):
    """Halves the size, then two convolutions."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        double = DoubleConv(channels, out_channels, out_channels)
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), double)

    def forward(self, features: Tensor) -> Tensor:
        return self.maxpool_conv(features)


class Up(nn.Module):
    """Doubles the size, concatenates the finer features, then two convolutions."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.conv = DoubleConv(channels, channels // 2, out_channels)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        features = functional.interpolate(
            features, scale_factor=2, mode="bilinear", align_corners=True
        )
        return self.conv(torch.cat([skip, features], dim=1))
