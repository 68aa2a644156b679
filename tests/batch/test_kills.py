"""`unhaze batch` when something dies or is stopped: nothing is lost and nothing done twice."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter, deque
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.batch.runs import (
    await_lines,
    begin,
    done_twice,
    kill_worker,
    lines_of,
    states_of,
    wait_until,
    write_photos,
)
from tests.halving import files_in, is_halved
from unhaze import UnhazeError, photo
from unhaze.batch import Job, Work
from unhaze.batch.jobs import Mark
from unhaze.batch.processes import WorkerHandle, in_processes, lost
from unhaze.batch.worker import Worker
from unhaze.scratch import scratch_folder

COUNT = 120


@pytest.fixture
def places(tmp_path: Path, half: Path) -> tuple[Path, Path, list]:
    """SRC with COUNT photos, DST, and the words of the command for them."""
    source, target = write_photos(tmp_path / "hazy", COUNT), tmp_path / "clear"
    words = [source, target, "--model", half, "--workers", 2, "--threads", 2]
    return source, target, words


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def check_all_done(target: Path) -> list[dict]:
    """Each file once in the manifest, each result whole; answers the lines of the manifest."""
    lines = lines_of(target / "unhaze-manifest.jsonl")
    assert len({line["source"] for line in lines if line["state"] == "done"}) == COUNT
    assert not done_twice(lines)
    results = sorted(target.rglob("*.png"))
    assert len(results) == COUNT
    assert all(is_halved(path) for path in results[::7])
    assert not list(target.rglob("*.part"))
    return lines


KILLED = """
import os, signal, sys
from unhaze.scratch import scratch_folder
with scratch_folder("batch") as folder:
    (folder / "source").mkdir()
    (folder / "source" / "large.tif").write_bytes(bytes(999))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_kill_left_is_removed_at_the_next_start(tmp_path: Path, half: Path, monkeypatch):
    subprocess.run([sys.executable, "-c", KILLED], env=os.environ | {"TMPDIR": str(tmp_path)})
    [left] = tmp_path.iterdir()
    assert (left.name.startswith("unhaze-batch-"), files_in(left)) == (
        True,
        ["lease", "source/large.tif"],
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder("batch") as used:
        Worker(Work("memory://hazy", "memory://clear", model=str(half)))
        assert list(tmp_path.iterdir()) == [used]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_killed_worker_is_replaced(places):
    source, target, words = places
    manifest = target / "unhaze-manifest.jsonl"
    with begin(*words) as process:
        told, before = kill_worker(manifest, 10, process), states_of(target)
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    lines = check_all_done(target)
    assert len(lines) == COUNT
    after = states_of(target)
    assert all(after[str(target / name)] == before[str(target / name)] for name in told)
    assert len({line["worker"] for line in lines}) >= 2


@pytest.mark.slow
def test_a_killed_driver_takes_its_workers_along_and_is_resumed(places):
    source, target, words = places
    manifest = target / "unhaze-manifest.jsonl"
    with begin(*words) as process:
        lines = await_lines(manifest, 10, process)
        process.kill()
        process.communicate()
    workers = {int(line["worker"].rpartition(":")[2]) for line in lines}
    wait_until(lambda: not any(map(alive, workers)), 30)
    with manifest.open("ab") as file:
        file.write(b'{"source":"00/0.p')  # as if the kill had come in the middle of a line
    before = states_of(target)
    assert 10 <= len(before) < COUNT
    with begin(*words) as process:
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 2
    assert b"--resume continues it" in errors
    with begin(*words, "--resume") as process:
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    check_all_done(target)
    after = states_of(target)
    assert {path: after[path] for path in before} == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_clean(places, number: signal.Signals):
    source, target, words = places
    manifest = target / "unhaze-manifest.jsonl"
    with begin(*words) as process:
        await_lines(manifest, 5, process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == b"unhaze: stopped; --resume continues from here"
    lines = lines_of(manifest)
    assert 5 <= len(lines) < COUNT
    assert {line["target"] for line in lines} == {
        path.relative_to(target).as_posix() for path in target.rglob("*.png")
    }
    assert manifest.read_bytes().endswith(b"\n")
    with begin(*words, "--resume") as process:
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert len(check_all_done(target)) == COUNT


def test_a_file_that_kills_its_workers_fails_in_the_end():
    jobs = [Job("a.png", "a.png", Mark(1, "")), Job("b.png", "b.png", Mark(1, ""))]
    waiting, deaths = deque(jobs[1:]), Counter()
    dead, work = SimpleNamespace(exitcode=-9), Work("hazy", "clear", retries=2)
    for attempt in range(2):
        handle = WorkerHandle(dead, None, True, {"a.png": jobs[0]})
        assert list(lost(handle, waiting, deaths, work)) == []
        assert waiting.popleft() == jobs[0], attempt
        assert not handle.held
    [outcome] = lost(WorkerHandle(dead, None, True, {"a.png": jobs[0]}), waiting, deaths, work)
    assert (outcome.state, outcome.attempts) == ("failed", 3)
    assert outcome.why == "'a.png': its worker died (status -9)"
    assert list(waiting) == jobs[1:]


def test_a_file_that_had_not_begun_is_not_blamed_for_a_death():
    jobs = [Job(f"{name}.png", f"{name}.png", Mark(1, "")) for name in "ab"]
    waiting, deaths = deque(), Counter()
    dead = WorkerHandle(SimpleNamespace(exitcode=-9), None, True, {t.source: t for t in jobs})
    assert list(lost(dead, waiting, deaths, Work("hazy", "clear", retries=2))) == []
    assert (list(waiting), deaths["a.png"], deaths["b.png"]) == (jobs[::-1], 1, 0)


def test_workers_that_cannot_load_the_model_end_the_batch(tmp_path: Path):
    photo.write_rgb(tmp_path / "a.png", photo.read_rgb(write_photos(tmp_path, 1) / "00" / "0.png"))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    work = Work(str(tmp_path), str(tmp_path / "out"), model=str(broken))
    job = Job("a.png", "a.png", Mark(1, ""))
    with pytest.raises(UnhazeError, match=r"broken\.onnx"):
        list(in_processes([job], work, workers=1, stop=threading.Event()))


def test_a_worker_that_is_ready_too_late_leaves_without_a_word(tmp_path: Path, half: Path):
    """Others have done all files meanwhile, and the driver has closed its end."""
    code = (
        "import multiprocessing, sys\n"
        "from unhaze.batch.processes import serve\n"
        "from unhaze.batch import Work\n"
        "ours, theirs = multiprocessing.Pipe(); ours.close()\n"
        "serve(Work(sys.argv[1], sys.argv[1], model=sys.argv[2]), theirs)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    for model in (half, tmp_path / "none.onnx"):
        done = subprocess.run([*words, str(model)], capture_output=True, text=True, timeout=100)
        assert (done.returncode, done.stderr) == (0, "")
