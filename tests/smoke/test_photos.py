"""A user's first hour on any Python and any allowed versions: photos, folders, arrays, models."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import unhaze
from unhaze import photo
from unhaze.restore.models import list_models

VALLEY = Path(__file__).parents[2] / "samples" / "valley.jpg"


def command(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "unhaze", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_photo_keeps_its_size_and_loses_haze(tmp_path: Path):
    done = command(VALLEY, "-o", "out.jpg", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "out.jpg\n"), done.stderr
    hazy, restored = photo.read_rgb(VALLEY), photo.read_rgb(tmp_path / "out.jpg")
    assert restored.shape == hazy.shape
    assert restored.std() > 1.05 * hazy.std()


def test_a_folder_with_a_broken_file_is_done_but_for_that(tmp_path: Path):
    (tmp_path / "in").mkdir()
    shutil.copy(VALLEY, tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "b.jpg").write_bytes(b"no picture")
    done = command("in", "-o", "out", "--analysis", 128, "--json", cwd=tmp_path)
    files = {Path(each["source"]).name: each["status"] for each in json.loads(done.stdout)["files"]}
    assert (done.returncode, files) == (1, {"a.jpg": "done", "b.jpg": "failed"})


def test_a_batch_writes_its_manifest(tmp_path: Path):
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(VALLEY, tmp_path / "in" / name)
    done = command("batch", "in", "out", "--workers", 2, "--analysis", 128, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "unhaze-manifest.jsonl").read_text().splitlines()
    assert sorted(json.loads(line).get("source", "") for line in lines) == ["", "a.jpg", "b.jpg"]


def test_every_shipped_model_and_prior_restores_arrays():
    hazy = photo.read_rgb(VALLEY)[::8, ::8].copy()
    for name in [*(card.name for card in list_models()), "dcp"]:
        restored = unhaze.dehaze(hazy, model=name, analysis=128)
        assert restored.shape == hazy.shape
        assert restored.dtype == np.uint8
        assert abs(restored.astype(float) - hazy).mean() > 1, name


def test_16_bits_stay_16_bits(tmp_path: Path):
    hazy = photo.read_rgb(VALLEY)[::8, ::8].astype(np.uint16) * 257
    for suffix in (".png", ".tif"):
        photo.write_rgb(tmp_path / f"in{suffix}", hazy)
        done = command(f"in{suffix}", "-o", f"out{suffix}", "--analysis", 64, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        restored = photo.read_rgb(tmp_path / f"out{suffix}")
        assert restored.dtype == np.uint16
        assert len(np.unique(restored)) > 256


def test_help_of_every_verb_needs_no_extra(tmp_path: Path):
    for verb in ("run", "batch", "train", "eval", "export", "list", "data", "serve"):
        done = command(verb, "--help", cwd=tmp_path)
        assert done.returncode == 0, (verb, done.stderr)
    assert "photo" in command("list", "models", cwd=tmp_path).stdout
    assert "aecr" in command("list", "recipes", cwd=tmp_path).stdout
