"""ONNX models of other programs: their conventions are probed once, or read from a TOML file."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from unhaze.errors import UnhazeError
from unhaze.image import channels_first, lanczos
from unhaze.restore.conventions import (
    RANGES,
    TYPES,
    Conventions,
    probe_picture,
    read_sidecar,
    shaped,
)
from unhaze.restore.engine import ORT_ERRORS, Engine, OutOfMemory, session_options
from unhaze.restore.resources import DEVICES, choose_device, count_threads

MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 128)
# Of input and output. Nearly all networks use the same for both, or write 0..1.
PAIRS = (*((each, each) for each in RANGES), *((each, "0..1") for each in RANGES if each != "0..1"))
PAIRS += (("0..1", "0..255"),)
PROBED = 128  # pixels, about the shorter side of the probe picture
# Factor of the error of a convention: how rare it is, 1 for those not listed.
RARITY = {("0..1", "0..1"): 0.8, ("-1..1", "-1..1"): 0.9, ("0..255", "0..255"): 0.9}

logger = logging.getLogger(__name__)


def open_foreign(
    path: Path, device: str, plain: Engine | None, *, threads: int = 0
) -> "Engine | ForeignModel":
    """Opens a .onnx file of others, probed and reported in a line. plain: the file opened without
    probing; None: that fails.

    UnhazeError: its input or output is not a picture.
    """
    sidecar = read_sidecar(path)
    try:
        foreign = ForeignModel(path, device, threads=threads, given=sidecar)
    except UnhazeError:
        if plain is None or sidecar:
            raise
        return plain  # its errors are raised when it runs, as for any other model
    if plain is not None and foreign.conventions.plain:
        return plain
    logger.warning("'%s': %s%s", path, foreign.conventions.sentence(), remark(path, sidecar))
    return foreign


def remark(path: Path, given: Mapping[str, Any]) -> str:
    """Returns the conventions that are not in `given`, and how to set them.

    Channel order is not probed: of ten networks for RGB, five came nearer to the clear probe
    picture when they were given BGR.
    """
    notes = [] if given else ["probed"]
    notes += [] if "channels" in given else ["RGB is assumed, nothing tells it from BGR"]
    if not notes:
        return ""
    return f" ({'; '.join(notes)}; '{path.with_suffix('.toml').name}' beside it may set this)"


class ForeignModel:
    """Maps hazy (1,3,H,W) float32 in [0,1] to restored, likewise, for a graph of other conventions.

    conventions: of its input and output. card: it needs whole pictures (`context` None).
    """

    def __init__(
        self, path: Path, device: str = "auto", *, threads: int = 0, given: Mapping[str, Any]
    ) -> None:
        """`given`: conventions that replace probed ones. UnhazeError: its input or output is not a
        picture, or it fails on every size.
        """
        self.path, self.device = path, choose_device(device)
        entry = DEVICES[self.device]
        if not entry.provider:
            self.device, entry = "cpu", DEVICES["cpu"]
        options = session_options(count_threads(threads))
        try:
            self.session = onnxruntime.InferenceSession(
                path, options, providers=[(entry.provider, entry.options)], enable_fallback=0
            )
        except ORT_ERRORS as error:
            raise UnhazeError(f"cannot load '{path}' on device '{self.device}': {error}") from error
        self.conventions = self._probed(shaped(self.session, path, given), given)
        self.card: dict[str, Any] = {"context": None, "multiple": 1, "title": path.name}

    def __call__(self, hazy: np.ndarray, pools: Sequence[np.ndarray] = ()) -> np.ndarray:
        """As `Engine`; with a fixed size, only the change is resized to the size of the picture."""
        size = hazy.shape[2:]
        if self.conventions.size is not None and self.conventions.size != size:
            small = resized(hazy, self.conventions.size)
            change = self._run(small, self.conventions) - small
            return hazy + resized(change, size)
        multiple = self.conventions.multiple
        margins = [(0, 0), (0, 0), *((0, -side % multiple) for side in size)]
        padded = np.pad(hazy, margins, "symmetric") if any(map(any, margins)) else hazy
        restored = self._run(padded, self.conventions)
        return np.ascontiguousarray(restored[..., : size[0], : size[1]])

    def _run(self, hazy: np.ndarray, how: Conventions) -> np.ndarray:
        """Runs once with conventions `how`. UnhazeError: the output is not a picture of the same
        size.
        """
        try:
            restored = self._outputs(hazy, how)[how.output]
        except ORT_ERRORS as error:
            height, width = hazy.shape[2:]
            if isinstance(error, MemoryError) or "allocate" in str(error):
                raise OutOfMemory(f"not enough memory for {width} x {height} pixels") from error
            raise UnhazeError(
                f"running '{self.path}' on {width} x {height} pixels failed"
            ) from error
        if restored.shape != hazy.shape:
            raise UnhazeError(
                f"'{self.path}' returned {restored.shape} for an input of {hazy.shape};"
                " expected the same size"
            )
        if not np.isfinite(restored).all():
            raise UnhazeError(f"some values of the output of '{self.path}' are NaN or infinite")
        return restored

    def _outputs(self, hazy: np.ndarray, how: Conventions) -> dict[str, np.ndarray]:
        """Returns all outputs that can be pictures, by name, as (1,3,H,W) float32 in [0,1]."""
        low, high = RANGES[how.range_in]
        fed = hazy[:, ::-1] if how.channels == "bgr" else hazy
        fed = fed * np.float32(high - low) + np.float32(low)
        fed = fed.transpose(0, 2, 3, 1) if how.layout == "nhwc" else fed
        kind = TYPES[self.session.get_inputs()[0].type]
        fed = np.rint(fed) if kind is np.uint8 else fed
        feeds = {self.session.get_inputs()[0].name: np.ascontiguousarray(fed.astype(kind))}
        names = [each.name for each in self.session.get_outputs()]
        found = {}
        low, high = RANGES[how.range_out]
        for name, values in zip(names, self.session.run(names, feeds)):
            if not isinstance(values, np.ndarray) or values.ndim != 4:
                continue
            values = values.transpose(0, 3, 1, 2) if how.layout == "nhwc" else values
            if values.shape[:2] == (1, 3):
                values = (values.astype(np.float32) - np.float32(low)) / np.float32(high - low)
                found[name] = values[:, ::-1] if how.channels == "bgr" else values
        return found

    def _probed(self, how: Conventions, given: Mapping[str, Any]) -> Conventions:
        """Completes `how` for everything not `given`, by running the model on small pictures."""
        if how.size is None and "multiple" not in given:
            how = replace(how, multiple=self._multiple(how))
        height, width = how.size or (
            -(-side // how.multiple) * how.multiple for side in (PROBED, PROBED * 5 // 4)
        )
        hazy, clear = probe_picture(height, width)
        tried = list(self._tries(how, given, hazy, clear))
        if not tried:
            raise UnhazeError(
                f"no output of '{self.path}' has the size of its input; expected (1,3,H,W)"
            )
        return min(tried, key=lambda each: each.error).how

    def _multiple(self, how: Conventions) -> int:
        """Returns the smallest of `MULTIPLES` for whose odd multiples the output has the size of
        the input.
        """
        for multiple in MULTIPLES:
            sides = [multiple * (count // multiple | 1) for count in (65, 97)]
            hazy, _ = probe_picture(*sides)
            try:
                if any(each.shape == hazy.shape for each in self._outputs(hazy, how).values()):
                    return multiple
            except ORT_ERRORS:
                continue
        raise UnhazeError(
            f"no output of '{self.path}' has the size of its input; tried were sides that are"
            f" multiples of {', '.join(map(str, MULTIPLES))} pixels"
        )

    def _tries(
        self, how: Conventions, given: Mapping[str, Any], hazy: np.ndarray, clear: np.ndarray
    ) -> Iterator["Try"]:
        """Tries each pair of ranges and each output and returns their errors, the common ranges
        first. With its own range, a network clears a hazy picture and leaves a clear one.
        """
        for range_in, range_out in PAIRS:
            range_in = given.get("range_in", range_in)
            range_out = given.get("range_out", range_out)
            tried = replace(how, range_in=range_in, range_out=range_out)
            try:
                outputs, kept = (self._outputs(each, tried) for each in (hazy, clear))
            except ORT_ERRORS as error:
                raise UnhazeError(
                    f"running '{self.path}' on an input of {hazy.shape} failed: {error}"
                ) from error
            if len(outputs) > 1:  # The scaled input itself is not a restored picture.
                outputs = {name: each for name, each in outputs.items() if not is_copy(each, hazy)}
            for name, restored in outputs.items():
                if name == given.get("output", name) and restored.shape == hazy.shape:
                    rarity = RARITY.get((range_in, range_out), 1)
                    errors = error_of(restored, hazy, clear), error_of(kept[name], clear, clear)
                    yield Try(replace(tried, output=name), rarity * math.hypot(*errors))


@dataclass(frozen=True)
class Try:
    """One combination of conventions, and the error of its output for the probe."""

    how: Conventions
    error: float = field(compare=False)


def error_of(restored: np.ndarray, hazy: np.ndarray, clear: np.ndarray) -> float:
    """Returns the RMS difference from the clear picture; infinite for NaN.

    Values outside 0..1 count twice, and a quarter of the squared difference from the hazy picture
    is added: networks remove some of the haze, and with a wrong range their output is entirely
    different.
    """
    if not np.isfinite(restored).all():
        return float("inf")
    outside = restored - np.clip(restored, 0, 1)
    squares = (restored - clear) ** 2 + outside**2 + 0.25 * (restored - hazy) ** 2
    return float(np.sqrt(squares.mean()))


def is_copy(values: np.ndarray, hazy: np.ndarray) -> bool:
    """Returns whether it equals the hazy picture up to brightness and contrast."""
    if values.shape != hazy.shape or np.ptp(values) == 0:
        return False
    return bool(np.corrcoef(values.ravel(), hazy.ravel())[0, 1] > 0.9999)


def resized(batch: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes (1,3,H,W) float32 to (1,3,*size) by libvips' Lanczos-3, or bicubic for enlarging."""
    picture_hwc = batch[0].transpose(1, 2, 0)
    down, across = (new / old for new, old in zip(size, picture_hwc.shape))
    return channels_first(lanczos(picture_hwc, across, down))[None]
