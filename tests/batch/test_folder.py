"""`unhaze batch` on folders of this computer: what it does, skips, refuses and writes down."""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.batch.runs import done_twice, lines_of, write_photos
from tests.halving import files_in, is_halved
from unhaze import UnhazeError
from unhaze.batch import Settings, Work, processes, restore_folder
from unhaze.batch.jobs import DONE, FAILED, History, Job, Mark, Outcome
from unhaze.batch.manifest import open_manifest, read_history
from unhaze.batch.places import open_place
from unhaze.batch.plan import find_sources, plan_folder
from unhaze.batch.worker import Worker

DIGEST = "0123"


def test_a_folder_is_restored_resumed_and_made_again(unhaze, tmp_path: Path, half: Path):
    source, target = write_photos(tmp_path / "hazy", 12), tmp_path / "clear"
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    for name in ("twin.bmp", "twin.png", "twin.bmp.png"):
        (source / name).write_bytes((source / "00" / "0.png").read_bytes())
    words = ["batch", source, target, "--model", half, "--workers", 2, "--json"]
    first = unhaze(*words)
    facts = json.loads(first.stdout)
    assert first.returncode == 1, first.stderr
    assert (facts["inputs"], facts["done"], facts["skipped"], facts["failed"]) == (16, 13, 0, 3)
    assert (facts["stopped"], facts["workers"]) == (False, 2)
    assert facts["files_per_second"] > 0 < facts["megapixels_per_second"]
    assert 0 < facts["startup_seconds"] + facts["listing_seconds"] < facts["seconds"]
    assert facts["manifest"] == str(target / "unhaze-manifest.jsonl")
    assert b"'twin.bmp' and 'twin.bmp.png' would all become 'twin.bmp.png'" in first.stderr
    assert all(is_halved(target / f"{n // 10:02}" / f"{n}.png") for n in range(12))
    lines = lines_of(target / "unhaze-manifest.jsonl")
    by_source = {line["source"]: line for line in lines}
    assert len(by_source) == len(lines) == 16
    entry = by_source["00/3.png"]
    facts = (source / "00/3.png").stat()
    assert (entry["state"], entry["why"], entry["attempts"]) == ("done", None, 1)
    assert (entry["size"], entry["stamp"]) == (facts.st_size, str(facts.st_mtime_ns))
    assert (entry["megapixels"], entry["model"]) == (40 * 56 / 1e6, "half")
    assert "broken.jpg" in by_source["broken.jpg"]["why"]

    (source / "00/5.png").write_bytes((source / "00/0.png").read_bytes() + b"\0")
    (target / "00/6.png").unlink()
    (source / "broken.jpg").unlink()
    again = unhaze(*words, "--resume")
    facts = json.loads(again.stdout)
    assert (facts["done"], facts["skipped"], facts["failed"]) == (1, 11, 3)
    assert b"'00/5.png' is of an earlier source; --overwrite replaces it" in again.stderr
    others = unhaze(*words, "--resume", "--strength", 0.5)
    assert others.stderr.count(b"was made with other settings; --overwrite replaces it") == 13
    last = json.loads(unhaze(*words, "--resume", "--overwrite").stdout)
    assert (last["done"], last["skipped"], last["failed"]) == (1, 12, 2)


def test_what_is_done_without_being_asked_is_in_the_manifest(unhaze, tmp_path: Path):
    (tmp_path / "hazy").mkdir()
    ground = 40 + 50 * np.random.default_rng(0).random((96, 128, 1))
    dust = 0.5 * ground + 0.5 * np.array([230, 184, 122])
    Image.fromarray(np.rint(dust).astype(np.uint8)).save(tmp_path / "hazy" / "dust.png")
    words = ["batch", tmp_path / "hazy", tmp_path / "clear", "--model", "photo-fast"]
    done = unhaze(*words, "-v")
    [line] = lines_of(tmp_path / "clear" / "unhaze-manifest.jsonl")
    [note] = line["notes"]
    assert "its cast was removed" in note
    assert f"dust.png: {note}" in done.stderr.decode()


@pytest.mark.skipif(sys.platform != "linux", reason="file names are any bytes on Linux only")
def test_names_that_are_no_text_are_restored_and_skipped_later(unhaze, tmp_path: Path, half: Path):
    source = write_photos(tmp_path / "hazy", 2)
    name = os.fsdecode(b"\xff\xfe.png")
    (source / "00" / "1.png").rename(source / name)
    words = ["batch", source, tmp_path / "clear", "--model", half, "--json"]
    first, again = unhaze(*words), unhaze(*words, "--resume")
    assert json.loads(first.stdout)["done"] == 2, first.stderr
    assert is_halved(tmp_path / "clear" / name)
    assert json.loads(again.stdout)["skipped"] == 2


