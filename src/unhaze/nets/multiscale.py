"""The three-scale U-shape of MIMO-UNet (Cho et al., ICCV 2021) that FSNet, ConvIR and OKNet share.

Attribute names are those of the published checkpoints, which load unchanged.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.nets.blocks import is_exporting, pad_to_multiple, plain_size, sized


class MultiScaleUNet(nn.Module):
    """Three encoder and three decoder stages, with input and output at each scale.

    hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape, unbounded.

    stage: level (0 at full size, 2 at a quarter) and its channels -> a module that keeps the shape.
    middle: name and module between encoder and decoder, or None. multiple, smallest:
    the padded sides, see `pad_to_multiple`.
    """

    def __init__(
        self,
        stage: Callable[[int, int], nn.Module],
        width: int,
        *,
        multiple: int,
        smallest: int = 1,
        middle: tuple[str, nn.Module] | None = None,
    ):
        super().__init__()
        self.multiple, self.smallest = multiple, smallest
        widths = [width, 2 * width, 4 * width]
        self.Encoder = nn.ModuleList(map(stage, (0, 1, 2), widths))
        self.feat_extract = nn.ModuleList(
            [
                Conv(3, width, 3),
                Conv(width, 2 * width, 3, stride=2),
                Conv(2 * width, 4 * width, 3, stride=2),
                Conv(4 * width, 2 * width, 4, up=True),
                Conv(2 * width, width, 4, up=True),
                Conv(width, 3, 3, bend=False),
            ]
        )
        self.Decoder = nn.ModuleList(map(stage, (2, 1, 0), reversed(widths)))
        self.Convs = nn.ModuleList([Conv(4 * width, 2 * width, 1), Conv(2 * width, width, 1)])
        self.ConvsOut = nn.ModuleList(
            [Conv(4 * width, 3, 3, bend=False), Conv(2 * width, 3, 3, bend=False)]
        )
        self.FAM1, self.SCM1 = Merge(4 * width), ShallowFeatures(4 * width)
        self.FAM2, self.SCM2 = Merge(2 * width), ShallowFeatures(2 * width)
        self.middle = None if middle is None else middle[0]
        if middle is not None:
            self.add_module(*middle)

    def forward(self, hazy: Tensor) -> Tensor:
        return self.restore_scales(hazy)[-1]

    def restore_scales(self, hazy: Tensor) -> list[Tensor]:
        """Returns restored at a quarter, half and full size, sides rounded up.

        The papers train with the sum of the losses of all three; the clear image for the smaller
        ones is `clear[..., ::4, ::4]` and `clear[..., ::2, ::2]` here, bilinear in their code.
        """
        padded = pad_to_multiple(hazy, self.multiple, smallest=self.smallest)
        # Size of the features at a quarter.
        sides = [side // 4 for side in padded.shape[-2:]]
        if self.smallest > 1:  # otherwise formulas without a maximum, which are harmless
            sides = [plain_size(side, self.smallest // 4) for side in sides]
        one, two, four = ([factor * side for side in sides] for factor in (1, 2, 4))
        padded = sized(padded, *four)
        half = sized(padded[..., ::2, ::2], *two)
        quarter = sized(half[..., ::2, ::2], *one)
        extract = self.feat_extract
        skip1 = self.Encoder[0](extract[0](padded))
        features = sized(extract[1](skip1), *two)
        skip2 = self.Encoder[1](self.FAM2(features, self.SCM2(half)))
        features = sized(extract[2](skip2), *one)
        deep = self.Encoder[2](self.FAM1(features, self.SCM1(quarter)))
        if self.middle is not None:
            deep = self.get_submodule(self.middle)(deep)
        deep = self.Decoder[0](deep)
        restored = [self.ConvsOut[0](deep) + quarter]
        features = sized(extract[3](deep), *two)
        deep = self.Decoder[1](self.Convs[0](torch.cat([features, skip2], dim=1)))
        restored.append(self.ConvsOut[1](deep) + half)
        features = sized(extract[4](deep), *four)
        deep = self.Decoder[2](self.Convs[1](torch.cat([features, skip1], dim=1)))
        restored.append(extract[5](deep) + padded)
        height, width = hazy.shape[-2:]
        return [
            image[..., : (height + shrink - 1) // shrink, : (width + shrink - 1) // shrink]
            for image, shrink in zip(restored, (4, 2, 1))
        ]


class Conv(nn.Module):
    """A convolution that keeps the size or divides it by `stride` (`up`: doubles it), then GELU."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        up: bool = False,
        bend: bool = True,
    ):
        super().__init__()
        if up:
            conv = nn.ConvTranspose2d(channels, out_channels, kernel, 2, kernel // 2 - 1)
        else:
            conv = nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2)
        self.main = nn.Sequential(conv, nn.GELU()) if bend else nn.Sequential(conv)

    def forward(self, features: Tensor) -> Tensor:
        return self.main(features)


