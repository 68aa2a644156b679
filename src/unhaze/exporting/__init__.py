"""Exports a trained network to one ONNX file, which is kept only if it agrees with PyTorch."""

import copy
import json
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from unhaze.atomic import check_replaceable, made_aside
from unhaze.errors import UnhazeError
from unhaze.exporting.facts import count_costs, measure_context, measure_memory, measure_strides
from unhaze.exporting.graph import open_pools, store_in_half, to_onnx
from unhaze.nets import find_net
from unhaze.published import open_weights
from unhaze.restore.engine import session_options
from unhaze.weights import Weights

# Batch, height and width of the pictures on which file and PyTorch are compared.
CHECKED_SIZES = ((1, 1, 1), (1, 1, 7), (1, 5, 3), (2, 33, 64), (1, 64, 32), (1, 90, 121))


@dataclass(frozen=True)
class ExportReport:
    """The written file and its agreement with PyTorch.

    max_difference: largest |ONNX Runtime - PyTorch| over the `sizes` (batch, height, width).
    params: parameters of the network. seconds: in total, including the check.
    """

    path: Path
    max_difference: float
    sizes: tuple[tuple[int, int, int], ...]
    params: int
    seconds: float


def export(
    source: Path | str,
    out: Path | str,
    *,
    net: str | None = None,
    half: bool = False,
    overwrite: bool = False,
    tolerance: float = 1e-4,
) -> ExportReport:
    """Writes the network of `source` as `out`, a single `.onnx` file.

    `source`, `net`: as for `open_weights`: a run folder, our file or a published checkpoint.
    Its input `hazy` and output `restored` are (batch, 3, height, width) float32 with all three
    free from 1 up; its metadata is the model's card, with the costs of running it. half: weights
    are rounded to float16, which halves the file; it computes in float32. UnhazeError, and
    nothing is written, if `out` exists without `overwrite`, if it is not named .onnx, if the source
    cannot be read, or if ONNX Runtime differs from PyTorch by more than `tolerance` at any checked
    size.
    """
    started = time.perf_counter()
    out = Path(out)
    if out.suffix != ".onnx":
        raise UnhazeError(f"'{out}' must end in .onnx")
    check_replaceable(out, overwrite)
    weights = deployed(open_weights(source, net=net))
    network = weights.net.eval()
    if half:
        network.half().float()
    with made_aside(out, parents=True) as unchecked:
        unchanged = copy.deepcopy(network)  # by `to_onnx`
        model = to_onnx(network, weights.part.name)
        costs = count_costs(unchanged)
        strides = measure_strides(model, open_pools(model))
        if half:
            store_in_half(model)
        facts = card(weights) | costs | {"pools": strides}
        write_model(model, facts, unchecked)
        difference = compare(network, unchecked)
        if not difference <= tolerance:
            raise UnhazeError(
                f"'{source}' was not exported: ONNX Runtime and PyTorch differ by {difference:.2g},"
                f" more than {tolerance:g}; check its weights or report this network"
            )
        context, memory = measure_context(unchecked), measure_memory(unchecked)
        facts |= {"context": context} | ({"bytes_per_pixel": memory} if memory else {})
        write_model(model, facts, unchecked)
    seconds = time.perf_counter() - started
    return ExportReport(out, difference, CHECKED_SIZES, count_parameters(network), seconds)


@runtime_checkable
class Deployable(Protocol):
    """A network with a simpler form for inference."""

    def deployed(self) -> tuple[nn.Module, dict[str, Any]]:
        """Returns that form, and its network arguments."""
        ...


def deployed(weights: Weights) -> Weights:
    """Returns the inference form, if the network has parts that only training needs."""
    if not isinstance(weights.net, Deployable):
        return weights
    net, arguments = weights.net.deployed()
    part = replace(weights.part, arguments=weights.part.arguments | arguments)
    return replace(weights, net=net, part=part)


def card(weights: Weights) -> dict[str, Any]:
    """Returns the card: facts about the network and those of its weights file."""
    net = find_net(weights.part.name)
    # Our networks are trained for all scales, those of others for one.
    scale = {"analysis": net.analysis} if "published_sha256" in weights.facts else {}
    return (
        weights.facts
        | scale
        | {
            "unhaze": version("unhaze"),
            "net": weights.part.name,
            "arguments": weights.part.arguments,
            "params": count_parameters(weights.net),
            "title": net.title,
            "paper": net.paper,
        }
    )


def write_model(model: onnx.ModelProto, facts: dict[str, Any], path: Path) -> None:
    """Writes one file with `facts` as its metadata, as JSON unless they are text."""
    texts = {
        name: fact if isinstance(fact, str) else json.dumps(fact) for name, fact in facts.items()
    }
    onnx.helper.set_model_props(model, texts)
    path.write_bytes(model.SerializeToString())


def count_parameters(net: nn.Module) -> int:
    """Returns the number of trainable parameters, without buffers."""
    return sum(parameter.numel() for parameter in net.parameters())


def compare(net: nn.Module, path: Path) -> float:
    """Returns the largest difference between PyTorch and ONNX Runtime on random pictures."""
    options = session_options(torch.get_num_threads())
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    random = torch.Generator().manual_seed(0)
    differences = []
    for batch, height, width in CHECKED_SIZES:
        hazy = torch.rand(batch, 3, height, width, generator=random)
        with torch.inference_mode():
            expected = net(hazy).numpy()
        restored = np.asarray(session.run(["restored"], {"hazy": hazy.numpy()})[0])
        same_size = restored.shape == hazy.shape
        differences.append(np.abs(restored - expected).max() if same_size else np.inf)
    return float(np.max(differences))
