"""Devices that a model can run on, and the options of ONNX Runtime for each."""

import importlib.util
from dataclasses import dataclass, field

from unhaze.errors import UnhazeError
from unhaze.validation import nearest


@dataclass(frozen=True)
class Device:
    """An entry of `DEVICES`.

    provider: its name in ONNX Runtime, "" for OpenVINO, which runs models itself. install: the
    package that contains it. automatic: whether "auto" may select it. options: of the provider.
    """

    provider: str
    install: str
    automatic: bool = False
    options: dict[str, str] = field(default_factory=dict)


# Best first. "auto" selects only devices that run any size at once and in float32: MIGraphX
# compiles for each size, Core ML and OpenVINO may compute in half precision. TensorRT is not
# supported because it would build an engine, for minutes, for each size.
DEVICES = {
    "cuda": Device(
        "CUDAExecutionProvider",
        "onnxruntime-gpu in place of onnxruntime",
        automatic=True,
        options={
            # The default tries all algorithms for each new size of picture; this one uses a table.
            "cudnn_conv_algo_search": "HEURISTIC",
            # The default doubles its allocations; pictures are large, so allocate what is needed.
            "arena_extend_strategy": "kSameAsRequested",
            # Deterministic: the same picture on every device.
            "use_tf32": "0",
        },
    ),
    "directml": Device(
        "DmlExecutionProvider",
        "onnxruntime-directml in place of onnxruntime (Windows)",
        automatic=True,
    ),
    "rocm": Device(
        "MIGraphXExecutionProvider", "an onnxruntime with MIGraphX (AMD's, for ROCm on Linux)"
    ),
    "openvino": Device("", 'pip install "unhaze[openvino]"'),
    "coreml": Device("CoreMLExecutionProvider", "onnxruntime on a Mac"),
    "cpu": Device("CPUExecutionProvider", "onnxruntime", automatic=True),
}


def choose_device(device: str) -> str:
    """Returns `device`, or the best one for "auto". UnhazeError: unknown, or not in this
    install.
    """
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if device == "auto":
        here = (name for name, each in DEVICES.items() if each.automatic)
        return next((name for name in here if DEVICES[name].provider in available), "cpu")
    if device not in DEVICES:
        raise UnhazeError(f"no device '{device}'; {nearest(device, [*DEVICES, 'auto'])}")
    entry = DEVICES[device]
    if not entry.provider and not has_openvino():
        raise UnhazeError(f"device '{device}' needs OpenVINO: {entry.install}")
    if entry.provider and entry.provider not in available:
        raise UnhazeError(
            f"device '{device}' needs an ONNX Runtime with {entry.provider};"
            f" install {entry.install}, or use --device cpu"
        )
    return device


def has_openvino() -> bool:
    """Returns whether it is installed, without loading it."""
    return importlib.util.find_spec("openvino") is not None
