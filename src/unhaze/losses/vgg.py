"""VGG-19 as a frozen ruler: features up to relu5_1, from three kinds of weight files.

Simonyan and Zisserman, Very Deep Convolutional Networks, arXiv:1409.1556.
"""

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.errors import UnhazeError
from unhaze.fetch import fetch

# The 8 digits in the file's name are the first of its sha256, as in all names of that publisher.
TORCHVISION_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
TORCHVISION_SHA256 = "dcbb9e9d"

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# Name: index in torchvision's `features`, channels. A name ending in _1 is a tap and, but for the
# first, comes after a pooling.
CONVOLUTIONS = {
    "conv1_1": (0, 64),
    "conv1_2": (2, 64),
    "conv2_1": (5, 128),
    "conv2_2": (7, 128),
    "conv3_1": (10, 256),
    "conv3_2": (12, 256),
    "conv3_3": (14, 256),
    "conv3_4": (16, 256),
    "conv4_1": (19, 512),
    "conv4_2": (21, 512),
    "conv4_3": (23, 512),
    "conv4_4": (25, 512),
    "conv5_1": (28, 512),
}
TAPS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

Tensors = dict[str, tuple[Tensor, Tensor]]


class VGG19(nn.Module):
    """image (B,3,H,W) in [0,1] -> features after relu1_1, relu2_1, relu3_1 ..., `taps` of them.

    Tap k from 0 is (B,C_k,H//2^k,W//2^k). The smallest side is 2^(taps-1) pixels, 16 for all five.
    Images may leave [0,1]; nothing is clamped or resized.

    weights: "torchvision" (published, 548 MB, fetched once), or a file: torchvision's layout as
        .pth or .safetensors, or the original network's convolutions in 8 bits as .npz; or "random"
        (He initialisation, always the same), which judges no picture well and is there for tests
        and for trying a recipe without any file.
    normalize: subtract ImageNet's mean and divide by its deviation first, as the network was
        trained. The dehazing papers that use VGG do not.

    Holds no parameters: its tensors are buffers outside the state dict, hence in no checkpoint and
    in no optimizer, and gradients reach the image only.
    """

    def __init__(self, weights: str = "torchvision", *, normalize: bool = False, taps: int = 5):
        super().__init__()
        names = list(CONVOLUTIONS)
        self.names = names[: names.index(f"conv{taps}_1") + 1]
        self.smallest = 2 ** (taps - 1)
        self.normalize = normalize
        tensors = load(weights, self.names)
        self.convolutions = nn.ModuleList(FrozenConv2d(*tensors[name]) for name in self.names)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        height, width = image.shape[-2:]
        if min(height, width) < self.smallest:
            raise UnhazeError(
                f"images of {width}x{height} pixels are too small for these VGG layers, which need "
                f"{self.smallest}; train on larger crops or set the deepest layer weights to 0"
            )
        features = image.to(self.mean.dtype)
        if self.normalize:
            features = (features - self.mean) / self.std
        taps = []
        for name, convolution in zip(self.names, self.convolutions):
            is_tap = name.endswith("_1")
            if is_tap and taps:
                features = functional.max_pool2d(features, 2)
            features = convolution(features)
            if is_tap:
                taps.append(features)
        return taps


