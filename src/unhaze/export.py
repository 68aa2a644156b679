"""Turns a trained network into one ONNX file that is checked against PyTorch before it is kept."""

import contextlib
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxscript
import torch
from torch import nn

from unhaze.errors import UnhazeError
from unhaze.nets import NETS
from unhaze.nets.deform_conv import ModulatedDeformConv2d
from unhaze.weights import Weights, load_model

# The first opset with DeformConv.
OPSET = 19

# Batch, height and width of the pictures on which the file must agree with PyTorch.
CHECKED_SIZES = ((1, 1, 1), (1, 1, 7), (1, 5, 3), (2, 33, 64), (1, 64, 32), (1, 90, 121))


@dataclass(frozen=True)
class ExportReport:
    """What was written and how well it agrees.

    max_difference: largest |ONNX Runtime - PyTorch| over the `sizes` (batch, height, width).
    params: parameters of the network. seconds: for everything, the check included.
    """

    path: Path
    max_difference: float
    sizes: tuple[tuple[int, int, int], ...]
    params: int
    seconds: float


def export(
    source: Path | str, out: Path | str, *, overwrite: bool = False, tolerance: float = 1e-4
) -> ExportReport:
    """Writes the network of a `.safetensors` file or run folder as `out`, a single `.onnx` file.

    Its input `hazy` and output `restored` are (batch, 3, height, width) float32 with all three
    free from 1 up; its metadata is the model's card. UnhazeError, and nothing is written, if `out`
    exists without `overwrite`, if it is not named .onnx, if the source cannot be read, or if ONNX
    Runtime differs from PyTorch by more than `tolerance` at any checked size.
    """
    started = time.perf_counter()
    out = Path(out)
    if out.suffix != ".onnx":
        raise UnhazeError(f"'{out}' must end in .onnx")
    if out.is_dir() or (out.exists() and not overwrite):
        raise UnhazeError(f"'{out}' exists; choose another name or overwrite it")
    weights = load_model(source)
    net = weights.net.eval()
    with folder_beside(out) as folder:
        unchecked = folder / out.name
        model = to_onnx(net, weights.part.name)
        onnx.helper.set_model_props(model, card(weights))
        unchecked.write_bytes(model.SerializeToString())
        difference = compare(net, unchecked)
        if not difference <= tolerance:
            raise UnhazeError(
                f"'{source}' was not exported: ONNX Runtime and PyTorch differ by {difference:.2g},"
                f" more than {tolerance:g}; check its weights or report this network"
            )
        unchecked.replace(out)
    seconds = time.perf_counter() - started
    return ExportReport(out, difference, CHECKED_SIZES, count_parameters(net), seconds)


def to_onnx(net: nn.Module, name: str) -> onnx.ModelProto:
    """The graph of `net` with its weights inside; `name` is for the message if it has no graph.

    Sets its deformable convolutions to `as_one_node`: `net` cannot be trained afterwards.
    """
    for layer in net.modules():
        if isinstance(layer, ModulatedDeformConv2d):
            layer.as_one_node = True
    # A free size must not be 0 or 1 in the example: torch.export would take it for a constant.
    example, free = torch.rand(2, 3, 37, 50), torch.export.Dim.DYNAMIC
    try:
        with quiet():
            graph = torch.export.export(
                net, (example,), dynamic_shapes=({0: free, 2: free, 3: free},), strict=False
            )
            program = torch.onnx.export(
                graph,
                dynamo=True,
                opset_version=OPSET,
                input_names=["hazy"],
                output_names=["restored"],
                custom_translation_table={torch.ops.unhaze.deform_conv2d.default: deform_conv_node},
                verbose=False,
            )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise UnhazeError(f"net '{name}' cannot be exported to ONNX: {reason}") from error
    return tidy(program.model_proto)


def deform_conv_node(features: Any, offset: Any, mask: Any, weight: Any, bias: Any) -> Any:
    """ONNX `DeformConv` for `unhaze::deform_conv2d`: the same taps and channel order."""
    kernel = [int(side) for side in weight.shape[2:]]
    pads = [side // 2 for side in kernel] * 2
    return onnxscript.opset19.DeformConv(
        features, weight, offset, bias, mask, kernel_shape=kernel, pads=pads
    )


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Names the free sizes and drops the exporter's notes, which hold paths of this computer."""
    graph = model.graph
    for value in (graph.input[0], graph.output[0]):
        for axis, free in ((0, "batch"), (2, "height"), (3, "width")):
            value.type.tensor_type.shape.dim[axis].dim_param = free
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    del graph.value_info[:]
    onnx.checker.check_model(model)
    return model


def card(weights: Weights) -> dict[str, str]:
    """The metadata: what the network is and what its weights' file says; JSON unless plain text."""
    net = NETS[weights.part.name]
    facts = weights.facts | {
        "unhaze": version("unhaze"),
        "net": weights.part.name,
        "arguments": weights.part.arguments,
        "params": count_parameters(weights.net),
        "title": net.title,
        "paper": net.paper,
    }
    return {
        name: fact if isinstance(fact, str) else json.dumps(fact) for name, fact in facts.items()
    }


def count_parameters(net: nn.Module) -> int:
    """All that train; buffers are not counted."""
    return sum(parameter.numel() for parameter in net.parameters())


def compare(net: nn.Module, path: Path) -> float:
    """Largest difference between PyTorch and ONNX Runtime on random pictures of all sizes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    random = torch.Generator().manual_seed(0)
    differences = []
    for batch, height, width in CHECKED_SIZES:
        hazy = torch.rand(batch, 3, height, width, generator=random)
        with torch.inference_mode():
            expected = net(hazy).numpy()
        (restored,) = session.run(["restored"], {"hazy": hazy.numpy()})
        same_size = restored.shape == hazy.shape
        differences.append(np.abs(restored - expected).max() if same_size else np.inf)
    return float(np.max(differences))


@contextlib.contextmanager
def folder_beside(out: Path) -> Iterator[Path]:
    """A folder next to `out`, so that moving a file from it is one atomic step; then removed."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-")
    except OSError as error:
        raise UnhazeError(f"cannot write '{out}': {error.strerror}") from error
    with folder as name:
        yield Path(name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Holds back what torch.onnx says about operators and packages that play no part here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
