"""Runs an ONNX model: one picture in, one picture of the same size out, with both checked."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import (
    onnxruntime_pybind11_state as ort,  # pyright: ignore[reportAttributeAccessIssue]  # compiled
)

from unhaze.errors import UnhazeError
from unhaze.restore.openvino import OpenVinoSession
from unhaze.restore.resources import DEVICES, choose_device, count_threads

ORT_ERRORS = (
    MemoryError,
    RuntimeError,
    ValueError,
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
# In the messages of malloc, ONNX Runtime's arena, CUDA, cuBLAS and DirectX.
NOT_ENOUGH_MEMORY = ("bad_alloc", "failed to allocate", "bfcarena", "out of memory")
NOT_ENOUGH_MEMORY += ("alloc_failed", "8007000e", "not enough memory")

# Rows and columns of a picture: top, left, bottom, right.
Part = tuple[int, int, int, int]
EVERYTHING = (0, 0, 1 << 40, 1 << 40)

FLOAT, INT64 = 1, 7  # ONNX's codes of tensor types

Session = onnxruntime.InferenceSession | OpenVinoSession

logger = logging.getLogger(__name__)


class OutOfMemory(UnhazeError):
    """The model does not fit into memory at this picture size; a smaller picture may."""


class Engine:
    """A loaded model.

    `card`: facts stored in its file (net, arguments, params, recipe, context, bytes_per_pixel,
    pools ...); `device`: one of `DEVICES`, on which it actually runs; `path`: its file.
    """

    def __init__(self, model: str | Path, device: str = "auto", *, threads: int = 0) -> None:
        """Loads a .onnx file. `device`: "auto" (the best one that works) or one of `DEVICES`;
        `threads`: 0 for one per core. UnhazeError: no such file, not a model, input and output are
        not (1,3,H,W) float32, or no such device here.
        """
        self.path = Path(model)
        if not self.path.is_file():
            raise UnhazeError(f"no model file '{model}'; expected a .onnx file")
        self.threads = count_threads(threads)
        self.device, self.device_is_free = choose_device(device), device == "auto"
        self.sessions: dict[str, Session] = {}
        session = self._session("closed")
        if isinstance(session, OpenVinoSession):
            session = onnxruntime.InferenceSession(self.path, described_only())
        _check_interface(session, self.path)
        self.card = _card(session)

    def __call__(self, hazy: np.ndarray, pools: Sequence[np.ndarray] = ()) -> np.ndarray:
        """Maps hazy (1,3,H,W) float32 in [0,1] to restored of the same shape, finite, not clamped.

        `pools`: result of `pools()` for the whole picture, if `hazy` is a part of it. OutOfMemory:
        too large at once. UnhazeError: wrong shape or type, NaN or infinity in input or output.
        """
        return self._checked(hazy, self._run(hazy, pools)[0])

    def _checked(self, hazy: np.ndarray, restored: np.ndarray) -> np.ndarray:
        if restored.shape != hazy.shape:
            raise UnhazeError(
                f"'{self.path}' returned {restored.shape} for an input of {hazy.shape};"
                " expected the same size (export it with `unhaze export`)"
            )
        _check_finite(restored, f"the output of '{self.path}'")
        return restored

    def pools(
        self, hazy: np.ndarray, pools: Sequence[np.ndarray] = (), part: Part = EVERYTHING
    ) -> tuple[list[np.ndarray], list[int]]:
        """Returns the means over all pixels, or over `part`, that the network computes inside, if
        any.

        Each is (1,C,1,1) or (1,C); the second value counts the inner values of each mean. `pools`:
        values that replace the means in further computation.
        """
        count = len(self.card.get("pools", ()))
        found = self._run(hazy, pools, part)[1:] if count else []
        return found[:count], [int(size) for size in found[count:]]

    def with_pools(self, hazy: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Returns the restored picture and its `pools`, of one run. UnhazeError: as a call."""
        count = len(self.card.get("pools", ()))
        restored, *found = self._run(hazy, (), EVERYTHING if count else None)
        return self._checked(hazy, restored), found[:count]

    def _run(
        self, hazy: np.ndarray, pools: Sequence[np.ndarray], part: Part | None = None
    ) -> list[np.ndarray]:
        """Returns the output of the model and, with a `part`, the means over it."""
        if hazy.dtype != np.float32 or hazy.ndim != 4 or hazy.shape[:2] != (1, 3):
            raise UnhazeError(
                f"the model's input is {hazy.dtype} {hazy.shape}; expected float32 (1, 3, H, W)"
            )
        _check_finite(hazy, "the picture")
        # A closed model has one picture as input and one as output; only tiles need an opened one.
        session = self._session("opened" if part or pools else "closed")
        feeds = {session.get_inputs()[0].name: hazy} | self._feeds(pools, part)
        options = onnxruntime.RunOptions()
        if self.device == "cpu":
            # Releases memory after each picture, since the next one has its own size.
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            return [np.asarray(each) for each in session.run(None, feeds, options)]
        except ORT_ERRORS as error:
            height, width = hazy.shape[2:]
            if _is_memory(error):
                raise OutOfMemory(
                    f"not enough memory to run the model on {width} x {height} pixels at once"
                ) from error
            if self._falls_back(error):
                return self._run(hazy, pools, part)
            raise UnhazeError(
                f"running '{self.path}' on {width} x {height} pixels failed: {_reason(error)}"
            ) from error

    def _feeds(self, pools: Sequence[np.ndarray], part: Part | None) -> dict[str, np.ndarray]:
        """Returns by name: replacements of the means, and weights of the rows they are computed
        over.
        """
        feeds = {f"given_{number}": each for number, each in enumerate(pools)}
        if pools:
            feeds["given"] = np.ones((), np.float32)
        if part and part != EVERYTHING:
            for number, stride in enumerate(self.card["pools"]):
                edges = np.rint(np.array(part) / stride).astype(np.int64)
                feeds |= {f"from_{number}": edges[:2], f"to_{number}": edges[2:]}
        return feeds

    def _session(self, kind: str) -> Session:
        """Returns the "closed" or "opened" session, started on first use."""
        if kind not in self.sessions:
            model: str | bytes = str(self.path)
            if kind == "opened":
                model = self.path.read_bytes() + _opening(len(self.card["pools"]))
            self.sessions[kind] = self._start(model)
        return self.sessions[kind]

    def _start(self, model: str | bytes) -> Session:
        device = DEVICES[self.device]
        try:
            if not device.provider:
                if isinstance(model, str):
                    return OpenVinoSession(model, self.threads)
                # An opened model has inputs with values, which OpenVINO takes as constants.
                device = DEVICES["cpu"]
            session = onnxruntime.InferenceSession(
                model,
                session_options(self.threads),
                providers=[(device.provider, device.options)],
                enable_fallback=0,  # it would print, and hide the error
            )
            if session.get_providers()[0] != device.provider:
                raise ort.EPFail("its driver or libraries do not load")
        except ORT_ERRORS as error:
            if self._falls_back(error):
                return self._start(model)
            if self.device == "cpu":
                raise UnhazeError(
                    f"'{self.path}' is not a usable ONNX model: {_reason(error)}"
                ) from error
            raise UnhazeError(
                f"cannot use device '{self.device}': {_reason(error)}; use --device cpu"
            ) from error
        return session

    def _falls_back(self, error: BaseException) -> bool:
        """Returns whether to fall back to the CPU from a device chosen automatically; reports
        it.
        """
        if self.device == "cpu" or not self.device_is_free:
            return False
        logger.warning(
            "device '%s' failed (%s); continuing on the CPU", self.device, _reason(error)
        )
        self.device = "cpu"
        self.sessions.clear()
        return True


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Returns the options of CPU sessions.

    Measured on AECR-Net slim, 1024 x 768, one thread: peak 340 MB and 120 MB afterwards. Without
    the arena 610 and 450 MB (malloc keeps what it gets), with memory patterns 470 MB; both as fast.
    Threads that spin while waiting use a third more processor time.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its warnings are not for users; its errors are raised
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def described_only() -> onnxruntime.SessionOptions:
    """Returns options for a session that only describes the model."""
    options = session_options(1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def _opening(pools: int) -> bytes:
    """Returns an addition to a model that makes its means outputs and their controls inputs.

    Serialized protobuf messages are merged by concatenation. This one is ModelProto(graph=7:
    GraphProto(node=1: ..., input=11: ..., output=12: ...)); its nodes, NodeProto(input=1, output=2,
    op_type=4), count the values of each mean. `unhaze.exporting` assigns the names.
    """
    numbers = [str(number).encode() for number in range(pools)]
    nodes = [
        _field(1, _field(1, b"part_" + each) + _field(2, b"size_" + each) + _field(4, b"Size"))
        for each in numbers
    ]
    outputs = [_value(12, b"pool_" + each, FLOAT) for each in numbers]
    outputs += [_value(12, b"size_" + each, INT64) for each in numbers]
    inputs = [_value(11, b"given", FLOAT)]
    for each in numbers:
        inputs.append(_value(11, b"given_" + each, FLOAT))
        inputs += [_value(11, end + each, INT64) for end in (b"from_", b"to_")]
    return _field(7, b"".join([*nodes, *outputs, *inputs]))


def _value(field: int, name: bytes, kind: int) -> bytes:
    """ValueInfoProto(name=1, type=2: TypeProto(tensor_type=1: Tensor(elem_type=1)))."""
    tensor = _field(1, bytes([1 << 3, kind]))
    return _field(field, _field(1, name) + _field(2, tensor))


def _field(number: int, content: bytes) -> bytes:
    """Returns a protobuf field of bytes: its key, its length as a base-128 number, and the
    content.
    """
    length, size = len(content), bytearray()
    while length >= 128:
        size.append(length % 128 + 128)
        length //= 128
    return bytes([number << 3 | 2]) + bytes(size) + bytes([length]) + content


def _check_interface(session: onnxruntime.InferenceSession, path: Path) -> None:
    """Raises UnhazeError unless input and output are one float (1|N,3,H,W) with free H and W."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        raise UnhazeError(f"'{path}' takes {len(inputs)} inputs; expected one picture")
    for given, what in ((inputs[0], "takes"), (outputs[0], "returns")):
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
    """Returns the metadata of the file; values that are JSON (numbers, lists, tables) are
    decoded.
    """
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
            f"{wrong} of {values.size} values of {what} are NaN or infinite;"
            " the model or the picture is damaged"
        )


def _is_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in NOT_ENOUGH_MEMORY)


def _reason(error: BaseException) -> str:
    """Returns ONNX Runtime's message in one line, without its code."""
    text = " ".join(str(error).split())
    return text.rpartition(" : ")[2] if text.startswith("[ONNXRuntimeError]") else text
