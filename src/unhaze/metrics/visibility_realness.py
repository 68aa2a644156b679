"""VI and RI: visibility and realness of a restored picture. Higher is better.

Zhao, Zhang et al., "Dehazing Evaluation: Real-World Benchmark Datasets, Criteria, and Baselines",
IEEE TIP 29, 2020 (BeDDE). Both compare with a clear picture of the same place, possibly from
another day, and were chosen to agree with rankings by people: VI uses dark channel and gradients,
RI phase congruency and chroma. Constants, sizes and border handling are those of the authors'
MATLAB code. Differs: theirs measures within a manual mask of what both pictures show, ours the
whole picture.
"""

import math
from collections.abc import Iterator
from itertools import combinations_with_replacement

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.image import cell_means, window_minimum
from unhaze.metrics.psnr_ssim import eight_bits

BT601 = np.array([0.299, 0.587, 0.114])
# VI
PATCH = 15  # pixels a side, of the dark channel
BRIGHTEST = 0.01  # share of pixels with the largest dark channel, whose mean colour is the airlight
SCHARR = np.array([3, 10, 3]) / 16
GRADIENTS = 160.0  # constant of their similarity, for levels of 255
TRANSMISSION_POWER = 0.4
# RI
CHROMA = np.array([[0.30, 0.04, -0.35], [0.34, -0.60, 0.17]])  # M and N of LMN
CHROMAS, CHROMA_POWER = 130.0, 0.02
PHASES = 0.85
# Phase congruency: log-Gabor filters, wavelengths in pixels.
WAVELENGTHS, ORIENTATIONS = (6, 12, 24, 48), 4
BANDWIDTH = 0.55  # deviation over centre frequency
ANGULAR = math.pi / ORIENTATIONS / 1.2  # deviation in radians
CUTOFF, SHARPNESS = 0.45, 30  # of the Butterworth filter; cycles a pixel
NOISE_DEVIATIONS, NOISE_SCALE = 2.0, 1.7
LEAST_SIDE = 32  # pixels


def visibility_index(restored_hwc: np.ndarray, clear_hwc: np.ndarray) -> float:
    """VI in (0,1], 1 for equal pictures, of (H,W,3) floats in [0,1], rounded to 8 bits.

    NaN if one of them is black or neither contains haze. UnhazeError under 32 pixels a side.
    """
    restored, clear = prepared(restored_hwc), prepared(clear_hwc)
    before, after = (halved(dark_transmission(each / 255)) for each in (clear, restored))
    slope, other = (gradient(halved(each @ BT601)) for each in (clear, restored))
    seen = power(similarity(before, after, float(before.mean())), TRANSMISSION_POWER)
    return weighted_mean(seen * similarity(slope, other, GRADIENTS), 1 - np.minimum(before, after))


def realness_index(restored_hwc: np.ndarray, clear_hwc: np.ndarray) -> float:
    """RI in (0,1], 1 for equal pictures, of (H,W,3) floats in [0,1], rounded to 8 bits.

    NaN if both are flat. UnhazeError under 32 pixels a side.
    """
    restored, clear = prepared(restored_hwc), prepared(clear_hwc)
    before, after = (phase_congruency(halved(each @ BT601)) for each in (clear, restored))
    colour = np.ones_like(before)
    for axis in CHROMA:
        colour *= similarity(halved(clear @ axis), halved(restored @ axis), CHROMAS)
    alike = similarity(before, after, PHASES) * power(colour, CHROMA_POWER)
    return weighted_mean(alike, np.maximum(before, after))


def prepared(picture_hwc: np.ndarray) -> np.ndarray:
    """Returns (H,W,3) float64, integers 0 to 255. UnhazeError if it is too small."""
    height, width = picture_hwc.shape[:2]
    if min(height, width) < LEAST_SIDE:
        raise UnhazeError(f"VI and RI need {LEAST_SIDE} pixels a side; this is {width}x{height}")
    return np.rint(255 * eight_bits(picture_hwc).astype(np.float64))


def similarity(one: np.ndarray, two: np.ndarray, constant: float) -> np.ndarray:
    """Similarity of two planes: 1 where they are equal, lower where they differ."""
    return (2 * one * two + constant) / (one**2 + two**2 + constant)


def power(values: np.ndarray, exponent: float) -> np.ndarray:
    """The real part of MATLAB's fractional power, which is complex below 0."""
    return (values.astype(complex) ** exponent).real


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> float:
    """The weighted mean of `values`; NaN if all weights are 0."""
    total = float(weights.sum())
    return float((values * weights).sum() / total) if total else math.nan


