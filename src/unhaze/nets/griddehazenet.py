"""GridDehazeNet: Attention-Based Multi-Scale Network for Image Dehazing (Liu et al., ICCV 2019).

arXiv:1908.03245. Reproduces: Table 1 of AECR-Net (SOTS indoor 32.16 dB / 0.9836), 958,051
parameters.
"""

import torch
from torch import Tensor, nn

from unhaze.nets.blocks import pad_to_multiple


class GridDehazeNet(nn.Module):
    """3 rows (scales) by 6 columns: features flow right, down in the left half, up in the right.

    hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape, at least 0.

    width: channels of the top row; each row has twice as many as the one above. growth: channels
    that each layer of a dense block adds. Differs: a height or width that is not a multiple of 4
    is padded; the authors' code allows odd sizes of the scales.
    """

    def __init__(self, *, width: int = 16, growth: int = 16):
        super().__init__()
        if width < 1 or growth < 1:
            raise ValueError(f"width {width} and growth {growth} must both be at least 1")
        widths = (width, 2 * width, 4 * width)
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.dense_in = DenseBlock(width, growth)
        # A key is "row_column" of the cell that a module reads, or for `up` the one it writes.
        self.across = nn.ModuleDict(
            {
                f"{row}_{column}": DenseBlock(widths[row], growth)
                for row in range(3)
                for column in range(5)
            }
        )
        self.down = nn.ModuleDict(
            {f"{row}_{column}": Down(widths[row]) for row in range(2) for column in range(3)}
        )
        self.up = nn.ModuleDict(
            {f"{row}_{column}": Up(widths[row]) for row in range(2) for column in range(3, 6)}
        )
        # Row, column, from the side or from above or below, channel. Narrow rows use only the
        # first channels; the rest is included in the published 958,051.
        self.attention = nn.Parameter(torch.ones(3, 6, 2, 4 * width))
        self.dense_out = DenseBlock(width, growth)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, hazy: Tensor) -> Tensor:
        height, width = hazy.shape[-2:]
        cells = {(0, 0): self.dense_in(self.first(2 * pad_to_multiple(hazy, 4) - 1))}
        for column in (1, 2):
            cells[0, column] = self.step_right(cells, 0, column)
        for row in (1, 2):
            cells[row, 0] = self.down[f"{row - 1}_0"](cells[row - 1, 0])
            for column in (1, 2):
                above = self.down[f"{row - 1}_{column}"](cells[row - 1, column])
                cells[row, column] = self.merge(cells, row, column, above)
        for column in (3, 4, 5):
            cells[2, column] = self.step_right(cells, 2, column)
        for row in (1, 0):
            for column in (3, 4, 5):
                below = self.up[f"{row}_{column}"](cells[row + 1, column])
                cells[row, column] = self.merge(cells, row, column, below)
        restored = torch.relu(self.last(self.dense_out(cells[0, 5])))
        return restored[..., :height, :width]

    def step_right(self, cells: dict[tuple[int, int], Tensor], row: int, column: int) -> Tensor:
        return self.across[f"{row}_{column - 1}"](cells[row, column - 1])

    def merge(
        self, cells: dict[tuple[int, int], Tensor], row: int, column: int, other_scale: Tensor
    ) -> Tensor:
        """The channel-wise attention of equation 1: weights of the left and of the other input."""
        shares = self.attention[row, column, :, : other_scale.shape[1], None, None]
        return shares[0] * self.step_right(cells, row, column) + shares[1] * other_scale


class DenseBlock(nn.Module):
    """Residual dense block: four convolutions that see all earlier ones, then 1x1, then a sum."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(channels + layer * growth, growth, 3, padding=1) for layer in range(4)
        )
        self.squeeze = nn.Conv2d(channels + 4 * growth, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        gathered = features
        for conv in self.convs:
            gathered = torch.cat([gathered, torch.relu(conv(gathered))], 1)
        return features + self.squeeze(gathered)


class Down(nn.Module):
    """(B,C,H,W) -> (B,2C,H/2,W/2)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(channels, 2 * channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.conv2(torch.relu(self.conv1(features))))


class Up(nn.Module):
    """(B,2C,H,W) -> (B,C,2H,2W)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(
            2 * channels, 2 * channels, 3, stride=2, padding=1, output_padding=1
        )
        self.conv2 = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.conv2(torch.relu(self.conv1(features))))
