"""Formula weights and images of shared/zoo: rule A (sine) and rule B (hash noise)."""

import numpy as np


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
