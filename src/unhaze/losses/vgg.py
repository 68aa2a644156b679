"""VGG-16 and VGG-19 as frozen feature extractors, from weights in torchvision's layout.

Simonyan and Zisserman, Very Deep Convolutional Networks, arXiv:1409.1556.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.convolution.layers import conv3x3
from unhaze.errors import UnhazeError
from unhaze.fetch import fetch
from unhaze.validation import one_of

# Network: convolutions in each of its five blocks.
BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)

# torchvision's files. The 8 digits in a name are the first of the file's sha256.
PUBLISHED = {
    "vgg16": ("https://download.pytorch.org/models/vgg16-397923af.pth", "397923af"),
    "vgg19": ("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "dcbb9e9d"),
}

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# Layers that contrastive regularization compares.
TAPS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

Tensors = dict[str, tuple[Tensor, Tensor]]
# Exceptions raised while reading a damaged file.
BROKEN = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    pickle.UnpicklingError,
    safetensors.SafetensorError,
)


@dataclass(frozen=True)
class Convolution:
    """One 3x3 convolution: its index in torchvision's `features`, channels out."""

    index: int
    channels: int


def convolutions_of(network: str) -> dict[str, Convolution]:
    """conv1_1, conv1_2, conv2_1 ...: a ReLU follows each, a pooling each block."""
    found, index = {}, 0
    for block, (count, channels) in enumerate(zip(BLOCKS[network], CHANNELS), 1):
        for number in range(1, count + 1):
            found[f"conv{block}_{number}"] = Convolution(index, channels)
            index += 2
        index += 1
    return found


class VGG(nn.Module):
    """image (B,3,H,W) in [0,1] -> the features at `taps`, such as relu3_1 after conv3_1 and ReLU.

    Features of block k, from 1, are (B,C_k,H//2^(k-1),W//2^(k-1)), so block 5 needs sides of at
    least 16 pixels. Images may exceed [0,1]; nothing is clamped or resized.

    network: "vgg16" or "vgg19".
    weights: "torchvision" (published, 550 MB, downloaded once), or a .pth or .safetensors file in
        torchvision's layout, which may lack the classifier and the later blocks; or "random" (He
        initialisation, always the same), for tests and for trying a recipe without any file.
    taps: in the order of the network.
    normalize: subtract ImageNet's mean and divide by its standard deviation first, as in the
        network's training. The dehazing papers that use VGG do not.

    It has no parameters: its tensors are buffers outside the state dict, so that no checkpoint and
    no optimizer contains them. Gradients reach the image only.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        weights: str = "torchvision",
        *,
        network: str = "vgg19",
        taps: Sequence[str] = TAPS,
        normalize: bool = False,
    ):
        super().__init__()
        one_of("VGG network", network, BLOCKS)
        names = list(convolutions_of(network))
        for tap in taps:
            one_of(f"layer of {network}", tap, [name.replace("conv", "relu") for name in names])
        self.taps = tuple(taps)
        self.names = names[: names.index(taps[-1].replace("relu", "conv")) + 1]
        self.smallest = 2 ** (int(self.names[-1][4]) - 1)
        self.normalize = normalize
        tensors = load(weights, network, self.names)
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
        seen = []
        for name, convolution in zip(self.names, self.convolutions):
            if name.endswith("_1") and name != "conv1_1":
                features = functional.max_pool2d(features, 2)
            features = convolution(features)
            if name.replace("conv", "relu") in self.taps:
                seen.append(features)
        return seen


class FrozenConv2d(nn.Module):
    """3x3 convolution and ReLU; kernel (O,I,3,3) and bias (O,) are neither trained nor saved."""

    kernel: Tensor
    bias: Tensor

    def __init__(self, kernel: Tensor, bias: Tensor):
        super().__init__()
        self.register_buffer("kernel", kernel, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return conv3x3(features, self.kernel, self.bias).relu_()


def load(weights: str, network: str, names: Sequence[str]) -> Tensors:
    """Returns kernel (O,I,3,3) and bias (O,) of each convolution; input: (image - mean) / std."""
    if weights == "random":
        return random_tensors(network, names)
    path = fetch(*PUBLISHED[network]) if weights == "torchvision" else Path(weights).expanduser()
    if path.suffix not in (".pth", ".safetensors"):
        raise UnhazeError(
            f"VGG weights '{weights}': expected 'torchvision', 'random', or a .pth or .safetensors "
            "file in torchvision's layout"
        )
    if not path.is_file():
        raise UnhazeError(
            f"VGG weights '{path}': there is no such file; 'torchvision' downloads them"
        )
    try:
        tensors = pick(read_state(path), network, names)
    except KeyError as error:
        raise UnhazeError(
            f"VGG weights '{path}' lack the tensor {error}; is it a {network}?"
        ) from error
    check_shapes(tensors, network, path)
    return tensors


def check_shapes(tensors: Tensors, network: str, path: Path) -> None:
    """Raises UnhazeError unless every kernel and bias has the shape that `network` needs."""
    inputs = 3
    for name, (kernel, bias) in tensors.items():
        outputs = convolutions_of(network)[name].channels
        shapes = tuple(kernel.shape), tuple(bias.shape)
        expected = (outputs, inputs, 3, 3), (outputs,)
        if shapes != expected:
            raise UnhazeError(
                f"VGG weights '{path}': {name} has shapes {shapes}, expected {expected}"
            )
        inputs = outputs


def random_tensors(network: str, names: Sequence[str]) -> Tensors:
    """He initialisation from its own seed, always the same; the global generator is not used."""
    generator = torch.Generator().manual_seed(19)
    tensors, inputs = {}, 3
    for name in names:
        outputs = convolutions_of(network)[name].channels
        kernel = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
        tensors[name] = kernel, torch.zeros(outputs)
        inputs = outputs
    return tensors


def read_state(path: Path) -> dict[str, Tensor]:
    """Returns names and tensors of a PyTorch or safetensors file; runs no pickled code."""
    kind = "safetensors" if path.suffix == ".safetensors" else "PyTorch"
    try:
        if kind == "safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except BROKEN as error:
        raise UnhazeError(f"VGG weights '{path}' are not a readable {kind} file") from error
    if not isinstance(state, dict):
        raise UnhazeError(f"VGG weights '{path}' hold a {type(state).__name__}, not a state dict")
    return state


def pick(state: dict[str, Tensor], network: str, names: Sequence[str]) -> Tensors:
    """Selects torchvision's `features.0.weight`, `features.0.bias`, `features.2.weight` ..."""
    indices = {name: each.index for name, each in convolutions_of(network).items()}
    found = {key.rpartition(".")[0] for key in state if key.startswith("features.")}
    refuse_others(found - {f"features.{index}" for index in indices.values()}, network)
    keys = {name: f"features.{indices[name]}" for name in names}
    # Cloned, so that the file's other 120 million numbers (the classifier) can be freed.
    return {
        name: (state[f"{key}.weight"].float().clone(), state[f"{key}.bias"].float().clone())
        for name, key in keys.items()
    }


def refuse_others(layers: set[str], network: str) -> None:
    """Refuses the other network: the first blocks are the same, later ones differ."""
    if layers:
        raise UnhazeError(
            f"these VGG weights hold '{min(layers)}', which {network} does not have; are they"
            " for another network?"
        )
