"""Scenes with depth, from which trainings of the tests draw haze."""

from pathlib import Path

import numpy as np

from unhaze import photo


def draw_scenes(root: Path, width: int = 48) -> Path:
    """Six scenes of 40 rows: coloured ramps and boxes, farther away at the top."""
    random = np.random.default_rng(0)
    for kind in ("clear", "depth"):
        (root / kind).mkdir(parents=True)
    for index in range(6):
        ramp = np.linspace(0, 1, 48)[None, :, None] * random.random(3) * np.ones((40, 1, 1))
        top, left = random.integers(5, 20, 2)
        ramp[top : top + 15, left : left + 20] = random.random(3)
        depth = np.linspace(255, 30, 40)[:, None, None] * np.ones((1, 48, 3))
        for kind, picture in (("clear", ramp * 255), ("depth", depth)):
            photo.write_rgb(root / kind / f"{index}.png", picture[:, :width].astype(np.uint8))
    return root


def ramp(blue: int, down: int) -> np.ndarray:
    """(32,40,3) uint8: red is 6 times the column, green `down` times the row, blue the same."""
    rows, columns = np.mgrid[0:32, 0:40].astype(np.uint8)
    return np.stack([columns * 6, rows * down, np.full_like(rows, blue)], -1)
