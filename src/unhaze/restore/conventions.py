"""Conventions of a foreign ONNX model: layout, range, channel order, sizes, output."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from unhaze.errors import UnhazeError
from unhaze.validation import nearest, one_of

# Name -> the values of black and white.
RANGES = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0), "0..255": (0.0, 255.0)}
RANGES |= {"-0.5..0.5": (-0.5, 0.5)}
TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}
LAYOUTS = ("nchw", "nhwc")
CHANNELS = ("rgb", "bgr")
KEYS = ("layout", "range_in", "range_out", "channels", "multiple", "output")


@dataclass(frozen=True)
class Conventions:
    """layout: "nchw" or "nhwc". range_in, range_out: of `RANGES`. channels: "rgb" or "bgr".

    multiple: of both sides. size: the only (height, width) that it accepts, if any. output: its
    name. type_in: element type of the input, as named by ONNX Runtime.
    """

    layout: str = "nchw"
    range_in: str = "0..1"
    range_out: str = "0..1"
    channels: str = "rgb"
    multiple: int = 1
    size: tuple[int, int] | None = None
    output: str = ""
    type_in: str = "tensor(float)"

    @property
    def plain(self) -> bool:
        """Returns whether it equals the conventions of this project and needs no adaptation."""
        own = Conventions(output=self.output)
        return self == own

    def sentence(self) -> str:
        """Returns the conventions in one line."""
        size = f"only {self.size[1]} x {self.size[0]} pixels" if self.size else "any size"
        if self.multiple > 1:
            size = f"sizes that are multiples of {self.multiple}"
        kind = self.type_in.removeprefix("tensor(").removesuffix(")")
        return (
            f"takes {self.layout} {kind} {self.channels.upper()} {self.range_in}, {size};"
            f" gives {self.range_out} as output '{self.output}'"
        )


def read_sidecar(path: Path) -> dict[str, Any]:
    """Returns the content of NAME.toml beside NAME.onnx, {} without one. UnhazeError: wrong keys or
    values.

    Keys, all optional: layout, range_in, range_out, channels, multiple, output (`Conventions`).
    """
    sidecar = path.with_suffix(".toml")
    if not sidecar.is_file():
        return {}
    try:
        given = tomllib.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnhazeError(f"'{sidecar}' is not valid TOML: {error}") from error
    for key in given:
        if key not in KEYS:
            raise UnhazeError(f"unknown key '{key}' in '{sidecar}'; {nearest(key, KEYS)}")
    allowed = {"layout": LAYOUTS, "channels": CHANNELS, "range_in": RANGES, "range_out": RANGES}
    for key, values in allowed.items():
        if key in given:
            one_of(f"'{sidecar}': {key}", given[key], values)
    multiple = given.get("multiple", 1)
    if not isinstance(multiple, int) or not 1 <= multiple <= 1024:
        raise UnhazeError(f"'{sidecar}': multiple is {multiple!r}; expected 1 to 1024")
    return given


def shaped(
    session: onnxruntime.InferenceSession, path: Path, given: Mapping[str, Any]
) -> Conventions:
    """Returns conventions from the graph and from `given`. UnhazeError: its input is not a
    picture.
    """
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise UnhazeError(f"'{path}' takes {len(inputs)} inputs; expected one picture")
    kind, shape = inputs[0].type, inputs[0].shape
    if kind not in TYPES or len(shape) != 4:
        raise UnhazeError(f"'{path}' takes {kind} {shape}; expected a picture (1,3,H,W)")
    last = shape[3] == 3 and shape[1] != 3
    layout = given.get("layout", "nhwc" if last else "nchw")
    batch, *rest = shape
    channels = rest.pop(0 if layout == "nchw" else 2)
    if isinstance(channels, int) and channels != 3 or isinstance(batch, int) and batch != 1:
        raise UnhazeError(f"'{path}' takes {shape}; expected batch 1 and 3 channels")
    fixed = all(isinstance(side, int) for side in rest)
    if not fixed and any(isinstance(side, int) for side in rest):
        raise UnhazeError(f"'{path}' takes {shape}: one side is fixed; export it with free sizes")
    names = [each.name for each in session.get_outputs()]
    if "output" in given:
        one_of(f"output of '{path}'", given["output"], names)
    how = Conventions(layout=layout, size=tuple(rest) if fixed else None, type_in=kind)
    plain = {"range_in": "0..255", "range_out": "0..255"} if kind == "tensor(uint8)" else {}
    return replace(how, **plain, **{key: given[key] for key in given if key not in plain})


def probe_picture(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a hazy and a clear picture, (1,3,height,width) float32 in [0,1]: blocks in increasing
    haze.

    The blocks have many sizes and warm colours, below a sky, so that a dehazing network comes
    nearer to the clear one only with the value range that it was trained for.
    """
    random = np.random.default_rng(7)
    clear = np.zeros((3, height, width))
    for cell, weight in ((32, 0.5), (8, 0.3), (2, 0.2)):
        rows, columns = height // cell + 1, width // cell + 1
        blocks = random.random((3, rows, columns)).repeat(cell, 1).repeat(cell, 2)
        clear += weight * blocks[:, :height, :width]
    clear *= np.array([0.8, 0.65, 0.5])[:, None, None]
    transmission = np.linspace(0.35, 0.85, height)[None, :, None]
    airlight = np.array([0.82, 0.85, 0.88])[:, None, None]
    hazy = clear * transmission + airlight * (1 - transmission)
    return hazy.astype(np.float32)[None], clear.astype(np.float32)[None]
