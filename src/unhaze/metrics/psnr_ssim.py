"""PSNR and the five variants of SSIM in the dehazing literature, on NumPy arrays."""

from collections.abc import Callable

import numpy as np

from unhaze.errors import UnhazeError

C1, C2 = 0.01**2, 0.03**2
ROWS = 16
Filter = Callable[[np.ndarray], np.ndarray]


def psnr(restored_hwc: np.ndarray, clear_hwc: np.ndarray) -> float:
    """10 log10(1 / mean square error) over pixels and channels, in dB; 100 for equal pictures."""
    total = 0.0
    for top in range(0, len(clear_hwc), ROWS):  # some rows at a time stay in the cache
        rows = slice(top, top + ROWS)
        difference = (restored_hwc[rows] - clear_hwc[rows]).ravel().astype(np.float64)
        total += float(np.einsum("i,i->", difference, difference))
    error = total / clear_hwc.size
    return 100.0 if error == 0 else float(-10 * np.log10(error))


def ssim_zero_padded(restored_hwc: np.ndarray, clear_hwc: np.ndarray) -> float:
    """11x11 Gaussian, borders padded with zeros, so the map has the size of the picture.

    Used by AECR-Net, FFA-Net and GridDehazeNet; the borders differ from all other variants.
    """
    taps = gaussian()
    margin = taps.size // 2

    def window(plane: np.ndarray) -> np.ndarray:
        return slide(np.pad(plane, margin), taps)

    return ssim(restored_hwc, clear_hwc, window)


def ssim_valid(restored_hwc: np.ndarray, clear_hwc: np.ndarray) -> float:
    """11x11 Gaussian without padding, as Wang et al. (IEEE TIP 13(4), 2004) published it."""
    taps = gaussian()
    require(restored_hwc, taps.size)
    return ssim(restored_hwc, clear_hwc, lambda plane: slide(plane, taps))


def ssim_pooled(restored_hwc: np.ndarray, clear_hwc: np.ndarray) -> float:
    """`ssim_valid` after shrinking by round(shorter side / 256), as DehazeFormer and gUNet do."""
    height, width = clear_hwc.shape[:2]
    ratio = max(1, round(min(height, width) / 256))
    if ratio > 1:
        size = (height // ratio, width // ratio)
        restored_hwc, clear_hwc = average_pool(restored_hwc, size), average_pool(clear_hwc, size)
    return ssim_valid(restored_hwc, clear_hwc)


def ssim_replicated(restored_hwc: np.ndarray, clear_hwc: np.ndarray) -> float:
    """11x11 Gaussian, borders replicated, averaged as in MATLAB's ssim.

    Three channels are treated as one volume: the Gaussian also runs across them (11x11x11).
    """
    shape, taps = clear_hwc.shape, gaussian()
    margin, channels = taps.size // 2, np.arange(shape[2])
    reached = np.clip(channels[:, None] + np.arange(-margin, margin + 1), 0, shape[2] - 1)
    across = np.stack([(taps * (reached == channel)).sum(axis=1) for channel in channels])

    def window(plane: np.ndarray) -> np.ndarray:
        volume = plane.reshape(shape)
        planes = [np.pad(volume[..., channel], margin, mode="edge") for channel in channels]
        blurred = np.stack([slide(each, taps) for each in planes], axis=-1)
        return (blurred @ across).reshape(plane.shape)

    flat = (shape[0], -1, 1)
    return ssim(restored_hwc.reshape(flat), clear_hwc.reshape(flat), window)


def ssim_uniform(restored_hwc: np.ndarray, clear_hwc: np.ndarray) -> float:
    """7x7 uniform window without padding, sample covariance: scikit-image's defaults."""
    side = 7
    require(restored_hwc, side)
    taps = np.full(side, 1 / side)
    sample = side**2 / (side**2 - 1)
    return ssim(restored_hwc, clear_hwc, lambda plane: slide(plane, taps), sample)


def ssim(
    restored_hwc: np.ndarray, clear_hwc: np.ndarray, window: Filter, sample: float = 1.0
) -> float:
    """Mean structural similarity over all channels and positions, for a peak of 1.

    window: weighted local mean of a plane. sample: n/(n-1) for sample variances.
    """
    means = []
    for channel in range(clear_hwc.shape[-1]):
        restored, clear = (
            np.ascontiguousarray(each[..., channel], dtype=np.float64)
            for each in (restored_hwc, clear_hwc)
        )
        mean_restored, mean_clear = window(restored), window(clear)
        product, squares = mean_restored * mean_clear, mean_restored**2 + mean_clear**2
        covariance = sample * (window(restored * clear) - product)
        # The formula needs only the sum of both variances, which saves one window.
        variances = sample * (window(restored**2 + clear**2) - squares)
        similarity = (2 * product + C1) * (2 * covariance + C2)
        means.append(np.mean(similarity / ((squares + C1) * (variances + C2))))
    return float(np.mean(means))


def luma(picture_hwc: np.ndarray) -> np.ndarray:
    """(H,W,3) RGB in [0,1] -> (H,W,1) ITU-R BT.601 studio-swing luma in [16/255, 235/255].

    Equals MATLAB's rgb2ycbcr for floating-point pictures; nothing is rounded.
    """
    weights = np.array([65.481, 128.553, 24.966]) / 255
    return (picture_hwc.astype(np.float64) @ weights + 16 / 255)[..., None]


def eight_bits(picture_hwc: np.ndarray) -> np.ndarray:
    """[0,1] rounded to the steps of uint8, halves up as MATLAB does; float64 in [0,1]."""
    return np.floor(255 * picture_hwc.astype(np.float64) + 0.5) / 255


def average_pool(picture_hwc: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Adaptive average pooling to `size` = (rows, columns).

    Window i of m over n samples spans floor(i n / m) to ceil((i + 1) n / m); windows may overlap.
    """
    for axis, target in enumerate(size):
        length = picture_hwc.shape[axis]
        starts = np.arange(target) * length // target
        ends = -(-(np.arange(target) + 1) * length // target)
        sums = np.cumsum(picture_hwc, axis=axis, dtype=np.float64)
        sums = np.insert(sums, 0, 0, axis=axis)
        spans = (ends - starts).reshape([-1 if each == axis else 1 for each in range(3)])
        picture_hwc = (sums.take(ends, axis) - sums.take(starts, axis)) / spans
    return picture_hwc


def gaussian() -> np.ndarray:
    """Eleven samples of a Gaussian of sigma 1.5 that sum to 1."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    return taps / taps.sum()


def slide(plane: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Symmetric `taps` along both axes where they fit: (H,W) -> (H-n+1, W-n+1)."""
    for _ in range(2):
        height, width = plane.shape
        # All rows end to end in one long convolution; positions that mix two rows are cut off.
        line = np.convolve(plane.ravel(), taps)[: plane.size].reshape(height, width)
        plane = np.ascontiguousarray(line[:, taps.size - 1 :].T)
    return plane


def require(picture_hwc: np.ndarray, side: int) -> None:
    """Raises UnhazeError for a picture that is smaller than the SSIM window."""
    height, width = picture_hwc.shape[:2]
    if min(height, width) < side:
        raise UnhazeError(
            f"SSIM needs at least {side}x{side} pixels under this protocol, not {width}x{height}; "
            "use larger pictures or the protocol 'aecr'"
        )
