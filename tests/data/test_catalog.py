"""Every published layout pairs as its authors meant; nothing is dropped silently."""

import re
from pathlib import Path

import numpy as np
import pytest

from unhaze.data.catalog import DATASETS, find_files, find_pairs, fit_clear
from unhaze.data.pairing import PairFiles, list_pictures, natural_order
from unhaze.errors import UnhazeError

# dataset, arguments, {hazy file: its clear file, or None}: names as published, or as often moved.
LAYOUTS = [
    (
        "folders",
        {"hazy": "h", "clear": "c"},
        {
            "h/hazy_a.png": "c/clear_a.png",
            "h/hazy_b_1.png": "c/clear_b.png",
            "h/hazy-c.png": "c/c.png",
            "h/clear_sky_hazy.png": "c/clear_sky.png",
        },
    ),
    (
        "its",
        {},
        {
            "ITS/hazy/1_1_0.90179.png": "ITS/clear/1.png",
            "ITS/hazy/1_10_0.98796.png": "ITS/clear/1.png",
            "ITS/hazy/11_1_0.99082.png": "ITS/clear/11.png",
        },
    ),
    ("its", {}, {"train/hazy/7_2_0.8.png": "train/GT/7.png"}),
    (
        "ots",
        {},
        {
            "OTS/part1/0005_0.8_0.04.jpg": "clear_images/0005.jpg",
            "OTS/part2/0005_1_0.2.jpg": "clear_images/0005.jpg",
            "OTS/part2/0008_0.95_0.12.jpg": "clear_images/0008.jpg",
        },
    ),
    (
        "sots-indoor",
        {},
        {
            "SOTS/indoor/hazy/1400_1.png": "SOTS/indoor/gt/1400.png",
            "SOTS/indoor/hazy/1400_10.png": "SOTS/indoor/gt/1400.png",
            "SOTS/indoor/hazy/1401_2.png": "SOTS/indoor/gt/1401.png",
        },
    ),
    ("sots-indoor", {}, {"hazy/1400_3.png": "clear/1400.png"}),
    ("sots-outdoor", {}, {"outdoor/hazy/0001_0.8_0.2.jpg": "outdoor/gt/0001.png"}),
    ("hsts", {}, {"synthetic/synthetic/0586.jpg": "synthetic/original/0586.jpg"}),
    ("hsts", {}, {"HSTS/synthetic/synthetic/0586.jpg": "HSTS/synthetic/original/0586.jpg"}),
    ("rtts", {}, {"RTTS/JPEGImages/AM_Bing_211.png": None, "RTTS/JPEGImages/YT_1.png": None}),
    ("urhi", {}, {"UnannotatedHazyImages/a_1.jpg": None, "UnannotatedHazyImages/b.jpeg": None}),
    ("reside-6k", {}, {"RESIDE-6K/test/hazy/1.jpg": "RESIDE-6K/test/GT/1.jpg"}),
    (
        "reside-6k",
        {"split": "all"},
        {"train/hazy/1.jpg": "train/GT/1.jpg", "test/hazy/1.jpg": "test/GT/1.jpg"},
    ),
    (
        "haze4k",
        {"split": "train"},
        {"Haze4K/train/haze/7_0.68_0.66.png": "Haze4K/train/gt/7.png"},
    ),
    ("haze4k", {}, {"HAZE4K/test/hazy/1_0.89_1.56.png": "HAZE4K/test/clear/1.png"}),
    ("rs-haze", {}, {"RS-Haze/test/hazy/2_3.png": "RS-Haze/test/GT/2_3.png"}),
    (
        "hazerd",
        {},
        {
            "data/simu/IMG_8583_RGB_50.jpg": "data/img/IMG_8583_RGB.jpg",
            "data/simu/IMG_8583_100.jpg": "data/img/IMG_8583_RGB.jpg",
        },
    ),
    (
        "bedde",
        {},
        {
            "BeDDE/chengdu/fog/chengdu_2.png": "BeDDE/chengdu/gt/chengdu_clear.png",
            "BeDDE/chengdu/fog/chengdu_13.png": "BeDDE/chengdu/gt/chengdu_clear.png",
            "BeDDE/beijing/fog/beijing_2.png": "BeDDE/beijing/gt/beijing_clear.png",
        },
    ),
    ("dense-haze", {}, {"hazy/51_hazy.png": "GT/51_GT.png", "hazy/55_hazy.png": "GT/55_GT.png"}),
    ("nh-haze", {}, {"NH-HAZE/51_hazy.png": "NH-HAZE/51_GT.png"}),
    ("nh-haze", {"split": "train"}, {"01_hazy.png": "01_GT.png", "50_hazy.png": "50_GT.png"}),
    (
        "o-haze",
        {"split": "all"},
        {
            "# O-HAZY NTIRE 2018/hazy/01_outdoor_hazy.jpg": (
                "# O-HAZY NTIRE 2018/GT/01_outdoor_GT.jpg"
            )
        },
    ),
    (
        "i-haze",
        {"split": "train"},
        {"# I-HAZY NTIRE 2018/hazy/25_indoor_hazy.jpg": "# I-HAZY NTIRE 2018/GT/25_indoor_GT.jpg"},
    ),
    (
        "folders",
        {"hazy": "fog", "clear": "sun"},
        {"fog/a.png": "sun/a.jpg", "fog/scene_b_2.png": "sun/scene_b.png"},
    ),
]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(("name", "arguments", "layout"), LAYOUTS)
def test_published_layouts_pair(tmp_path, name, arguments, layout):
    touch(tmp_path, *(clear for clear in layout.values() if clear), *layout)
    pairs = find_pairs(name, tmp_path, **arguments)
    found = {pair.hazy.resolve(): pair.clear and pair.clear.resolve() for pair in pairs}
    assert found == {
        (tmp_path / hazy).resolve(): clear and (tmp_path / clear).resolve()
        for hazy, clear in layout.items()
    }
    assert len({pair.name for pair in pairs}) == len(pairs)


