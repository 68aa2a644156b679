"""Image quality: the table of metrics, and the protocols of papers.

Numbers of different protocols are not comparable: the same picture has an SSIM of 0.67 under one
and 0.90 under another. NumPy only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.image import bicubic
from unhaze.metrics.color_difference import ciede2000
from unhaze.metrics.fog_density import fade
from unhaze.metrics.psnr_ssim import (
    eight_bits,
    luma,
    psnr,
    ssim_pooled,
    ssim_replicated,
    ssim_uniform,
    ssim_valid,
    ssim_zero_padded,
)
from unhaze.metrics.visibility_realness import realness_index, visibility_index
from unhaze.validation import lookup


@dataclass(frozen=True)
class Metric:
    """One entry of `METRICS`.

    function: (restored_hwc) or, if needs_clear, (restored_hwc, clear_hwc) -> number; None if
        the protocol selects the function.
    """

    title: str
    source: str
    unit: str = ""
    lower_is_better: bool = False
    needs_clear: bool = True
    function: Callable[..., float] | None = None


@dataclass(frozen=True)
class Protocol:
    """One entry of `PROTOCOLS`: PSNR and SSIM of (H,W,3) floats clamped to [0,1].

    ssim: the variant. luma: both are computed on BT.601 luma instead of all three channels.
    size: (height, width) in pixels to which both pictures are resized first; None: unchanged.
    rounded: pictures, and luma, are rounded to uint8, as in files.
    """

    title: str
    source: str
    ssim: Callable[[np.ndarray, np.ndarray], float]
    luma: bool = False
    size: tuple[int, int] | None = None
    rounded: bool = False

    def prepared(self, picture_hwc: np.ndarray) -> np.ndarray:
        """Returns the input of PSNR and SSIM: float (H,W,3) in [0,1], or luma (H,W,1)."""
        if self.size is not None:
            picture_hwc = bicubic(picture_hwc, self.size)
        if self.rounded:
            picture_hwc = eight_bits(picture_hwc)
        if self.luma:
            picture_hwc = luma(picture_hwc)
        return eight_bits(picture_hwc) if self.luma and self.rounded else picture_hwc


METRICS = {
    "psnr": Metric(
        "peak signal-to-noise ratio; 100 for equal pictures",
        unit="dB",
        source="10 log10(1 / MSE) by protocol; over pictures the mean of the PSNRs",
    ),
    "ssim": Metric(
        "structural similarity",
        source="Wang et al., IEEE TIP 13(4), 2004, by protocol",
    ),
    "ciede2000": Metric(
        "mean colour difference",
        unit="Delta E",
        lower_is_better=True,
        source="Sharma et al., Color Research and Application 30(1), 2005; sRGB, D65",
        function=ciede2000,
    ),
    "fade": Metric(
        "perceptual fog density; depends on the picture's size, rewards over-enhancement",
        lower_is_better=True,
        needs_clear=False,
        source="Choi, You, Bovik, IEEE TIP 24(11), 2015",
        function=fade,
    ),
    "vi": Metric(
        "visibility index of BeDDE: dark channel and gradients; the clear day may be another",
        source="Zhao, Zhang et al., IEEE TIP 29, 2020; the whole picture, no mask",
        function=visibility_index,
    ),
    "ri": Metric(
        "realness index of BeDDE: phase congruency and chroma",
        source="Zhao, Zhang et al., IEEE TIP 29, 2020; the whole picture, no mask",
        function=realness_index,
    ),
}

PROTOCOLS = {
    "aecr": Protocol(
        "RGB PSNR; SSIM with an 11x11 Gaussian on zero-padded channels",
        source="code of AECR-Net, FFA-Net, GridDehazeNet, DEA-Net",
        ssim=ssim_zero_padded,
    ),
    "dehazeformer": Protocol(
        "RGB PSNR; SSIM after average pooling by round(shorter side / 256), 11x11 Gaussian, valid",
        source="code of DehazeFormer, gUNet, MixDehazeNet, ConvIR",
        ssim=ssim_pooled,
    ),
    "skimage": Protocol(
        "RGB PSNR; SSIM with a 7x7 uniform window and sample covariance, valid",
        source="scikit-image's defaults with data_range 1",
        ssim=ssim_uniform,
    ),
    "y": Protocol(
        "PSNR and SSIM (11x11 Gaussian, valid) of BT.601 studio-swing luma, peak 1",
        source="MATLAB's rgb2ycbcr; 3-6 dB above RGB",
        ssim=ssim_valid,
        luma=True,
    ),
    "matlab": Protocol(
        "RGB PSNR; SSIM with an 11x11x11 Gaussian over the RGB volume, borders replicated; uint8",
        source="MATLAB's psnr and ssim of two uint8 RGB arrays, their defaults",
        ssim=ssim_replicated,
        rounded=True,
    ),
    "matlab-y": Protocol(
        "PSNR and SSIM (11x11 Gaussian, borders replicated) of BT.601 luma; uint8, peak 255",
        source="MATLAB's psnr and ssim of rgb2ycbcr's Y of uint8 pictures",
        ssim=ssim_replicated,
        luma=True,
        rounded=True,
    ),
    "resized-256": Protocol(
        "both brought to 256x256 (bicubic, antialiased); RGB PSNR; SSIM 11x11 Gaussian, valid",
        source="tables that compare at 256x256; the resampling of theirs is seldom stated",
        ssim=ssim_valid,
        size=(256, 256),
    ),
}

WITH_CLEAR = ("psnr", "ssim", "ciede2000")


def measure(
    restored_hwc: np.ndarray,
    clear_hwc: np.ndarray | None,
    protocol: str = "aecr",
    *,
    metrics: Sequence[str] = WITH_CLEAR,
) -> dict[str, float]:
    """Measures `metrics` by `protocol`, from (H,W,3) floats; both are clamped to [0,1].

    clear_hwc may be None if no metric needs it. UnhazeError: unknown names, sizes that differ, NaN
    or infinity, no float type, a picture that is too small for the protocol's window.
    """
    rules = lookup(PROTOCOLS, protocol, "protocol")
    entries = {name: lookup(METRICS, name, "metric") for name in metrics}
    restored = checked("restored", restored_hwc)
    clear = None if clear_hwc is None else checked("clear", clear_hwc)
    if clear is not None and clear.shape != restored.shape:
        sizes = " and ".join(f"{each.shape[1]}x{each.shape[0]}" for each in (restored, clear))
        raise UnhazeError(f"restored and clear picture are {sizes}; they must have one size")
    by_protocol = {"psnr": psnr, "ssim": rules.ssim}
    prepared: tuple[np.ndarray, ...] = ()
    values = {}
    for name, entry in entries.items():
        if entry.needs_clear and clear is None:
            raise UnhazeError(f"the metric '{name}' needs the clear picture, and there is none")
        given = [restored] if clear is None or not entry.needs_clear else [restored, clear]
        if entry.function is None:
            prepared = prepared or tuple(map(rules.prepared, given))
            values[name] = by_protocol[name](*prepared)
        else:
            values[name] = entry.function(*given)
    return values


def checked(role: str, picture: np.ndarray) -> np.ndarray:
    """Returns `picture` clamped; UnhazeError unless non-empty, finite floats (H,W,3)."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise UnhazeError(f"the {role} picture has shape {picture.shape}; expected (H, W, 3)")
    if picture.dtype.kind != "f":
        raise UnhazeError(
            f"the {role} picture is {picture.dtype}; expected floats in [0,1] (to_float)"
        )
    broken = int(np.count_nonzero(~np.isfinite(picture)))
    if broken:
        raise UnhazeError(f"the {role} picture has {broken} values that are NaN or infinite")
    return np.clip(picture, 0, 1)
