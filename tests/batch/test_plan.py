"""Which file becomes which, how the work is shared out, and what happens when it is stopped."""

import math
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unhaze import UnhazeError, photo
from unhaze.batch import (
    Job,
    Outcome,
    Settings,
    Work,
    plan_files,
    restore_file,
    restore_files,
    run,
    worker,
)
from unhaze.batch.jobs import DONE, FAILED, SKIPPED
from unhaze.batch.places import ignores_case
from unhaze.outputs import Output
from unhaze.restore import resources


def touch(folder: Path, *names: str) -> None:
    """Empty files: a plan looks at names only."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def planned(folder: Path, *inputs: str | Path, out: str | None = None) -> dict[str, str]:
    """source -> target or "! problem", all relative to `folder`."""
    given = [folder / each for each in inputs]
    plan = plan_files(given, None if out is None else folder / out)
    names = {job.source: Path(job.target).relative_to(folder).as_posix() for job in plan.jobs}
    names |= {known.job.source: f"! {known.why}" for known in plan.known}
    return {Path(source).relative_to(folder).as_posix(): name for source, name in names.items()}


def test_photos_and_videos_are_found_and_nothing_else(tmp_path: Path):
    touch(tmp_path, "a.JPG", "b/c.tiff", "b/clip.MOV", "b/old.avi", "scan.bmp", "notes.txt")
    touch(tmp_path, "a.unhazed.jpg", "a.unhazed.jpg.compare.jpg", ".hidden.jpg", ".cache/d.jpg")
    os.mkfifo(tmp_path / "pipe")  # nobody writes into it
    assert planned(tmp_path, ".", out="out") == {
        "a.JPG": "out/a.JPG",
        "b/c.tiff": "out/b/c.tiff",
        "b/clip.MOV": "out/b/clip.MOV",
        "b/old.avi": "out/b/old.mkv",
        "scan.bmp": "out/scan.png",
    }
    assert planned(tmp_path, "b") == {
        "b/c.tiff": "b/c.unhazed.tiff",
        "b/clip.MOV": "b/clip.unhazed.MOV",
        "b/old.avi": "b/old.unhazed.mkv",
    }


def test_formats_that_become_one_keep_their_suffix_in_the_name(tmp_path: Path):
    touch(tmp_path, "one/a.png", "one/a.bmp", "one/a.jp2", "one/b.ppm", "one/c.HEIC", "one/c.JPG")
    assert planned(tmp_path, "one", out="out") == {
        "one/a.png": "out/a.png",
        "one/a.bmp": "out/a.bmp.png",
        "one/a.jp2": "out/a.jp2.png",
        "one/b.ppm": "out/b.png",
        "one/c.HEIC": "out/c.HEIC.jpg",
        "one/c.JPG": "out/c.JPG",
    }
    assert planned(tmp_path, "one")["one/a.bmp"] == "one/a.bmp.unhazed.png"


def test_a_target_and_a_format_may_say_the_same(tmp_path: Path):
    touch(tmp_path, "a.png")
    for name, asked in (("b.jpg", "jpg"), ("b.JPEG", "jpg"), ("b.tif", "tiff")):
        settings = Settings(output=Output(format=asked))
        (job,) = plan_files([tmp_path / "a.png"], tmp_path / name, settings).jobs
        assert job.target == str(tmp_path / name)
    with pytest.raises(UnhazeError, match="'.*b.png' is not named like the format jpg"):
        settings = Settings(output=Output(format="jpg"))
        plan_files([tmp_path / "a.png"], tmp_path / "b.png", settings)


def test_a_clash_stops_only_those_that_clash(tmp_path: Path):
    touch(tmp_path, "one/a.png", "one/a.bmp", "one/a.bmp.png", "one/b.png")
    names = planned(tmp_path, "one", out="out")
    assert names["one/b.png"] == "out/b.png" and names["one/a.png"] == "out/a.png"
    assert "would all become" in names["one/a.bmp"]
    assert "would all become" in names["one/a.bmp.png"]


@pytest.mark.parametrize("one_case", [False, True])
def test_names_that_differ_in_case_clash_where_case_does_not_count(tmp_path, monkeypatch, one_case):
    assert not ignores_case(tmp_path) or sys.platform != "linux"
    monkeypatch.setattr("unhaze.batch.places.ignores_case", lambda folder: one_case)
    touch(tmp_path, "one/A.png", "one/a.png", "one/b.png")
    names = planned(tmp_path, "one", out="out")
    assert names["one/b.png"] == "out/b.png"
    clash = ["would all become" in names[name] for name in ("one/A.png", "one/a.png")]
    assert clash == [one_case, one_case]


def test_no_target_is_the_original_of_another(tmp_path: Path):
    touch(tmp_path, "one/a.png", "two/a.png", "two/b.png")
    os.link(tmp_path / "two" / "b.png", tmp_path / "two" / "linked.png")
    touch(tmp_path, "three/linked.png", "three/c.png")
    names = planned(tmp_path, "one", "three", "two/a.png", "two/b.png", out="two")
    assert names.pop("three/c.png") == "two/c.png"
    assert len(names) == 4
    assert all("is an input" in name for name in names.values()), names


def test_links_in_a_circle_end(tmp_path: Path):
    touch(tmp_path, "photos/a.png")
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "self.png").symlink_to(tmp_path / "photos" / "self.png")
    assert list(planned(tmp_path, "photos")) == ["photos/a.png"]
    assert list(planned(tmp_path, "photos/**/*.png")) == ["photos/a.png"]
    with pytest.raises(UnhazeError, match=r"no file '.*self\.png'"):
        plan_files([tmp_path / "photos" / "self.png"])


def test_a_folder_that_cannot_be_read_is_named_and_the_rest_is_restored(
    tmp_path: Path, monkeypatch
):
    touch(tmp_path, "photos/a.png", "photos/secret/b.png")
    scandir = os.scandir

    def refusing(folder: str) -> object:
        if Path(folder).name == "secret":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    names = planned(tmp_path, "photos")
    assert names["photos/a.png"] == "photos/a.unhazed.png"
    assert names["photos/secret"].endswith("secret': Permission denied")


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("clip.mp4", "clip.jpg", "'.*clip.jpg' is not; expected one of .*.mp4"),
        ("a.png", "a.mp4", "'.mp4'; expected one of .jpg"),
        ("a.png", "a", None),
    ],
)
def test_a_photo_stays_a_photo_and_a_video_a_video(
    tmp_path: Path, source: str, out: str, message: str | None
):
    touch(tmp_path, source)
    if message is None:
        assert planned(tmp_path, source, out=out) == {source: f"{out}/{source}"}
        return
    with pytest.raises(UnhazeError, match=message):
        planned(tmp_path, source, out=out)


@pytest.mark.parametrize(
    ("photos", "at_once", "threads", "expected"),
    [
        (1, 0, 0, (1, 0)),  # One photo: every library takes all cores, as it likes.
        (1, 0, 3, (1, 3)),
        (100, 0, 0, (8, 1)),
        (3, 0, 0, (3, 2)),
        (100, 0, 4, (4, 1)),
        (100, 2, 0, (2, 4)),
        (100, 20, 0, (20, 1)),
        (100, 1, 0, (1, 0)),
        (0, 0, 0, (1, 0)),
    ],
)
def test_cores_are_shared_out(photos, at_once, threads, expected, monkeypatch):
    monkeypatch.setattr(resources, "usable_cores", lambda: 8)
    assert run.shares(photos, at_once, Work(threads=threads, memory=1e12)) == expected


def test_memory_bounds_how_many_run_at_once(monkeypatch):
    monkeypatch.setattr(resources, "usable_cores", lambda: 64)

    def shares(memory: float, analysis: int | None = None) -> tuple[int, int]:
        return run.shares(1000, 0, Work(memory=memory, settings=Settings(analysis=analysis)))

    at_once, threads = shares(16e9)
    assert 4 <= at_once <= 8
    assert at_once * threads <= 64 < 2 * at_once * threads
    assert shares(16e9, 2048) == (1, 0)
    assert shares(1e6, 512) == (1, 0)
    assert shares(math.inf, 4096) == (64, 1)


def jobs_named(count: int) -> list[Job]:
    return [Job(f"{number}.png", f"{number}.out.png") for number in range(count)]


def recorded(seconds: float) -> tuple[Callable[[Job], Outcome], list[int]]:
    """Work that takes `seconds`, and how many were at work whenever one began."""
    lock, busy, seen = threading.Lock(), [0], []

    def work(job: Job) -> Outcome:
        with lock:
            busy[0] += 1
            seen.append(busy[0])
        time.sleep(seconds)
        with lock:
            busy[0] -= 1
        return Outcome(job, DONE, seconds=seconds)

    return work, seen


def test_the_pool_does_all_jobs_and_no_more_at_once_than_asked():
    work, seen = recorded(0.01)
    results = list(run.in_pool(work, jobs_named(20), 3, threading.Event()))
    assert sorted(each.job.source for each in results) == sorted(
        job.source for job in jobs_named(20)
    )
    assert 1 < max(seen) <= 3


def test_when_stopped_what_is_at_work_is_finished_and_reported():
    work, seen = recorded(0.05)
    stop = threading.Event()
    results = []
    for result in run.in_pool(work, jobs_named(50), 2, stop):
        results.append(result)
        stop.set()
    assert len(results) == len(seen) < 10


def test_when_the_caller_goes_away_nothing_else_begins():
    work, seen = recorded(0.05)
    results = run.in_pool(work, jobs_named(50), 2, threading.Event())
    next(results)
    results.close()
    begun = len(seen)
    time.sleep(0.1)
    assert len(seen) == begun < 10


class Copier:
    """Stands in for a Restorer: the restored photo is a copy."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []

    def name_for(self, height: int, width: int) -> str:
        return "copier"

    def restore_file(
        self, source, target, *, strength, overwrite, compare, save_field, output
    ) -> None:
        """Also notes what it was asked for."""
        self.asked.append((strength, overwrite, compare, save_field, output))
        target.write_bytes(source.read_bytes())


