"""Published networks have the published names and counts and give zoo's outputs, rules A and B."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from zoo_fill import filled, formula_image

from unhaze.nets import NETS, create_net

CASES = [(zoo, name, preset) for name, net in NETS.items() for preset, zoo in net.zoo.items()]
EVERY_VARIANT = pytest.mark.parametrize(
    "variant, name, preset", CASES, ids=[case[0] for case in CASES]
)
# Smaller outputs: their place in what `restore_scales` returns.
SCALES = {"output_quarter": 0, "output_half": 1}


@pytest.fixture
def folder(shared_data: Path) -> Path:
    """The parity data; their README has the formulas."""
    if not (shared_data / "zoo").is_dir():
        pytest.skip(f"no parity data at '{shared_data / 'zoo'}'")
    return shared_data / "zoo"


def facts_of(variant: str, folder: Path) -> dict[str, Any]:
    return json.loads((folder / f"{variant}.json").read_text())


@EVERY_VARIANT
def test_names_shapes_and_count_are_the_published_ones(variant, name, preset, folder):
    facts = facts_of(variant, folder)
    net = create_net(name, preset=preset)
    shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
    assert shapes == {row[0]: row[1] for row in facts["state_dict"]}
    assert sum(each.numel() for each in net.parameters()) == facts["parameters"]


@pytest.mark.parametrize("rule", ["A", "B"])
@EVERY_VARIANT
def test_equals_the_reference(variant, name, preset, rule, folder):
    facts, arrays = facts_of(variant, folder), np.load(folder / f"{variant}.npz")
    parity = facts["parity"]
    net = create_net(name, preset=preset).eval()
    weights = {key: torch.from_numpy(value) for key, value in filled(facts, rule).items()}
    net.load_state_dict(net.state_dict() | weights, strict=True)
    compared = []
    for kind in ("output", "output_odd", *SCALES):
        key = kind if rule == "A" else f"{kind}_B"
        if key not in arrays:
            continue
        shape = parity["odd_image_shape" if kind == "output_odd" else "image_shape"]
        hazy = formula_image(*shape[2:])
        with torch.no_grad():
            given = torch.from_numpy(hazy)
            restored = net.restore_scales(given)[SCALES[kind]] if kind in SCALES else net(given)
        expected, unit = in_units_of_images(arrays[key].astype(np.float64), facts, hazy)
        rounding = parity[f"rule_{rule}"]["max_abs_difference_float32_float64"]
        bound = max(1e-5, 20 * rounding / unit)
        np.testing.assert_allclose(restored.numpy(), expected, atol=bound, rtol=0)
        compared.append(kind)
    assert "output" in compared


def in_units_of_images(
    output: np.ndarray, facts: dict[str, Any], hazy: np.ndarray
) -> tuple[np.ndarray, float]:
    """A recorded output in 0..1 as our networks return it, and what was 1 of it before."""
    if "x*2-1" in facts["input"]:
        return output * 0.5 + 0.5, 2
    if "minus 0.5" in facts["input"]:
        return output + 0.5, 1
    if facts["name"] == "gcanet":
        return output / 255 + hazy, 255
    return output, 1


def test_local_means_are_used_in_evaluation_only():
    """FSNet's indoor and outdoor weights have the same names; they are evaluated differently."""
    torch.manual_seed(2)
    own, local = (create_net("fsnet", preset=each, width=16, blocks=4) for each in ("its", "ots"))
    with torch.no_grad():
        for parameter in own.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    local.load_state_dict(own.state_dict())
    hazy = torch.from_numpy(formula_image(32, 40)).repeat(2, 1, 1, 1)
    with torch.no_grad():
        assert torch.equal(own.train()(hazy), local.train()(hazy))
        assert (own.eval()(hazy) - local.eval()(hazy)).abs().max() > 1e-4
