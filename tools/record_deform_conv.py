"""Records values and gradients of torchvision's operator for tests/nets/test_deform_conv.py.

Run once, in an environment of its own that has torchvision (the project's needs none):

    pip install torch==2.6.0 torchvision==0.21.0 numpy
    python tools/record_deform_conv.py tests/data/deform_conv_torchvision.npz

Inputs are float32, torchvision computes in float64 on the CPU, and results are stored as float32,
so that the recorded values carry no rounding of their own.
"""

import sys

import numpy as np
import torch
import torchvision

# name: (batch, in_channels, out_channels, height, width, side of the kernel, spread of the offsets)
CASES = {
    "small_offsets": (2, 4, 3, 6, 7, 3, 0.7),
    "large_offsets": (1, 3, 4, 5, 9, 3, 4.0),
    "far_outside": (1, 2, 2, 6, 5, 3, 300.0),
    "one_row": (1, 3, 2, 1, 11, 3, 1.5),
    "one_column": (2, 3, 2, 8, 1, 3, 1.5),
    "one_pixel": (2, 5, 3, 1, 1, 3, 0.8),
    "one_channel": (1, 1, 1, 7, 7, 3, 1.0),
    "kernel_1x1": (1, 3, 2, 5, 4, 1, 1.0),
    "kernel_5x5": (1, 2, 3, 5, 6, 5, 2.0),
}


def main(path: str) -> None:
    recorded = {}
    random = np.random.default_rng(2104_09367)
    for case, sizes in CASES.items():
        for name, array in record(random, *sizes).items():
            recorded[f"{case}.{name}"] = array
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    np.savez_compressed(path, versions=versions, cases=list(CASES), **recorded)
    print(f"{path}: {len(CASES)} cases from {versions}")


def record(
    random: np.random.Generator,
    batch: int,
    in_channels: int,
    out_channels: int,
    height: int,
    width: int,
    kernel: int,
    spread: float,
) -> dict[str, np.ndarray]:
    """Five inputs, the output, the gradient that flows in, and the five gradients that come out."""
    taps = kernel * kernel
    inputs = {
        "features": random.normal(size=(batch, in_channels, height, width)),
        "offset": random.normal(size=(batch, 2 * taps, height, width)) * spread,
        "mask": random.uniform(size=(batch, taps, height, width)),
        "weight": random.normal(size=(out_channels, in_channels, kernel, kernel)),
        "bias": random.normal(size=out_channels),
    }
    inputs = {name: array.astype(np.float32) for name, array in inputs.items()}
    tensors = {
        name: torch.tensor(array.astype(np.float64), requires_grad=True)
        for name, array in inputs.items()
    }
    output = torchvision.ops.deform_conv2d(
        tensors["features"],
        tensors["offset"],
        tensors["weight"],
        tensors["bias"],
        padding=kernel // 2,
        mask=tensors["mask"],
    )
    arriving = random.normal(size=output.shape).astype(np.float32)
    output.backward(torch.tensor(arriving.astype(np.float64)))
    gradients = {f"{name}_gradient": tensor.grad for name, tensor in tensors.items()}
    results = {"output": output.detach()} | gradients
    results = {name: tensor.numpy().astype(np.float32) for name, tensor in results.items()}
    return inputs | {"output_gradient": arriving} | results


if __name__ == "__main__":
    main(*sys.argv[1:])