@pytest.fixture
def restored(monkeypatch) -> Callable[..., Outcome]:
    """Plans one photo and restores it, by a Copier or another."""

    def restore(source: Path, target: Path, settings: Settings, by: Copier | None = None):
        monkeypatch.setattr(worker, "restorer_for", lambda work, use: by or Copier())
        plan = plan_files([source], target, settings)
        [outcome] = restore_files(plan, Work(settings=settings))
        assert (outcome.job.source, outcome.job.target) == (str(source), str(target))
        return outcome

    return restore


@pytest.mark.parametrize("overwrite", [False, True])
def test_resume_trusts_a_result_that_is_not_older(tmp_path: Path, restored, overwrite: bool):
    source, target = tmp_path / "a.png", tmp_path / "out" / "a.png"
    source.write_bytes(b"photo")
    settings = Settings(resume=True, overwrite=overwrite)
    first = restored(source, target, settings)
    assert (first.why, first.state, target.read_bytes()) == (None, DONE, b"photo")
    target.write_bytes(b"result")
    again = restored(source, target, settings)
    assert (again.why, again.state, target.read_bytes()) == (None, SKIPPED, b"result")
    source.write_bytes(b"other")
    os.utime(source, (time.time() + 10, time.time() + 10))
    changed = restored(source, target, settings)
    if overwrite:
        assert (changed.state, target.read_bytes()) == (DONE, b"other")
    else:
        assert changed.state == FAILED
        assert "is older than its source; --overwrite replaces it" in changed.why
        assert target.read_bytes() == b"result"


