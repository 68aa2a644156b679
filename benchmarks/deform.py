"""`python -m benchmarks.deform`: our modulated deformable convolution against others.

Ours, torchvision's operator, ONNX Runtime's DeformConv and, as the floor of them all, a plain
convolution of the same shape; forwards, and, where there are gradients, backwards too. In bf16, the
precision of training, ours and the plain one.
Torchvision needs a Python of its own where its wheel does not go with the PyTorch that is here:
`--make-peer FOLDER` makes one (5 GB), `--peer-python PATH` uses one. A minute on two cores.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, repeated, table, write_record
from benchmarks.peers import ADVICE, add_peer_options, peer_of, python_with
from benchmarks.rows import given_options, row_alone, with_ratios
from unhaze.restore.resources import usable_cores

WAYS = ("ours", "ours compiled", "torchvision", "onnxruntime", "plain convolution")
# Channels, height and width: AECR-Net at 256 x 256; its slim sister at the usual analysis size.
SHAPES = ("256x64x64", "64x192x256")
BF16 = ("256x32x32", "256x64x64")  # of crops of 128 and 256
BF16_WAYS = ("ours", "plain convolution")
TAPS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="*", default=SHAPES, metavar="CxHxW")
    parser.add_argument("--bf16-shapes", nargs="*", default=BF16, metavar="CxHxW")
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="default: compiled only on cuda")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    add_peer_options(parser)
    given = given_options(parser, measure, result="deform")
    peer = peer_of(given)
    threads = given.threads or usable_cores()
    ways = given.ways or [way for way in WAYS if given.device == "cuda" or way != "ours compiled"]
    fixed = {"runs": given.runs, "threads": threads, "device": given.device}
    rows = []
    for precision, shapes, some, base in (
        ("float32", given.shapes, ways, "torchvision"),
        ("bf16", given.bf16_shapes, [way for way in ways if way in BF16_WAYS], BF16_WAYS[1]),
    ):
        for shape in shapes:
            for passes in ("forward", "backward"):
                what = {"precision": precision, "passes": passes}
                task = fixed | what | {"shape": read_shape(shape)}
                alike = [
                    {"shape": shape, "way": way} | what | row_of(task | {"way": way}, peer)
                    for way in some
                    if passes == "forward" or way != "onnxruntime"
                ]
                alike = with_ratios(alike, "ms", lambda row, base=base: row["way"] == base)
                rows += [row | {"ratio_to": base} for row in alike]
    print(table(rows))
    numbers = {"rows": rows, "load_before": given.load_before}
    write_record(given.result, "deform", fixed | numbers)


def read_shape(shape: str) -> list[int]:
    """ "64x192x256" -> channels, height, width."""
    sides = shape.split("x")
    if len(sides) != 3 or not all(side.isdecimal() and int(side) for side in sides):
        raise SystemExit(f"--shapes {shape}: expected CHANNELSxHEIGHTxWIDTH, such as 64x192x256")
    return [int(side) for side in sides]


def row_of(task: Row, peer: Path | None) -> Row:
    """The measurement, or why there is none."""
    program = None
    if task["way"] == "torchvision":
        program = python_with("torchvision", peer)
        if program is None:
            return {"ms": None, "skipped": f"no torchvision here; {ADVICE}"}
    words = {"program": program} if program else {}
    return row_alone("benchmarks.deform", task, **words)


def measure(row: Row) -> Row:
    """In the process of its own."""
    import torch

    torch.set_num_threads(row["threads"])
    given = inputs(*row["shape"], device=row["device"], precision=row["precision"])
    if row["way"] == "onnxruntime":
        return repeated(in_onnxruntime(given, row["threads"]), row["runs"]).facts()
    operator = WAYS_IN_TORCH[row["way"]]()
    backward = row["passes"] == "backward"
    for tensor in given.values():
        tensor.requires_grad_(backward)

    def call() -> None:
        answer = operator(**given)
        if backward:
            answer.sum().backward()
        if row["device"] == "cuda":
            torch.cuda.synchronize()

    with torch.set_grad_enabled(backward):
        call()  # compiles; `repeated` warms up once more
        return repeated(call, row["runs"]).facts()


def inputs(
    channels: int, height: int, width: int, *, device: str = "cpu", precision: str = "float32"
) -> dict[str, Any]:
    """Random arguments of the operator, by name, channels last; where samples lie is float32."""
    import torch

    torch.manual_seed(0)
    shapes = {
        "features": (1, channels, height, width),
        "offset": (1, 2 * TAPS, height, width),
        "mask": (1, TAPS, height, width),
        "weight": (channels, channels, 3, 3),
        "bias": (channels,),
    }
    given = {name: torch.randn(shape, device=device) for name, shape in shapes.items()}
    given["mask"] = given["mask"].sigmoid()
    if precision == "bf16":
        given |= {name: given[name].bfloat16() for name in ("features", "weight", "bias")}
    given["features"] = given["features"].to(memory_format=torch.channels_last)
    return given


def in_onnxruntime(given: dict[str, Any], threads: int) -> Callable[[], object]:
    """One DeformConv node on the processor, with the settings of `unhaze run`."""
    import onnx
    import onnxruntime

    from unhaze.restore.engine import session_options

    names = ("features", "weight", "offset", "bias", "mask")
    values = {name: given[name].cpu().numpy() for name in names}
    node = onnx.helper.make_node(
        "DeformConv", names, ["answer"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]
    )
    kind = onnx.TensorProto.FLOAT
    inputs = [onnx.helper.make_tensor_value_info(name, kind, values[name].shape) for name in names]
    output = onnx.helper.make_tensor_value_info("answer", kind, None)
    graph = onnx.helper.make_graph([node], "deform", inputs, [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)])
    model.ir_version = 10
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(threads), ["CPUExecutionProvider"]
    )
    return lambda: session.run(None, values)


def ours() -> Callable[..., Any]:
    """The operator of `unhaze.nets`."""
    from unhaze.nets.deform_conv import deform_conv2d

    return deform_conv2d


def ours_compiled() -> Callable[..., Any]:
    """The same through torch.compile."""
    import torch

    return torch.compile(ours())


def torchvisions() -> Callable[..., Any]:
    """Torchvision's operator, with our order of arguments."""
    from torchvision.ops import deform_conv2d

    def call(features: Any, offset: Any, mask: Any, weight: Any, bias: Any) -> Any:
        return deform_conv2d(features, offset, weight, bias, padding=1, mask=mask)

    return call


def plain() -> Callable[..., Any]:
    """A convolution that neither moves nor weighs its taps."""
    from torch.nn import functional

    def call(features: Any, offset: Any, mask: Any, weight: Any, bias: Any) -> Any:
        return functional.conv2d(features, weight, bias, padding=1)

    return call


WAYS_IN_TORCH = {
    "ours": ours,
    "ours compiled": ours_compiled,
    "torchvision": torchvisions,
    "plain convolution": plain,
}


if __name__ == "__main__":
    main()
