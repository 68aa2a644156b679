"""`unhaze batch` on places behind URLs, its further attempts, and what is found to be made."""

import errno
import json
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.batch.runs import write_photos
from tests.batch.test_plan import planned
from tests.halving import is_halved, picture
from unhaze import UnhazeError, photo
from unhaze.batch import ExecutorConfig, Settings, Work, manifest, restore_folder
from unhaze.batch import worker as workers
from unhaze.batch.jobs import DONE, FAILED, History, Job, Mark, Outcome
from unhaze.batch.manifest import open_manifest, read_history
from unhaze.batch.places import Folder, open_place
from unhaze.batch.plan import find_sources, plan_folder
from unhaze.batch.stores import Store, mark_of, seconds_of
from unhaze.batch.worker import Worker

RUNS = threading.Event()  # never set: nothing is to stop


@pytest.fixture
def memory(monkeypatch) -> MemoryFileSystem:
    """An empty object store inside this process."""
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    return MemoryFileSystem(use_listings_cache=False)


def work_on(source: object, target: object, half: Path, **settings: object) -> Work:
    return Work(str(source), str(target), Settings(**settings), model=str(half), retries=2)


def jobs_of(work: Work, **settings: object) -> list:
    source, target = open_place(work.source), open_place(work.target)
    sources = find_sources(source, target)
    return plan_folder(sources, source, target, Settings(**settings), History({})).jobs


def test_object_stores_are_read_and_written(memory, tmp_path: Path, half: Path):
    memory.pipe_file("/bucket/hazy/a b/c.png", photo.encode(photo.Photo(picture()), ".png"))
    memory.pipe_file("/bucket/hazy/notes.txt", b"hello")
    memory.pipe_file("/bucket/hazy-too/d.png", b"of another folder")
    work = work_on("memory://bucket/hazy", "memory://bucket/clear/", half, compare=True)
    [job] = jobs_of(work)
    assert (job.source, job.target) == ("a b/c.png", "a b/c.png")
    outcome = Worker(work).do(job, RUNS)
    assert (outcome.state, outcome.why, outcome.megapixels) == (DONE, None, 40 * 56 / 1e6)
    found = memory.find("/bucket/clear")
    assert found == ["/bucket/clear/a b/c.png", "/bucket/clear/a b/c.png.compare.jpg"]
    (tmp_path / "c.png").write_bytes(memory.cat_file(found[0]))
    assert is_halved(tmp_path / "c.png")
    assert jobs_of(work) == []
    assert [each.before is not None for each in jobs_of(work, overwrite=True)] == [True]


def test_errors_name_urls_and_no_temporary_files(memory, half: Path):
    memory.pipe_file("/bucket/hazy/a.png", b"\x89PNG\r\n\x1a\n")
    work = work_on("memory://bucket/hazy", "memory://bucket/clear", half)
    outcome = Worker(work).do(jobs_of(work)[0], RUNS)
    assert outcome.state == FAILED
    assert "'memory://bucket/hazy/a.png'" in outcome.why
    assert not memory.exists("/bucket/clear")


def test_where_uploads_can_be_seen_half_they_are_renamed(tmp_path: Path, monkeypatch):
    write_photos(tmp_path / "made", 1)
    store = Store(f"file://{tmp_path}/clear")  # open_place would take it for the folder that it is
    renamed = []
    move = type(store.system).mv
    monkeypatch.setattr(
        type(store.system),
        "mv",
        lambda system, *paths: renamed.append(paths) or move(system, *paths),
    )
    store.publish("deep/er/0.png", tmp_path / "made" / "00" / "0.png")
    assert (tmp_path / "clear" / "deep" / "er" / "0.png").read_bytes()
    [(partial, path)] = renamed
    assert Path(partial).suffix == ".part"
    assert Path(path).name == "0.png"
    assert len(list((tmp_path / "clear" / "deep" / "er").iterdir())) == 1
    assert store.mark("deep/er/0.png") == store.files()["deep/er/0.png"]
    assert store.mark("deep/er/1.png") is None


def test_files_on_this_computer_may_be_named_by_url(tmp_path: Path):
    place = open_place(f"file://{tmp_path}")
    assert isinstance(place, Folder)
    assert place.path == tmp_path.resolve()


def test_a_manifest_in_a_store_continues(memory):
    given = "memory://bucket/clear/book.jsonl"
    for number in range(2):
        with open_manifest(given, resume=True, overwrite=False) as book:
            assert len(book.history.done) == number
            book.begin({"from": "there"}, "0")
            mark = mark_of({"size": number, "ETag": "e"})
            job = Job(f"{number}.png", "a", mark)
            book.add(Outcome(job, DONE), "0")
    history = read_history(memory.cat_file("/bucket/clear/book.jsonl"), given)
    assert sorted(history.done) == ["0.png", "1.png"]


def test_a_store_whose_package_is_missing_says_which(monkeypatch, tmp_path: Path):
    from fsspec.registry import known_implementations

    entry = {"class": "cloudfs_of_nobody.System", "err": "install it"}
    monkeypatch.setitem(known_implementations, "nobody", entry)
    with pytest.raises(UnhazeError, match="needs cloudfs_of_nobody: pip install cloudfs_of_nobody"):
        open_place("nobody://bucket/hazy")


@pytest.mark.parametrize(
    ("info", "stamp", "changed"),
    [
        (
            {"size": 3, "ETag": '"abc"', "LastModified": "2026-01-01T00:00:00+00:00"},
            '"abc"',
            1767e6,
        ),
        ({"size": 3, "mtime": 1767225600.0}, "1767225600.0", 1767225600),
        ({"size": 3, "updated": "2026-01-01T00:00:00Z", "etag": "C="}, "C=", 1767225600),
        ({"size": 3}, "", None),
    ],
)
def test_marks(info: dict, stamp: str, changed: float | None):
    mark = mark_of(info)
    assert (mark.size, mark.stamp) == (3, stamp)
    assert mark.changed == (changed if changed is None else pytest.approx(changed, rel=1e-3))
    assert seconds_of("soon") is None