def test_videos_come_along(unhaze, tmp_path: Path, half: Path):
    av = pytest.importorskip("av")
    source = write_photos(tmp_path / "hazy", 1)
    with av.open(str(source / "clip.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    done = unhaze("batch", source, tmp_path / "clear", "--model", half, "--codec", "ffv1")
    assert done.returncode == 0, done.stderr
    assert files_in(tmp_path / "clear") == ["00/0.png", "clip.mkv", "unhaze-manifest.jsonl"]
    [_, clip] = lines_of(tmp_path / "clear" / "unhaze-manifest.jsonl")
    assert (clip["source"], clip["megapixels"]) == ("clip.mkv", round(3 * 64 * 48 / 1e6, 6))
    assert done.stdout.decode().strip() == str(tmp_path / "clear" / "unhaze-manifest.jsonl")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hazy", "hazy"], "SRC and DST are both 'hazy'"),
        (["hazy", "./hazy/"], "SRC and DST are both 'hazy'"),
        (["hazy", "hazy/clear"], "DST 'hazy/clear' lies in SRC 'hazy'"),
        (["hazy", "file://{folder}/hazy/clear"], "lies in SRC"),
        (["absent", "clear"], "'absent' is no folder; batch takes a folder or a URL"),
        (["hazy/00/0.png", "clear"], "is a file; `unhaze run` takes it"),
        (["empty", "clear"], "no photos or videos in 'empty'"),
        (["memory://nothing", "clear"], "no photos or videos in 'memory://nothing'"),
        (["nowhere://bucket", "clear"], "Protocol not known"),
        (["hazy", "clear", "--shard", "3/2"], "'3/2' is not a shard"),
        (["hazy", "clear", "--shard", "x"], "'x' is not a shard"),
        (["hazy", "clear", "--workers", "0"], "'--workers'"),
        (["hazy", "clear", "--retries", "-1"], "'--retries'"),
        (["hazy", "clear", "--gpus-per-worker", "1"], "for Ray; give a cluster"),
        (["hazy", "clear", "--gpus-per-worker", "nan"], "gpus"),
        (["hazy", "clear", "--model", "photo-fats"], "no model 'photo-fats'"),
        (["hazy", "clear", "--strength", "2"], "--strength is 2"),
        (["hazy", "clear", "--manifest", "photo.txt"], "'photo.txt' is not the manifest"),
        (["hazy"], "DST"),
    ],
)
def test_wrong_use(unhaze, tmp_path: Path, words: list[str], message: str):
    write_photos(tmp_path / "hazy", 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "photo.txt").write_text("hello\n")
    words = [word.format(folder=tmp_path) for word in words]
    done = unhaze("batch", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "clear" / "00").exists()


def planned(folder: Path, history: History | None = None, shard=(1, 1), **settings):
    source, target = open_place(folder / "hazy"), open_place(folder / "clear")
    sources, how = find_sources(source, target), Settings(**settings)
    return plan_folder(sources, source, target, how, history or History({}), DIGEST, shard=shard)


def test_shards_share_all_files_and_none_twice(tmp_path: Path):
    write_photos(tmp_path / "hazy", 40)
    parts = [[job.source for job in planned(tmp_path, shard=(n, 3)).jobs] for n in (1, 2, 3)]
    assert sorted(sum(parts, [])) == sorted(job.source for job in planned(tmp_path).jobs)
    assert all(5 < len(part) < 25 for part in parts)


def test_hidden_files_and_results_are_no_sources(tmp_path: Path):
    for name in (".a.png", ".b/c.png", "d.unhazed.png", "e.txt", "f.bmp"):
        path = tmp_path / "hazy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    [job] = planned(tmp_path).jobs
    assert (job.source, job.target) == ("f.bmp", "f.png")


@pytest.mark.parametrize(
    ("began", "digest", "resume", "found"),
    [(0, DIGEST, True, True), (9e9, DIGEST, True, False), (0, "4567", True, False)]
    + [(0, DIGEST, False, False)],
)
def test_a_target_that_a_killed_run_made_is_found(tmp_path, began, digest, resume, found):
    write_photos(tmp_path / "hazy", 2)
    (tmp_path / "clear" / "00").mkdir(parents=True)
    (tmp_path / "clear" / "00" / "1.png").touch()
    plan = planned(tmp_path, History({}, digest, began), resume=resume)
    assert [job.source for job in plan.jobs] == ["00/0.png"]
    [outcome] = plan.known
    assert outcome.state == (DONE if found else FAILED)
    if not found:
        assert outcome.why == "'00/1.png' exists; --overwrite replaces it"
        again = planned(tmp_path, History({}, digest, began), resume=resume, overwrite=True)
        assert again.jobs[1].before == open_place(tmp_path / "clear").mark("00/1.png")


def test_a_folder_that_cannot_be_read_fails_alone(tmp_path: Path, half: Path, monkeypatch):
    hazy = write_photos(tmp_path / "hazy", 2)
    (hazy / "secret").mkdir()
    scandir = os.scandir

    def refusing(folder: str) -> object:
        if str(folder).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    plan = planned(tmp_path)
    assert [job.source for job in plan.jobs] == ["00/0.png", "00/1.png"]
    [outcome] = plan.known
    assert (outcome.state, outcome.job.source) == (FAILED, "secret")
    assert outcome.why.endswith("hazy/secret': Permission denied")
    stats = restore_folder(Work(str(hazy), str(tmp_path / "clear"), model=str(half)))
    assert (stats.total, stats.counts["done"], stats.counts["failed"]) == (3, 2, 1)


