"""Hard cuts between hazy scenes are found, and no camera, light or noise is taken for one."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import pyvips

from unhaze import photo
from unhaze.image import LUMA
from unhaze.restore.video.temporal import Steadiness, next_moment

SIZE = (160, 240)  # rows and columns of the frames


def landscape(seed: int, size: tuple[int, int] = (240, 360)) -> np.ndarray:
    """(H,W,3) float32: light sky above, dark ground below, soft shapes of one scene, hazy."""
    random = np.random.default_rng(seed)
    height, width = size
    shapes = sum(
        np.kron(random.normal(0, 1, (height // side, width // side)), np.ones((side, side))) * side
        for side in (8, 20)
    )
    down = np.linspace(0, 1, height)[:, None]
    luma = 0.85 - 0.45 * down + 0.05 * down * shapes / 20
    return np.clip(luma, 0, 1)[..., None].repeat(3, 2).astype(np.float32)


def noisy(picture: np.ndarray, seed: int = 0, levels: float = 3) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, levels / 255, picture.shape)
    return np.clip(picture + noise, 0, 1).astype(np.float32)


def scenes_of(frames: list[np.ndarray]) -> int:
    moment = None
    for frame in frames:
        estimate = np.zeros((3, 2, *frame.shape[:2]), np.float32)
        moment = next_moment(moment, frame, lambda _, maps=estimate: maps, Steadiness(0.8, 4))
    return moment.scenes


def test_every_hard_cut_is_found():
    """All scenes are light above and dark below, and alike as a whole: correlation over 0.6."""
    frames = [
        noisy(landscape(scene)[: SIZE[0], : SIZE[1]], frame)
        for scene in range(12)
        for frame in range(2)
    ]
    first, second = frames[0] @ LUMA, frames[2] @ LUMA
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.6
    assert scenes_of(frames) == 12


def pan(scene: np.ndarray) -> list[np.ndarray]:
    """A hand-held one: to the right, unsteady, by up to an eighth of the picture."""
    random = np.random.default_rng(5)
    places = [(40 + int(random.normal(0, 6)), 10 * step) for step in range(12)]
    return [scene[down : down + SIZE[0], right : right + SIZE[1]] for down, right in places]


def zoom(scene: np.ndarray) -> list[np.ndarray]:
    """Two per cent nearer from frame to frame."""
    image = pyvips.Image.new_from_array(scene)
    nearer = [image.resize(1.02**step, kernel="linear").numpy() for step in range(12)]
    return [
        each[(each.shape[0] - SIZE[0]) // 2 :, (each.shape[1] - SIZE[1]) // 2 :][
            : SIZE[0], : SIZE[1]
        ]
        for each in nearer
    ]


def light(scene: np.ndarray, strengths: list[float]) -> list[np.ndarray]:
    return [np.clip(scene[: SIZE[0], : SIZE[1]] * each, 0, 1) for each in strengths]


def fade(scene: np.ndarray) -> list[np.ndarray]:
    """To another scene in 12 steps."""
    first, second = (each[: SIZE[0], : SIZE[1]] for each in (scene, landscape(99)))
    return [first * (1 - step / 12) + second * (step / 12) for step in range(13)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("levels", [0, 3])
@pytest.mark.parametrize(
    "move",
    [
        pan,
        zoom,
        fade,
        lambda scene: light(scene, [1, 1, 1.15, 1.15, 1, 1]),
        lambda scene: light(scene, [1 - step / 10 for step in range(11)]),
        lambda scene: [np.full((*SIZE, 3), 0.6, np.float32)] * 4,
    ],
    ids=["pan", "zoom", "crossfade", "flash", "fade to black", "flat fog"],
)
def test_nothing_else_is_a_cut(move, levels: int, seed: int):
    frames = [noisy(frame, number, levels) for number, frame in enumerate(move(landscape(seed)))]
    assert scenes_of(frames) == 1


def test_cuts_between_real_hazy_photos(shared_data: Path):
    """60 cuts between 61 photos, three frames of each, at noise of 6 levels."""
    files = sorted(path for path in (shared_data / "data" / "real-hazy").rglob("*.*g"))
    assert len(files) == 61
    scenes = [shrunk(path) for path in files]
    for first, second in pairwise(scenes):
        frames = [noisy(each, number, 6) for number, each in enumerate([first] * 2 + [second] * 2)]
        assert scenes_of(frames) == 2
        assert scenes_of(frames[:2]) == 1


def shrunk(path: Path) -> np.ndarray:
    """240x160, as float."""
    image = pyvips.Image.new_from_array(np.ascontiguousarray(photo.read_rgb(path)))
    height, width = SIZE
    small = image.resize(width / image.width, vscale=height / image.height).numpy()
    return small.astype(np.float32) / (65535 if small.dtype == np.uint16 else 255)
