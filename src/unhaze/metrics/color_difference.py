"""CIEDE2000: the mean perceived colour difference between two pictures. Lower is better.

CIE 142-2001, as given by Sharma, Wu, Dalal, "The CIEDE2000 Color-Difference Formula",
Color Research and Application 30(1), 2005; all parametric factors are 1.
"""

import numpy as np

# Linear sRGB to XYZ and the white point D65 (2 degrees), IEC 61966-2-1 with six digits.
XYZ_FROM_RGB = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
WHITE = np.array([0.95047, 1.0, 1.08883])
ROWS = 64


def ciede2000(restored_hwc: np.ndarray, clear_hwc: np.ndarray) -> float:
    """Mean over pixels of the CIEDE2000 difference of two (H,W,3) sRGB pictures in [0,1]."""
    # A few rows at a time, so that the formula's thirty intermediate planes fit into the cache.
    total = 0.0
    for top in range(0, clear_hwc.shape[0], ROWS):
        restored, clear = (
            lab_from_srgb(each[top : top + ROWS]) for each in (restored_hwc, clear_hwc)
        )
        total += float(difference(restored, clear).sum())
    return total / (clear_hwc.shape[0] * clear_hwc.shape[1])


def lab_from_srgb(picture_hwc: np.ndarray) -> np.ndarray:
    """sRGB in [0,1] -> CIE L*a*b* under D65, (H,W,3) float64; L* in [0,100]."""
    encoded = picture_hwc.astype(np.float64)
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    relative = linear @ (XYZ_FROM_RGB / WHITE[:, None]).T
    # Below (6/29)^3 the cube root is replaced by its tangent.
    root = np.where(
        relative > (6 / 29) ** 3, np.cbrt(relative), relative * (29 / 6) ** 2 / 3 + 4 / 29
    )
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def difference(lab_one: np.ndarray, lab_two: np.ndarray) -> np.ndarray:
    """CIEDE2000 of two (...,3) arrays of L*a*b*: Sharma et al. 2005, equations 2 to 22."""
    light_one, a_one, b_one = np.moveaxis(lab_one, -1, 0)
    light_two, a_two, b_two = np.moveaxis(lab_two, -1, 0)

    # Chroma and hue with the a axis stretched near grey (equations 2 to 7).
    chroma = (length(a_one, b_one) + length(a_two, b_two)) / 2
    stretch = 1.5 - 0.5 * vividness(chroma)
    a_one, a_two = stretch * a_one, stretch * a_two
    chroma_one, chroma_two = length(a_one, b_one), length(a_two, b_two)
    hue_one, hue_two = hue_of(a_one, b_one), hue_of(a_two, b_two)

    # Differences (8 to 11). Half the hue difference may be off by pi: the sign is set right.
    light_change, chroma_change = light_two - light_one, chroma_two - chroma_one
    turn = hue_two - hue_one
    far = np.abs(turn) > np.pi
    shorter = np.where(far, -1, 1) * np.sin(turn / 2)
    hue_change = 2 * np.sqrt(chroma_one * chroma_two) * shorter

    # Means (12 to 14), the hue's half-way on the shorter arc. A grey has none: the sum replaces it.
    light, chroma = (light_one + light_two) / 2, (chroma_one + chroma_two) / 2
    grey = chroma_one * chroma_two == 0
    halfway = (hue_one + hue_two) / 2 + np.where(far, np.pi, 0)
    halfway -= np.where(halfway >= 2 * np.pi, 2 * np.pi, 0)
    hue = np.where(grey, hue_one + hue_two, halfway)

    # Weights (15 to 21).
    tone = (
        1
        - 0.17 * np.cos(hue - np.radians(30))
        + 0.24 * np.cos(2 * hue)
        + 0.32 * np.cos(3 * hue + np.radians(6))
        - 0.20 * np.cos(4 * hue - np.radians(63))
    )
    from_blue = (hue - np.radians(275)) / np.radians(25)
    twist = np.radians(60) * np.exp(-(from_blue**2))
    rotation = -np.sin(twist) * 2 * vividness(chroma)
    offset = (light - 50) ** 2
    light_part = light_change / (1 + 0.015 * offset / np.sqrt(20 + offset))
    chroma_part = chroma_change / (1 + 0.045 * chroma)
    hue_part = hue_change / (1 + 0.015 * chroma * tone)
    square = light_part**2 + chroma_part**2 + hue_part**2 + rotation * chroma_part * hue_part
    return np.sqrt(np.maximum(square, 0))


def hue_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the hue angle of colours, 0 to 2 pi."""
    angle = np.arctan2(b, a)
    angle += np.where(angle < 0, 2 * np.pi, 0)
    return angle


def length(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Returns the length of vectors; np.hypot, which avoids overflow, takes ten times as long."""
    return np.sqrt(across * across + down * down)


def vividness(chroma: np.ndarray) -> np.ndarray:
    """sqrt(C^7 / (C^7 + 25^7)), near 0 for greys and near 1 for strong colours."""
    cube = chroma * chroma * chroma  # a power of NumPy takes many times as long
    seventh = cube * cube * chroma
    return np.sqrt(seventh / (seventh + 25.0**7))
