"""Unpaired data: scenes of both sides differ, aspect stays, batches are functions of their step."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.test_check import draw_scene
from unhaze import photo
from unhaze.config import Augment, Part
from unhaze.data import UnpairedBatch
from unhaze.data.build import create_data
from unhaze.errors import UnhazeError

CPU = torch.device("cpu")
PLAIN = Augment(crop=16, flip=False, rotate=False)


def write(folder: Path, names: dict[str, int], size: tuple[int, int] = (20, 24)) -> None:
    """One picture a name, all of one grey value; size is height and width."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in names.items():
        photo.write_rgb(folder / f"{name}.png", np.full((*size, 3), value, np.uint8))


def folders(root: Path, **arguments):
    return create_data(Part("unpaired-folders", {"root": str(root), **arguments}))


def draw(data, step: int = 0, *, size: int = 4, augment: Augment = PLAIN) -> UnpairedBatch:
    return data.draw(5, step, size=size, augment=augment, device=CPU)


def values(batch_side: torch.Tensor) -> set[int]:
    """The grey values (0 to 255) of the pictures in one side of a batch."""
    return {round(float(image.mean()) * 255) for image in batch_side}


@pytest.fixture
def root(tmp_path) -> Path:
    write(tmp_path / "hazy", {f"h{index}": 100 + index for index in range(5)})
    write(tmp_path / "clear", {f"c{index}": 10 + index for index in range(3)})
    return tmp_path


def test_draws_from_both_folders(root):
    data = folders(root)
    batch = draw(data)
    assert isinstance(batch, UnpairedBatch)
    assert batch.hazy.shape == batch.clear.shape == (4, 3, 16, 16)
    assert values(batch.hazy) <= set(range(100, 105))
    assert values(batch.clear) <= set(range(10, 13))
    assert len(data) == 5


def test_every_picture_is_seen_once_an_epoch(root):
    data = folders(root)
    seen = [values(draw(data, step, size=1).hazy).pop() for step in range(10)]
    assert sorted(seen[:5]) == sorted(seen[5:]) == list(range(100, 105))
    clear = [values(draw(data, step, size=1).clear).pop() for step in range(3)]
    assert sorted(clear) == [10, 11, 12]


def test_a_batch_is_a_function_of_seed_and_step(root):
    jitter = dataclasses.replace(PLAIN, flip=True, scale=(0.5, 1.0))
    write(root / "hazy", {"ramp": 0})
    ramp = np.arange(20 * 24 * 3, dtype=np.uint16).reshape(20, 24, 3) % 256
    photo.write_rgb(root / "hazy" / "ramp.png", ramp.astype(np.uint8))
    one, other = (draw(folders(root), 7, augment=jitter) for _ in range(2))
    assert torch.equal(one.hazy, other.hazy) and torch.equal(one.clear, other.clear)
    next_one = draw(folders(root), 8, augment=jitter)
    assert not torch.equal(one.hazy, next_one.hazy)


def test_sides_are_drawn_independently(tmp_path):
    """Of equal numbers of pictures, the same places must not always come together."""
    write(tmp_path / "hazy", {f"h{index}": 100 + index for index in range(6)})
    write(tmp_path / "clear", {f"c{index}": 10 + index for index in range(6)})
    data = folders(tmp_path)
    pairs = set()
    for step in range(60):
        batch = draw(data, step, size=1)
        pairs.add((values(batch.hazy).pop() - 100, values(batch.clear).pop() - 10))
    assert len(pairs) > 20


@pytest.mark.parametrize(
    ("size", "resized"), [((40, 80), (20, 40)), ((80, 40), (40, 20)), ((10, 14), (20, 28))]
)
def test_the_short_side_is_resized_with_the_aspect_kept(tmp_path, size, resized):
    write(tmp_path / "hazy", {"one": 100}, size)
    write(tmp_path / "clear", {"other": 10}, size)
    data = folders(tmp_path, short_side=20)
    assert data.decode(data.hazy[0], 0).shape == (3, *resized)
    batch = draw(data, size=1, augment=dataclasses.replace(PLAIN, crop=20))
    assert values(batch.hazy) == {100}


def test_the_frame_of_clear_pictures_is_cut(tmp_path):
    write(tmp_path / "hazy", {"one": 100})
    framed = np.full((24, 24, 3), 255, np.uint8)
    framed[4:-4, 4:-4] = 10
    (tmp_path / "clear").mkdir()
    photo.write_rgb(tmp_path / "clear" / "other.png", framed)
    assert values(draw(folders(tmp_path, border=4), size=1).clear) == {10}


def test_several_folders_and_named_pictures(root):
    write(root / "more", {"m0": 50})
    data = folders(root, clear=["clear", "more"], hazy_names=["h3", "h1"])
    batches = [draw(data, step, size=2) for step in range(4)]
    assert set().union(*(values(batch.hazy) for batch in batches)) == {101, 103}
    assert set().union(*(values(batch.clear) for batch in batches)) == {10, 11, 12, 50}


def test_pairs_are_refused_or_halved(tmp_path):
    """Named as ITS names them: hazy 1_1_0.9 is of clear 1."""
    hazy = {f"{scene}_{index}_0.9": 100 + scene for scene in range(1, 5) for index in (1, 2)}
    write(tmp_path / "hazy", hazy)
    write(tmp_path / "clear", {str(scene): 10 + scene for scene in range(1, 5)})
    with pytest.raises(UnhazeError, match="named as one scene, as are 4 in all") as caught:
        folders(tmp_path)
    assert "1_1_0.9.png" in str(caught.value) and 'same_scenes = "halve"' in str(caught.value)
    data = folders(tmp_path, same_scenes="halve")
    assert {path.name for path in data.hazy} == {f"{name}.png" for name in hazy if name[0] in "12"}
    assert {path.name for path in data.clear} == {"3.png", "4.png"}


