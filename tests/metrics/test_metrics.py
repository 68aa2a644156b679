"""PSNR, SSIM by protocol and CIEDE2000 against scikit-image, slow references, published values."""

import math

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab, rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from unhaze.errors import UnhazeError
from unhaze.image import bicubic
from unhaze.metrics import METRICS, PROTOCOLS, WITH_CLEAR, measure
from unhaze.metrics.color_difference import difference, lab_from_srgb
from unhaze.metrics.psnr_ssim import average_pool

# Sharma, Wu, Dalal 2005, table 1: two L*a*b* colours and their difference.
SHARMA = [
    (50, 2.6772, -79.7751, 50, 0, -82.7485, 2.0425),
    (50, 3.1571, -77.2803, 50, 0, -82.7485, 2.8615),
    (50, 2.8361, -74.0200, 50, 0, -82.7485, 3.4412),
    (50, -1.3802, -84.2814, 50, 0, -82.7485, 1.0000),
    (50, -1.1848, -84.8006, 50, 0, -82.7485, 1.0000),
    (50, -0.9009, -85.5211, 50, 0, -82.7485, 1.0000),
    (50, 0, 0, 50, -1, 2, 2.3669),
    (50, -1, 2, 50, 0, 0, 2.3669),
    (50, 2.4900, -0.0010, 50, -2.4900, 0.0009, 7.1792),
    (50, 2.4900, -0.0010, 50, -2.4900, 0.0010, 7.1792),
    (50, 2.4900, -0.0010, 50, -2.4900, 0.0011, 7.2195),
    (50, 2.4900, -0.0010, 50, -2.4900, 0.0012, 7.2195),
    (50, -0.0010, 2.4900, 50, 0.0009, -2.4900, 4.8045),
    (50, -0.0010, 2.4900, 50, 0.0010, -2.4900, 4.8045),
    (50, -0.0010, 2.4900, 50, 0.0011, -2.4900, 4.7461),
    (50, 2.5, 0, 50, 0, -2.5, 4.3065),
    (50, 2.5, 0, 73, 25, -18, 27.1492),
    (50, 2.5, 0, 61, -5, 29, 22.8977),
    (50, 2.5, 0, 56, -27, -3, 31.9030),
    (50, 2.5, 0, 58, 24, 15, 19.4535),
    (50, 2.5, 0, 50, 3.1736, 0.5854, 1.0000),
    (50, 2.5, 0, 50, 3.2972, 0, 1.0000),
    (50, 2.5, 0, 50, 1.8634, 0.5757, 1.0000),
    (50, 2.5, 0, 50, 3.2592, 0.3350, 1.0000),
    (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
    (63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630),
    (61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731),
    (35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645),
    (22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373),
    (36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146),
    (90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441),
    (90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381),
    (6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377),
    (2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082),
]


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    """A drawn scene and a hazed, noisy twin: (61,83,3) float32, odd sides, flat and busy parts."""
    rng = np.random.default_rng(3)
    row, column = np.mgrid[:61, :83] / 60
    waves = [0.5 + 0.4 * np.sin(9 * row * (k + 1) + 7 * column) for k in range(3)]
    clear = np.stack(waves, axis=-1)
    clear[10:25, 30:60] = (0.9, 0.2, 0.1)
    restored = 0.7 * clear + 0.25 + 0.05 * rng.standard_normal(clear.shape)
    return restored.clip(0, 1).astype(np.float32), clear.astype(np.float32)


def slow_ssim(restored: np.ndarray, clear: np.ndarray, padding: int) -> float:
    """SSIM straight from its definition, one window at a time: 11x11 Gaussian, weighted moments."""
    offset = np.arange(11) - 5
    window = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for channel in range(clear.shape[-1]):
        one, two = (
            np.pad(each[..., channel].astype(np.float64), padding) for each in (restored, clear)
        )
        for top in range(one.shape[0] - 10):
            for left in range(one.shape[1] - 10):
                a, b = (each[top : top + 11, left : left + 11] for each in (one, two))
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                variances = (window * (a - mean_a) ** 2).sum() + (window * (b - mean_b) ** 2).sum()
                covariance = (window * (a - mean_a) * (b - mean_b)).sum()
                likeness = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
                values.append(likeness * (2 * covariance + 9e-4) / (variances + 9e-4))
    return float(np.mean(values))


def gaussian_skimage(restored: np.ndarray, clear: np.ndarray) -> float:
    """scikit-image's SSIM with Wang's window, averaged where the window fits wholly."""
    return structural_similarity(
        restored.astype(np.float64),
        clear.astype(np.float64),
        channel_axis=-1,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


@pytest.mark.parametrize("protocol", ["aecr", "dehazeformer", "skimage"])
def test_psnr_of_all_channels_agrees_with_scikit_image(pictures, protocol):
    expected = peak_signal_noise_ratio(pictures[1], pictures[0], data_range=1)
    assert measure(*pictures, protocol)["psnr"] == pytest.approx(expected, abs=1e-4)


def test_zero_padded_ssim_agrees_with_its_definition(pictures):
    small = [each[8:32, 20:47] for each in pictures]
    assert measure(*small, "aecr")["ssim"] == pytest.approx(slow_ssim(*small, 5), abs=1e-9)


def test_zero_padding_changes_ssim(pictures):
    assert abs(measure(*pictures, "aecr")["ssim"] - gaussian_skimage(*pictures)) > 1e-3


def test_uniform_ssim_agrees_with_scikit_image(pictures):
    expected = structural_similarity(*pictures, channel_axis=-1, data_range=1)
    assert measure(*pictures, "skimage")["ssim"] == pytest.approx(expected, abs=1e-4)


def test_small_pictures_are_not_pooled(pictures):
    ssim = measure(*pictures, "dehazeformer")["ssim"]
    assert ssim == pytest.approx(gaussian_skimage(*pictures), abs=1e-4)
    small = [each[:20, :20] for each in pictures]
    assert measure(*small, "dehazeformer")["ssim"] == pytest.approx(slow_ssim(*small, 0), abs=1e-9)


def test_pooled_ssim_agrees_with_pytorch_pooling_and_scikit_image():
    import torch

    rng = np.random.default_rng(0)
    coarse = rng.random((39, 41, 3)).repeat(10, axis=0).repeat(10, axis=1)
    clear = coarse[:, :401].astype(np.float32)
    restored = (clear + rng.normal(0, 0.2, clear.shape)).clip(0, 1).astype(np.float32)
    pooled = [
        torch.nn.functional.adaptive_avg_pool2d(
            torch.from_numpy(each.transpose(2, 0, 1))[None], (195, 200)
        )[0]
        .numpy()
        .transpose(1, 2, 0)
        for each in (restored, clear)
    ]
    ssim = measure(restored, clear, "dehazeformer", metrics=["ssim"])["ssim"]
    assert ssim == pytest.approx(gaussian_skimage(*pooled), abs=1e-4)
    assert abs(ssim - gaussian_skimage(restored, clear)) > 1e-2


def test_pooling_windows_overlap_when_sizes_do_not_divide():
    picture = np.arange(5.0)[:, None, None] * np.ones((1, 2, 3))
    assert average_pool(picture, (2, 1))[:, 0, 0] == pytest.approx([1.0, 3.0])


def test_luma_protocol_agrees_with_scikit_image(pictures):
    lumas = [rgb2ycbcr(each.astype(np.float64))[..., :1] / 255 for each in pictures]
    numbers = measure(*pictures, "y")
    expected = peak_signal_noise_ratio(lumas[1], lumas[0], data_range=1)
    assert numbers["psnr"] == pytest.approx(expected, abs=1e-3)
    assert numbers["ssim"] == pytest.approx(gaussian_skimage(*lumas), abs=1e-4)


def test_luma_swings_from_16_to_235():
    black, white = np.zeros((11, 11, 3)), np.ones((11, 11, 3))
    expected = -20 * math.log10(219 / 255)
    assert measure(black, white, "y")["psnr"] == pytest.approx(expected, abs=1e-4)


def matlab_ssim(restored: np.ndarray, clear: np.ndarray) -> float:
    """As MATLAB's ssim.m computes it from 0 to 255, in SciPy: all axes blurred, borders nearest."""
    from scipy.ndimage import gaussian_filter

    def blurred(volume: np.ndarray) -> np.ndarray:
        return gaussian_filter(volume, 1.5, mode="nearest", truncate=5 / 1.5)

    one, two = blurred(restored), blurred(clear)
    first, second = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    spread = blurred(restored**2) - one**2 + blurred(clear**2) - two**2
    both = blurred(restored * clear) - one * two
    top = (2 * one * two + first) * (2 * both + second)
    return float((top / ((one**2 + two**2 + first) * (spread + second))).mean())


def test_matlab_protocol_rounds_and_blurs_the_volume(pictures):
    rounded = [np.floor(255 * each.clip(0, 1).astype(float) + 0.5) for each in pictures]
    numbers = measure(*pictures, "matlab")
    expected = peak_signal_noise_ratio(rounded[1], rounded[0], data_range=255)
    assert numbers["psnr"] == pytest.approx(expected, abs=1e-9)
    assert numbers["ssim"] == pytest.approx(matlab_ssim(*rounded), abs=1e-9)
    planes = [matlab_ssim(*(each[..., channel] for each in rounded)) for channel in range(3)]
    assert abs(numbers["ssim"] - np.mean(planes)) > 1e-4


def test_matlab_luma_protocol_rounds_twice(pictures):
    rounded = [np.floor(255 * each.clip(0, 1).astype(float) + 0.5) / 255 for each in pictures]
    lumas = [np.floor(rgb2ycbcr(each)[..., 0] + 0.5) for each in rounded]
    numbers = measure(*pictures, "matlab-y")
    expected = peak_signal_noise_ratio(lumas[1], lumas[0], data_range=255)
    assert numbers["psnr"] == pytest.approx(expected, abs=1e-9)
    assert numbers["ssim"] == pytest.approx(matlab_ssim(*lumas), abs=1e-9)


def test_matlab_replicates_borders_and_scikit_image_agrees_inside(pictures):
    """scikit-image leaves five pixels out at each border; a frame of that width hides the rest."""
    rounded = [np.round(255 * each.clip(0, 1).astype(float)) for each in pictures]
    framed = [np.pad(each, ((9, 9), (9, 9), (0, 0)), "edge") for each in rounded]
    planes = [each[..., 0] for each in framed]
    inner = structural_similarity(
        *planes,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )[1][9:-9, 9:-9]
    grey = [each[9:-9, 9:-9, :1].repeat(3, axis=2) / 255 for each in framed]
    assert measure(*grey, "matlab")["ssim"] == pytest.approx(inner.mean(), abs=1e-9)


def test_uint8_protocols_by_hand():
    """0.5 is 127.5, rounded to 128; 0.6 is 153: RGB differs by 25 steps, luma by 21 (126, 147)."""
    clear, restored = np.full((12, 12, 3), 0.5), np.full((12, 12, 3), 0.6)
    for protocol, steps in (("matlab", 25), ("matlab-y", 21)):
        expected = 20 * math.log10(255 / steps)
        assert measure(restored, clear, protocol)["psnr"] == pytest.approx(expected, abs=1e-9)
    nearly = np.full((12, 12, 3), 0.5 + 0.4 / 255)
    assert measure(nearly, clear, "matlab")["psnr"] == 100


@pytest.mark.parametrize("size", [(256, 256), (30, 40), (200, 45)])
def test_bicubic_resizing_agrees_with_pillow(pictures, size):
    from PIL import Image

    clear = pictures[1].astype(np.float32)
    planes = [Image.fromarray(clear[..., k], mode="F") for k in range(3)]
    resized = [each.resize(size[::-1], Image.Resampling.BICUBIC) for each in planes]
    expected = np.stack([np.asarray(each) for each in resized], axis=-1).clip(0, 1)
    np.testing.assert_allclose(bicubic(clear, size), expected, atol=2e-6)


def test_the_protocol_of_256_pixels_measures_the_resized(pictures):
    small = [bicubic(each.clip(0, 1), (256, 256)) for each in pictures]
    numbers = measure(*pictures, "resized-256")
    assert numbers["psnr"] == pytest.approx(measure(*small)["psnr"], abs=1e-9)
    assert numbers["ssim"] == pytest.approx(gaussian_skimage(*small), abs=1e-6)
    assert numbers["ciede2000"] == measure(*pictures)["ciede2000"]
    assert abs(numbers["psnr"] - measure(*pictures)["psnr"]) > 0.1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_equal_pictures_score_best(pictures, protocol):
    clear = pictures[1]
    numbers = measure(clear, clear, protocol)
    assert numbers == {"psnr": 100.0, "ssim": pytest.approx(1.0, abs=1e-12), "ciede2000": 0.0}


def test_psnr_by_hand():
    clear = np.full((4, 5, 3), 0.5)
    assert measure(clear + 0.1, clear, metrics=["psnr"])["psnr"] == pytest.approx(20.0)


def test_flat_pictures_have_the_luminance_term_alone():
    dark, bright = np.full((20, 20, 3), 0.2), np.full((20, 20, 3), 0.8)
    expected = (2 * 0.16 + 1e-4) / (0.04 + 0.64 + 1e-4)
    assert measure(dark, bright, "skimage")["ssim"] == pytest.approx(expected, abs=1e-9)


def test_both_pictures_are_clamped(pictures):
    restored, clear = pictures
    outside = np.where(restored > 0.9, 7.0, restored)
    inside = np.where(restored > 0.9, 1.0, restored)
    assert measure(outside, clear) == measure(inside, clear)


@pytest.mark.parametrize("entry", SHARMA)
def test_ciede2000_of_the_published_pairs(entry):
    one, two = np.array(entry[:3], dtype=float), np.array(entry[3:6], dtype=float)
    assert difference(one, two) == pytest.approx(entry[6], abs=5.1e-5)
    assert difference(two, one) == pytest.approx(entry[6], abs=5.1e-5)


def test_ciede2000_agrees_with_scikit_image(pictures):
    labs = [rgb2lab(each.astype(np.float64)) for each in pictures]
    expected = deltaE_ciede2000(*labs).mean()
    assert measure(*pictures)["ciede2000"] == pytest.approx(expected, abs=1e-4)
    assert lab_from_srgb(pictures[0]) == pytest.approx(labs[0], abs=2e-3)
    assert difference(*labs) == pytest.approx(deltaE_ciede2000(*labs), abs=1e-9)


def test_only_the_asked_metrics_are_measured(pictures):
    assert list(measure(*pictures, metrics=["ssim"])) == ["ssim"]
    assert list(measure(*pictures)) == list(WITH_CLEAR)
    assert list(measure(pictures[0], None, metrics=["fade"])) == ["fade"]


def test_records_say_which_way_is_better(pictures):
    restored, clear = pictures
    worse = measure(0.5 * restored + 0.4, clear)
    better = measure(0.5 * restored + 0.5 * clear, clear)
    for name in WITH_CLEAR:
        assert (better[name] < worse[name]) == METRICS[name].lower_is_better


@pytest.mark.parametrize(
    ("restored", "clear", "arguments", "message"),
    [
        (np.zeros((8, 8, 3)), np.zeros((8, 9, 3)), {}, "8x8 and 9x8; they must have one size"),
        (np.zeros((8, 8)), np.zeros((8, 8)), {}, r"shape \(8, 8\); expected \(H, W, 3\)"),
        (np.zeros((0, 8, 3)), np.zeros((0, 8, 3)), {}, r"expected \(H, W, 3\)"),
        (np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3)), {}, "restored picture is uint8"),
        (np.full((8, 8, 3), np.nan), np.zeros((8, 8, 3)), {}, "192 values that are NaN"),
        (np.zeros((8, 8, 3)), np.full((8, 8, 3), np.inf), {}, "clear picture has 192 values"),
        (np.zeros((8, 8, 3)), None, {}, "'psnr' needs the clear picture"),
        (np.zeros((6, 8, 3)), np.zeros((6, 8, 3)), {"protocol": "skimage"}, "7x7 .* not 8x6"),
        (np.zeros((9, 30, 3)), np.zeros((9, 30, 3)), {"protocol": "y"}, "11x11 .* not 30x9"),
        (np.zeros((8, 8, 3)), np.zeros((8, 8, 3)), {"protocol": "aeccr"}, "did you mean 'aecr'"),
        (np.zeros((8, 8, 3)), np.zeros((8, 8, 3)), {"metrics": ["snr"]}, "did you mean 'psnr'"),
    ],
)
def test_bad_input_is_answered_in_one_line(restored, clear, arguments, message):
    with pytest.raises(UnhazeError, match=message) as caught:
        measure(restored, clear, **arguments)
    assert "\n" not in str(caught.value)


def test_one_pixel_has_an_ssim_under_zero_padding():
    one, two = np.full((1, 1, 3), 0.5), np.full((1, 1, 3), 0.25)
    assert measure(one, two, "aecr")["ssim"] == pytest.approx(slow_ssim(one, two, 5), abs=1e-12)
