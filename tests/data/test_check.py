"""`check` finds every planted defect, names its file, and is silent on good data."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from unhaze import photo
from unhaze.data.check import Problem, check, structure_of
from unhaze.data.pack import make_pack
from unhaze.errors import UnhazeError
from unhaze.haze import add_haze, transmission
from unhaze.image import to_float

SCENES = 4
FRAME = 10


def draw_scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A clear picture of random boxes (120,160,3) and its depth (120,160,1), both uint8."""
    random = np.random.default_rng(number)
    clear = np.full((120, 160, 3), random.integers(60, 200, 3), np.uint8)
    depth = np.linspace(250, 100, 120).astype(np.uint8)[:, None, None].repeat(160, 1)
    for _ in range(40):
        top, left = random.integers(0, 110), random.integers(0, 150)
        bottom, right = top + random.integers(8, 40), left + random.integers(8, 40)
        clear[top:bottom, left:right] = random.integers(0, 256, 3)
        depth[top:bottom, left:right] = random.integers(20, 240)
    return clear, depth


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """pairs/: four scenes, two hazy ones each, clear with a frame of 10; scenes/: clear, depth."""
    root = tmp_path_factory.mktemp("good")
    for folder in ("pairs/hazy", "pairs/clear", "scenes/clear", "scenes/depth"):
        (root / folder).mkdir(parents=True)
    for number in range(1, SCENES + 1):
        clear, depth = draw_scene(number)
        photo.write_rgb(root / "scenes" / "clear" / f"{number}.png", clear)
        photo.write_rgb(root / "scenes" / "depth" / f"{number}.png", depth.repeat(3, 2))
        framed = np.pad(clear, ((FRAME, FRAME), (FRAME, FRAME), (0, 0)), constant_values=255)
        photo.write_rgb(root / "pairs" / "clear" / f"{number}.png", framed)
        for k, beta in ((1, 0.6), (2, 1.8)):
            distance = to_float(depth) / to_float(depth).max()
            hazy = add_haze(to_float(clear), transmission(distance, beta), 1.0)
            path = root / "pairs" / "hazy" / f"{number}_{k}.png"
            photo.write_rgb(path, np.rint(255 * hazy).astype(np.uint8))
    return root


@pytest.fixture
def root(good, tmp_path):
    """A copy to plant defects in."""
    return Path(shutil.copytree(good, tmp_path / "copy"))


def pairs_problems(root: Path, **settings) -> list[Problem]:
    found = check("folders", root / "pairs", border=FRAME, **settings)
    return [problem for problem in found if problem.error]


def test_good_pairs_have_no_error_and_the_frame_is_reported(good):
    (border,) = check("folders", good / "pairs", border=FRAME)
    assert border.kind == "border" and not border.error
    assert "4 clear pictures with a frame: 10 px" in border.text


def test_unpaired_files_are_listed_each(root):
    (root / "pairs/clear/2.png").unlink()
    shutil.copy(root / "pairs/clear/1.png", root / "pairs/clear/9.png")
    found = pairs_problems(root)
    assert {(problem.kind, problem.file.name) for problem in found} == {
        ("unpaired", "2_1.png"),
        ("unpaired", "2_2.png"),
        ("unpaired", "9.png"),
    }
    partial = pairs_problems(root, partial=True)
    assert {problem.file.name for problem in partial} == {"2_1.png", "2_2.png"}


def test_another_size_is_no_matter_of_the_border(root):
    path = root / "pairs/hazy/3_1.png"
    photo.write_rgb(path, photo.read_rgb(path)[:-2])
    (problem,) = pairs_problems(root)
    assert (problem.kind, problem.file) == ("size", path)
    assert "hazy 160x118, clear 180x140" in problem.text


def test_an_undeclared_frame_is_an_error_with_advice(good):
    found = check("folders", good / "pairs")
    assert [problem.kind for problem in found] == ["size"] * 2 * SCENES
    assert "set border = 10" in found[0].text


@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_cut_off_files_are_found(root, share):
    for path in (root / "pairs/hazy/1_2.png", root / "pairs/clear/4.png"):
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
    found = pairs_problems(root)
    assert {(problem.kind, problem.file.name) for problem in found} == {
        ("corrupt", "1_2.png"),
        ("corrupt", "4.png"),
    }


def test_no_picture_at_all_is_corrupt(root):
    (root / "pairs/hazy/1_1.png").write_text("not a picture")
    (problem,) = pairs_problems(root)
    assert (problem.kind, problem.file.name) == ("corrupt", "1_1.png")


def test_the_clear_picture_itself_as_hazy_is_found(root):
    framed = photo.read_rgb(root / "pairs/clear/2.png")
    photo.write_rgb(root / "pairs/hazy/2_1.png", framed[FRAME:-FRAME, FRAME:-FRAME])
    (problem,) = pairs_problems(root)
    assert (problem.kind, problem.file.name) == ("identical", "2_1.png")