def test_running_numbers_are_no_pairs_unless_the_pictures_are(tmp_path):
    (tmp_path / "hazy").mkdir()
    (tmp_path / "clear").mkdir()
    for number in range(6):
        for side, scene in (("hazy", number), ("clear", 10 + number)):
            photo.write_rgb(tmp_path / side / f"{number}.png", draw_scene(scene)[0])
    data = folders(tmp_path)
    assert (len(data.hazy), len(data.clear)) == (6, 6)
    photo.write_rgb(tmp_path / "hazy" / "5.png", photo.read_rgb(data.clear[5]) // 2 + 120)
    with pytest.raises(UnhazeError, match='named as one scene.*or "keep" if these names'):
        folders(tmp_path)
    assert len(folders(tmp_path, same_scenes="keep").hazy) == 6


def test_one_scene_cannot_be_halved(tmp_path):
    write(tmp_path / "hazy", {"1_1": 100})
    write(tmp_path / "clear", {"1": 10})
    with pytest.raises(UnhazeError, match="only one scene"):
        folders(tmp_path, same_scenes="halve")


def test_the_same_file_on_both_sides_is_refused(root):
    (root / "clear" / "renamed.png").write_bytes((root / "hazy" / "h2.png").read_bytes())
    with pytest.raises(UnhazeError, match="h2.png' and '.*renamed.png' are the same file"):
        folders(root)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hazy": "nowhere"}, "data.hazy: there are no pictures in .*nowhere"),
        ({"hazy_names": ["h9"]}, "data.hazy_names: 'hazy' has no picture 'h9'"),
        ({"same_scenes": "drop"}, "refuse, halve, keep"),
        ({"short_side": -1}, "short_side -1"),
        ({"clear": 3}, "'clear' must be of type"),
        ({"shuffle": True}, "no argument 'shuffle'"),
    ],
)
def test_wrong_arguments(root, arguments, message):
    with pytest.raises(UnhazeError, match=message):
        folders(root, **arguments)


@pytest.fixture
def scenes(tmp_path) -> Path:
    for index in range(6):
        write(tmp_path / "rgbd" / "clear", {str(index): 20 * index})
        write(tmp_path / "rgbd" / "depth", {str(index): 200})
    return tmp_path / "rgbd"


def halves(root: Path, hazy: list[int], clear: list[int], **more) -> Part:
    side = {"name": "rgbd", "root": str(root), "beta": [1.0, 1.0], "airlight_at_one": 1.0}
    sides = {"hazy": side | {"scenes": hazy}, "clear": side | {"scenes": clear}}
    return Part("unpaired", sides | more)


def test_halves_of_rgbd_scenes(scenes):
    data = create_data(halves(scenes, [0, 3], [3, 6]))
    batches = [draw(data, step) for step in range(4)]
    assert set().union(*(values(batch.clear) for batch in batches)) == {60, 80, 100}
    thick = {round(255 + (value - 255) * np.exp(-1)) for value in (0, 20, 40)}
    assert set().union(*(values(batch.hazy) for batch in batches)) == thick
    assert torch.equal(draw(data, 2).hazy, batches[2].hazy)


def test_halves_that_overlap_are_refused(scenes):
    with pytest.raises(UnhazeError, match="scene '2' is hazy and clear, as are 1 in all"):
        create_data(halves(scenes, [0, 3], [2, 6]))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Part("unpaired", {}), r"needs a table \[data.hazy\]"),
        (Part("unpaired", {"hazy": "rgbd"}), r"needs a table \[data.hazy\]"),
        (Part("unpaired", {"hazy": {"name": "rgbdd"}}), "did you mean 'rgbd'"),
    ],
)
def test_wrong_tables(part, message):
    with pytest.raises(UnhazeError, match=message):
        create_data(part)


def test_more_than_two_sides_are_refused(scenes):
    with pytest.raises(UnhazeError, match="no argument 'third'"):
        create_data(halves(scenes, [0, 3], [3, 6], third={}))


def test_sides_of_a_side_must_be_pairs(scenes):
    """Unpaired data has no depth of its own to draw haze from: no nesting."""
    inner = halves(scenes, [0, 2], [2, 4])
    table = {"name": "unpaired", **inner.arguments}
    side = {"name": "rgbd", "root": str(scenes)}
    with pytest.raises(UnhazeError, match="'unpaired' is not a paired dataset"):
        create_data(Part("unpaired", {"hazy": table, "clear": side}))


def test_real_photos_of_the_recipe_are_there(shared_data):
    from unhaze.config import load_config

    recipe = load_config(Path(__file__).parents[2] / "recipes" / "unpaired" / "real.toml")
    arguments = recipe.data.arguments | {"root": str(shared_data / "data"), "cache": False}
    data = create_data(Part(recipe.data.name, arguments))
    assert (len(data.hazy), len(data.clear)) == (40, 600)
    assert not any("sun-hays80" in path.as_posix() for path in data.clear)
    batch = data.draw(1, 0, size=1, augment=recipe.augment, device=CPU)
    assert batch.hazy.shape == (1, 3, 256, 256)
