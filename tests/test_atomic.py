"""What is made aside appears whole or not at all."""

import os
from pathlib import Path

import pytest

from unhaze.atomic import check_replaceable, made_aside, new_file
from unhaze.errors import TargetExists, UnhazeError


def test_a_file_and_a_folder_take_their_names(tmp_path: Path):
    with made_aside(tmp_path / "a.txt") as aside:
        assert aside.suffix == ".txt"
        aside.write_text("new")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "new"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()
    with made_aside(tmp_path / "folder") as aside:
        aside.mkdir()
        (aside / "new").touch()
    assert [each.name for each in (tmp_path / "folder").iterdir()] == ["new"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.txt", "folder"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_fails_leaves_nothing_and_keeps_what_was(tmp_path: Path, kind: str):
    (tmp_path / "final").write_text("old")
    with pytest.raises(ZeroDivisionError), made_aside(tmp_path / "final") as aside:
        aside.mkdir() if kind == "folder" else aside.write_text("half")
        _ = 1 / 0
    assert [each.name for each in tmp_path.iterdir()] == ["final"]
    assert (tmp_path / "final").read_text() == "old"


def test_folders_are_made_only_where_asked(tmp_path: Path):
    with (
        pytest.raises(UnhazeError, match="cannot write '.*gone/a': No such file"),
        made_aside(tmp_path / "gone" / "a") as aside,
    ):
        aside.touch()
    with made_aside(tmp_path / "new" / "a", parents=True) as aside:
        aside.touch()
    assert (tmp_path / "new" / "a").exists()


@pytest.mark.skipif(os.name != "posix", reason="a file as a folder")
def test_a_file_in_the_way_is_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UnhazeError, match="cannot write"),
        made_aside(tmp_path / "file" / "a", parents=True),
    ):
        pass


def test_what_is_in_place_is_named_with_the_option_that_replaces_it(tmp_path: Path):
    taken, says = tmp_path / "a.png", r"^'.*a\.png' exists; --overwrite replaces it$"
    taken.touch()
    with pytest.raises(TargetExists, match=says):
        check_replaceable(taken, overwrite=False)
    taken.unlink()
    with pytest.raises(TargetExists, match=says), new_file(taken, original=None, overwrite=False):
        taken.touch()  # by somebody else, meanwhile
    for overwrite in (False, True):
        check_replaceable(tmp_path / "free.png", overwrite)
        with pytest.raises(UnhazeError, match="not a regular file"):
            check_replaceable(tmp_path, overwrite)
