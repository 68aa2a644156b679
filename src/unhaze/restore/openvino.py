"""Runs an ONNX model with OpenVINO, in place of a session of ONNX Runtime.

OpenVINO computes in half precision if the processor does (AVX-512 FP16, AMX): pictures are then
some 70 dB from those in float32, less than rounding to 8 bits changes, and large networks take a
quarter of the time (docs/roofline.md).
"""

import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class OpenVinoSession:
    """The part of `onnxruntime.InferenceSession` that `restore.engine` uses."""

    def __init__(self, model: str, threads: int) -> None:
        """`model`: a .onnx file. RuntimeError: OpenVINO cannot run it."""
        # On import, OpenVINO would report to Google Analytics through this optional package.
        loaded: dict[str, Any] = sys.modules
        loaded.setdefault("openvino_telemetry", None)  # as if it were not installed

        import openvino
        from openvino.frontend.onnx import ConversionExtension

        core = openvino.Core()
        core.add_extension(ConversionExtension("DeformConv", deformable_convolution))
        half = "FP16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f16" if half else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        self.compiled = core.compile_model(core.read_model(model), "CPU", settings)
        # A request keeps its preparation for a size, and serves one caller at a time.
        self.request, self.lock = self.compiled.create_infer_request(), threading.Lock()

    def get_inputs(self) -> Sequence["Named"]:
        """Returns the inputs of the model in its order."""
        return [Named(each) for each in self.compiled.inputs]

    def run(self, _: None, feeds: Mapping[str, np.ndarray], __: Any) -> list[np.ndarray]:
        """Returns all outputs in order; arguments as those of `InferenceSession.run`."""
        with self.lock:
            outputs = self.request.infer(dict(feeds))
            return [outputs[each] for each in self.compiled.outputs]


class Named:
    """An input; only its name is used."""

    def __init__(self, port: Any) -> None:
        self.name: str = port.any_name


def deformable_convolution(node: Any) -> Any:
    """Translates ONNX `DeformConv`, which OpenVINO's reader does not support, to OpenVINO's
    operator.

    As written by `unhaze.exporting`: stride and dilation 1, one group, a mask and a bias.
    """
    from openvino import opset8 as ops

    features, weight, offset, bias, mask = (node.get_input(number) for number in range(5))
    pads = node.get_attribute("pads")
    convolved = ops.deformable_convolution(
        features,
        offset,
        weight,
        strides=[1, 1],
        pads_begin=pads[:2],
        pads_end=pads[2:],
        dilations=[1, 1],
        mask=mask,
        bilinear_interpolation_pad=True,
    )
    shape = ops.constant(np.array([1, -1, 1, 1]))
    return ops.add(convolved, ops.reshape(bias, shape, special_zero=False)).outputs()
