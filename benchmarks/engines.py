"""`python -m benchmarks.engines`: the network alone, by what runs it, at three sizes of picture.

Every shipped model and AECR-Net as its paper has it: PyTorch eager, with channels last and
compiled, ONNX Runtime and OpenVINO as `unhaze` sets them up, and torchvision's deformable
convolution where a Python has it. Each row is a process of its own, weights are random, ratios are
against eager PyTorch. Takes five minutes on two cores; `--sizes 256 --runs 1` takes one.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, Times, repeated, table, write_record
from benchmarks.peers import ADVICE, add_peer_options, peer_of, python_with
from benchmarks.rows import given_options, row_alone, with_ratios
from unhaze.restore.models import FOLDER, list_models
from unhaze.restore.resources import DEVICES, free_memory, has_openvino, usable_cores

ENGINES = ("eager", "channels-last", "compiled", "torchvision", "onnxruntime", "openvino")
OURS = {"onnxruntime": "cpu", "openvino": "openvino"}  # and the --device of `unhaze`
SIZES = {"256": (256, 256), "1080p": (1080, 1920), "4k": (2160, 3840)}
AECR = "aecr (paper)"
DEFORMABLE = "aecr"  # the net that has deformable convolutions
AECR_BYTES = 2000  # a pixel, in PyTorch; measured by benchmarks.photo
MORE_IN_PYTORCH = 3  # times what ONNX Runtime takes, at most, of the shipped ones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=ENGINES)
    parser.add_argument("--models", nargs="+", help="shipped ones, and 'aecr'; default: all")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--patience", type=float, default=30, help="seconds that a run may take")
    add_peer_options(parser)
    given = given_options(parser, measure, result="engines")
    peer = peer_of(given)
    threads = given.threads or usable_cores()
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for candidate in candidates(given.models, Path(folder)):
            rows += rows_of(candidate, given, threads, peer)
    print(table(rows))
    numbers = {"rows": rows, "runs": given.runs, "threads": threads}
    write_record(given.result, "engines", numbers | {"load_before": given.load_before})


def candidates(names: Sequence[str] | None, folder: Path) -> list[Row]:
    """What `create_net` takes, the ONNX file, and the bytes a pixel in ONNX Runtime and PyTorch."""
    from unhaze.restore.engine import Engine

    cards = list_models()
    known = [*(card.name for card in cards), "aecr"]
    if unknown := set(names or ()) - set(known):
        raise SystemExit(f"--models {sorted(unknown)}: expected some of {known}")
    found: list[Row] = []
    for card in cards:
        if names is None or card.name in names:
            file = FOLDER / card.file
            taken = Engine(file, "cpu", threads=1).card.get("bytes_per_pixel", AECR_BYTES)
            found.append(
                {"model": card.name, "net": card.net, "arguments": dict(card.arguments)}
                | {"file": str(file), "bytes": [taken, MORE_IN_PYTORCH * taken]}
            )
    if names is None or "aecr" in names:
        found.append(
            {"model": AECR, "net": "aecr", "arguments": {"preset": "paper"}}
            | {"file": str(write_aecr(folder)), "bytes": [AECR_BYTES, AECR_BYTES]}
        )
    return found


def write_aecr(folder: Path) -> Path:
    """AECR-Net with random weights as ONNX."""
    from unhaze.exporting import write_model
    from unhaze.exporting.graph import to_onnx
    from unhaze.nets import create_net

    path = folder / "aecr.onnx"
    write_model(to_onnx(create_net("aecr", preset="paper").eval(), "aecr"), {}, path)
    return path


def rows_of(
    candidate: Row, given: argparse.Namespace, threads: int, peer: Path | None
) -> list[Row]:
    """One row a size and engine; what cannot be measured here says why."""
    rows = []
    per_pixel: dict[str, float] = {}  # milliseconds, at the size before
    for size in given.sizes:
        height, width = SIZES[size]
        some = []
        for engine in given.engines:
            if engine == "torchvision" and candidate["net"] != DEFORMABLE:
                continue
            program, skipped = program_for(engine, peer)
            expected = per_pixel.get(engine, 0) * height * width / 1e3
            skipped = skipped or no_room(engine, candidate, height * width)
            if not skipped and expected > given.patience:
                skipped = f"about {expected:.0f} s a run, --patience is {given.patience:g}"
            row = {"model": candidate["model"], "size": size, "engine": engine}
            if skipped is None:
                task = candidate | {"engine": engine, "height": height, "width": width}
                task |= {"runs": given.runs, "threads": threads, "patience": given.patience}
                found = row_alone("benchmarks.engines", task, program=program)
                per_pixel[engine] = found["ms"] / (height * width)
                some.append(row | found)
            else:
                some.append(row | {"ms": None, "skipped": skipped})
        rows += with_ratios(some, "ms", lambda each: each["engine"] == "eager")
    return rows


def program_for(engine: str, peer: Path | None) -> tuple[Path, str | None]:
    """The Python of an engine, and why it is left out, if it is."""
    here = Path(sys.executable)
    if engine == "compiled" and not (shutil.which("c++") or os.environ.get("CXX")):
        return here, "torch.compile needs a C++ compiler"
    if engine == "openvino" and not has_openvino():
        return here, DEVICES["openvino"].install
    if engine == "torchvision":
        program = python_with("torchvision", peer)
        return program or here, None if program else f"no torchvision here; {ADVICE}"
    return here, None


def no_room(engine: str, candidate: Row, pixels: int) -> str | None:
    """Words, if there is too little memory."""
    needed = candidate["bytes"][engine not in OURS] * pixels
    if needed < 0.8 * free_memory():
        return None
    return f"takes about {needed / 1e9:.1f} GB, {free_memory() / 1e9:.1f} GB are free"


def measure(row: Row) -> Row:
    """In the process of its own: the times of a forward pass."""
    import numpy as np

    random = np.random.default_rng(0)
    hazy = random.random((1, 3, row["height"], row["width"]), np.float32)
    forward = in_our_engine if row["engine"] in OURS else in_torch
    times: Times = repeated(forward(row, hazy), row["runs"], patience=row["patience"] / 2)
    return times.facts()


def in_torch(row: Row, hazy: Any) -> Callable[[], object]:
    """A call of the network in PyTorch."""
    import torch

    torch.set_num_threads(row["threads"])
    torch.set_grad_enabled(False)
    net, given = create(row), torch.from_numpy(hazy)
    if row["engine"] in ("channels-last", "compiled"):
        net = net.to(memory_format=torch.channels_last)
        given = given.to(memory_format=torch.channels_last)
    if row["engine"] == "compiled":
        net = torch.compile(net, dynamic=True)  # one compilation for all sizes, kept on disk
        net(given)
    return lambda: net(given)


def create(row: Row) -> Any:
    """The network; for "torchvision" with its deformable convolution in place of ours."""
    from unhaze.nets import create_net, deform_conv

    if row["engine"] == "torchvision":
        from torchvision.ops import deform_conv2d

        def theirs(features: Any, offset: Any, mask: Any, weight: Any, bias: Any) -> Any:
            padding = weight.shape[-1] // 2
            return deform_conv2d(features, offset, weight, bias, padding=padding, mask=mask)

        deform_conv.deform_conv2d = theirs
    return create_net(row["net"], **row["arguments"]).eval()


def in_our_engine(row: Row, hazy: Any) -> Callable[[], object]:
    """A call of `restore.engine`, as `unhaze run` makes it."""
    from unhaze.restore.engine import Engine

    engine = Engine(row["file"], OURS[row["engine"]], threads=row["threads"])
    return lambda: engine(hazy)


if __name__ == "__main__":
    main()