def test_swapped_scenes_are_found_and_their_right_partner_named(root):
    one, two = root / "pairs/hazy/1_2.png", root / "pairs/hazy/3_2.png"
    other = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(other)
    found = pairs_problems(root)
    assert {(problem.kind, problem.file.name) for problem in found} == {
        ("scene", "1_2.png"),
        ("scene", "3_2.png"),
    }
    assert "not the scene of '1.png'" in found[0].text and "but that of '3.png'" in found[0].text


def test_a_flipped_hazy_picture_is_found(root):
    path = root / "pairs/hazy/2_2.png"
    photo.write_rgb(path, photo.read_rgb(path)[:, ::-1])
    (problem,) = pairs_problems(root)
    assert (problem.kind, problem.file.name) == ("scene", "2_2.png")


def test_a_psnr_that_haze_never_makes_is_found(root):
    clear = photo.read_rgb(root / "pairs/clear/1.png")
    photo.write_rgb(root / "pairs/clear/1.png", clear // 16)
    kinds = {(problem.kind, problem.file.name) for problem in pairs_problems(root)}
    assert ("psnr", "1_2.png") in kinds
    assert not {file for _, file in kinds} - {"1_1.png", "1_2.png"}


def test_wrong_counts_are_reported_and_a_part_may_be_one(good):
    found = [each for each in check("its", good / "pairs") if each.error]
    assert [problem.kind for problem in found] == ["count", "count"]
    assert "8 hazy pictures, published are 13,990" in found[0].text
    assert not [each for each in check("its", good / "pairs", partial=True) if each.error]


def test_the_old_version_of_its_is_reported(root):
    for path in sorted((root / "pairs/hazy").glob("4_*")):
        path.rename(path.with_name(path.name.replace("4_", "1400_")))
    (root / "pairs/clear/4.png").rename(root / "pairs/clear/1400.png")
    (problem,) = (each for each in check("its", root / "pairs", partial=True) if each.error)
    assert problem.kind == "version" and "RESIDE-v0" in problem.text


def test_splits_are_checked_whole_unless_one_is_named(root):
    for number in (50, 51):
        for kind, source in (("hazy", "hazy/1_1.png"), ("GT", "clear/1.png")):
            shutil.copy(root / "pairs" / source, root / f"{number}_{kind}.png")
    sizes = [each for each in check("nh-haze", root, partial=True) if each.kind == "size"]
    assert [problem.file.name for problem in sizes] == ["50_hazy.png", "51_hazy.png"]
    (size,) = check("nh-haze", root, partial=True, split="test")
    assert size.file.name == "51_hazy.png"


def lay(root: Path, hazy: str, clear: str, scenes: range) -> None:
    """Copies of the scenes under the names that a set has: {} is the scene's number."""
    for number in scenes:
        sources = f"pairs/hazy/{number}_2.png", f"scenes/clear/{number}.png"
        for source, name in zip(sources, (hazy, clear)):
            path = root / "set" / name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / source, path)


@pytest.mark.parametrize(
    ("name", "hazy", "clear"),
    [
        ("reside-6k", "test/hazy/{}.png", "test/GT/{}.png"),
        ("haze4k", "Haze4K/test/haze/{}_0.89_1.56.png", "Haze4K/test/gt/{}.png"),
        ("rs-haze", "RS-Haze/test/hazy/{}.png", "RS-Haze/test/GT/{}.png"),
        ("hazerd", "data/simu/IMG_{}_50.png", "data/img/IMG_{}_RGB.png"),
        ("bedde", "c{0}/fog/c{0}_1.png", "c{0}/gt/c{0}_clear.png"),
    ],
)
def test_other_published_sets_are_checked(root, name, hazy, clear):
    lay(root, hazy, clear, range(1, SCENES + 1))
    assert check(name, root / "set", partial=True) == []
    counts = [each for each in check(name, root / "set") if each.kind == "count"]
    assert len(counts) == 2 and f"{SCENES} hazy pictures, published are" in counts[0].text
    broken = root / "set" / hazy.format(2)
    broken.write_bytes(broken.read_bytes()[:300])
    (problem,) = check(name, root / "set", partial=True)
    assert (problem.kind, problem.file.name) == ("corrupt", broken.name)


def test_halves_are_counted_each(root, monkeypatch):
    from dataclasses import replace

    from unhaze.data.catalog import DATASETS

    lay(root, "train/hazy/{}.png", "train/GT/{}.png", range(1, 4))
    lay(root, "test/hazy/{}.png", "test/GT/{}.png", range(4, 5))
    tiny = replace(DATASETS["haze4k"], half_counts={"train": (3, 3), "test": (2, 1)})
    monkeypatch.setitem(DATASETS, "haze4k", tiny)
    assert check("haze4k", root / "set", split="train") == []
    (problem,) = check("haze4k", root / "set", split="test")
    assert "1 hazy picture, published are 2" in problem.text
    (problem,) = check("haze4k", root / "set")
    assert "4 hazy pictures, published are 5" in problem.text


