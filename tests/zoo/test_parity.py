"""Published networks have the published names and counts and give zoo's outputs, rules A and B."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.zoo.fill import filled, formula_image, kinds_of, write_reference
from tests.zoo.variants import slow_if_large
from unhaze.nets import NETS, create_net
from unhaze.published import open_weights

CASES = {zoo: (name, preset) for name, net in NETS.items() for preset, zoo in net.zoo.items()}
# Outputs of one picture, by their place in what `restore_scales` returns.
SCALES = {"output": -1, "output_quarter": 0, "output_half": 1}
OWN = Path(__file__).parents[1] / "data" / "zoo"


@pytest.fixture(scope="module", params=slow_if_large(CASES))
def variant(request) -> str:
    """The tests of one variant come together: its network is built once."""
    return request.param


@pytest.fixture(scope="module")
def net(variant: str) -> nn.Module:
    name, preset = CASES[variant]
    return create_net(name, preset=preset).eval()


@pytest.fixture(scope="module")
def reference(request, variant: str) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
    """Facts and arrays of `variant`: one file in data/zoo, or two in the shared data."""
    if (OWN / f"{variant}.npz").is_file():
        arrays = np.load(OWN / f"{variant}.npz")
        return json.loads(str(arrays["facts"])), arrays
    folder = request.getfixturevalue("shared_data") / "zoo"
    if not folder.is_dir():
        pytest.skip(f"no parity data at '{folder}'")
    return json.loads((folder / f"{variant}.json").read_text()), np.load(folder / f"{variant}.npz")


def test_names_shapes_and_count_are_the_published_ones(net, reference):
    facts, _ = reference
    shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
    assert shapes == {row[0]: row[1] for row in facts["state_dict"]}
    assert sum(each.numel() for each in net.parameters()) == facts["parameters"]


@pytest.mark.parametrize("rule", ["A", "B"])
def test_equals_the_reference(net, rule, reference):
    facts, arrays = reference
    parity, suffix = facts["parity"], {"A": "", "B": "_B"}[rule]
    weights = {key: torch.from_numpy(value) for key, value in filled(facts, rule).items()}
    net.load_state_dict(net.state_dict() | weights, strict=True)
    wanted = {kind for kind in (*SCALES, "output_odd") if kind + suffix in arrays}
    assert "output" in wanted
    restored = {}
    hazy = formula_image(*parity["image_shape"][2:])
    with torch.no_grad():
        if wanted & {"output_quarter", "output_half"}:
            scales = net.restore_scales(torch.from_numpy(hazy))
            restored = {kind: (scales[place], hazy) for kind, place in SCALES.items()}
        else:
            restored["output"] = net(torch.from_numpy(hazy)), hazy
        if "output_odd" in wanted:
            odd = formula_image(*parity["odd_image_shape"][2:])
            restored["output_odd"] = net(torch.from_numpy(odd)), odd
    rounding = parity[f"rule_{rule}"]["max_abs_difference_float32_float64"]
    for kind in wanted:
        values, given = restored[kind]
        expected, unit = in_units_of_images(arrays[kind + suffix].astype(np.float64), facts, given)
        bound = max(1e-5, 20 * rounding / unit)
        np.testing.assert_allclose(values.numpy(), expected, atol=bound, rtol=0, err_msg=kind)


# File in zoo/weights, and the name of its output.
PUBLISHED = {
    "gcanet": {"GCANet/wacv_gcanet_dehaze.pth": "dehaze"},
    "lkdnet-t": {"LKD-Net/ITS/LKD-t.pth": "its", "LKD-Net/OTS/LKD-t.pth": "ots"},
    "lkdnet-s": {"LKD-Net/ITS/LKD-s.pth": "its", "LKD-Net/OTS/LKD-s.pth": "ots"},
    "light-dehazenet": {
        "Light-DehazeNet/trained_LDNet.pth": "trained_LDNet",
        "Light-DehazeNet/Epoch59.pth": "Epoch59",
    },
}


@pytest.mark.parametrize("variant", PUBLISHED, indirect=True)
def test_published_weights_give_their_reference_output(variant, reference, shared_data):
    facts, _ = reference
    outputs = np.load(shared_data / "zoo" / f"{variant}-published.npz")
    hazy = formula_image(48, 64)
    for file, name in PUBLISHED[variant].items():
        weights = open_weights(shared_data / "zoo" / "weights" / file)
        assert (weights.part.name, weights.part.arguments.get("preset")) == CASES[variant]
        with torch.no_grad():
            restored = weights.net.eval()(torch.from_numpy(hazy)).numpy()
        expected, _ = in_units_of_images(outputs[f"output_{name}"], facts, hazy)
        np.testing.assert_allclose(restored, expected, atol=1e-5, rtol=0, err_msg=file)


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


@pytest.mark.parametrize("variant", ["sgid-pff", "gunet-t", "gcanet"], indirect=True)
def test_entries_are_filled_by_what_they_are(net, reference):
    """`kinds_of` finds the kinds that the recorded references have."""
    assert kinds_of(net) == {row[0]: row[3] for row in reference[0]["state_dict"]}


def test_a_reference_that_is_written_is_the_shared_one(shared_data, tmp_path):
    """Light-DehazeNet recorded here has the formulas' weights: the authors' outputs come out."""
    net = create_net("light-dehazenet")
    write_reference(tmp_path / "light-dehazenet.npz", net, net, scales=(1.0, 1.0))
    written = np.load(tmp_path / "light-dehazenet.npz")
    shared = np.load(shared_data / "zoo" / "light-dehazenet.npz")
    for key in ("output", "output_odd", "output_B", "output_odd_B"):
        np.testing.assert_allclose(written[key], shared[key], atol=1e-5)
    facts = json.loads(str(written["facts"]))
    assert facts["parameters"] == 30_187
    assert 0 < facts["parity"]["rule_A"]["max_abs_difference_float32_float64"] < 1e-5
