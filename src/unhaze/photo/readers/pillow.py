"""BMP and TGA by Pillow."""

import io

import numpy as np

from unhaze.photo.picture import ICC
from unhaze.photo.readers.decoded import Check, Decoded, with_channels


def decode_bmp(data: bytes, check: Check) -> Decoded:
    """Palettes become true colours."""
    return _decode(data, "BMP", check)


def decode_tga(data: bytes, check: Check) -> Decoded:
    """Palettes become true colours."""
    return _decode(data, "TGA", check)


def _decode(data: bytes, kind: str, check: Check) -> Decoded:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=[kind]) as picture:
        check(*picture.size, 8)
        grey = picture.mode in ("1", "L") or (
            picture.mode == "P" and _is_grey(picture.getpalette() or [])
        )
        alpha = picture.mode in ("LA", "RGBA", "PA") or "transparency" in picture.info
        whole = picture.convert(("L" if grey else "RGB") + ("A" if alpha else ""))
        icc = picture.info.get("icc_profile")
        return Decoded(with_channels(np.asarray(whole)), {ICC: icc} if icc else {})


def _is_grey(palette: list[int]) -> bool:
    return palette[0::3] == palette[1::3] == palette[2::3]