def test_names_that_differ_in_case_clash_where_case_does_not_count(tmp_path, monkeypatch):
    hazy = write_photos(tmp_path / "hazy", 2) / "00"
    (hazy / "a.png").write_bytes((hazy / "0.png").read_bytes())
    (hazy / "A.png").write_bytes((hazy / "1.png").read_bytes())
    assert len(planned(tmp_path).jobs) == 4
    monkeypatch.setattr("unhaze.batch.places.ignores_case", lambda folder: True)
    plan = planned(tmp_path, overwrite=True)
    assert [job.source for job in plan.jobs] == ["00/0.png", "00/1.png"]
    assert all("'00/A.png' and '00/a.png' would all become" in each.why for each in plan.known)


def test_a_result_never_replaces_an_original(tmp_path: Path):
    write_photos(tmp_path / "all" / "00", 1)
    write_photos(tmp_path / "all", 1)
    source, target = open_place(tmp_path / "all" / "00"), open_place(tmp_path / "all")
    plan = plan_folder(find_sources(source, target), source, target)
    [known] = plan.known
    assert "is an input, which is never overwritten" in known.why


def test_a_manifest_is_one_line_a_file_and_has_one_writer(tmp_path: Path):
    path = tmp_path / "new" / "book.jsonl"
    outcomes = [Outcome(Job(f"\udcff{n}.png", "a", Mark(n, "s")), DONE) for n in range(3)]
    with open_manifest(str(path), resume=False, overwrite=False) as book:
        book.begin({}, DIGEST)
        book.add(outcomes[0], DIGEST)
        assert len(path.read_bytes().splitlines()) == 2  # not when it is closed
        with (
            pytest.raises(UnhazeError, match="another batch is writing"),
            open_manifest(str(path), resume=True, overwrite=False),
        ):
            pass
    with path.open("ab") as file:
        file.write(b'{"source":"half a li')
    with open_manifest(str(path), resume=True, overwrite=False) as book:
        assert book.history.done == {"\udcff0.png": (Mark(0, "s"), DIGEST)}
        assert (book.history.digest, book.history.empty) == (DIGEST, False)
        assert time.time() - book.history.began < 100
        book.begin({}, DIGEST)
        book.add(outcomes[1], DIGEST)
        book.add(Outcome(outcomes[0].job, FAILED, "exists"), DIGEST)
    text = path.read_bytes()
    assert len(text.splitlines()) == 4
    assert not done_twice(lines_of(path))
    assert set(read_history(text, "").done) == {"\udcff0.png", "\udcff1.png"}
    with open_manifest(str(path), resume=False, overwrite=True) as book:
        assert book.history.empty
    assert path.read_bytes() == b""


def test_the_documented_manifest_has_the_lines_of_a_real_one(tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    told = [json.loads(line) for line in page.split("```json\n")[1].split("```")[0].splitlines()]
    work = Work("photos", "cleared")
    with open_manifest(str(tmp_path / "book"), resume=False, overwrite=False) as book:
        book.begin(work.facts(), DIGEST)
        book.add(Outcome(Job("a.png", "a.png", Mark(1, "s")), DONE), DIGEST)
    begun, line = map(json.loads, (tmp_path / "book").read_text().splitlines())
    assert [list(each) for each in told] == [list(begun), list(line), list(line)]
    assert told[0]["unhaze"] == begun["unhaze"] and told[0]["settings"].items() <= (
        begun["settings"].items()
    )


def test_a_manifest_that_cannot_be_written_is_reported(tmp_path: Path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UnhazeError, match="cannot write the manifest '.*': .*"),
        open_manifest(str(tmp_path / "file" / "book.jsonl"), resume=False, overwrite=False),
    ):
        pass


def test_a_fault_of_this_program_costs_one_file(tmp_path: Path, half: Path, monkeypatch):
    write_photos(tmp_path / "hazy", 3)
    worker = Worker(Work(str(tmp_path / "hazy"), str(tmp_path / "clear"), model=str(half)))
    jobs = planned(tmp_path).jobs
    calm = worker.do

    def do(job: Job, stop: threading.Event) -> Outcome | None:
        return {}[0] if "1" in job.source else calm(job, stop)

    monkeypatch.setattr(worker, "do", do)
    monkeypatch.setattr(processes, "Worker", lambda work: worker)
    monkeypatch.setattr(processes, "leave", lambda status: None)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    ours, theirs = multiprocessing.Pipe()
    serving = threading.Thread(target=processes.serve, args=(worker.work, theirs))
    serving.start()
    assert ours.recv() is True
    for job in jobs:
        ours.send(job)
    outcomes = {each.job.source: each for each in (ours.recv() for _ in jobs)}
    ours.close()
    serving.join(30)
    assert {name: each.state for name, each in outcomes.items()} == {
        "00/0.png": DONE,
        "00/1.png": FAILED,
        "00/2.png": DONE,
    }
    assert "unexpected KeyError" in outcomes["00/1.png"].why
