"""Losses on the structure and the spectrum of the restored image."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class SSIM(nn.Module):
    """1 - SSIM, Wang et al., IEEE TIP 13(4), 2004: 11x11 Gaussian of sigma 1.5, each channel.

    Borders are padded with zeros, so the map has the size of the image; the data range is 1.
    The loss is between 0 and 2. Used as a loss since Zhao et al., arXiv:1511.08861.
    """

    def forward(self, restored: Tensor, clear: Tensor, hazy: Tensor) -> Tensor:
        # In float32: variances are small differences of squares.
        with torch.autocast(restored.device.type, enabled=False):
            restored, clear = restored.float(), clear.float()
            planes = [restored, clear, restored**2, clear**2, restored * clear]
            mean_r, mean_c, square_r, square_c, product = blur(torch.stack(planes))
            variances = square_r - mean_r**2 + square_c - mean_c**2
            covariance = product - mean_r * mean_c
            luminance = (2 * mean_r * mean_c + 0.01**2) / (mean_r**2 + mean_c**2 + 0.01**2)
            structure = (2 * covariance + 0.03**2) / (variances + 0.03**2)
            return 1 - (luminance * structure).mean()


def blur(planes: Tensor) -> Tensor:
    """11x11 Gaussian of sigma 1.5 over the last two dimensions; outside the image is zero."""
    offsets = torch.arange(-5, 6, device=planes.device, dtype=planes.dtype)
    taps = torch.exp(-(offsets**2) / (2 * 1.5**2))
    taps = (taps / taps.sum()).view(1, 1, 1, -1)
    flat = planes.reshape(-1, 1, *planes.shape[-2:])
    flat = functional.conv2d(flat, taps, padding=(0, 5))
    return functional.conv2d(flat, taps.transpose(2, 3), padding=(5, 0)).reshape(planes.shape)


class Frequency(nn.Module):
    """Mean absolute difference of the real and of the imaginary parts of both spectra.

    The multi-scale frequency reconstruction loss of MIMO-UNet (Cho et al., arXiv:2108.05054), at
    full size; FSNet, ConvIR and OKNet add it to L1 with weight 0.1. The transform is not
    normalised: its values grow with the crop.
    """

    def forward(self, restored: Tensor, clear: Tensor, hazy: Tensor) -> Tensor:
        # The transform is linear, and does not support half precision.
        spectrum = torch.fft.fft2(restored.float() - clear.float())
        return torch.view_as_real(spectrum).abs().mean()