class Unsteady(Folder):
    """A folder whose files cannot be read at first."""

    def __init__(self, given: str, *errors: BaseException) -> None:
        super().__init__(given)
        self.errors = list(errors)

    def fetch(self, name: str, scratch: Path) -> Path:
        if self.errors:
            raise self.errors.pop(0)
        return super().fetch(name, scratch)


@pytest.mark.parametrize(
    ("errors", "state", "attempts"),
    [
        ([TimeoutError("slow"), ConnectionResetError("gone")], DONE, 3),
        ([TimeoutError("slow")] * 3, FAILED, 3),
        ([FileNotFoundError("no file"), TimeoutError("slow")], FAILED, 1),
        ([PermissionError(errno.EACCES, "not yours")], FAILED, 1),
    ],
)
def test_errors_that_may_pass_are_tried_again(
    tmp_path: Path, half: Path, monkeypatch, errors: list, state: str, attempts: int
):
    monkeypatch.setattr(workers, "FIRST_PAUSE", 0.001)
    work = work_on(write_photos(tmp_path / "hazy", 1), tmp_path / "clear", half)
    [job] = jobs_of(work)
    worker = Worker(work)
    worker.source = Unsteady(work.source, *errors)
    outcome = worker.do(job, RUNS)
    assert (outcome.state, outcome.attempts) == (state, attempts)
    assert (tmp_path / "clear" / "00" / "0.png").exists() == (state == DONE)
    if state == FAILED:
        assert outcome.why.startswith("'00/0.png': ")


def test_what_an_earlier_attempt_made_is_not_made_again(tmp_path: Path, half: Path):
    work = work_on(
        write_photos(tmp_path / "hazy", 1), tmp_path / "clear", half, overwrite=True, resume=True
    )
    [job] = jobs_of(work)
    worker = Worker(work)
    assert worker.do(job, RUNS).attempts == 1
    before = (tmp_path / "clear" / "00" / "0.png").stat()
    again = worker.do(job, RUNS)  # as a worker would whose forerunner died before it answered
    assert (again.state, again.attempts) == (DONE, 0)
    assert (tmp_path / "clear" / "00" / "0.png").stat() == before
    [job] = jobs_of(work, overwrite=True)
    assert worker.do(job, RUNS).attempts == 1  # a new batch that was asked to make it anew
    assert (tmp_path / "clear" / "00" / "0.png").stat() != before


@pytest.mark.parametrize(
    ("executor", "shard", "message"),
    [
        ({"workers": -1}, (1, 1), "workers is -1"),
        ({"workers": 1.5}, (1, 1), "workers is 1.5"),
        ({"jobs": "2"}, (1, 1), "jobs is '2'"),
        ({"gpus": float("nan"), "cluster": "local"}, (1, 1), "gpus is nan"),
        ({}, (0, 2), "shard is 0/2"),
    ],
)
def test_wrong_numbers_are_refused(tmp_path: Path, half: Path, executor, shard, message: str):
    work = work_on(write_photos(tmp_path / "hazy", 1), tmp_path / "clear", half)
    with pytest.raises(UnhazeError, match=message):
        restore_folder(work, ExecutorConfig(**executor), shard=shard)
    assert not (tmp_path / "clear").exists()


@pytest.mark.parametrize("away", [2, 99])
def test_a_store_that_is_away_for_a_minute_gets_the_manifest_later(
    memory, monkeypatch: pytest.MonkeyPatch, away: int
):
    monkeypatch.setattr(manifest, "PAUSES", (0, 0, 0))
    write, times = Store.write, iter(range(99))

    def refuse(store: Store, name: str, content: bytes) -> None:
        if next(times) < away:
            raise ConnectionError("the store is away")
        write(store, name, content)

    monkeypatch.setattr(Store, "write", refuse)
    given, outcome = "memory://bucket/clear/book.jsonl", Outcome(Job("a", "a", Mark(1, "s")), DONE)
    context = pytest.raises(manifest.NotCopied) if away > 3 else nullcontext()
    with context as failed, open_manifest(given, resume=False, overwrite=False) as book:
        book.begin({}, "0")
        book.add(outcome, "0")
    if failed is None:
        whole = memory.cat_file("/bucket/clear/book.jsonl")
    else:
        kept = Path(str(failed.value).rpartition("it lies in '")[2].rstrip("'"))
        whole = kept.read_bytes()
        kept.unlink()
    assert [json.loads(line).get("source") for line in whole.splitlines()] == [None, "a"]


def test_a_name_that_tells_no_format_leaves_it_to_the_content(tmp_path: Path):
    files = {"a": b"\xff\xd8\xff\xe0", "b.bak": b"RIFF\0\0\0\0WEBPVP8 ", "c.2019": b"II*\0"}
    files |= {
        "d": b"BM\0\0",
        "e": b"8BPS",
        "f": b"what is this?",
        "g": b"",
        "h.png": b"\xff\xd8\xff",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert planned(tmp_path, *files) == {
        "a": "a.unhazed.jpg",
        "b.bak": "b.unhazed.webp",
        "c.2019": "c.unhazed.tif",
        "d": "d.unhazed.png",
        "e": "e.unhazed.tif",
        "f": "f.unhazed.png",
        "g": "g.unhazed.png",
        "h.png": "h.unhazed.png",
    }
    assert planned(tmp_path, "a", out="out") == {"a": "out/a.jpg"}
