"""`python -m benchmarks.field`: ways to apply the field to a photo of 12 megapixels, in one run.

The C kernel, NumPy, and the same as an ONNX graph; fitted by the first two. Milliseconds, the best
of some calls in turn. About a minute.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.measure import ROOT, repeated, table, write_record
from unhaze.restore import field

PHOTO, ANALYSIS, ROWS = (3008, 4000), (768, 1024), 188
SMALL = (120, 160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--result", type=Path, default=ROOT / "results" / "benchmark-field.json")
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    random = np.random.default_rng(0)
    hazy, restored = (random.random((*ANALYSIS, 3), np.float32) for _ in range(2))
    maps = field.fit_field(hazy, restored)
    rows = []
    for kind in (np.uint8, np.uint16, np.float32):
        pixels = (random.random((*PHOTO, 3), np.float32) * 200).astype(kind)
        if kind == np.float32:
            pixels /= 255
        ways = {"C": in_c, "NumPy": in_numpy} | ({"ONNX": in_onnx} if kind == np.uint8 else {})
        for name, way in ways.items():
            rows.append(row_of(f"applied, {kind.__name__}", name, way(maps, pixels), given.runs))
    for size in (ANALYSIS, SMALL):
        small = [each[: size[0], : size[1]] for each in (hazy, restored)]
        for name, way in {"C": True, "NumPy": False}.items():
            call = fitting(*small, compiled=way)
            rows.append(row_of(f"fitted, {size[1]} x {size[0]}", name, call, given.runs))
    print(table(rows))
    write_record(given.result, "field", {"rows": rows})


def row_of(what: str, way: str, call: Callable[[], object], runs: int) -> dict[str, object]:
    times = repeated(call, runs)
    return {"what": what, "way": way, "fastest_ms": round(1e3 * times.fastest, 2), **times.facts()}


def without_kernel(call: Callable[[], object]) -> Callable[[], object]:
    """The call, as if there were no compiler."""

    def slow() -> object:
        with mock.patch.object(field, "kernel", lambda: None):
            return call()

    return slow


def in_c(maps: np.ndarray, pixels: np.ndarray) -> Callable[[], object]:
    return lambda: field.apply_field(maps, pixels)


def in_numpy(maps: np.ndarray, pixels: np.ndarray) -> Callable[[], object]:
    return without_kernel(in_c(maps, pixels))


def fitting(hazy: np.ndarray, restored: np.ndarray, *, compiled: bool) -> Callable[[], object]:
    """A call of either way."""

    def fit() -> np.ndarray:
        return field.fit_field(hazy, restored)

    return fit if compiled else without_kernel(fit)


def in_onnx(maps: np.ndarray, pixels: np.ndarray) -> Callable[[], object]:
    """Maps enlarged, and applied, by ONNX Runtime, a strip of rows at a time."""
    import onnxruntime
    from onnx import TensorProto, helper

    floats, bytes_ = TensorProto.FLOAT, TensorProto.UINT8
    node, value = helper.make_node, helper.make_tensor_value_info
    how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    nodes = [
        node("Resize", ["maps", "", "", "sizes"], ["wide"], **how),
        node("Transpose", ["wide"], ["turned"], perm=[0, 2, 3, 1]),
        node("Split", ["turned"], ["gain", "offset"], axis=3, num_outputs=2),
        node("Cast", ["pixels"], ["hazy"], to=floats),
        node("Mul", ["hazy", "gain"], ["product"]),
        node("Add", ["product", "offset"], ["sum"]),
        node("Clip", ["sum", "low", "high"], ["bounded"]),
        node("Cast", ["bounded"], ["restored"], to=bytes_),
    ]
    inputs = [value("maps", floats, [1, 6, "h", "w"]), value("sizes", TensorProto.INT64, [4])]
    inputs.append(value("pixels", bytes_, [1, "H", "W", 3]))
    bounds = [helper.make_tensor(name, floats, [], [at]) for name, at in BOUNDS.items()]
    outputs = [value("restored", bytes_, None)]
    graph = helper.make_graph(nodes, "apply", inputs, outputs, bounds)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    flat = np.concatenate([maps[:, 0], maps[:, 1] * 255 + 0.5])[None].astype(np.float32)
    scale, high = maps.shape[2] / len(pixels), -(-ROWS * maps.shape[2] // len(pixels)) + 1

    def apply() -> None:
        for top in range(0, len(pixels), ROWS):
            strip = pixels[None, top : top + ROWS]
            part = flat[:, :, int(top * scale) : int(top * scale) + high]
            sizes = np.array([1, 6, strip.shape[1], strip.shape[2]])
            session.run(None, {"maps": part, "sizes": sizes, "pixels": strip})

    return apply


BOUNDS = {"low": 0.0, "high": 255.5}

if __name__ == "__main__":
    main()
