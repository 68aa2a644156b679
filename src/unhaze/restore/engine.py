"""Runs an ONNX model: one picture in, one picture of the same size out, checked at both ends."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from unhaze.errors import UnhazeError
from unhaze.names import lookup

DEVICES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
ORT_ERRORS = (
    ort.EPFail,
    ort.EngineError,
    ort.Fail,
    ort.InvalidArgument,
    ort.InvalidGraph,
    ort.InvalidProtobuf,
    ort.NoModel,
    ort.NoSuchFile,
    ort.NotImplemented,
    ort.RuntimeException,
)
NOT_ENOUGH_MEMORY = ("bad_alloc", "Failed to allocate memory", "out of memory", "BFCArena")


class Engine:
    """A loaded model.

    `card`: what its file says of it (net, arguments, params, recipe, multiple ...); `device`: "cpu"
    or "cuda", where it really runs; `path`: its file.
    """

    def __init__(self, model: str | Path, device: str = "auto", *, threads: int = 0) -> None:
        """Loads a .onnx file. `device`: "auto" (cuda if it works), "cpu" or "cuda"; `threads`: 0
        for one per core. UnhazeError: no such file, no model in it, not (1,3,H,W) float32 in and
        out, no such device here.
        """
        self.path = Path(model)
        if not self.path.is_file():
            raise UnhazeError(f"no model file '{model}'; expected a .onnx file")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # its warnings are not for users; its errors come as ours
        options.intra_op_num_threads = threads
        # A picture has its own size, so nothing is gained by hoarding memory for the next one.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        try:
            self.session = onnxruntime.InferenceSession(
                str(self.path), options, providers=_providers(device)
            )
        except ORT_ERRORS as error:
            raise UnhazeError(f"'{model}' is no usable ONNX model: {_reason(error)}") from error
        runs_on = self.session.get_providers()[0]
        if device == "cuda" and runs_on != DEVICES["cuda"]:
            raise UnhazeError("device 'cuda' was asked for but does not start; check the driver")
        self.device = "cuda" if runs_on == DEVICES["cuda"] else "cpu"
        _check_interface(self.session, self.path)
        self.card = _card(self.session)

    def __call__(self, hazy: np.ndarray) -> np.ndarray:
        """hazy (1,3,H,W) float32 in [0,1] -> restored of the same shape, finite, not clamped.

        UnhazeError: wrong shape or type, NaN or infinity in or out, not enough memory.
        """
        if hazy.dtype != np.float32 or hazy.ndim != 4 or hazy.shape[:2] != (1, 3):
            raise UnhazeError(
                f"the model got {hazy.dtype} {hazy.shape}; expected float32 (1, 3, H, W)"
            )
        _check_finite(hazy, "the picture")
        (name,) = (given.name for given in self.session.get_inputs())
        try:
            restored = self.session.run(None, {name: hazy})[0]
        except ORT_ERRORS as error:
            height, width = hazy.shape[2:]
            if any(sign in str(error) for sign in NOT_ENOUGH_MEMORY):
                raise UnhazeError(_too_large(width, height)) from error
            raise UnhazeError(
                f"'{self.path}' failed on {width} x {height} pixels: {_reason(error)}"
            ) from error
        if restored.shape != hazy.shape:
            raise UnhazeError(
                f"'{self.path}' answered {restored.shape} to {hazy.shape};"
                " expected the same size (export it with `unhaze export`)"
            )
        _check_finite(restored, f"the answer of '{self.path}'")
        return restored


def _too_large(width: int, height: int) -> str:
    return (
        f"not enough memory to run the model on {width} x {height} pixels at once;"
        " leave out --native, or choose a smaller --analysis"
    )


def _providers(device: str) -> list[str]:
    provider = None if device == "auto" else lookup(DEVICES, device, "device")
    available = onnxruntime.get_available_providers()
    if provider is None:
        return [each for each in reversed(DEVICES.values()) if each in available]
    if provider not in available:
        raise UnhazeError(
            f"device '{device}' needs an ONNX Runtime with {provider};"
            " install onnxruntime-gpu in place of onnxruntime, or use --device cpu"
        )
    return [provider]


def _check_interface(session: onnxruntime.InferenceSession, path: Path) -> None:
    """UnhazeError unless one float (1|N,3,H,W) with free H and W goes in and the like comes out."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        raise UnhazeError(f"'{path}' takes {len(inputs)} inputs; expected one picture")
    for given, what in ((inputs[0], "takes"), (outputs[0], "gives")):
        shape = given.shape
        if given.type != "tensor(float)" or len(shape) != 4:
            raise UnhazeError(
                f"'{path}' {what} {given.type} {shape}; expected tensor(float) [1, 3, H, W]"
            )
        batch, channels, height, width = shape
        if isinstance(channels, int) and channels != 3 or isinstance(batch, int) and batch != 1:
            raise UnhazeError(f"'{path}' {what} {shape}; expected batch 1 and 3 channels")
        if isinstance(height, int) or isinstance(width, int):
            raise UnhazeError(
                f"'{path}' {what} {width} x {height} pixels only; export it with a free size"
            )


def _card(session: onnxruntime.InferenceSession) -> dict[str, Any]:
    """The file's metadata; values that are JSON (numbers, lists, tables) are decoded."""
    card: dict[str, Any] = {}
    for key, text in session.get_modelmeta().custom_metadata_map.items():
        try:
            card[key] = json.loads(text)
        except ValueError:
            card[key] = text
    return card


def _check_finite(values: np.ndarray, what: str) -> None:
    wrong = values.size - int(np.isfinite(values).sum())
    if wrong:
        raise UnhazeError(
            f"{what} holds {wrong} of {values.size} values that are NaN or infinite;"
            " the model is broken or the picture is"
        )


def _reason(error: BaseException) -> str:
    """ONNX Runtime's message in one line, without its code."""
    text = " ".join(str(error).split())
    return text.rpartition(" : ")[2] if text.startswith("[ONNXRuntimeError]") else text