def test_every_dataset_has_a_layout_here_and_says_where_it_comes_from():
    drawn = {name for name, dataset in DATASETS.items() if dataset.find is None}
    assert drawn == {"rgbd", "outdoor", "mixed", "unpaired", "unpaired-folders"}
    assert {name for name, *_ in LAYOUTS} == DATASETS.keys() - drawn
    for dataset in DATASETS.values():
        assert dataset.title and dataset.source and dataset.terms and dataset.pairing


def test_a_root_inside_the_dataset_is_found_too(tmp_path):
    touch(tmp_path, "SOTS/indoor/hazy/1400_1.png", "SOTS/indoor/gt/1400.png")
    for root in (tmp_path, tmp_path / "SOTS", tmp_path / "SOTS" / "indoor"):
        assert [pair.name for pair in find_pairs("sots-indoor", root)] == ["1400_1"]


def test_halves_are_told_apart(tmp_path):
    touch(
        tmp_path, *(f"{half}/{kind}/1.png" for half in ("train", "test") for kind in ("hazy", "GT"))
    )
    assert [pair.name for pair in find_pairs("rs-haze", tmp_path)] == ["1"]
    both = [pair.name for pair in find_pairs("rs-haze", tmp_path, split="all")]
    assert both == ["train-1", "test-1"]
    with pytest.raises(UnhazeError, match="split .beside 'all'. 'val'"):
        find_pairs("rs-haze", tmp_path, split="val")
    with pytest.raises(UnhazeError, match="does not look like RS-Haze"):
        find_pairs("rs-haze", tmp_path / "train", split="all")


def test_pairs_come_in_natural_order(tmp_path):
    touch(tmp_path, *(f"hazy/7_{k}.png" for k in (10, 2, 1)), "clear/7.png")
    assert [pair.name for pair in find_pairs("folders", tmp_path)] == ["7_1", "7_2", "7_10"]
    assert natural_order(Path("9")) < natural_order(Path("10"))


def test_pictures_of_any_format_and_name_are_listed_in_one_order(tmp_path):
    names = ["b/1.heic", "a/1.jxl", "c/5².tga", "c/5.exr"]
    touch(tmp_path, *names, "c/notes.txt", "c/.hidden.png")
    expected = [tmp_path / name for name in ("a/1.jxl", "b/1.heic", "c/5.exr", "c/5².tga")]
    assert list_pictures(tmp_path) == expected


def test_the_longest_name_wins(tmp_path):
    touch(tmp_path, "hazy/1_3.png", "hazy/1_4.png", "clear/1.png", "clear/1_3.png")
    partners = {pair.name: pair.clear.name for pair in find_pairs("folders", tmp_path)}
    assert partners == {"1_3": "1_3.png", "1_4": "1.png"}


def test_hazy_without_clear_is_an_error_even_in_a_part(tmp_path):
    touch(tmp_path, "hazy/1_1.png", "hazy/2_1.png", "hazy/3_1.png", "clear/1.png")
    for partial in (False, True):
        with pytest.raises(UnhazeError, match=r"2_1\.png' and 1 more have no clear partner"):
            find_pairs("folders", tmp_path, partial=partial)
    assert [path.name for path in find_files("folders", tmp_path).hazy_alone] == [
        "2_1.png",
        "3_1.png",
    ]