class ShallowFeatures(nn.Module):
    """SCM: features of a smaller copy of the image, (B,3,h,w) -> (B,channels,h,w)."""

    def __init__(self, channels: int):
        super().__init__()
        self.main = nn.Sequential(
            Conv(3, channels // 4, 3),
            Conv(channels // 4, channels // 2, 1),
            Conv(channels // 2, channels // 2, 3),
            Conv(channels // 2, channels, 1, bend=False),
            nn.InstanceNorm2d(channels, affine=True),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.main(image)


class Merge(nn.Module):
    """FAM: merges two feature maps of `channels` each."""

    def __init__(self, channels: int):
        super().__init__()
        self.merge = Conv(2 * channels, channels, 3, bend=False)

    def forward(self, deep: Tensor, shallow: Tensor) -> Tensor:
        return self.merge(torch.cat([deep, shallow], dim=1))


class Stage(nn.Module):
    """`layers` under their name in the checkpoints."""

    def __init__(self, layers: nn.Module):
        super().__init__()
        self.layers = layers

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


def reflect(features: Tensor, rows: int, columns: int) -> Tensor:
    """Mirrors (B,C,h,w) by `rows` at top and bottom and `columns` at left and right."""
    return functional.pad(features, (columns, columns, rows, rows), mode="reflect")


def filter_groups(
    padded: Tensor, taps: Tensor, *, kernel: tuple[int, int], dilation: int = 1
) -> Tensor:
    """Correlates each group of channels with its own kernel, one for the whole image.

    padded: (B,C,h+p,w+q), with p and q the `dilation` times the side of `kernel` minus one.
    taps: (B,groups,rows*columns), each image's kernels. Returns (B,C,h,w).
    """
    batch, channels = padded.shape[:2]
    # (B,taps*C,1,1): the first tap's weights of all channels, then the next one's.
    weights = taps.transpose(1, 2).repeat_interleave(channels // taps.shape[1], dim=2)
    weights = weights.reshape(batch, -1, 1, 1)
    operator = OPERATOR if is_exporting() else sum_of_taps
    return operator(padded, weights, list(kernel), dilation)


def sum_of_taps(padded: Tensor, weights: Tensor, kernel: list[int], dilation: int) -> Tensor:
    """Sums tap by tap instead of unfolding: needs a ninth of the memory for 3x3."""
    rows = padded.shape[-2] - dilation * (kernel[0] - 1)
    columns = padded.shape[-1] - dilation * (kernel[1] - 1)

    def term(tap: int, weight: Tensor) -> Tensor:
        top, left = (dilation * each for each in divmod(tap, kernel[1]))
        return padded.narrow(-2, top, rows).narrow(-1, left, columns) * weight

    first, *others = weights.chunk(kernel[0] * kernel[1], dim=1)
    total = term(0, first)
    for tap, weight in enumerate(others, 1):
        total = total + term(tap, weight)
    return total


@torch.library.custom_op("unhaze::sum_of_taps", mutates_args=())
def _sum_of_taps_operator(
    padded: Tensor, weights: Tensor, kernel: list[int], dilation: int
) -> Tensor:
    """The same as one graph node, which exporting/operators.py translates: eight nodes per tap
    would take torch.export minutes."""
    return sum_of_taps(padded, weights, kernel, dilation)


@_sum_of_taps_operator.register_fake
def _(padded: Tensor, weights: Tensor, kernel: list[int], dilation: int) -> Tensor:
    sides = [side - dilation * (taps - 1) for side, taps in zip(padded.shape[2:], kernel)]
    return padded.new_empty(*padded.shape[:2], *sides)


OPERATOR = torch.ops.unhaze.sum_of_taps.default
