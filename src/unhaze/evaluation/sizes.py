"""Pictures at other sizes, for measures that depend on it: FADE, and a network's robustness."""

import numpy as np
import pyvips


def fitted(picture_hwc: np.ndarray, long_side: int) -> np.ndarray:
    """(H,W,3) float32 in [0,1], shrunk or enlarged to `long_side`, rounded to 8 bits as in a file.

    Means of many pixels are finer than any file of this size: a prior would find less noise.
    """
    height, width = picture_hwc.shape[:2]
    result = scaled(picture_hwc, long_side / max(height, width))
    return np.rint(255 * result) / np.float32(255)


def scaled(picture_hwc: np.ndarray, factor: float) -> np.ndarray:
    """(H,W,3) float32 in [0,1] -> sides times `factor`, rounded, at least 1."""
    height, width = (max(1, round(side * factor)) for side in picture_hwc.shape[:2])
    return resized(picture_hwc, height, width)


def resized(picture_hwc: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H,W,3) float32 in [0,1] -> (height,width,3), clamped; the outer edges stay where they are.

    libvips' Lanczos-3 to shrink. To enlarge, bicubic by its affine transform: its resize would move
    the picture by up to half a pixel, which costs more PSNR than the resizing itself.
    """
    if picture_hwc.shape[:2] == (height, width):
        return picture_hwc
    image = pyvips.Image.new_from_array(np.ascontiguousarray(picture_hwc))
    across, down = width / image.width, height / image.height
    if max(across, down) <= 1:
        image = image.resize(across, vscale=down)
    else:
        image = image.affine(
            [across, 0, 0, down],
            interpolate=pyvips.Interpolate.new("bicubic"),
            odx=(across - 1) / 2,
            ody=(down - 1) / 2,
            oarea=[0, 0, width, height],
            extend="copy",
        )
    return np.clip(image.numpy(), 0, 1)