def test_hazy_only_sets_are_decoded(root):
    (root / "pairs/hazy").rename(root / "JPEGImages")
    assert check("rtts", root, partial=True) == []
    (root / "JPEGImages/2_1.png").write_bytes(b"")
    (problem,) = check("rtts", root, partial=True)
    assert (problem.kind, problem.file.name) == ("corrupt", "2_1.png")


def test_a_sample_looks_into_some_scenes_but_at_all_names(root):
    for number in range(1, SCENES + 1):
        (root / f"pairs/hazy/{number}_1.png").write_bytes(b"")
    shutil.copy(root / "pairs/clear/1.png", root / "pairs/clear/9.png")
    kinds = [problem.kind for problem in pairs_problems(root, sample=2)]
    assert kinds == ["unpaired", "corrupt", "corrupt"]
    with pytest.raises(UnhazeError, match="sample is 0"):
        pairs_problems(root, sample=0)


def test_scenes_with_depth(root):
    folder = root / "scenes"
    assert check("rgbd", folder) == []
    (folder / "depth/1.png").unlink()
    flat = np.full((120, 160, 3), 7, np.uint8)
    photo.write_rgb(folder / "depth/2.png", flat)
    photo.write_rgb(folder / "depth/3.png", photo.read_rgb(folder / "depth/3.png")[1:])
    shutil.copy(folder / "clear/4.png", folder / "depth/4.png")
    assert {
        (problem.kind, problem.file.name, problem.file.parent.name)
        for problem in check("rgbd", folder)
    } == {
        ("unpaired", "1.png", "clear"),
        ("depth", "2.png", "depth"),
        ("size", "3.png", "depth"),
        ("depth", "4.png", "depth"),
    }


def test_packs(root):
    pack = root / "scenes.pack"
    make_pack(root / "scenes", pack, codec="webp", quality=80)
    assert check("rgbd", pack) == []
    data = bytearray(pack.read_bytes())
    start = data.index(b"clear/3.webp") + len(b"clear/3.webp")
    data[start + 40 : start + 140] = bytes(100)
    pack.write_bytes(data)
    (problem,) = check("rgbd", pack)
    assert problem.kind == "corrupt" and problem.file == pack / "clear/3.webp"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("fodlers", {}, "did you mean 'folders'?"),
        ("folders", {"bordre": 1}, "did you mean 'border'?"),
        ("rgbd", {"border": 1}, "no argument 'border'"),
        ("folders", {"hazy": "absent"}, "there is no folder"),
    ],
)
def test_mistakes_are_named(good, name, settings, message):
    with pytest.raises(UnhazeError, match=message):
        check(name, good / "pairs", **settings)


def test_thick_haze_keeps_the_structure_and_other_scenes_differ():
    structures = [structure_of(draw_scene(number)[0]) for number in range(6)]
    likeness = np.array(structures) @ np.array(structures).T
    np.testing.assert_allclose(np.diag(likeness), 1, rtol=1e-5)
    assert likeness[~np.eye(6, dtype=bool)].max() < 0.2
    assert np.abs(structure_of(np.full((30, 30, 3), 9, np.uint8))).max() == 0


def test_the_part_of_sots_indoor_is_sound(shared_data):
    root = shared_data / "data" / "sots-indoor-part"
    assert check("sots-indoor", root, partial=True, sample=3) == []
    assert [problem.kind for problem in check("sots-indoor", root, sample=1)] == ["count", "count"]


def test_a_picture_too_small_for_the_crop_is_named(root):
    assert pairs_problems(root, crop=120) == []
    for kind, border in (("hazy", 0), ("clear", 2 * FRAME)):
        for path in (root / "pairs" / kind).glob("2*.png"):
            pixels = photo.read_rgb(path)
            photo.write_rgb(path, pixels[: 90 + border])
    found = {(each.kind, each.file.name) for each in pairs_problems(root, crop=120)}
    assert {("small", path.name) for path in (root / "pairs/hazy").glob("2*.png")} <= found
    assert ("small", "2.png") in found
    assert {kind for kind, _ in found} == {"small"}


def test_swapped_folders_are_seen(root):
    hazy, clear = root / "pairs" / "hazy", root / "pairs" / "clear"
    for path in list(clear.iterdir()):
        photo.write_rgb(path, photo.read_rgb(path)[FRAME:-FRAME, FRAME:-FRAME])
    for path in list(hazy.iterdir()):
        if "_1" not in path.stem:
            path.unlink()
        else:
            path.rename(hazy / f"{path.stem.partition('_')[0]}.png")
    assert [each.kind for each in check("folders", root / "pairs")] == []
    hazy.rename(root / "pairs" / "aside")
    clear.rename(hazy)
    (root / "pairs" / "aside").rename(clear)
    (problem,) = check("folders", root / "pairs")
    assert problem.kind == "swapped" and "4 of 4 pairs" in problem.text
