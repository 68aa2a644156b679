"""A run folder: one process at a time, a damaged state is named, a log survives a cut line."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from unhaze import photo, runs
from unhaze.config import Part, Recipe, load_config
from unhaze.data.folders import PairedFolders
from unhaze.data.pairing import PairFiles
from unhaze.errors import UnhazeError


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path):
    with runs.locked(tmp_path), pytest.raises(UnhazeError, match="another process is training in"):
        runs.locked(tmp_path).__enter__()
    with runs.locked(tmp_path):
        pass


def test_a_recipe_that_cannot_be_written_leaves_no_run(tmp_path: Path, monkeypatch):
    """As on a full disk: an empty recipe.toml would be a run that can neither go on nor restart."""

    def fail(path: Path, text: str, encoding: str) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    recipe = Recipe("full", Part("aecr"), Part("folders"))
    with monkeypatch.context() as patched, pytest.raises(UnhazeError, match="No space left"):
        patched.setattr(Path, "write_text", fail)
        runs.create_run(recipe, tmp_path / "run")
    assert runs.create_run(recipe, tmp_path / "run") == tmp_path / "run"
    assert load_config(tmp_path / "run" / "recipe.toml") == recipe


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(UnhazeError, match="cannot write '.*log.jsonl'"):
        runs.append_log(tmp_path, {"step": 1})


@pytest.mark.parametrize("content", [b"", b'{"step": 3', b"\xff\xfe"])
def test_a_broken_progress_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "progress.json").write_bytes(content)
    with pytest.raises(UnhazeError, match="state is damaged: cannot read '.*progress.json'"):
        runs.load_state(tmp_path, {}, {})


def test_a_line_that_was_cut_off_does_not_swallow_the_next(tmp_path: Path):
    runs.append_log(tmp_path, {"step": 1})
    log = tmp_path / "log.jsonl"
    log.write_bytes(log.read_bytes() + b'{"step": 2, "los')
    runs.append_log(tmp_path, {"step": 3})
    first, cut, last = log.read_text().splitlines()
    assert [json.loads(first), json.loads(last)] == [{"step": 1}, {"step": 3}]
    assert cut == '{"step": 2, "los'


def test_a_picture_too_small_for_the_crop_is_named_before_training(tmp_path: Path):
    pairs = []
    for number, height in enumerate((240, 200, 240)):
        path = tmp_path / f"{number}.png"
        photo.write_rgb(path, np.zeros((height, 300, 3), np.uint8))
        pairs.append(PairFiles(str(number), path, path))
    data = PairedFolders(pairs)
    data.check_crop(200)
    with pytest.raises(UnhazeError, match="crop 240 does not fit '.*1.png', 300x200"):
        data.check_crop(240)