def test_a_date_in_the_future_does_not_fail_for_ever(tmp_path: Path, restored):
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(b"photo")
    os.utime(source, (time.time() + 9e5, time.time() + 9e5))
    settings = Settings(resume=True)
    assert restored(source, target, settings).state == DONE
    assert restored(source, target, settings).state == SKIPPED
    time.sleep(0.02)
    source.write_bytes(b"other")
    os.utime(source, (time.time() + 9e5, time.time() + 9e5))
    assert "is older than its source" in str(restored(source, target, settings).why)


@pytest.mark.parametrize("resume", [False, True])
def test_who_resumes_what_another_process_just_finished_has_not_failed(
    tmp_path, restored, resume: bool
):
    class Overtaken(Copier):
        def restore_file(self, source, target, **settings) -> None:
            target.write_bytes(b"result")
            photo.write(photo.Photo(np.zeros((2, 2, 3), np.uint8)), target)

    source, target = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(b"photo")
    outcome = restored(source, target, Settings(resume=resume), Overtaken())
    assert (outcome.state, outcome.attempts) == ((DONE, 0) if resume else (FAILED, 1))
    assert target.read_bytes() == b"result"


@pytest.mark.parametrize("resume", [False, True])
def test_a_result_that_appears_after_the_plan_is_kept(tmp_path, monkeypatch, resume: bool):
    (tmp_path / "a.png").write_bytes(b"photo")
    settings, copier = Settings(resume=resume), Copier()
    monkeypatch.setattr(worker, "restorer_for", lambda work, use: copier)
    plan = plan_files([tmp_path / "a.png"], tmp_path / "b.png", settings)
    (tmp_path / "b.png").write_bytes(b"result")
    [outcome] = restore_files(plan, Work(settings=settings))
    assert (outcome.state == DONE, copier.asked) == (resume, [])
    assert resume or "exists; --overwrite replaces it" in str(outcome.why)
    assert (tmp_path / "b.png").read_bytes() == b"result"


def test_what_is_asked_reaches_the_restorer(tmp_path: Path):
    (tmp_path / "a.b.png").write_bytes(b"photo")
    paths = (tmp_path / "a.b.png", tmp_path / "a.b.unhazed.png")
    copier = Copier()
    restore_file(*paths, copier, Settings(strength=0.3, compare=True, save_field=True))
    compared = tmp_path / "a.b.unhazed.png.compare.jpg"
    assert copier.asked == [(0.3, False, compared, tmp_path, Output())]
    restore_file(*paths, copier, Settings(overwrite=True, output=Output(quality=70)))
    assert copier.asked[1] == (1.0, True, None, None, Output(quality=70))


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (UnhazeError("too hazy"), "'{source}': too hazy"),
        (OSError(28, "No space left on device"), "'{target}': No space left on device"),
        (PermissionError(13, "Permission denied", "/mnt/a"), "'/mnt/a': Permission denied"),
        (MemoryError(), "'{source}': not enough memory"),
    ],
)
def test_failures_are_one_line_with_a_name(tmp_path, restored, failure: Exception, message: str):
    class Failing(Copier):
        def restore_file(self, *paths, **settings) -> None:
            raise failure

    source, target = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(b"photo")
    outcome = restored(source, target, Settings(), Failing())
    assert outcome.why == message.format(source=source, target=target)


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_not_this_folder(name):
    """As of a variable that is not set: `unhaze "$PHOTO"`."""
    with pytest.raises(UnhazeError, match="empty name"):
        plan_files([name])
