"""Builds ICC profiles from primaries and transfer functions that pictures name by numbers.

Code points are those of ITU-T H.273 (ISO/IEC 23091-2), as in PNG's cICP and AVIF's nclx.
"""

import functools
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyvips

from unhaze.photo.picture import ICC, set_bytes

D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)
# x and y of red, green, blue and white.
PRIMARIES = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65),  # BT.709, sRGB
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),  # BT.2020
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),  # DCI-P3
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),  # Display P3
}
SRGB = 1, 13
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
ASTRAY = 4.0  # mean error of L*, a*, b* of a round trip
ENTRIES = 4096  # of a tabulated transfer function
WHITE_NITS, WHITE_HLG = 203, 0.75  # BT.2408: diffuse white of PQ, and the signal of it in HLG


def srgb_curve(values: np.ndarray) -> np.ndarray:
    """Converts samples in [0,1] to linear light (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def bt709_curve(values: np.ndarray) -> np.ndarray:
    """The inverse of the camera's function of BT.709 and BT.2020."""
    return np.where(values < 0.081, values / 4.5, ((values + 0.099) / 1.099) ** (1 / 0.45))


def pq_curve(values: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084 with diffuse white as 1; brighter values are clipped, as on a standard
    screen.
    """
    root = values ** (1 / 78.84375)
    light = (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (
        1 / 0.1593017578125
    )
    return np.minimum(light * 10000 / WHITE_NITS, 1)


def hlg_curve(values: np.ndarray) -> np.ndarray:
    """ARIB STD-B67 with diffuse white as 1; brighter values are clipped."""

    def scene(signal: np.ndarray) -> np.ndarray:
        bright = (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
        return np.where(signal <= 0.5, signal**2 / 3, bright)

    return np.minimum(scene(values) / scene(np.array(WHITE_HLG)), 1)


CURVES: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: bt709_curve,
    4: lambda values: values**2.2,
    5: lambda values: values**2.8,
    6: bt709_curve,
    8: lambda values: values,
    13: srgb_curve,
    14: bt709_curve,
    15: bt709_curve,
    16: pq_curve,
    18: hlg_curve,
}


def from_numbers(primaries: int, transfer: int) -> bytes | None:
    """Returns a profile for code points of H.273; None for sRGB's and for unspecified ones."""
    unknown = primaries not in PRIMARIES or transfer not in CURVES
    if unknown or (primaries == 1 and transfer in (1, 6, 13, 14, 15)):
        return None
    return matrix_profile(PRIMARIES[primaries], CURVES[transfer])


def from_png(chunks: dict[bytes, bytes]) -> bytes | None:
    """Returns a profile for PNG's colour chunks, in their order of precedence; None for sRGB's."""
    if len(numbers := chunks.get(b"cICP", b"")) == 4:
        return from_numbers(numbers[0], numbers[1])
    gamma = chunks.get(b"gAMA", b"")
    if b"sRGB" in chunks or len(gamma) != 4:
        return None
    exponent = 100_000 / max(1, struct.unpack(">I", gamma)[0])
    xy = PRIMARIES[1]
    if len(chromaticities := chunks.get(b"cHRM", b"")) == 32:
        white, *colours = np.array(struct.unpack(">8I", chromaticities)).reshape(4, 2) / 100_000
        xy = (*colours, white)
    if not 0.1 < exponent < 10 or not all(0 < each[1] < 1 for each in xy):
        return None
    close = np.abs(np.array(xy) - np.array(PRIMARIES[1])).max() < 0.001
    if close and abs(exponent - 2.2) < 0.03:  # what software writes for sRGB
        return None
    return matrix_profile(xy, lambda values: values**exponent)


def matrix_profile(
    xy: Sequence[Sequence[float]],
    curve: Callable[[np.ndarray], np.ndarray],
    *,
    name: str = "RGB by numbers",
) -> bytes:
    """Returns an ICC profile (ICC.1:2001-04) for RGB with these chromaticities of red, green, blue,
    white.

    curve: samples in [0,1] to linear light, the same for all channels.
    """
    table = np.rint(curve(np.linspace(0, 1, ENTRIES)) * 65535).astype(">u2").tobytes()
    curves = b"curv" + struct.pack(">II", 0, ENTRIES) + table
    tags = {b"wtpt": _xyz(_to_xyz(D50)), b"desc": _description(name)}
    tags |= {b"cprt": b"text" + bytes(4) + b"no copyright\0"}
    columns = colorants(xy).T
    tags |= {tag: _xyz(column) for tag, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns)}
    blocks, places = b"", []
    start = 128 + 4 + 12 * (len(tags) + 3)
    for tag, data in tags.items():
        places.append((tag, start + len(blocks), len(data)))
        blocks += data + bytes(-len(data) % 4)
    places += [(name, start + len(blocks), len(curves)) for name in (b"rTRC", b"gTRC", b"bTRC")]
    blocks += curves
    table_of_tags = struct.pack(">I", len(places))
    table_of_tags += b"".join(name + struct.pack(">II", at, size) for name, at, size in places)
    size = start + len(blocks)
    head = struct.pack(">I4sI4s4s4s", size, b"", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + _xyz(_to_xyz(D50))[8:]
    return head.ljust(128, b"\0") + table_of_tags + blocks


@functools.lru_cache(maxsize=16)
def only_reads(profile: bytes) -> bool:
    """Returns whether a profile converts colours from its space but not to it, for lack of tables.

    XYB JPEGs have such profiles. Returns False for a broken profile.
    """
    count = min(struct.unpack(">I", profile[128:132])[0], 100) if len(profile) >= 132 else 0
    if b"A2B0" not in {profile[132 + 12 * i : 136 + 12 * i] for i in range(count)}:
        return False
    steps = np.linspace(0, 65535, 6).astype(np.uint16)
    probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(36, 6, 3)
    image = pyvips.Image.new_from_array(probe).copy(interpretation="rgb16")
    options: dict[str, Any] = {"intent": "relative", "embedded": True}
    set_bytes(image, ICC, profile)
    try:
        there = image.icc_import(**options).copy_memory()
    except pyvips.Error:
        return False
    try:
        exported = there.icc_export(depth=16, intent="relative").copy()
        set_bytes(exported, ICC, profile)
        back = exported.icc_import(**options).numpy()
    except pyvips.Error:
        return True
    return float(np.abs(back - there.numpy()).mean()) > ASTRAY


def colorants(xy: Sequence[Sequence[float]]) -> np.ndarray:
    """(3,3): linear RGB to XYZ under D50, adapted by Bradford's method."""
    white = _to_xyz(xy[3])
    unscaled = np.stack([_to_xyz(each) for each in xy[:3]], axis=1)
    scaled = unscaled * np.linalg.solve(unscaled, white)
    cones = (BRADFORD @ _to_xyz(D50)) / (BRADFORD @ white)
    return np.linalg.inv(BRADFORD) @ np.diag(cones) @ BRADFORD @ scaled


def _to_xyz(xy: Sequence[float]) -> np.ndarray:
    x, y = xy
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _xyz(values: Iterable[float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(each) * 65536) for each in values))


def _description(words: str) -> bytes:
    ascii_words = words.encode() + b"\0"
    return b"desc" + struct.pack(">II", 0, len(ascii_words)) + ascii_words + bytes(8 + 3 + 67)


def from_lab(image: pyvips.Image) -> pyvips.Image:
    """Converts 8-bit CIE L*a*b* as libvips represents it: L of 0 to 255, a and b signed (TIFF
    6.0).
    """
    if image.interpretation != "lab" or image.format != "uchar":
        return image
    colours = image.extract_band(0, n=3).cast("float")
    signed = (colours > 127).ifthenelse(colours - 256, colours)
    lab = (colours[0] * (100 / 255)).bandjoin([signed[1], signed[2]])
    return lab.copy(interpretation="lab")
