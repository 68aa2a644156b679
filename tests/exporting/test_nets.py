"""Every network exports to one file for pictures of any size that answers what PyTorch answers."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from tests.nets.variants import EVERY_NET_SLOWLY
from unhaze.config import Part
from unhaze.exporting import export
from unhaze.nets import NETS, create_net
from unhaze.restore.engine import Engine
from unhaze.weights import load_weights, save_weights

# Arguments of the form that is exported, where it has fewer parts than the one that trains.
PARTS_LESS: dict[tuple[str, str | None], dict[str, Any]] = {
    ("deanet", "train"): {"difference": False}
}


@EVERY_NET_SLOWLY
def test_exports(name: str, preset: str | None, tmp_path: Path):
    """`export` itself compares with PyTorch at sizes from 1x1 up; away from the starting values."""
    torch.manual_seed(11)
    arguments = ({"preset": preset} if preset else {}) | NETS[name].tiny
    net = create_net(name, **arguments)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.03 * torch.randn_like(parameter)
    source = tmp_path / "weights.safetensors"
    save_weights(source, net, Part(name, arguments))
    report = export(source, tmp_path / "model.onnx")
    assert 0 < report.max_difference < 1e-4
    graph = onnx.load(report.path).graph
    assert [each.dim_param for each in graph.input[0].type.tensor_type.shape.dim] == [
        "batch", "", "height", "width",
    ]  # fmt: skip
    engine = Engine(report.path, "cpu", threads=1)
    hazy = torch.rand(1, 3, 9, 14)
    with torch.no_grad():
        expected = net.eval()(hazy)
        torch.testing.assert_close(load_weights(source).net(hazy), expected)
    # Not with what `export` compares: with the net before parts that only training needs are gone.
    np.testing.assert_allclose(engine(hazy.numpy()), expected, atol=1e-4, rtol=0)
    kept = create_net(name, **arguments | PARTS_LESS.get((name, preset), {}))
    assert report.params == sum(each.numel() for each in kept.parameters())
