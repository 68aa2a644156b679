"""Published networks have the published names and counts and give zoo's outputs, rules A and B."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from zoo_fill import filled, formula_image

from unhaze.nets import NETS, create_net

# Preset None is the class's own defaults.
CASES = [(zoo, name, preset) for name, net in NETS.items() for preset, zoo in net.zoo.items()]


@pytest.mark.parametrize("rule", ["A", "B"])
@pytest.mark.parametrize("zoo, name, preset", CASES, ids=[case[0] for case in CASES])
def test_equals_the_reference(zoo: str, name: str, preset: str, rule: str, shared_data: Path):
    folder = shared_data / "zoo"
    if not folder.is_dir():
        pytest.skip(f"no parity data at '{folder}'")
    facts = json.loads((folder / f"{zoo}.json").read_text())
    arrays = np.load(folder / f"{zoo}.npz")
    net = create_net(name, preset=preset).eval()
    state = net.state_dict()
    shapes = {key: list(value.shape) for key, value in state.items()}
    assert shapes == {row[0]: row[1] for row in facts["state_dict"]}
    assert sum(each.numel() for each in net.parameters()) == facts["parameters"]
    weights = {key: torch.from_numpy(value) for key, value in filled(facts, rule).items()}
    net.load_state_dict(state | weights, strict=True)
    suffix = "" if rule == "A" else "_B"
    rounding = facts["parity"][f"rule_{rule}"]["max_abs_difference_float32_float64"]
    for key, size in (("output", (48, 64)), ("output_odd", (45, 61))):
        if key + suffix not in arrays:
            continue
        image = formula_image(*size)
        with torch.no_grad():
            restored = net(torch.from_numpy(image)).numpy()
        unit = 1
        expected = arrays[key + suffix].astype(np.float64)
        if "x*2-1" in facts["input"]:
            expected, unit = expected * 0.5 + 0.5, 2
        elif zoo == "gcanet":
            expected, unit = expected / 255 + image, 255
        np.testing.assert_allclose(restored, expected, atol=max(1e-5, 20 * rounding / unit), rtol=0)
