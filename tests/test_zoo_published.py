"""Six published networks give the outputs recorded in shared/zoo, whose README has the formulas."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unhaze.nets import create_net

# Name of the record: network and arguments.
RECORDS: dict[str, tuple[str, dict[str, Any]]] = {
    "fsnet-its": ("fsnet", {"preset": "its"}),
    "fsnet-ots": ("fsnet", {"preset": "ots"}),
    "convir-small": ("convir", {"preset": "small"}),
    "convir-base": ("convir", {"preset": "base"}),
    "oknet": ("oknet", {}),
    "dmphn": ("dmphn", {}),
    "dmshn": ("dmshn", {"preset": "published"}),
    "4kdehazing": ("4kdehazing", {}),
}
SCALES = {"output_quarter": 0, "output_half": 1}


def sine(index: np.ndarray, row: int) -> np.ndarray:
    """Rule A."""
    return np.sin(0.37 * index + 1.7 * row + 0.1)


def noise(index: np.ndarray, row: int) -> np.ndarray:
    """Rule B."""
    mask = np.uint64(0xFFFFFFFF)
    steps = ((15, 0x2C1B3C6D), (12, 0x297A2D39), (15, 1))
    value = index.astype(np.uint64) * np.uint64(0x9E3779B1)
    value = (value + np.uint64(row * 0x85EBCA77 + 0x165667B1)) & mask
    for shift, factor in steps:
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor) & mask
    return np.sqrt(3) * (2 * (value + 0.5) / 2**32 - 1)


def fill(net: nn.Module, record: dict[str, Any], rule: str) -> None:
    """Every entry of the state dict by the formula of its kind."""
    scale = record["parity"][f"rule_{rule}"]["scale"]
    kept = record.get("kept_one_element_values", {})
    state = net.state_dict()
    for row, (name, shape, _, kind) in enumerate(record["state_dict"]):
        if kind == "keep":
            if name in kept:
                state[name].fill_(kept[name])
            continue
        unit = (sine if rule == "A" else noise)(np.arange(state[name].numel()), row)
        factor = scale / np.sqrt(np.prod(shape[1:])) if kind == "w" else 0.1
        values = factor * unit + (1 if kind == "gain" else 0)
        state[name].copy_(torch.from_numpy(values.astype(np.float32)).view(shape))


def image(height: int, width: int) -> Tensor:
    channel, y, x = np.meshgrid(*map(np.arange, (3, height, width)), indexing="ij")
    wave = np.sin(0.7 * channel + 0.13 * y + 0.29 * x + 0.05 * x * y / 7)
    return torch.from_numpy((0.5 + 0.45 * wave).astype(np.float32))[None]


@pytest.fixture(params=RECORDS)
def record(request, shared_data) -> dict[str, Any]:
    folder = shared_data / "zoo"
    if not folder.is_dir():
        pytest.skip("shared/zoo is not here")
    return json.loads((folder / f"{request.param}.json").read_text()) | {"folder": folder}


def test_names_shapes_and_count_are_the_published_ones(record):
    name, arguments = RECORDS[record["name"]]
    net = create_net(name, **arguments)
    found = [[entry, list(value.shape)] for entry, value in net.state_dict().items()]
    assert found == [row[:2] for row in record["state_dict"]]
    assert sum(each.numel() for each in net.parameters()) == record["parameters"]


@pytest.mark.parametrize("rule", ["A", "B"])
def test_outputs_are_the_recorded_ones(record, rule):
    name, arguments = RECORDS[record["name"]]
    net = create_net(name, **arguments).eval()
    fill(net, record, rule)
    parity = record["parity"]
    tolerance = max(1e-5, 20 * parity[f"rule_{rule}"]["max_abs_difference_float32_float64"])
    middle = 0.5 if name in ("dmphn", "dmshn") else 0.0  # their records run from -0.5 to 0.5
    arrays = np.load(record["folder"] / f"{record['name']}.npz")
    compared = 0
    for kind in ("output", "output_odd", *SCALES):
        key = kind if rule == "A" else f"{kind}_B"
        if key not in arrays:
            continue
        shape = parity["odd_image_shape" if kind == "output_odd" else "image_shape"]
        hazy = image(*shape[2:])
        with torch.no_grad():
            restored = net.restore_scales(hazy)[SCALES[kind]] if kind in SCALES else net(hazy)
        expected = torch.from_numpy(arrays[key]) + middle
        torch.testing.assert_close(restored, expected, atol=tolerance, rtol=0)
        compared += 1
    assert compared >= 1


def test_local_means_are_used_in_evaluation_only():
    torch.manual_seed(2)
    own, local = (create_net("fsnet", preset=each, width=16, blocks=4) for each in ("its", "ots"))
    with torch.no_grad():
        for parameter in own.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    local.load_state_dict(own.state_dict())
    hazy = image(32, 40).repeat(2, 1, 1, 1)
    with torch.no_grad():
        assert torch.equal(own.train()(hazy), local.train()(hazy))
        assert (own.eval()(hazy) - local.eval()(hazy)).abs().max() > 1e-4
