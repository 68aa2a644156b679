"""Photo in, photo out: what the network does to a small analysis image is applied to the photo."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyvips

from unhaze.errors import UnhazeError
from unhaze.photo import Photo, to_float
from unhaze.restore.engine import Engine
from unhaze.restore.field import LUMA, apply_field, check_strength, fit_field
from unhaze.restore.models import find_model
from unhaze.restore.native import restore_whole


class Restorer:
    """A loaded model that restores any number of photos; `engine.card` says which model it is."""

    def __init__(
        self,
        model: str | Path = "auto",
        device: str = "auto",
        *,
        analysis: int = 1024,
        native: bool = False,
        threads: int = 0,
    ) -> None:
        """`model`: shipped name, "auto" or .onnx file. `device`: "auto", "cpu", "cuda". `analysis`:
        long side in pixels of the picture that the network sees. `native`: it sees every pixel
        instead. `threads`: 0 for one per core. UnhazeError: unknown model or device, analysis < 16.
        """
        if analysis < 16:
            raise UnhazeError(f"analysis is {analysis} pixels; expected at least 16")
        self.engine = Engine(find_model(model), device, threads=threads)
        self.analysis = analysis
        self.native = native
        self.threads = threads

    def restore(self, photo: Photo, strength: float = 1.0) -> Photo:
        """The photo without its haze; all but the colours is kept."""
        pixels = self.restore_pixels(photo.pixels, strength, grey=photo.grey)
        return replace(photo, pixels=pixels)

    def restore_pixels(
        self, pixels: np.ndarray, strength: float = 1.0, *, grey: bool = False
    ) -> np.ndarray:
        """(H,W,3) uint8, uint16 or float32 in [0,1] -> the same type and size, restored.

        `strength` 0 (exactly no change) to 1. `grey`: the answer has three equal channels.
        """
        check_strength(strength)
        if strength == 0:
            return pixels.copy()
        if self.native:
            return self._restore_every_pixel(pixels, strength, grey)
        maps = self.estimate(pixels, grey=grey)
        return apply_field(maps, pixels, strength=strength, threads=self.threads)

    def estimate(self, pixels: np.ndarray, *, grey: bool = False) -> np.ndarray:
        """The affine field of a picture, (3,4,h,w) float32 at analysis size, for `apply_field`.

        pixels: (H,W,3) uint8, uint16 or float32 in [0,1].
        """
        hazy = analysis_image(pixels, self.analysis)
        restored = restore_whole(self.engine, hazy)
        return fit_field(hazy, restored, grey=grey, threads=self.threads)

    def _restore_every_pixel(self, pixels: np.ndarray, strength: float, grey: bool) -> np.ndarray:
        hazy = as_float(pixels)
        restored = restore_whole(self.engine, hazy)
        if grey:
            restored = np.repeat(restored @ LUMA[:, None], 3, axis=2)
        blended = np.clip(hazy + np.float32(strength) * (restored - hazy), 0, 1)
        if pixels.dtype == np.float32:
            return blended
        return np.rint(blended * np.iinfo(pixels.dtype).max).astype(pixels.dtype)


def analysis_image(pixels: np.ndarray, long_side: int) -> np.ndarray:
    """(H,W,3) of any type -> (h,w,3) float32 in [0,1] with max(h,w) <= long_side; never enlarged.

    Shrunk by libvips' Lanczos-3 on floats, so that 8-bit pictures gain the precision of the mean.
    """
    height, width = pixels.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return as_float(pixels)
    size = [max(1, round(side * scale)) for side in (height, width)]
    top = 1 if pixels.dtype == np.float32 else np.iinfo(pixels.dtype).max
    image = pyvips.Image.new_from_array(pixels).cast("float") / top
    small = image.resize(size[1] / width, vscale=size[0] / height)
    return np.clip(small.numpy(), 0, 1)


def as_float(pixels: np.ndarray) -> np.ndarray:
    """float32 in [0,1]; what is float already is taken as it is."""
    return pixels if pixels.dtype == np.float32 else to_float(pixels)
