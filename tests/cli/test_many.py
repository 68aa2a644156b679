"""`unhaze run` on many files: lists, resuming, jobs, reports, Ctrl-C, videos among photos."""

import functools
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.halving import files_in, is_halved, picture
from unhaze import photo
from unhaze.batch import BatchStats, Job, Outcome
from unhaze.cli.progress import Reporter, follow_video
from unhaze.restore.restorer import Restorer
from unhaze.restore.video import files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """photos/0.png to photos/4.png."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(5):
        photo.write_rgb(photos / f"{number}.png", picture())
    return photos


def write_clip(path: Path, frames: int = 10) -> Path:
    """A short video of one grey picture."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 200, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def frames_of(path: Path) -> list[np.ndarray]:
    """Every frame, (H,W,3) uint8."""
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_jobs_change_nothing_but_the_order(unhaze, folder: Path, half: Path, jobs: int):
    out = folder.parent / "out"
    done = unhaze(folder, "-o", out, "--model", half, "--jobs", jobs, "--threads", 2)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.decode().split()) == [str(out / f"{n}.png") for n in range(5)]
    counts = [line.split()[1] for line in done.stderr.decode().splitlines()]
    assert counts == [f"[{number}/5]" for number in range(1, 6)]
    assert all(is_halved(out / f"{number}.png") for number in range(5))


def test_memory_is_kept_to(unhaze, folder: Path, half: Path):
    photo.write_rgb(folder / "large.png", picture(600, 800))
    words = ("large.png", "--native", "--model", half, "--memory")
    done = unhaze(*words, "1M", cwd=folder)
    assert done.returncode == 1
    assert b"only 1 MB are available" in done.stderr
    assert unhaze(*words, "1500M", cwd=folder).returncode == 0


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_names_come_from_a_list(unhaze, folder: Path, half: Path, end: bytes):
    (folder / "with space.png").write_bytes((folder / "0.png").read_bytes())
    names = [b"1.png", b"with space.png", b"absent.png"]
    (folder / "names.txt").write_bytes(b"".join(name + end for name in names))
    words = ("--files-from", "names.txt", "-o", "out", "--model", half)
    done = unhaze("0.png", *words, cwd=folder)
    assert done.returncode == 1
    assert b"no file 'absent.png'" in done.stderr
    assert files_in(folder / "out") == ["0.png", "1.png", "with space.png"]


def test_names_come_from_stdin(folder: Path, half: Path):
    command = [sys.executable, "-m", "unhaze", "--files-from", "-", "--model", str(half)]
    names = b"0.png\n3.png\n"
    done = subprocess.run(command, input=names, capture_output=True, cwd=folder, timeout=120)
    assert sorted(done.stdout.split()) == [b"0.unhazed.png", b"3.unhazed.png"], done.stderr


def test_resume_does_what_is_left(unhaze, folder: Path, half: Path):
    words = (folder, "-o", folder.parent / "out", "--model", half)
    assert unhaze(folder / "1.png", *words[1:3], "--model", half).returncode == 0
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    first = unhaze(*words, "--resume", "--json")
    document = json.loads(first.stdout)
    assert first.returncode == 1
    assert (document["done"], document["skipped"], document["failed"]) == (4, 1, 1)
    assert document["inputs"] == len(document["files"]) == 6
    by_name = {Path(each["source"]).name: each for each in document["files"]}
    assert by_name["1.png"]["status"] == "skipped"
    assert by_name["1.png"]["target"].endswith("out/1.png")
    assert by_name["0.png"]["status"] == "done"
    assert by_name["broken.png"]["status"] == "failed"
    assert by_name["broken.png"]["target"] is None
    (folder / "broken.png").unlink()
    again = unhaze(*words, "--resume")
    assert (again.returncode, again.stdout) == (0, b"")
    assert again.stderr == b"unhaze: 5 of 5 were already done\n"
    assert unhaze(*words).returncode == 1


def test_compare_and_save_field_lie_beside_the_result(unhaze, folder: Path, half: Path):
    done = unhaze("0.png", "--compare", "--save-field", "--model", half, cwd=folder)
    assert (done.returncode, done.stdout) == (0, b"0.unhazed.png\n"), done.stderr
    strip = photo.read_rgb(folder / "0.unhazed.png.compare.jpg").astype(float)
    assert strip.shape[0] == 40
    assert strip.shape[1] >= 2 * 56
    assert abs(strip[:, :56] - picture()).mean() < 8
    assert abs(strip[:, -56:] - picture() / 2).mean() < 8
    made = [name for name in files_in(folder) if name.startswith("0.unhazed.")]
    assert len(made) == 4
    assert unhaze(".", "--resume", "--model", half, cwd=folder).returncode == 0
    assert [name for name in files_in(folder) if name.startswith("0.unhazed.")] == made


