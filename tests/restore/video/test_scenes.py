"""Cuts between hazy scenes are found; pans by hand, fades, dissolves and flashes are none."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pyvips

from unhaze.restore.video.temporal import Steadiness, next_moment

SIZE = (160, 240)  # rows, columns
NOISE = 3 / 255


def scene(seed: int, margin: int = 0) -> np.ndarray:
    """(h,w,3) float32: hills in haze, so that every scene grows brighter upwards."""
    random = np.random.default_rng(seed)
    height, width = SIZE[0] + 2 * margin, SIZE[1] + 2 * margin
    hills = random.random((height // 12 + 1, width // 12 + 1)).repeat(12, 0).repeat(12, 1)
    hills = hills[:height, :width]
    haze = np.linspace(1, 0.65, height)[:, None]
    luma = haze**2 * 0.9 + (1 - haze) * 0.8 * hills
    return np.repeat(luma[..., None], 3, 2).astype(np.float32)


def scenes_of(frames: list[np.ndarray], seed: int = 0) -> list[int]:
    """The number of the scene that each frame is taken for, seen with a sensor's noise."""
    random = np.random.default_rng(seed)
    moment, found = None, []
    for frame in frames:
        noisy = frame + random.normal(0, NOISE, frame.shape)
        noisy = np.clip(noisy, 0, 1).astype(np.float32)
        moment = next_moment(moment, noisy, flat_field, Steadiness(640, 0.8, 4))
        found.append(moment.scenes)
    return found


def flat_field(small: np.ndarray) -> np.ndarray:
    return np.ones((3, 2, *small.shape[:2]), np.float32)


def test_every_cut_between_hazy_scenes_is_found():
    frames = [each for seed in range(12) for each in [scene(seed)] * 2]
    assert scenes_of(frames) == [number for number in range(1, 13) for _ in range(2)]


def hand_held(picture: np.ndarray, step: float, random: np.random.Generator) -> Iterator:
    """Cut-outs of a larger picture: the camera moves on by about `step` pixels, and trembles."""
    down, right = 30.0, 4.0
    while right < picture.shape[1] - SIZE[1] - step * 2:
        down = float(np.clip(down + random.normal(0, step / 4), 0, 60))
        right += step + random.normal(0, step / 5)
        top, left = round(down), max(0, round(right))
        yield picture[top : top + SIZE[0], left : left + SIZE[1]]


@pytest.mark.parametrize("step", [2, 5, 9])
def test_a_pan_by_hand_is_no_cut(step: int):
    for seed in range(6):
        frames = list(hand_held(scene(seed, 35), step, np.random.default_rng(seed)))
        assert len(frames) > 4
        assert scenes_of(frames, seed)[-1] == 1, seed


@pytest.mark.parametrize("count", [3, 8, 20])
def test_fades_and_dissolves_are_no_cuts(count: int):
    first, second = scene(1), scene(2)
    shares = np.linspace(0, 1, count + 1)
    assert scenes_of([(1 - each) * first + each * second for each in shares])[-1] == 1
    assert scenes_of([each * first for each in (*shares[::-1], *shares)])[-1] == 1
    assert scenes_of([(1 - each) * first + each for each in (*shares, *shares[::-1])])[-1] == 1


@pytest.mark.parametrize("light", [0.1, 0.3, 0.6, 1.0])
def test_a_flash_is_no_cut(light: float):
    frames = [scene(3)] * 5
    frames[2] = np.clip(frames[2] + light, 0, 1)
    assert scenes_of(frames)[-1] == 1
    frames[2] = np.clip(frames[0] * (1 + 3 * light), 0, 1)
    assert scenes_of(frames)[-1] == 1


def test_noise_in_dense_fog_is_no_cut():
    fog = np.full((*SIZE, 3), 0.7, np.float32)
    assert scenes_of([fog] * 10)[-1] == 1


def test_all_cuts_between_real_hazy_photos_are_found(shared_data: Path):
    pictures = []
    for path in sorted((shared_data / "data" / "real-hazy").iterdir()):
        small = pyvips.Image.thumbnail(str(path), 480, height=320, crop="centre", size="both")
        pictures.append(small.numpy()[..., :3].astype(np.float32) / 255)
    assert len(pictures) == 61
    frames = [each for picture in pictures for each in [picture] * 2]
    assert scenes_of(frames) == [number for number in range(1, 62) for _ in range(2)]
