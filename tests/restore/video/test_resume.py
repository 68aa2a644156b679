"""A long video that was killed goes on from what it had encoded; the result is whole."""

import errno
import io
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.quick import slow_but
from tests.video_clips import Fixed, frames_of, hazy_scene, make_clip, packets_of
from unhaze.restore.encoding import Encoding
from unhaze.restore.video import journal, restore_video, writing
from unhaze.restore.video.journal import journal_of

av = pytest.importorskip("av")
encoded = pytest.importorskip("benchmarks.killed").encoded

RATE, COUNT = 10, 400


class Named(Fixed):
    """With a model to know it by."""

    model = SimpleNamespace(path=None, card={"net": "fixed"})


class Stopped(Exception):
    """The kill of a test that goes on in the same process."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """40 s with sound, a key frame every 2 s in what is made of it."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    frames = [hazy_scene(96, 64, step) for step in range(COUNT)]
    return make_clip(path, frames=frames, rate=RATE, sound="aac")


@pytest.fixture(autouse=True)
def short_is_long(monkeypatch):
    monkeypatch.setattr(journal, "LONG", 5.0)


def stop_at(number: int):
    def progress(done: int, total: int | None, seconds: float) -> None:
        if done >= number:
            raise Stopped

    return progress


def times_of(frames: list[av.VideoFrame]) -> list[float]:
    return [round(frame.time, 3) for frame in frames]


@pytest.mark.parametrize("codec", slow_but(["h264"], ["h264", "h265", "av1", "vp9", "ffv1"]))
@pytest.mark.parametrize("suffix", slow_but([".mp4"], [".mkv", ".mp4"]))
def test_the_result_is_whole(codec: str, suffix: str, clip: Path, tmp_path: Path):
    if (codec, suffix) == ("ffv1", ".mp4"):
        pytest.skip("MP4 holds no FFV1")
    wanted = Encoding(codec=codec, crf=None if codec == "ffv1" else 20)
    target, whole = tmp_path / f"out{suffix}", tmp_path / f"whole{suffix}"
    restore_video(clip, whole, restorer=Named(1.2, -0.1), encoding=wanted)
    assert not journal_of(whole).exists()
    with pytest.raises(Stopped):
        restore_video(
            clip, target, restorer=Named(1.2, -0.1), encoding=wanted, progress=stop_at(330)
        )
    assert journal_of(target).stat().st_mode & 0o777 == 0o600 and not target.exists()
    again = Named(1.2, -0.1)
    report = restore_video(clip, target, restorer=again, encoding=wanted)
    frames, expected = frames_of(target), frames_of(whole)
    assert (report.frames, len(frames)) == (COUNT, COUNT)
    assert times_of(frames) == times_of(expected)
    assert packets_of(target, "audio") == packets_of(whole, "audio")
    assert not journal_of(target).exists()
    [note] = [each for each in report.notes if "earlier run" in each]
    kept = int(note.split()[1])
    assert kept >= (30 if codec in ("av1", "vp9") else 200)
    # The network looks again at what is new, and a little before it; not at what is kept.
    assert len(again.seen) <= (COUNT - kept) / 4 + journal.WARM * RATE / 4 + 3
    worst = max(
        np.abs(one.to_ndarray(format="rgb24").astype(int) - other.to_ndarray(format="rgb24")).mean()
        for one, other in zip(frames, expected, strict=True)
    )
    assert worst < 4
    assert target.stat().st_size == pytest.approx(whole.stat().st_size, rel=0.1)


@pytest.mark.slow
def test_a_journal_of_something_else_is_not_used(clip: Path, tmp_path: Path):
    target = tmp_path / "out.mp4"
    with pytest.raises(Stopped):
        restore_video(clip, target, restorer=Named(1.2), progress=stop_at(350))
    report = restore_video(clip, target, restorer=Named(1.2), strength=0.5)
    assert not any("earlier run" in note for note in report.notes)
    assert len(frames_of(target)) == COUNT


def test_a_journal_belongs_to_one_version_of_a_model(clip: Path, tmp_path: Path, monkeypatch):
    """Settings of a prior, or weights trained anew, change neither name nor size."""
    seen = []
    monkeypatch.setattr(journal, "open_journal", lambda target, facts: seen.append(facts))
    weights, restorer = tmp_path / "mine.onnx", Fixed()
    for content, omega in ((b"old", 0.8), (b"old", 0.9), (b"new", 0.9)):
        weights.write_bytes(content)
        os.utime(weights, ns=(0, content[0]))
        card = {"net": "dcp", "arguments": {"omega": omega}}
        restorer.model = SimpleNamespace(path=weights, card=card)
        with pytest.raises(Stopped):
            restore_video(clip, tmp_path / "out.mp4", restorer=restorer, progress=stop_at(1))
    assert seen[0] != seen[1] != seen[2]


@pytest.mark.parametrize("damage", slow_but(["flipped"], ["cut", "flipped", "empty"]))
def test_a_damaged_journal_costs_what_is_damaged(damage: str, clip: Path, tmp_path: Path):
    """As a full disk or the loss of power leaves it."""
    target = tmp_path / "out.mp4"
    with pytest.raises(Stopped):
        restore_video(clip, target, restorer=Named(1.2), progress=stop_at(350))
    kept = bytearray(journal_of(target).read_bytes())
    if damage == "cut":
        kept = kept[: len(kept) - 37]
    elif damage == "flipped":
        kept[len(kept) // 2] ^= 255
    else:
        kept.clear()
    journal_of(target).write_bytes(kept)
    restore_video(clip, target, restorer=Named(1.2))
    assert times_of(frames_of(target)) == [round(number / RATE, 3) for number in range(COUNT)]


def test_a_journal_gives_way_on_a_full_disk(clip: Path, tmp_path: Path, monkeypatch):
    target = tmp_path / "out.mp4"

    class Full(io.FileIO):
        """On a disk with room for the result, but not for the journal as well."""

        def write(self, data) -> int:
            if journal_of(target).exists():
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    monkeypatch.setattr(writing.io, "FileIO", Full)
    restore_video(clip, target, restorer=Named(1.2))
    assert len(frames_of(target)) == COUNT


def test_two_runs_at_once_do_not_share(clip: Path, tmp_path: Path):
    target = tmp_path / "out.mp4"
    first = journal.open_journal(target, {"a": 1})
    assert journal.open_journal(target, {"a": 1}) is None
    first.remove()
    assert journal.open_journal(target, {"a": 1}) is not None


def test_short_videos_and_parts_keep_nothing(clip: Path, tmp_path: Path, monkeypatch):
    seen = []
    monkeypatch.setattr(journal, "open_journal", lambda *given: seen.append(given))
    restore_video(clip, tmp_path / "a.mp4", restorer=Named(), end=10)
    monkeypatch.setattr(journal, "LONG", 60.0)
    restore_video(clip, tmp_path / "b.mp4", restorer=Named())
    assert not seen


@pytest.mark.slow
def test_kill_9(tmp_path: Path, half: Path):
    """The real thing: a process that dies in its last third, and the same command again."""
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10, options={"crf": "20", "g": "20"})
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        for number in range(700):
            frame = av.VideoFrame.from_ndarray(hazy_scene(320, 180, number), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    target = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "unhaze", "run", path, "-o", target, "--model", half]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        if encoded(journal_of(target)) > 450:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.02)
    assert process.wait() == -signal.SIGKILL, "it was done before it could be killed"
    assert not target.exists()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert "frames of an earlier run" in done.stderr
    assert times_of(frames_of(target)) == [round(number / 10, 3) for number in range(700)]
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == [
        "long.mp4",
        "out.mp4",
    ]