class FrozenConv2d(nn.Module):
    """3x3 convolution and ReLU; kernel (O,I,3,3) and bias (O,) never train and are never saved."""

    def __init__(self, kernel: Tensor, bias: Tensor):
        super().__init__()
        self.register_buffer("kernel", kernel, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return functional.conv2d(features, self.kernel, self.bias, padding=1).relu_()


def load(weights: str, names: Sequence[str]) -> Tensors:
    """Kernel (O,I,3,3) and bias (O,) of each convolution, for RGB input (image - mean) / std."""
    if weights == "random":
        return random_tensors(names)
    if weights == "torchvision":
        path = fetch(TORCHVISION_URL, TORCHVISION_SHA256)
    else:
        path = Path(weights).expanduser()
    read = {".pth": read_pth, ".safetensors": read_safetensors, ".npz": read_npz}.get(path.suffix)
    if read is None:
        raise UnhazeError(
            f"VGG weights '{weights}': expected 'torchvision', 'random', or a .pth, .safetensors "
            "or .npz file"
        )
    if not path.is_file():
        raise UnhazeError(
            f"VGG weights '{path}': there is no such file; 'torchvision' downloads them"
        )
    try:
        tensors = read(path, names)
    except KeyError as error:
        raise UnhazeError(
            f"VGG weights '{path}' lack the tensor {error}; is it a VGG-19?"
        ) from error
    check_shapes(tensors, path)
    return tensors


def check_shapes(tensors: Tensors, path: Path) -> None:
    """UnhazeError unless every kernel and bias has the shape that VGG-19 needs."""
    inputs = 3
    for name, (kernel, bias) in tensors.items():
        outputs = CONVOLUTIONS[name][1]
        shapes = tuple(kernel.shape), tuple(bias.shape)
        expected = (outputs, inputs, 3, 3), (outputs,)
        if shapes != expected:
            raise UnhazeError(
                f"VGG weights '{path}': {name} has shapes {shapes}, expected {expected}"
            )
        inputs = outputs


def random_tensors(names: Sequence[str]) -> Tensors:
    """He initialisation from its own seed: equal everywhere, the global generator untouched."""
    generator = torch.Generator().manual_seed(19)
    tensors, inputs = {}, 3
    for name in names:
        outputs = CONVOLUTIONS[name][1]
        kernel = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
        tensors[name] = kernel, torch.zeros(outputs)
        inputs = outputs
    return tensors


def read_pth(path: Path, names: Sequence[str]) -> Tensors:
    """Kernels and biases of a PyTorch file in torchvision's layout; runs no pickled code."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise UnhazeError(f"VGG weights '{path}' are not a readable PyTorch file") from error
    if not isinstance(state, dict):
        raise UnhazeError(f"VGG weights '{path}' hold a {type(state).__name__}, not a state dict")
    return pick(state, names)


def read_safetensors(path: Path, names: Sequence[str]) -> Tensors:
    """Kernels and biases of a safetensors file in torchvision's layout."""
    import safetensors.torch

    try:
        state = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise UnhazeError(f"VGG weights '{path}' are not a readable safetensors file") from error
    return pick(state, names)


def pick(state: dict[str, Tensor], names: Sequence[str]) -> Tensors:
    """torchvision's layout: `features.0.weight`, `features.0.bias`, `features.2.weight` ..."""
    keys = {name: f"features.{CONVOLUTIONS[name][0]}" for name in names}
    # Cloned, so that the file's other 120 million numbers (the classifier) can be freed.
    return {
        name: (state[f"{key}.weight"].float().clone(), state[f"{key}.bias"].float().clone())
        for name, key in keys.items()
    }


def read_npz(path: Path, names: Sequence[str]) -> Tensors:
    """The original network in 8 bits, brought to the input that torchvision's network takes.

    Tensors `blockB_convN.kernel` (3,3,I,O) and `.bias`, each as `.q` uint8 and `.scale_min`; the
    value is q * scale + min. The original was trained on BGR from 0 to 255 minus the mean, which is
    255 * std times what torchvision's was trained on, RGB (image - mean) / std. So the first kernel
    takes that factor and the flip, and an un-normalised image means the same to both networks: it
    stands where (image - mean) / std stood in training. (The two means differ by less than half a
    gray level; torchvision's are used.)
    A ReLU network whose biases are divided by a number answers an input divided by it with features
    divided by it. So one unit, 255 times the mean std, is taken out of kernel and biases: features
    are then counted in deviations and not in gray levels, as torchvision's are, and weights of
    losses that are no ratios carry over roughly.
    """
    tensors = {}
    unit = 255 * sum(STD) / 3
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in names:
                key = f"block{name[4]}_conv{name[6]}"
                kernel = dequantise(file, f"{key}.kernel").permute(3, 2, 0, 1)
                if name == "conv1_1":
                    kernel = kernel.flip(1) * torch.tensor(STD).view(3, 1, 1) * 255 / unit
                tensors[name] = kernel.contiguous(), dequantise(file, f"{key}.bias") / unit
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UnhazeError(f"VGG weights '{path}' are not a readable 8-bit .npz file") from error
    return tensors


def dequantise(file: np.lib.npyio.NpzFile, key: str) -> Tensor:
    """value = q * scale + minimum, as float32."""
    scale, minimum = file[f"{key}.scale_min"]
    return torch.from_numpy((file[f"{key}.q"] * scale + minimum).astype(np.float32))