def halved(plane: np.ndarray) -> np.ndarray:
    """(H,W) -> means of 2 x 2; odd borders are padded with zeros."""
    return cell_means(plane, 2, border="constant")


def gradient(plane: np.ndarray) -> np.ndarray:
    """Magnitude of the Scharr gradient of (H,W), with zero padding."""
    wide = np.pad(plane, 1)
    first, middle, last = SCHARR
    rows = first * wide[:-2] + middle * wide[1:-1] + last * wide[2:]
    columns = first * wide[:, :-2] + middle * wide[:, 1:-1] + last * wide[:, 2:]
    return np.hypot(rows[:, 2:] - rows[:, :-2], columns[2:] - columns[:-2])


def dark_transmission(picture_hwc: np.ndarray) -> np.ndarray:
    """1 - dark channel of I / A (He, Sun and Tang, CVPR 2009), (H,W), not refined and not clamped.

    A is the mean colour of the 1 % of pixels whose dark channel is largest.
    """
    dark = window_minimum(picture_hwc.min(2), PATCH)
    columns_first = dark.T.ravel()  # in MATLAB's pixel order, which decides between equal pixels
    brightest = np.argsort(-columns_first, kind="stable")[: int(BRIGHTEST * dark.size)]
    airlight = picture_hwc.transpose(1, 0, 2).reshape(-1, 3)[brightest].mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - window_minimum((picture_hwc / airlight).min(2), PATCH)


def phase_congruency(plane: np.ndarray) -> np.ndarray:
    """Phase congruency of (H,W), in [0,1]: how far waves of all scales are in phase at each pixel.

    Kovesi, "Image Features From Phase Congruency", Videre 1(3), 1999, with the settings that FSIM
    made common (Zhang et al., IEEE TIP 20(8), 2011). 0 in flat places.
    """
    spectrum = np.fft.fft2(plane)
    energies, amplitudes = np.zeros(plane.shape), np.zeros(plane.shape)
    for filters in banks(plane.shape):
        responses = [np.fft.ifft2(spectrum * each) for each in filters]
        total = np.sum(responses, 0)
        # The component of each wave along the mean direction, minus the component across it.
        along = total / (np.abs(total) + 1e-4)
        turned = [each * along.conj() for each in responses]
        energy = np.sum([each.real - np.abs(each.imag) for each in turned], 0)
        energies += np.maximum(energy - noise_energy(responses[0], filters), 0)
        amplitudes += np.sum(np.abs(responses), 0)
    return np.divide(energies, amplitudes, out=np.zeros(plane.shape), where=amplitudes > 0)


def banks(shape: tuple[int, ...]) -> Iterator[list[np.ndarray]]:
    """Log-Gabor filters of each orientation, in the frequency domain, short wavelengths first."""
    down, across = (frequencies(side) for side in shape)
    radius = np.hypot(down[:, None], across)
    angle = np.arctan2(-down[:, None], across + np.zeros_like(radius))
    low = 1 / (1 + (radius / CUTOFF) ** SHARPNESS)
    radius[0, 0] = 1  # has no logarithm
    radial = []
    for wavelength in WAVELENGTHS:
        wave = np.exp(-((np.log(radius * wavelength) / math.log(BANDWIDTH)) ** 2) / 2) * low
        wave[0, 0] = 0
        radial.append(wave)
    for number in range(ORIENTATIONS):
        turn = angle - number * math.pi / ORIENTATIONS
        away = np.abs(np.arctan2(np.sin(turn), np.cos(turn)))
        spread = np.exp(-((away / ANGULAR) ** 2) / 2)
        yield [wave * spread for wave in radial]


def frequencies(side: int) -> np.ndarray:
    """(side,) in cycles per pixel, 0 first; -1/2 to 1/2 for odd sides, as in the MATLAB code."""
    span = side - side % 2
    return np.fft.ifftshift((np.arange(side) - side // 2) / span)


def noise_energy(smallest: np.ndarray, filters: list[np.ndarray]) -> float:
    """Maximum energy of noise, estimated from the median response of the shortest waves."""
    strength = -np.median(np.abs(smallest) ** 2) / math.log(0.5) / (filters[0] ** 2).sum()
    waves = [np.fft.ifft2(each).real * math.sqrt(each.size) for each in filters]
    pairs = combinations_with_replacement(waves, 2)
    shared = sum(float((one * two).sum()) * (2 if one is two else 4) for one, two in pairs)
    rayleigh = math.sqrt(max(strength * shared, 0) / 2)
    deviation = math.sqrt(2 - math.pi / 2)
    most = rayleigh * (math.sqrt(math.pi / 2) + NOISE_DEVIATIONS * deviation)
    return most / NOISE_SCALE