def test_a_video_is_restored_and_told_about(unhaze, folder: Path, half: Path):
    write_clip(folder / "clip.mkv", 10)
    done = unhaze("clip.mkv", "--model", half, "--codec", "ffv1", cwd=folder)
    assert (done.returncode, done.stdout) == (0, b"clip.unhazed.mkv\n"), done.stderr
    assert b"10 frames, " in done.stderr
    frames = frames_of(folder / "clip.unhazed.mkv")
    assert len(frames) == 10
    assert all(abs(frame.astype(float) - 100).mean() < 4 for frame in frames)


def test_part_of_a_video(unhaze, folder: Path, half: Path):
    write_clip(folder / "clip.mkv", 10)
    words = ("--start", "0.2", "--end", "0:00.7", "--model", half, "--json")
    done = unhaze("clip.mkv", "-o", "part.mkv", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(frames_of(folder / "part.mkv")) == 5
    [entry] = json.loads(done.stdout)["files"]
    assert entry["video"]["frames"] == 5
    assert (entry["video"]["width"], entry["video"]["height"]) == (64, 48)


def test_photos_and_videos_in_one_folder(unhaze, folder: Path, half: Path):
    write_clip(folder / "clip.mkv", 3)
    (folder / "broken.mp4").write_bytes(b"no video")
    words = ("--model", half, "--jobs", 2, "--strip-metadata")
    done = unhaze(folder, "-o", folder.parent / "out", *words)
    assert done.returncode == 1
    assert b"broken.mp4" in done.stderr
    assert b"clip.mkv: the metadata is kept" in done.stderr
    expected = [*(f"{number}.png" for number in range(5)), "clip.mkv"]
    assert files_in(folder.parent / "out") == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["0.png", "--jobs", "0"], "'--jobs'"),
        (["0.png", "--threads", "-1"], "'--threads'"),
        (["0.png", "--memory", "4"], "'4' is not a size; expected a number and M or G"),
        (["0.png", "--memory", "0G"], "'0G' is not a size"),
        (["0.png", "--memory", "-1G"], "'-1G' is not a size"),
        (["0.png", "--files-from", "absent.txt"], "absent.txt"),
        (["--files-from", "empty.txt"], "no input given"),
        (["--files-from", "0.png"], "'0.png' is no list of files; expected names, one a line"),
        (["0.png", "--start", "1"], "--start: for videos, and no input is one"),
        (["0.png", "--codec", "h264", "--crf", "9"], "--codec, --crf: for videos, and no input"),
        (["clip.mp4", "--compare"], "--compare: for photos, and no input is one"),
        (["clip.mp4", "--strip-metadata"], "--strip-metadata: for photos, and no input is one"),
        (["clip.mp4", "-o", "-", "--quality", "9"], "--quality: for photos, and no input is one"),
        (["0.png", "-o", "clip"], "'clip' is a file; expected a folder, or for one input"),
        (["clip.mp4", "--encoding", "absent.toml"], "cannot read encoding 'absent.toml'"),
        (["clip.mp4", "--start", "soon"], "'soon' is not a time"),
        (["clip.mp4", "--start", "1:2:3:4"], "'1:2:3:4' is not a time"),
        (["clip.mp4", "--start", "1:99"], "'1:99' is not a time"),
        (["clip.mp4", "--end", "nan"], "'nan' is not a time"),
        (["clip.mp4", "--end", "-1"], "'-1' is not a time"),
        (["clip.mp4", "--start", "1:00", "--end", "60"], "--end is 60 s; it must be after"),
        (["-", "--compare"], "cannot be used with -"),
        (["-", "--resume", "--dry-run"], "--resume, --dry-run cannot be used with -, a URL or"),
        (["-", "--files-from", "empty.txt"], "cannot be used with -"),
    ],
)
def test_wrong_use(unhaze, folder: Path, half: Path, words: list[str], message: str):
    (folder / "clip.mp4").touch()
    (folder / "clip").touch()
    (folder / "empty.txt").touch()
    done = unhaze(*words, "--model", half, cwd=folder)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()
    assert done.stderr.startswith(b"unhaze: error: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("log", ["", "INFO"])
def test_a_fault_of_this_program_costs_one_file(
    unhaze, folder: Path, half: Path, monkeypatch: pytest.MonkeyPatch, caplog, log: str
):
    write_clip(folder / "a.mkv", 2)
    write_clip(folder / "b.mkv", 2)
    restore_photo, restore_clip = Restorer.restore_file, files.restore_video

    def faulty(restorer: Restorer, source: Path, target: Path, **rest: object) -> None:
        assert source.name != "1.png", "three\nlines\nof it"
        return restore_photo(restorer, source, target, **rest)

    def faulty_clip(source: Path, target: Path, **rest: object) -> object:
        return restore_clip(source, target, **rest) if source.name != "a.mkv" else {}["no key"]

    monkeypatch.setattr(Restorer, "restore_file", faulty)
    monkeypatch.setattr(files, "restore_video", faulty_clip)
    if log:
        caplog.set_level(log, "unhaze")
    done = unhaze(folder, "--model", half, "--json")
    failed = [each for each in json.loads(done.stdout)["files"] if each["error"]]
    assert (done.returncode, len(failed)) == (1, 2)
    assert "unexpected AssertionError: three lines of it" in failed[0]["error"]
    assert failed[1]["error"].startswith(f"'{folder / 'a.mkv'}': unexpected KeyError")
    assert (folder / "b.unhazed.mkv").exists()
    assert sum(record.exc_info is not None for record in caplog.records) == (2 if log else 0)


@pytest.mark.parametrize("jobs", [1, 2])
def test_control_c_is_clean(folder: Path, half: Path, jobs: int):
    for number in range(300):
        (folder / f"many-{number}.png").write_bytes((folder / "0.png").read_bytes())
    command = [sys.executable, "-m", "unhaze", str(folder), "--model", str(half), "--json"]
    with subprocess.Popen(
        [*command, "--jobs", str(jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Whoever runs the tests in the background has SIGINT ignored, and children inherit that.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    lines = stderr.decode().splitlines()
    said = "stopping: photos at work are finished, a video ends here; Ctrl-C again ends at once"
    assert f"unhaze: {said}" in lines
    results = list(folder.rglob("*.unhazed.png"))
    assert 0 < len(results) < 300
    assert lines[-1] == f"unhaze: stopped; {len(results)} of 305 are done"
    document = json.loads(stdout)
    assert document["stopped"] is True
    assert {each["target"] for each in document["files"]} == set(map(str, results))
    assert all(photo.read_rgb(path).shape == (40, 56, 3) for path in results)
    assert not [path for path in folder.rglob("*") if path.name.endswith(".part")]


def test_the_status_tells_a_stop_from_a_failure(capfd):
    given = SimpleNamespace(model="auto", as_json=False, quiet=False, verbose=False)
    stop = threading.Event()
    done = Outcome(Job("a.png", "b.png"), "done", seconds=1.0)
    failed = Outcome(Job("c.png", "d.png"), "failed", "'c.png': broken")

    def status(outcomes: list[Outcome], total: int) -> int:
        reporter, stats = Reporter(given, files=True), BatchStats(total)
        for outcome in outcomes:
            stats.counts[outcome.state] += 1
            reporter.report(stats, outcome)
        return reporter.summarize(stats, stop, {})

    assert status([done], 1) == 0
    assert status([done, failed], 2) == 1
    stop.set()
    assert status([done], 1) == 0  # Ctrl-C came after the last one.
    assert status([done, failed], 3) == 130
    assert capfd.readouterr().err.splitlines()[-1] == "unhaze: stopped; 1 of 3 are done"


def test_progress_of_a_video_tells_frames_rate_and_time_left(capfd):
    progress = follow_video(Path("clip.mp4"))
    for frames, seconds in ((1, 0.5), (20, 10.0), (21, 10.5), (40, 20.0)):
        progress(frames, 200, seconds)
    progress(60, None, 30.0)
    assert capfd.readouterr().err.splitlines() == [
        "unhaze: clip.mp4: frame 20, 2.0 frames/s, 10 %, 1:30 left",
        "unhaze: clip.mp4: frame 40, 2.0 frames/s, 20 %, 1:20 left",
        "unhaze: clip.mp4: frame 60, 2.0 frames/s",
    ]


def test_control_c_ends_a_video_at_its_next_frame(folder: Path, half: Path):
    write_clip(folder / "clip.mkv", 2000)
    command = [sys.executable, "-m", "unhaze", "clip.mkv", "0.png", "--model", str(half)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        process.stderr.readline()  # The photo is done: the video has begun.
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.decode().splitlines()[-1] == "unhaze: stopped; 1 of 2 are done"
    assert not (folder / "clip.unhazed.mkv").exists()
    assert not [path for path in folder.iterdir() if path.name.endswith(".part")]
