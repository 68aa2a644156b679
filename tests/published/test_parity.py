"""Official weights give what the published networks give: an independent NumPy pipeline agrees.

The pipelines below are written from the papers' and scripts' steps, over the arrays of the official
files, in float64. Needs the weights and SOTS pictures, which are not part of this project. What
both give over all 80 pictures at full size is in results/.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from unhaze import photo
from unhaze.image import to_float
from unhaze.published import import_weights
from unhaze.weights import load_weights

# Of 80 pictures, and of those the middle, to stay quick: from little haze to much.
PICTURES = ("1400_2", "1419_5", "1431_9")
MIDDLE = (slice(120, 340), slice(180, 440))


def correlate(image: np.ndarray, kernels: np.ndarray, bias: np.ndarray, mode: str) -> np.ndarray:
    """(H,W,I) by (k,k,I,O) -> (H,W,O), same size; even kernels reach further down and right."""
    height, width, _ = image.shape
    size = len(kernels)
    reach = ((size - 1) // 2, size // 2)
    padded = np.pad(image, (reach, reach, (0, 0)), mode=mode)
    result = np.tile(bias.reshape(1, 1, -1), (height, width, 1)).astype(np.float64)
    for row in range(size):
        for column in range(size):
            result += padded[row : row + height, column : column + width] @ kernels[row, column]
    return result


def aodnet(hazy: np.ndarray, file: Path) -> np.ndarray:
    arrays = np.load(file)

    def layer(number: int, *maps: np.ndarray) -> np.ndarray:
        kernels = arrays[f"conv{number}.weight"].transpose(2, 3, 1, 0)
        bias = arrays[f"conv{number}.bias"]
        return np.maximum(correlate(np.concatenate(maps, 2), kernels, bias, "constant"), 0)

    maps1 = layer(1, hazy)
    maps2 = layer(2, maps1)
    maps3 = layer(3, maps1, maps2)
    maps4 = layer(4, maps2, maps3)
    gain = layer(5, maps1, maps2, maps3, maps4)
    return np.maximum(gain * hazy - gain + 1, 0)


def box(image: np.ndarray, radius: int) -> np.ndarray:
    """Sums over windows by an integral image, divided by the pixels that each window holds."""

    def sums(values: np.ndarray) -> np.ndarray:
        integral = np.pad(values, ((radius + 1, radius), (radius + 1, radius))).cumsum(0).cumsum(1)
        side = 2 * radius + 1
        return (
            integral[side:, side:]
            - integral[:-side, side:]
            - integral[side:, :-side]
            + integral[:-side, :-side]
        )

    return sums(image) / sums(np.ones_like(image))


def dehazenet(hazy: np.ndarray, file: Path) -> np.ndarray:
    arrays = scipy.io.loadmat(file)

    def layer(name: str, image: np.ndarray) -> np.ndarray:
        stored = arrays[f"weights_{name}"]
        size = int(stored.shape[1] ** 0.5)
        kernels = stored.reshape((stored.shape[0], size, size, -1), order="F").transpose(1, 2, 0, 3)
        return correlate(image, kernels, arrays[f"biases_{name}"], "symmetric")

    features = layer("conv1", hazy - 0.5)
    features = np.stack([features[..., 4 * group : 4 * group + 4].max(2) for group in range(4)], 2)
    maps = np.concatenate([layer(name, features) for name in ("conv3x3", "conv5x5", "conv7x7")], 2)
    for axis in (0, 1):
        widths = [(3, 3) if each == axis else (0, 0) for each in range(3)]
        padded = np.pad(maps, widths, mode="edge")
        shifted = [np.roll(padded, -step, axis) for step in range(7)]
        maps = np.max(shifted, 0)[: hazy.shape[0], : hazy.shape[1]]
    transmission = np.clip(layer("ip", maps)[..., 0], 0, 1)

    grey = hazy @ [0.2989, 0.5870, 0.1140]
    ordered = np.sort(transmission, axis=None)
    haziest = transmission <= ordered[round(0.01 * ordered.size) - 1]
    airlight = hazy[haziest & (grey >= grey[haziest].max())].mean(0)

    mean_grey, mean_transmission = box(grey, 50), box(transmission, 50)
    covariance = box(grey * transmission, 50) - mean_grey * mean_transmission
    slope = covariance / (box(grey**2, 50) - mean_grey**2 + 1e-3)
    offset = mean_transmission - slope * mean_grey
    refined = box(slope, 50) * grey + box(offset, 50)
    return (hazy - airlight) / refined[..., None] + airlight


def psnr(restored: np.ndarray, clear: np.ndarray) -> float:
    return -10 * np.log10(np.mean((np.clip(restored, 0, 1) - clear) ** 2))


@pytest.mark.parametrize(
    "net, file, reference",
    [
        ("aodnet", "aodnet_official.npz", aodnet),
        ("dehazenet", "dehazenet_official.mat", dehazenet),
    ],
)
def test_official_weights_equal_the_reference_pipeline(
    net: str, file: str, reference: Callable, shared_data: Path, tmp_path: Path
):
    weights = shared_data / "weights" / file
    own = load_weights(import_weights(weights, tmp_path / "own.safetensors", net=net).path).net
    folder = shared_data / "data" / "sots-indoor-part"
    for name in PICTURES:
        hazy = to_float(photo.read_rgb(folder / "hazy" / f"{name}.png"))
        clear = to_float(photo.read_rgb(folder / "clear" / f"{name[:4]}.png"))
        clear = clear[10:-10, 10:-10] if clear.shape != hazy.shape else clear
        hazy, clear = hazy[MIDDLE], clear[MIDDLE]
        with torch.inference_mode():
            batch = torch.from_numpy(hazy.transpose(2, 0, 1).copy())[None]
            restored = own(batch)[0].numpy().transpose(1, 2, 0)
        expected = reference(hazy.astype(np.float64), weights)
        assert abs(psnr(restored, clear) - psnr(expected, clear)) < 0.02
        assert np.abs(restored - expected).mean() < 1e-4