def test_clear_without_hazy_is_an_error_unless_the_set_is_partial(tmp_path):
    touch(tmp_path, "hazy/1_1.png", "clear/1.png", "clear/2.png")
    with pytest.raises(UnhazeError, match=r"2\.png' has no hazy partner.*partial = true"):
        find_pairs("folders", tmp_path)
    assert [pair.name for pair in find_pairs("folders", tmp_path, partial=True)] == ["1_1"]


def test_one_name_twice_is_an_error(tmp_path):
    touch(tmp_path, "hazy/1.png", "clear/1.png", "clear/1.jpg")
    with pytest.raises(UnhazeError, match="have one name"):
        find_pairs("folders", tmp_path)


def test_hidden_and_other_files_are_no_pictures(tmp_path):
    touch(tmp_path, "hazy/1.png", "hazy/._1.png", "hazy/Thumbs.db", "hazy/.cache/2.png")
    touch(tmp_path, "clear/1.png")
    assert len(find_pairs("folders", tmp_path)) == 1


@pytest.mark.parametrize(
    ("arguments", "scenes"),
    [
        ({}, [51, 52, 53, 54, 55]),
        ({"split": "train"}, list(range(1, 51))),
        ({"split": "test", "test": [46, 50]}, [46, 47, 48, 49, 50]),
        ({"split": "train", "train": [1, 3]}, [1, 2, 3]),
        ({"split": "all"}, list(range(1, 56))),
    ],
)
def test_splits_are_ranges_of_scenes(tmp_path, arguments, scenes):
    for number in range(1, 56):
        touch(tmp_path, f"{number:02d}_hazy.png", f"{number:02d}_GT.png")
    pairs = find_pairs("nh-haze", tmp_path, **arguments)
    assert [int(pair.name) for pair in pairs] == scenes


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("nhhaze", {}, "no dataset 'nhhaze'; did you mean 'nh-haze'?"),
        ("nh-haze", {"spilt": "test"}, "no argument 'spilt'; did you mean 'split'?"),
        ("nh-haze", {"split": "trian"}, "did you mean 'train'?"),
        ("nh-haze", {"test": [9]}, r"test = \[9\]: expected \[first, last\]"),
        ("nh-haze", {"test": 5}, "'test' must be of type list"),
        ("its", {"split": "train"}, "no argument 'split'"),
        ("its", {}, r"does not look like RESIDE ITS.*expected hazy/SCENE_INDEX_A.png"),
        ("folders", {"hazy": "absent"}, "there is no folder '.*absent'"),
        ("rgbd", {}, "its batches are drawn in training"),
    ],
)
def test_mistakes_are_named(tmp_path, name, arguments, message):
    touch(tmp_path, "01_hazy.png", "01_GT.png")
    with pytest.raises(UnhazeError, match=message):
        find_pairs(name, tmp_path, **arguments)


def test_empty_folders_are_named(tmp_path):
    for name in ("fog", "sun"):
        (tmp_path / name).mkdir()
    message = f"there are no pictures in '{tmp_path / 'fog'}' or '{tmp_path / 'sun'}'"
    with pytest.raises(UnhazeError, match=re.escape(message)):
        find_pairs("folders", ".", hazy=str(tmp_path / "fog"), clear=str(tmp_path / "sun"))


def test_a_missing_root_is_named():
    with pytest.raises(UnhazeError, match="there is no folder 'absent'"):
        find_pairs("its", "absent")


def test_the_border_is_cut_from_the_middle():
    clear = np.arange(48 * 64 * 3).reshape(48, 64, 3)
    pair = PairFiles("1", Path("1.png"), Path("1.png"), border=10)
    assert np.array_equal(fit_clear(pair, clear, np.zeros((28, 44, 3))), clear[10:38, 10:54])
    assert fit_clear(pair, clear, clear) is clear


@pytest.mark.parametrize(
    ("border", "height", "width", "message"),
    [
        (0, 28, 44, "have a frame of 10 px, set border = 10"),
        (10, 28, 43, "must have one size"),
        (10, 46, 62, "frame of 1 px"),
        (10, 68, 84, "must have one size"),
    ],
)
def test_other_sizes_are_never_mended(border, height, width, message):
    pair = PairFiles("1", Path("1_h.png"), Path("1.png"), border)
    with pytest.raises(UnhazeError, match=message):
        fit_clear(pair, np.zeros((48, 64, 3)), np.zeros((height, width, 3)))


def test_the_part_of_sots_indoor(shared_data):
    pairs = find_pairs("sots-indoor", shared_data / "data" / "sots-indoor-part")
    assert len(pairs) == 80
    assert len({pair.clear for pair in pairs}) == 8
    assert all(pair.name.startswith(f"{pair.clear.stem}_") for pair in pairs)
