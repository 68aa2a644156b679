"""Pairs from files: a pure function of seed and step, each once an epoch, never resized."""

import numpy as np
import pytest
import torch

from tests.rgbd_scenes import ramp
from unhaze import photo
from unhaze.config import Augment, Part
from unhaze.data.build import create_data
from unhaze.data.catalog import find_pairs
from unhaze.data.folders import PairedFolders
from unhaze.data.rgbd import RGBD
from unhaze.errors import UnhazeError

CPU = torch.device("cpu")
PLAIN = Augment(crop=16, flip=False, rotate=False)
FRAME = 3
SCENES = 7


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Seven 40x32 pairs: blue is 30 times the scene, hazy is half as bright, clear has a frame."""
    root = tmp_path_factory.mktemp("pairs")
    for kind in ("hazy", "clear"):
        (root / kind).mkdir()
    for scene in range(SCENES):
        clear = ramp(30 * scene, down=6)
        photo.write_rgb(root / "hazy" / f"{scene}_1.png", clear // 2)
        framed = np.pad(clear, ((FRAME, FRAME), (FRAME, FRAME), (0, 0)), constant_values=255)
        photo.write_rgb(root / "clear" / f"{scene}.png", framed)
    return root


@pytest.fixture
def data(root):
    return PairedFolders(find_pairs("folders", root, border=FRAME))


def scenes_of(batch):
    """Which scene each sample of the batch is, read from its blue channel."""
    return (batch.clear[:, 2, 0, 0] * 255 / 30).round().int().tolist()


def test_a_pair_is_whole_and_without_the_frame(data):
    pair = data.pair(4)
    assert pair.name == "4_1"
    assert pair.hazy.shape == pair.clear.shape == (3, 32, 40)
    assert pair.clear.dtype == torch.float32
    assert pair.clear[0, 0].mul(255).round().tolist() == [6 * column for column in range(40)]


def test_drawn_samples_are_of_one_scene_and_one_place(data):
    batch = data.draw(3, 2, size=6, augment=Augment(crop=16), device=CPU)
    assert batch.hazy.shape == batch.clear.shape == (6, 3, 16, 16)
    half = (batch.clear * 255).round().div(2, rounding_mode="floor") / 255
    torch.testing.assert_close(batch.hazy, half, rtol=0, atol=1e-6)


def test_draw_is_a_pure_function_of_seed_and_step(root, data):
    other = PairedFolders(find_pairs("folders", root, border=FRAME), cache=True)
    other.draw(1, 0, size=3, augment=PLAIN, device=CPU)
    for step in (5, 0, 5):
        first = data.draw(1, step, size=3, augment=PLAIN, device=CPU)
        again = other.draw(1, step, size=3, augment=PLAIN, device=CPU)
        assert torch.equal(first.hazy, again.hazy) and torch.equal(first.clear, again.clear)
    different = data.draw(2, 5, size=3, augment=PLAIN, device=CPU)
    assert not torch.equal(first.clear, different.clear)


@pytest.mark.parametrize("size", [1, 3, 7, 10])
def test_every_pair_is_seen_once_an_epoch(data, size):
    steps = 3 * SCENES // size + 1
    drawn = [
        scene
        for step in range(steps)
        for scene in scenes_of(data.draw(8, step, size=size, augment=PLAIN, device=CPU))
    ]
    epochs = [drawn[start : start + SCENES] for start in range(0, 3 * SCENES, SCENES)]
    assert all(sorted(epoch) == list(range(SCENES)) for epoch in epochs[: len(drawn) // SCENES])
    assert epochs[0] != epochs[1]


def test_the_cache_decodes_each_file_once(root, monkeypatch):
    decoded = []
    read = photo.read_rgb
    monkeypatch.setattr(photo, "read_rgb", lambda path: decoded.append(path) or read(path))
    data = PairedFolders(find_pairs("folders", root, border=FRAME), cache=True)
    for step in range(4):
        data.draw(0, step, size=SCENES, augment=PLAIN, device=CPU)
    assert len(decoded) == len(set(decoded)) == 2 * SCENES


def test_sixteen_bits_keep_their_steps(tmp_path):
    ramp = np.linspace(0, 65535, 32 * 32, dtype=np.uint16).reshape(32, 32, 1).repeat(3, 2)
    for kind in ("hazy", "clear"):
        (tmp_path / kind).mkdir()
        photo.write_rgb(tmp_path / kind / "1.png", ramp)
    data = PairedFolders(find_pairs("folders", tmp_path))
    batch = data.draw(0, 0, size=1, augment=PLAIN, device=CPU)
    assert len(batch.clear.unique()) == 256
    assert torch.equal(batch.hazy, batch.clear)


def test_an_undeclared_frame_is_an_error(root):
    data = PairedFolders(find_pairs("folders", root))
    with pytest.raises(UnhazeError, match="frame of 3 px, set border = 3"):
        data.draw(0, 0, size=2, augment=PLAIN, device=CPU)


def test_create_data_builds_what_a_recipe_names(root):
    data = create_data(Part("folders", {"root": str(root), "border": FRAME, "cache": True}))
    assert isinstance(data, PairedFolders) and len(data) == SCENES
    scenes = root / "scenes"
    for kind in ("clear", "depth"):
        (scenes / kind).mkdir(parents=True)
        photo.write_rgb(scenes / kind / "1.png", np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    assert isinstance(create_data(Part("rgbd", {"root": str(scenes)})), RGBD)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("folder", {}, "did you mean 'folders'?"),
        ("folders", {"rot": "."}, "no argument 'rot'; did you mean 'root'?"),
        ("folders", {"cahce": True}, "did you mean 'cache'?"),
        ("rtts", {}, "no clear pictures"),
        ("nh-haze", {"root": "."}, "needs split: one of 'train', 'test' or 'all'"),
        ("rgbd", {}, "needs the argument 'root'"),
        ("rgbd", {"root": ".", "betta": 1}, "did you mean 'beta'?"),
    ],
)
def test_create_data_names_mistakes(name, arguments, message):
    with pytest.raises(UnhazeError, match=message):
        create_data(Part(name, arguments))
