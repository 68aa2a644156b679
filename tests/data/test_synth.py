"""Pairs written to disk: by the law, deterministic by seed, named so that they pair, never over."""

import numpy as np
import pytest

from unhaze import photo
from unhaze.data.catalog import find_pairs
from unhaze.data.check import check
from unhaze.data.synth import synthesize
from unhaze.errors import UnhazeError
from unhaze.haze import HazeLaw, add_haze
from unhaze.image import to_float


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two 40x32 scenes, depth grows to the right up to 200."""
    root = tmp_path_factory.mktemp("scenes")
    random = np.random.default_rng(0)
    depth = np.linspace(20, 200, 40).astype(np.uint8)[None, :, None].repeat(32, 0).repeat(3, 2)
    for kind in ("clear", "depth"):
        (root / kind).mkdir()
    for name in ("a", "b"):
        clear = random.integers(0, 200, (4, 5, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        photo.write_rgb(root / "clear" / f"{name}.png", clear)
        photo.write_rgb(root / "depth" / f"{name}.png", depth)
    return root


def test_what_is_written_obeys_the_law_it_is_named_after(root, tmp_path):
    assert synthesize(root, tmp_path / "out", each=3, border=2) == 6
    pairs = find_pairs("folders", tmp_path / "out")
    assert len(pairs) == 6
    depth = np.linspace(20, 200, 40).astype(np.uint8)[2:-2] / 198
    deepest = depth.max()
    for pair in pairs:
        scene, _, airlight, beta = pair.name.split("_")
        assert pair.clear.stem == scene
        assert 0.6 <= float(beta) <= 1.8 and 0.7 <= float(airlight) <= 1
        clear = to_float(photo.read_rgb(pair.clear))
        assert clear.shape == (28, 36, 3)
        through = np.exp(-float(beta) * depth / deepest)[None, :, None]
        expected = 255 * add_haze(clear, through, float(airlight))
        assert np.abs(photo.read_rgb(pair.hazy) - expected).max() < 0.51
    assert len({pair.name.split("_")[3] for pair in pairs}) == 6


def test_the_same_seed_writes_the_same_files(root, tmp_path):
    written = []
    for out, seed, limit in (("one", 5, None), ("two", 5, None), ("few", 5, 1), ("other", 6, None)):
        synthesize(root, tmp_path / out, each=2, seed=seed, limit=limit)
        files = sorted((tmp_path / out / "hazy").iterdir())
        written.append({path.name: path.read_bytes() for path in files})
    one, two, few, other = written
    assert one == two
    assert few.items() < one.items()
    assert not one.keys() & other.keys()


def test_airlight_of_one_and_tint(root, tmp_path):
    synthesize(root, tmp_path / "white", each=2, law=HazeLaw(airlight_at_one=1.0))
    assert all("_1.00000_" in path.name for path in (tmp_path / "white" / "hazy").iterdir())
    law = HazeLaw(beta=(50, 50), airlight=(0.5, 0.5), airlight_tint=0.6)
    synthesize(root, tmp_path / "tinted", each=10, law=law)
    files = (tmp_path / "tinted" / "hazy").iterdir()
    far = np.array([photo.read_rgb(file)[:, -1].mean(axis=0) / 255 for file in files])
    difference = far[:, 0] - far[:, 2]
    assert 0.1 < difference.max() <= 0.6 + 2 / 255 and -0.2 - 2 / 255 <= difference.min() < -0.02
    assert (np.abs(far[:, 1] - 0.5) <= 0.3 * np.abs(difference) + 2 / 255).all()


def test_nothing_is_overwritten_and_nothing_left_after_an_error(root, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UnhazeError, match="exists; choose another folder"):
        synthesize(root, tmp_path / "out")
    with pytest.raises(UnhazeError, match="too small for a border of 16"):
        synthesize(root, tmp_path / "new", border=16)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"beta": (2.0, 1.0)}, "beta is 2.0 1.0; expected low <= high"),
        ({"airlight": (0.7, 1.2)}, "airlight is 0.7 1.2"),
        ({"airlight_at_one": 1.5}, "airlight_at_one is 1.5"),
        ({"camera": -0.1}, "camera is -0.1"),
        ({"dusty": 1.1}, "dusty is 1.1"),
    ],
)
def test_impossible_haze_is_refused(setting, message):
    with pytest.raises(UnhazeError, match=message):
        HazeLaw(**setting)


def test_what_is_written_passes_the_check(root, tmp_path):
    synthesize(root, tmp_path / "out", each=2, law=HazeLaw(beta=(0.6, 0.6)))
    assert check("folders", tmp_path / "out") == []
