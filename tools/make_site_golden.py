"""Writes the golden pictures and fields by which the browser's arithmetic is checked (site/tests).

Run after a change of the mathematics of `unhaze.restore.field` or of the analysis picture:
`python tools/make_site_golden.py`. `tests/site/test_golden.py` says when that is due.
"""

import base64
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from unhaze.outputs import Controls
from unhaze.photo import Photo, Traits
from unhaze.restore.analysis import analysis_image
from unhaze.restore.controlling import SURE, controlled, darkest, keeps_cast
from unhaze.restore.field import apply_field, fit_field

TARGET = Path(__file__).parents[1] / "site" / "tests" / "golden.json"
Colour = tuple[float, float, float]
DUST, GREY = (0.9, 0.72, 0.48), (0.8, 0.8, 0.8)
WARM, WHITE = (1.2, 0.9, 0.5), (1.0, 1.0, 1.0)
CASTS = (
    ((26, 40), DUST, 0.6, WHITE),
    ((9, 201), DUST, 0.6, WHITE),  # cells of 2 x 2 pixels, and some left over
    ((26, 40), DUST, 0.12, WARM),  # perhaps a warm room behind light haze
    ((26, 40), GREY, 0.6, WHITE),
    ((26, 40), GREY, 0.0, WARM),  # clear
)


def golden() -> dict[str, Any]:
    """Name of a case -> its arrays and numbers, as plain JSON can hold them."""
    random = np.random.default_rng(20)
    return {
        "fit": [fit_case(random, 29, 37), fit_case(random, 29, 37, grey=True)]
        + [fit_case(random, 3, 1), fit_case(random, 1, 7)],
        "apply": [
            apply_case(random, kind, strength)
            for kind, strength in (("uint8", 1.0), ("uint8", 0.4), ("uint16", 0.7))
        ],
        "analysis": [
            analysis_case(random, size, side, alpha=alpha, kind=kind)
            for size, side, alpha, kind in (
                ((41, 64), 48, False, "uint8"),
                ((67, 101), 32, False, "uint8"),
                ((50, 33), 20, True, "uint8"),
                ((31, 44), 30, False, "uint16"),
                ((9, 12), 64, False, "uint8"),
            )
        ],
        "control": [
            control_case(random, 26, 40, ((0.7, 0, 0), (0, 0.6, 0), (0, 0, 0.8), (1, 1, 1))),
            control_case(random, 18, 200, ((0.7, 0.6, 0.8),)),  # cells of 2 x 2 pixels
        ],
        "cast": [cast_case(random, *each) for each in CASTS],
    }


def fit_case(
    random: np.random.Generator, height: int, width: int, *, grey: bool = False
) -> dict[str, Any]:
    """A hazy picture, one restored by another field than any affine one, and the field."""
    hazy = scene(random, height, width)
    restored = (1.6 * hazy**1.3 - 0.25 + 0.05 * scene(random, height, width)).astype(np.float32)
    maps = fit_field(hazy, restored, grey=grey)
    return {
        "hazy": packed(hazy),
        "restored": packed(restored),
        "grey": grey,
        "gains": packed(maps[:, 0].transpose(1, 2, 0)),
        "offsets": packed(maps[:, 1].transpose(1, 2, 0)),
    }


def apply_case(random: np.random.Generator, kind: str, strength: float) -> dict[str, Any]:
    """A field and a picture of another size, restored."""
    small = scene(random, 11, 15)
    maps = fit_field(small, (1.9 * small - 0.4).astype(np.float32) ** 2)
    top = np.iinfo(kind).max
    pixels = np.rint(scene(random, 40, 53) * top).astype(kind)
    return {
        "gains": packed(maps[:, 0].transpose(1, 2, 0)),
        "offsets": packed(maps[:, 1].transpose(1, 2, 0)),
        "strength": strength,
        "pixels": packed(pixels),
        "restored": packed(apply_field(maps, pixels, strength=strength)),
    }


def analysis_case(
    random: np.random.Generator, size: tuple[int, int], side: int, *, alpha: bool, kind: str
) -> dict[str, Any]:
    """A picture, with alpha that hides a half of it, and what the network sees of it."""
    top = np.iinfo(kind).max
    pixels = np.rint(scene(random, *size) * top).astype(kind)
    opacity = None
    if alpha:
        opacity = np.full(size, top, kind)
        opacity[:, : size[1] // 2] = 0
        opacity[10:20] = top // 3
    photo = Photo(pixels, opacity, Traits())
    return {
        "pixels": packed(pixels),
        "alpha": None if opacity is None else packed(opacity),
        "side": side,
        "small": packed(analysis_image(photo, side)),
    }


def control_case(
    random: np.random.Generator, height: int, width: int, choices: tuple[tuple[float, ...], ...]
) -> dict[str, Any]:
    """A sky over dark ground in reddish light, and what each choice of controls makes of it."""
    hazy = scene(random, height, width) * np.float32(0.5)
    hazy[: height // 2] = np.linspace(0.7, 0.85, width, dtype=np.float32)[None, :, None]
    restored = (1.5 * hazy - 0.2) * np.array([1.1, 1.0, 0.8], np.float32)
    done = [controlled(hazy, restored, Controls(*choice)) for choice in choices]
    return {
        "hazy": packed(hazy),
        "restored": packed(restored),
        "controls": [asdict(Controls(*choice)) for choice in choices],
        "controlled": [packed(each) for each in done],
    }


def cast_case(
    random: np.random.Generator, size: tuple[int, int], haze: Colour, share: float, light: Colour
) -> dict[str, Any]:
    """A scene in this light behind this share of haze, a restored one, and what is detected."""
    clear = scene(random, *size) * np.float32(0.6) * np.array(light, np.float32)
    hazy = (clear + share * (np.array(haze, np.float32) - clear)).astype(np.float32)
    restored = (1.3 * hazy - 0.2).astype(np.float32)
    return {
        "hazy": packed(hazy),
        "restored": packed(restored),
        "darkest": packed(darkest(hazy)),
        "surely": keeps_cast(hazy, restored, SURE),
    }


def scene(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(height,width,3) float32 in [0,1]: blocks and a slope, flat places and fine ones."""
    blocks = random.random((height // 6 + 1, width // 6 + 1, 3)).repeat(6, 0).repeat(6, 1)
    slope = np.linspace(0, 1, width)[None, :, None]
    fine = random.random((height, width, 3)) * (np.arange(height) > height // 2)[:, None, None]
    return (0.5 * blocks[:height, :width] + 0.3 * slope + 0.2 * fine).astype(np.float32)


def packed(array: np.ndarray) -> dict[str, Any]:
    """Type, shape and base64 of little-endian samples."""
    plain = np.ascontiguousarray(array)
    data = base64.b64encode(plain.astype(plain.dtype.newbyteorder("<")).tobytes()).decode()
    return {"type": plain.dtype.name, "shape": list(plain.shape), "data": data}


def unpacked(entry: dict[str, Any]) -> np.ndarray:
    """Undoes `packed`."""
    data = base64.b64decode(entry["data"])
    return np.frombuffer(data, entry["type"]).reshape(entry["shape"])


if __name__ == "__main__":
    TARGET.write_text(json.dumps(golden(), indent=1) + "\n", encoding="utf-8")
