"""BMP and TGA by Pillow."""

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from unhaze.photo.picture import ICC
from unhaze.photo.readers.decoded import Check, Decoded, with_channels

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


def decode_bmp(data: bytes, check: Check) -> Decoded:
    """Returns the picture; palettes become true colours."""
    from PIL.BmpImagePlugin import BmpImageFile

    return _decoded(BmpImageFile(io.BytesIO(data)), check)


def decode_tga(data: bytes, check: Check) -> Decoded:
    """Returns the picture; palettes become true colours."""
    from PIL.TgaImagePlugin import TgaImageFile

    return _decoded(TgaImageFile(io.BytesIO(data)), check)


def decode_first_avif(data: bytes, check: Check) -> Decoded:
    """Returns the first frame of an animation."""
    from PIL.AvifImagePlugin import AvifImageFile

    picture = AvifImageFile(io.BytesIO(data))
    lost = (f"all but the first of {picture.n_frames} pages or frames",)
    return replace(_decoded(picture, check), lost=lost)


def _decoded(picture: "ImageFile", check: Check) -> Decoded:
    check(*picture.size, 4)
    grey = picture.mode in ("1", "L", "LA") or (
        picture.mode == "P" and _is_grey(picture.getpalette() or [])
    )
    alpha = picture.mode in ("LA", "RGBA", "PA") or "transparency" in picture.info
    whole = picture.convert(("L" if grey else "RGB") + ("A" if alpha else ""))
    icc = picture.info.get("icc_profile")
    return Decoded(with_channels(np.array(whole)), {ICC: icc} if icc else {})


def _is_grey(palette: list[int]) -> bool:
    return palette[0::3] == palette[1::3] == palette[2::3]
