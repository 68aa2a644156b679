"""`unhaze run` as people call it: files in and out, exit status, what goes to stdout, bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.halving import files_in, is_halved, picture, write_model
from unhaze import photo
from unhaze.cli import main

Done = subprocess.CompletedProcess


def unhaze_process(*words: object, stdin: bytes, cwd: Path | None = None) -> Done:
    """The command in a process of its own, which has a stdin."""
    command = [sys.executable, "-m", "unhaze", *map(str, words)]
    return subprocess.run(command, input=stdin, capture_output=True, cwd=cwd, timeout=120)


def said(done: Done) -> str:
    """stderr of a run that failed as it should: no traceback, every line from us."""
    lines = done.stderr.decode().splitlines()
    assert lines
    assert all(line.startswith("unhaze: ") for line in lines), done.stderr.decode()
    return "\n".join(lines)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """photos/a.png, photos/inner/b.jpg, an earlier result, a hidden photo and a text file."""
    photos = tmp_path / "photos"
    (photos / "inner").mkdir(parents=True)
    for name in ("a.png", "inner/b.jpg", "old.unhazed.png", ".hidden.png"):
        photo.write_rgb(photos / name, picture())
    (photos / "notes.txt").write_text("not a photo")
    return photos


def test_a_photo_is_written_beside_itself(unhaze, folder: Path, half: Path):
    before = (folder / "a.png").read_bytes()
    done = unhaze("a.png", "--model", half, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"a.unhazed.png\n"
    assert is_halved(folder / "a.unhazed.png")
    assert (folder / "a.png").read_bytes() == before


def test_run_may_be_said(unhaze, folder: Path, half: Path):
    done = unhaze("run", folder / "a.png", "-o", folder / "new.jpg", "--model", half, "--native")
    assert (done.returncode, done.stdout.decode()) == (0, f"{folder / 'new.jpg'}\n")
    assert is_halved(folder / "new.jpg")


def test_strength_zero_changes_nothing(unhaze, folder: Path, half: Path):
    done = unhaze("a.png", "--model", half, "--strength", 0, cwd=folder)
    assert done.returncode == 0
    assert np.array_equal(photo.read_rgb(folder / "a.unhazed.png"), picture())


def test_a_folder_keeps_its_structure(unhaze, folder: Path, half: Path, tmp_path: Path):
    out = tmp_path / "out"
    done = unhaze(folder, "-o", out, "--model", half)
    assert done.returncode == 0, done.stderr
    assert files_in(out) == ["a.png", "inner/b.jpg"]
    assert sorted(done.stdout.decode().split()) == [str(out / "a.png"), str(out / "inner/b.jpg")]
    assert all(is_halved(out / name) for name in files_in(out))


def test_a_folder_without_out_gets_results_beside_and_skips_them_later(
    unhaze, folder: Path, half: Path
):
    assert unhaze(folder, "--model", half).returncode == 0
    assert {"a.unhazed.png", "inner/b.unhazed.jpg"} < set(files_in(folder))
    count = len(files_in(folder))
    assert unhaze(folder, "--model", half, "--overwrite").returncode == 0
    assert len(files_in(folder)) == count


def test_results_inside_the_folder_are_no_inputs(unhaze, folder: Path, half: Path):
    for _ in range(2):
        done = unhaze(folder, "-o", folder / "out", "--model", half, "--overwrite")
        assert done.returncode == 0, done.stderr
    assert files_in(folder / "out") == ["a.png", "inner/b.jpg"]


def test_globs_are_expanded_here(unhaze, folder: Path, half: Path, tmp_path: Path):
    done = unhaze("photos/**/*.*g", "-o", "out", "--model", half, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert files_in(tmp_path / "out") == ["a.png", "inner/b.jpg"]


def test_stdin_to_stdout_carries_the_picture_alone(folder: Path, half: Path):
    source = (folder / "a.png").read_bytes()
    done = unhaze_process("-", "--model", half, stdin=source)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"\x89PNG")
    (folder / "piped.png").write_bytes(done.stdout)
    assert is_halved(folder / "piped.png")
    jpeg = unhaze_process("run", "-", "--model", half, stdin=(folder / "inner/b.jpg").read_bytes())
    assert jpeg.stdout.startswith(b"\xff\xd8")


def test_stdin_to_a_file_and_a_file_to_stdout(unhaze, folder: Path, half: Path):
    source = (folder / "a.png").read_bytes()
    done = unhaze_process("-", "-o", "c.png", "--model", half, stdin=source, cwd=folder)
    assert (done.returncode, done.stdout) == (0, b"c.png\n")
    assert is_halved(folder / "c.png")
    done = unhaze("a.png", "-o", "-", "--model", half, cwd=folder)
    assert done.stdout == (folder / "c.png").read_bytes()


def test_json_is_one_document_and_failures_do_not_stop_the_rest(unhaze, folder: Path, half: Path):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = unhaze(folder, folder / "absent.png", "--model", half, "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert (document["done"], document["failed"]) == (2, 2)
    by_name = {Path(each["source"]).name: each for each in document["files"]}
    assert by_name["a.png"]["error"] is None
    assert Path(by_name["a.png"]["target"]).exists()
    assert by_name["a.png"]["seconds"] > 0
    assert "broken.png" in by_name["broken.png"]["error"]
    assert by_name["absent.png"]["error"].startswith("no file ")
    assert by_name["absent.png"]["target"] is None
    assert "2 of 4 inputs failed" in said(done)


def test_nothing_is_overwritten_unless_asked(unhaze, folder: Path, half: Path):
    target = folder / "a.unhazed.png"
    target.write_bytes(b"precious")
    done = unhaze("a.png", "--model", half, cwd=folder)
    assert done.returncode == 1
    assert "exists" in said(done)
    assert "--overwrite" in said(done)
    assert target.read_bytes() == b"precious"
    assert unhaze("a.png", "--model", half, "--overwrite", cwd=folder).returncode == 0
    assert is_halved(target)


@pytest.mark.parametrize("words", [("a.png", "-o", "a.png"), (".", "-o", ".")])
def test_the_original_is_never_touched(unhaze, folder: Path, half: Path, words: tuple[str, ...]):
    before = {name: (folder / name).read_bytes() for name in files_in(folder)}
    done = unhaze(*words, "--model", half, "--overwrite", cwd=folder)
    assert done.returncode == 2
    assert "is an input" in said(done)
    assert {name: (folder / name).read_bytes() for name in files_in(folder)} == before


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["absent.jpg"], 2, "no file 'absent.jpg'"),
        (["empty"], 2, "no photos or videos in 'empty'"),
        (["*.tiff"], 2, "no photo matches '*.tiff'"),
        (["text.jpg"], 1, "'text.jpg'"),
        (["truncated.png"], 1, "'truncated.png'"),
        (["zero.png"], 1, "'zero.png'"),
        (["a.png", "--model", "fotoo"], 2, "'fotoo'"),
        (["a.png", "--model", "absent.onnx"], 2, "'absent.onnx'"),
        (["a.png", "--model", "text.onnx"], 2, "'text.onnx'"),
        (["a.png", "--model", "nan.onnx"], 1, "a.png"),
        (["a.png", "--model", "batch.onnx"], None, "batch.onnx"),
        (["a.png", "--model", "grey.onnx"], None, "grey.onnx"),
        (["a.png", "-o", "out.xyz"], 2, "'.xyz'"),
        (["a.png", "inner/b.jpg", "-o", "notes.txt"], 2, "'notes.txt' is a file"),
        (["a.png", "inner/b.jpg", "-o", "new.png"], 2, "'new.png' has the name of a file"),
        (["a.png", "inner/a.png", "-o", "out"], 2, "would all become"),
        (["a.png", "--strength", "2"], 2, "--strength is 2"),
        (["a.png", "--strength", "nan"], 2, "--strength is nan"),
        (["a.png", "--strength", "much"], 2, "'much' is not a valid float"),
        (["a.png", "--native", "--analysis", "512"], 2, "exclude each other"),
        (["a.png", "--analysis", "0"], 2, "'--analysis'"),
        (["a.png", "--device", "tpu"], 2, "'tpu' is not one of"),
        (["a.png", "--colour"], 2, "No such option"),
        (["-", "a.png"], 2, "give one INPUT"),
        (["-", "--json"], 2, "--json"),
        ([], 2, "give a photo"),
        (["run"], 2, "no input given"),
        (["evla", "a.png"], 2, "did you mean 'eval'?"),
    ],
)
def test_bad_input_is_answered_in_one_line(
    folder: Path, words: list[str], status: int | None, message: str, monkeypatch, capfd
):
    (folder / "empty").mkdir()
    (folder / "text.jpg").write_text("I am no picture\n" * 20)
    (folder / "text.onnx").write_text("I am no model\n" * 20)
    (folder / "zero.png").write_bytes(b"")
    (folder / "truncated.png").write_bytes((folder / "a.png").read_bytes()[:400])
    photo.write_rgb(folder / "inner" / "a.png", picture())
    write_model(folder / "half.onnx", 0.5)
    write_model(folder / "nan.onnx", float("nan"))
    write_model(folder / "batch.onnx", 0.5, (4, 3, 64, 64))
    write_model(folder / "grey.onnx", 0.5, (1, 1, "height", "width"))
    before = files_in(folder)
    if words and "--model" not in words and words[0] not in ("run", "evla"):
        words = [*words, "--model", "half.onnx"]
    monkeypatch.chdir(folder)
    answered = main(words)
    stdout, stderr = capfd.readouterr()
    assert answered == status if status else answered in (1, 2)
    assert message in stderr
    assert stderr.startswith("unhaze: error: ")
    assert len(stderr.splitlines()) == 1
    assert stdout == ""
    assert files_in(folder) == before


def test_bad_bytes_on_stdin(half: Path):
    for sent in (b"", b"I am no picture"):
        done = unhaze_process("-", "--model", half, stdin=sent)
        assert (done.returncode, done.stdout) == (1, b"")
        assert len(said(done).splitlines()) == 1


def test_names_that_are_no_text_or_look_like_options(unhaze, folder: Path, half: Path):
    for name in (b"-x.png", b"per%cent [0].png", b"new\nline.png", b"\xff\xfe.png"):
        (folder / os.fsdecode(name)).write_bytes((folder / "a.png").read_bytes())
        done = unhaze("--model", half, "--", os.fsdecode(name), cwd=folder)
        assert done.returncode == 0, done.stderr
        assert done.stdout == name.replace(b".png", b".unhazed.png") + b"\n"


@pytest.mark.parametrize("words", ["list datasets", "run a.png --overwrite", "run - -o - <a.png"])
def test_a_reader_that_goes_away_ends_it_as_sigpipe_would(words: str, folder: Path, half: Path):
    model = f"--model {half}" if words.startswith("run") else ""
    command = f"{{ {sys.executable} -m unhaze {words} {model}; echo $? >status; }} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, cwd=folder, timeout=60)
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr
    assert (folder / "status").read_text() == "141\n"


@pytest.mark.parametrize("words", ["list datasets", "run a.png"])
def test_a_closed_stdout_is_not_an_error(words: str, folder: Path, half: Path):
    model = f"--model {half}" if words.startswith("run") else ""
    command = f"exec {sys.executable} -m unhaze {words} {model} >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, cwd=folder, timeout=60)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert (folder / "a.unhazed.png").exists() == words.startswith("run")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize(
    ("words", "unbuffered"), [("datasets >/dev/full", ""), ("models --json >all", "1")]
)
def test_a_full_disk_behind_stdout_is_an_error(words: str, unbuffered: str, tmp_path: Path):
    command = f"ulimit -f 1; exec {sys.executable} -m unhaze list {words}"
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(["bash", "-c", command], capture_output=True, cwd=tmp_path, env=env)
    assert (done.returncode, len(said(done).splitlines())) == (2, 1)
