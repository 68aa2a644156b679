"""DehazeNet: An End-to-End System for Single Image Haze Removal (Cai et al., IEEE TIP 2016).

arXiv:1601.07661. Reproduces: SOTS indoor 21.14 dB / 0.8472 (AECR-Net's Table 1 has
20.64 / 0.7995), 8,305 parameters.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.nets.blocks import bias_of, full_precision
from unhaze.validation import one_of

# MATLAB's rgb2gray, which the authors' script uses for ranking and guiding.
GREY = (0.2989, 0.5870, 0.1140)


class DehazeNet(nn.Module):
    """Estimates the transmission and inverts the scattering model.

    hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored = (hazy - A) / t + A, same shape, not
    clamped. `transmission(hazy)` alone is (B,1,H,W) in [0,1], unrefined.

    padding: of every convolution, "symmetric" (the border pixel is repeated) as in the authors'
        script or "reflect".
    last_kernel: 6 as published, or 7, which has a centre.
    bound: keeps t in [0,1]: "clip", the paper's bilateral ReLU, or "sigmoid", which has a gradient
        everywhere.
    airlight: "brightest" of the haziest hundredth of the picture as in the script, or "white".
    refine_radius: of the guided filter on t, in pixels; 0 leaves t as it is.
    lowest_transmission: lower bound of t. Differs: the script divides by any t.

    The defaults are those of the script. Preset "paired", for training on pairs of pictures, is
    continuous. Float32 throughout, because the airlight is chosen by rank.
    """

    def __init__(
        self,
        *,
        padding: str = "symmetric",
        last_kernel: int = 6,
        bound: str = "clip",
        airlight: str = "brightest",
        refine_radius: int = 50,
        lowest_transmission: float = 0.1,
    ):
        super().__init__()
        one_of("net 'dehazenet': padding", padding, ("symmetric", "reflect"))
        one_of("net 'dehazenet': bound", bound, ("clip", "sigmoid"))
        one_of("net 'dehazenet': airlight", airlight, ("brightest", "white"))
        if last_kernel not in (6, 7):
            raise ValueError(f"last_kernel is {last_kernel}; it must be 6 or 7")
        if refine_radius < 0:
            raise ValueError(f"refine_radius is {refine_radius}; it must be at least 0")
        if not 0 < lowest_transmission < 1:
            raise ValueError(f"lowest_transmission is {lowest_transmission}; it must be in (0, 1)")
        self.symmetric, self.bound, self.airlight_rule = padding == "symmetric", bound, airlight
        self.refine_radius, self.lowest_transmission = refine_radius, lowest_transmission
        self.features = nn.Conv2d(3, 16, 5)
        self.mapping3 = nn.Conv2d(4, 16, 3)
        self.mapping5 = nn.Conv2d(4, 16, 5)
        self.mapping7 = nn.Conv2d(4, 16, 7)
        self.last = nn.Conv2d(48, 1, last_kernel)
        self.grey: Tensor
        self.register_buffer("grey", torch.tensor(GREY).view(3, 1, 1), persistent=False)
        for conv in (self.features, self.mapping3, self.mapping5, self.mapping7, self.last):
            nn.init.normal_(conv.weight, std=0.001)
            nn.init.zeros_(bias_of(conv))
        if bound == "clip":
            # Differs: starts in the middle of the range, outside of which there is no gradient.
            nn.init.constant_(bias_of(self.last), 0.5)

    def forward(self, hazy: Tensor) -> Tensor:
        with full_precision(hazy):
            hazy = hazy.float()
            grey = (hazy * self.grey).sum(1, True)
            transmission = self.transmission(hazy)
            airlight = torch.ones_like(hazy[:, :, :1, :1])
            if self.airlight_rule == "brightest":
                airlight = brightest_of_haziest(hazy, grey, transmission.detach())
            if self.refine_radius:
                transmission = guided_filter(grey, transmission, self.refine_radius, 1e-3)
            return (hazy - airlight) / transmission.clamp(min=self.lowest_transmission) + airlight

    def transmission(self, hazy: Tensor) -> Tensor:
        maps = self.convolve(self.features, hazy - 0.5)
        maps = maps.unflatten(1, (4, 4)).amax(2)  # Maxout over four consecutive filters.
        mappings = (self.mapping3, self.mapping5, self.mapping7)
        maps = torch.cat([self.convolve(mapping, maps) for mapping in mappings], 1)
        maps = functional.max_pool2d(maps, 7, stride=1, padding=3)
        transmission = self.convolve(self.last, maps)
        return transmission.clamp(0, 1) if self.bound == "clip" else torch.sigmoid(transmission)

    def convolve(self, conv: nn.Conv2d, maps: Tensor) -> Tensor:
        """Keeps the size; even kernels reach one pixel further down and right, as in imfilter."""
        size = conv.kernel_size[0]
        before, after = (size - 1) // 2, size // 2
        rows = continued(maps.shape[-2], before, after, self.symmetric, maps.device)
        columns = continued(maps.shape[-1], before, after, self.symmetric, maps.device)
        return conv(maps.index_select(-2, rows).index_select(-1, columns))


def continued(size: int, before: int, after: int, symmetric: bool, device: torch.device) -> Tensor:
    """Indices of `size` pixels extended by mirroring, repeatedly if necessary; any size from 1.

    symmetric: ... 1 0 | 0 1 2 ..., else ... 2 1 | 0 1 2 ...
    """
    repeated = 1 if symmetric else 0
    # A tensor, because torch.onnx does not support a remainder by a symbolic number.
    period = torch.full((1,), 2 * size - 2 + 2 * repeated, device=device).clamp(min=1)
    position = (torch.arange(size + before + after, device=device) - before) % period
    return torch.minimum(position, period - repeated - position)


def brightest_of_haziest(hazy: Tensor, grey: Tensor, transmission: Tensor) -> Tensor:
    """(B,3,1,1): mean colour of the brightest pixels in the 1 % with the lowest transmission."""
    pixels = grey.shape[-2] * grey.shape[-1]
    rank = torch.full((1,), (pixels + 50) // 100 - 1, device=grey.device).clamp(min=0)
    threshold = transmission.flatten(1).sort(1).values.index_select(1, rank)[..., None, None]
    candidates = torch.where(transmission <= threshold, grey, -torch.ones_like(grey))
    chosen = (candidates >= candidates.amax((2, 3), keepdim=True)).to(hazy.dtype)
    return (hazy * chosen).sum((2, 3), keepdim=True) / chosen.sum((2, 3), keepdim=True)


def guided_filter(guide: Tensor, filtered: Tensor, radius: int, epsilon: float) -> Tensor:
    """Guided image filter of He et al. (TPAMI 2013): `filtered` with the edges of `guide`.

    Both (B,1,H,W); windows of 2 radius + 1 pixels per side, truncated at the borders.
    """
    both = torch.cat([guide, filtered, guide * guide, guide * filtered], 1)
    mean_guide, mean_filtered, mean_square, mean_product = box_mean(both, radius).chunk(4, 1)
    variance = mean_square - mean_guide * mean_guide
    slope = (mean_product - mean_guide * mean_filtered) / (variance + epsilon)
    offset = mean_filtered - slope * mean_guide
    slope, offset = box_mean(torch.cat([slope, offset], 1), radius).chunk(2, 1)
    return slope * guide + offset


def box_mean(maps: Tensor, radius: int) -> Tensor:
    """Mean over the part of each window inside the picture; rows first, then columns."""
    side = 2 * radius + 1
    maps = functional.avg_pool2d(maps, (side, 1), 1, (radius, 0), count_include_pad=False)
    return functional.avg_pool2d(maps, (1, side), 1, (0, radius), count_include_pad=False)
