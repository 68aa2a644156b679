"""Formula weights and images of the zoo's references: rule A (sine) and rule B (hash noise)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
)
SIZES = {"output": (48, 64), "output_odd": (45, 61)}


def formula_image(height: int, width: int) -> np.ndarray:
    """(1,3,height,width) float32, 0.05 to 0.95."""
    c, row, column = np.meshgrid(
        np.arange(3.0), np.arange(float(height)), np.arange(float(width)), indexing="ij"
    )
    phase = 0.7 * c + 0.13 * row + 0.29 * column + 0.05 * column * row / 7
    return (0.5 + 0.45 * np.sin(phase)).astype(np.float32)[None]


def sine(count: int, k: int) -> np.ndarray:
    return np.sin(0.37 * np.arange(count) + 1.7 * k + 0.1)


def noise(count: int, k: int) -> np.ndarray:
    mask = np.uint64(0xFFFFFFFF)
    h = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B1)
    h = (h + np.uint64(k * 0x85EBCA77 + 0x165667B1)) & mask
    h ^= h >> np.uint64(15)
    h = (h * np.uint64(0x2C1B3C6D)) & mask
    h ^= h >> np.uint64(12)
    h = (h * np.uint64(0x297A2D39)) & mask
    h ^= h >> np.uint64(15)
    return np.sqrt(3) * (2 * (h.astype(np.float64) + 0.5) / 2**32 - 1)


def filled(facts: dict, rule: str) -> dict[str, np.ndarray]:
    """The state dict of a zoo json by rule "A" or "B"; integer and constant entries left out."""
    draw = {"A": sine, "B": noise}[rule]
    scale = facts["parity"][f"rule_{rule}"]["scale"]
    kept = facts.get("kept_one_element_values") or {}
    entries = {}
    for k, (name, shape, _, kind) in enumerate(facts["state_dict"]):
        if kind == "keep":
            if name in kept:
                entries[name] = np.full(shape, kept[name], np.float32)
            continue
        u = draw(int(np.prod(shape)), k).reshape(shape)
        value = {
            "w": lambda u=u, shape=shape: u * (scale / np.sqrt(np.prod(shape[1:]))),
            "v": lambda u=u: 0.1 * u,
            "mean": lambda u=u: 0.1 * u,
            "gain": lambda u=u: 1 + 0.1 * u,
        }[kind]()
        entries[name] = value.astype(np.float32)
    return entries


def write_reference(
    path: Path,
    net: nn.Module,
    restore: Callable[[Tensor], Tensor],
    *,
    gains: tuple[str, ...] = (),
    scales: tuple[float, float] = (1.0, 0.7),
) -> None:
    """Records what the authors' network gives, as the one file `path` (.npz).

    net: their module, whose state dictionary has the published names. restore: their whole
    inference with it, hazy (1,3,H,W) in [0,1] -> restored, same shape and range, not clamped.
    gains: names of further weights that are near 1, of normalisations of their own. scales: of
    kernels by rules A and B; smaller where a deep network explodes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = kinds_of(net.eval(), gains)
    state = net.state_dict()
    facts: dict[str, Any] = {
        "name": path.stem,
        "input": "RGB 0..1",
        "parameters": sum(each.numel() for each in net.parameters()),
        "state_dict": [
            [name, list(value.shape), str(value.dtype).removeprefix("torch."), kinds[name]]
            for name, value in state.items()
        ],
        "kept_one_element_values": {
            name: value.item()
            for name, value in state.items()
            if kinds[name] == "keep" and value.is_floating_point() and value.numel() == 1
        },
        "parity": {
            "image_shape": [1, 3, *SIZES["output"]],
            "odd_image_shape": [1, 3, *SIZES["output_odd"]],
            "rule_A": {"scale": scales[0]},
            "rule_B": {"scale": scales[1]},
        },
    }
    arrays = {}
    for rule, suffix in (("A", ""), ("B", "_B")):
        weights = {key: torch.from_numpy(value) for key, value in filled(facts, rule).items()}
        net.load_state_dict(state | weights)
        for key, size in SIZES.items():
            hazy = torch.from_numpy(formula_image(*size))
            with torch.no_grad():
                arrays[key + suffix] = restore(hazy).numpy()
                exact = (net.double(), restore(hazy.double()))[1].numpy()
            net.float().load_state_dict(state | weights)
            if key == "output":
                rounding = float(np.abs(arrays[key + suffix] - exact).max())
                facts["parity"][f"rule_{rule}"]["max_abs_difference_float32_float64"] = rounding
    np.savez_compressed(path, facts=json.dumps(facts), **arrays)


def kinds_of(net: nn.Module, gains: tuple[str, ...] = ()) -> dict[str, str]:
    """Entry of the state dictionary -> "w", "v", "gain", "mean" or "keep", which is not filled."""
    modules = dict(net.named_modules())
    kinds = {}
    for name, value in net.state_dict().items():
        owner, _, own = name.rpartition(".")
        norm = isinstance(modules[owner], NORMS) and own == "weight"
        if not value.is_floating_point() or value.numel() == 1:
            kinds[name] = "keep"
        elif norm or own == "running_var" or name in gains:
            kinds[name] = "gain"
        elif own == "running_mean":
            kinds[name] = "mean"
        else:
            kinds[name] = "w" if value.dim() > 1 else "v"
    return kinds
