"""A model that halves every value, whose effect is easily told, and a picture to try it on."""

from pathlib import Path

import numpy as np
import pytest

from unhaze import photo


def write_model(path: Path, factor: float, shape: tuple = (1, 3, "height", "width")) -> Path:
    """An ONNX model: restored = factor * hazy."""
    onnx = pytest.importorskip("onnx")
    tensor = onnx.TensorProto.FLOAT
    hazy = onnx.helper.make_tensor_value_info("hazy", tensor, shape)
    restored = onnx.helper.make_tensor_value_info("restored", tensor, shape)
    constant = onnx.helper.make_tensor("factor", tensor, [], [factor])
    node = onnx.helper.make_node("Mul", ["hazy", "factor"], ["restored"])
    graph = onnx.helper.make_graph([node], "half", [hazy], [restored], [constant])
    opset = onnx.helper.make_opsetid("", 19)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    onnx.save(model, path)
    return path


def picture(height: int = 40, width: int = 56) -> np.ndarray:
    """A smooth picture without two equal columns or rows, (H,W,3) uint8."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.rint(255 * np.dstack([rows, columns, (rows + columns) / 2])).astype(np.uint8)


def colours(height: int = 48, width: int = 64) -> np.ndarray:
    """Ramps of middling brightness, (H,W,3) uint8."""
    down, across = np.mgrid[0:height, 0:width]
    planes = [90 + down, 100 + across, 120 + (down + across) / 2]
    return np.stack(planes, -1).astype(np.uint8)


def is_halved(path: Path) -> bool:
    """Whether `path` is half the picture, up to JPEG and the fitting of the field."""
    restored = photo.read_rgb(path).astype(float)
    return restored.shape == (40, 56, 3) and abs(restored - picture() / 2).mean() < 6


def files_in(folder: Path) -> list[str]:
    """All of them, sorted, as paths below `folder`."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
