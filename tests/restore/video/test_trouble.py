"""What goes wrong with videos: damage, interrupts, full disks, wrong settings, no PyAV."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tests.video_clips import Fixed, frames_of, make_clip
from unhaze.errors import UnhazeError
from unhaze.restore.encoding import Encoding
from unhaze.restore.video import restore_video
from unhaze.restore.video.ahead import Ahead
from unhaze.restore.video.reading import Reading, _packets

av = pytest.importorskip("av")


def one_line(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4", sound="aac", count=20)


def test_a_broken_packet_is_passed_over_and_counted(tmp_path: Path):
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", count=8)
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        positions = [(each.pos, each.size) for each in container.demux(video=0) if each.size]
    start, size = positions[4]
    for index in range(start + 30, start + 30 + size // 2):
        content[index] ^= 0x5A
    source.write_bytes(content)
    report = restore_video(source, tmp_path / "out.mkv", restorer=Fixed())
    assert report.damaged >= 1
    assert 6 <= report.frames <= 8
    assert any("damaged place" in note and "in the source" in note for note in report.notes)
    assert len(frames_of(tmp_path / "out.mkv")) == report.frames


def test_a_truncated_file_gives_what_it_holds(tmp_path: Path):
    source = make_clip(tmp_path / "in.mkv", count=40, codec="mpeg4", layout="yuv420p")
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 2])
    report = restore_video(source, tmp_path / "out.mkv", restorer=Fixed())
    assert 5 < report.frames < 38
    assert any("s that the source declares" in note for note in report.notes), report.notes
    assert len(frames_of(tmp_path / "out.mkv")) == report.frames


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot read .* as a video"),
        (b"no video at all, just words" * 9, "cannot read .* as a video"),
    ],
)
def test_what_is_no_video_is_reported(content: bytes, said: str, tmp_path: Path):
    source = tmp_path / "in.mp4"
    source.write_bytes(content)
    with pytest.raises(UnhazeError, match=said) as error:
        restore_video(source, tmp_path / "out.mp4", restorer=Fixed())
    one_line(error)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_sound_alone_is_no_video(tmp_path: Path):
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        tone = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.sample_rate = 48000
        container.mux(tone.encode(frame))
        container.mux(tone.encode(None))
    with pytest.raises(UnhazeError, match="contains no video"):
        restore_video(tmp_path / "in.mp4", tmp_path / "out.mp4", restorer=Fixed())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"strength": 1.5}, "strength is 1.5"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"start": -1}, "start is -1; expected seconds from 0"),
        ({"start": float("nan")}, "start is nan"),
        ({"end": "2"}, "end is '2'"),
        ({"start": 1, "end": 0.5}, "end is 0.5 s; expected more than the start, 1 s"),
        ({"start": 99}, "no frame could be decoded in the requested part of its 2"),
        ({"start": 1e19}, "no frame could be decoded in the requested part of its 2"),
        ({"start": 99, "encoding": Encoding(target_size=1_000_000)}, "part begins behind the end"),
        ({"codec": "h256"}, "no codec 'h256'; did you mean 'h265'"),
        ({"smoothing": 1}, "smoothing is 1; expected 0"),
        ({"hold": 0}, "hold is 0; expected a whole number from 1"),
        ({"hold": 2.5}, "hold is 2.5"),
    ],
)
def test_wrong_settings_are_reported_and_write_nothing(settings: dict, said: str, clip: Path):
    with pytest.raises(UnhazeError, match=re.escape(said)) as error:
        restore_video(clip, clip.with_name("out.mp4"), restorer=Fixed(), **settings)
    one_line(error)
    assert [path.name for path in clip.parent.iterdir()] == ["clip.mp4"]


def test_native_is_for_photos(clip: Path):
    restorer = Fixed()
    restorer.native = True
    with pytest.raises(UnhazeError, match="native works only for photos"):
        restore_video(clip, clip.with_name("out.mp4"), restorer=restorer)


def test_originals_and_existing_files_stay(clip: Path, tmp_path: Path):
    before = clip.read_bytes()
    with pytest.raises(UnhazeError, match="is the input, which is never overwritten"):
        restore_video(clip, clip, restorer=Fixed(), overwrite=True)
    link = tmp_path / "link.mp4"
    link.symlink_to(clip)
    with pytest.raises(UnhazeError, match="is the input, which is never overwritten"):
        restore_video(clip, link, restorer=Fixed(), overwrite=True)
    other = tmp_path / "other.mp4"
    other.write_bytes(b"mine")
    with pytest.raises(UnhazeError, match="exists"):
        restore_video(clip, other, restorer=Fixed())
    assert (clip.read_bytes(), other.read_bytes()) == (before, b"mine")
    restore_video(clip, other, restorer=Fixed(), overwrite=True)
    assert len(frames_of(other)) == 20


def test_a_file_that_came_meanwhile_stays(clip: Path):
    target = clip.with_name("out.mp4")

    def interfere(done: int, total: int | None, seconds: float) -> None:
        target.write_bytes(b"mine")

    with pytest.raises(UnhazeError, match="exists"):
        restore_video(clip, target, restorer=Fixed(), progress=interfere)
    assert target.read_bytes() == b"mine"
    assert sorted(path.name for path in clip.parent.iterdir()) == ["clip.mp4", "out.mp4"]


def test_no_folder_no_file(clip: Path, tmp_path: Path):
    with pytest.raises(UnhazeError, match="cannot write .*nowhere"):
        restore_video(clip, tmp_path / "nowhere" / "out.mp4", restorer=Fixed())
    with pytest.raises(UnhazeError, match="no file"):
        restore_video(tmp_path / "absent.mp4", tmp_path / "out.mp4", restorer=Fixed())


def test_an_error_of_the_network_leaves_nothing(clip: Path):
    class Broken(Fixed):
        def estimate(self, pixels: np.ndarray, *, grey: bool = False) -> np.ndarray:
            raise UnhazeError("the model is broken")

    with pytest.raises(UnhazeError, match="the model is broken"):
        restore_video(clip, clip.with_name("out.mp4"), restorer=Broken())
    assert [path.name for path in clip.parent.iterdir()] == ["clip.mp4"]


def test_an_error_of_the_caller_leaves_nothing(clip: Path):
    def fail(done: int, total: int | None, seconds: float) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        restore_video(clip, clip.with_name("out.mp4"), restorer=Fixed(), progress=fail)
    assert [path.name for path in clip.parent.iterdir()] == ["clip.mp4"]


def test_a_full_disk_is_one_line(tmp_path: Path):
    noise = np.random.default_rng(0)
    frames = [noise.integers(0, 256, (96, 128, 3), np.uint8) for _ in range(40)]
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", frames=frames)
    # A limit on the size of files fails like a full disk does, half-way through a write.
    program = (
        "import resource, signal, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from tests.video_clips import Fixed\n"
        "from unhaze.errors import UnhazeError\n"
        "from unhaze.restore.video import restore_video\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "try:\n"
        "    restore_video(sys.argv[2], sys.argv[3], restorer=Fixed())\n"
        "except UnhazeError as error:\n"
        "    print(error)\n"
    )
    arguments = [str(Path(__file__).parents[3]), str(source), str(tmp_path / "out.mkv")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60
    )
    assert re.fullmatch(r"cannot write '.*out.mkv': File too large\n", done.stdout), done
    assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


SLOW = """
import sys, time
sys.path.insert(0, sys.argv[1])
from tests.video_clips import Fixed
from unhaze.restore.video import restore_video
class Slow(Fixed):
    def estimate(self, pixels, *, grey=False):
        time.sleep(0.05)
        return super().estimate(pixels)
def say(done, total, seconds):
    print(done, flush=True)
restore_video(sys.argv[2], sys.argv[3], restorer=Slow(), hold=1, progress=say)
"""


def started(source: Path, target: Path) -> subprocess.Popen:
    """A slow restoration in a process of its own, a few frames of which are done."""
    arguments = [str(Path(__file__).parents[3]), str(source), str(target)]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has SIGINT ignored, and children inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    while int(process.stdout.readline() or -1) < 5:
        assert process.poll() is None, process.stderr.read()
    return process


@pytest.fixture
def long_clip(tmp_path: Path) -> Path:
    # MPEG-4 out of ProRes would look ahead; ProRes itself gives every frame at once.
    return make_clip(tmp_path / "in.mov", codec="prores_ks", layout="yuv422p10le", count=200)


def test_ctrl_c_leaves_a_playable_part_under_another_name(long_clip: Path, tmp_path: Path):
    process = started(long_clip, tmp_path / "out.mov")
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert "they are in" in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mov", "out.partial.mov"]
    frames = frames_of(tmp_path / "out.partial.mov")
    assert 5 <= len(frames) < 200
    assert [round(10 * frame.time) for frame in frames] == list(range(len(frames)))


def test_a_kill_leaves_no_target(long_clip: Path, tmp_path: Path):
    process = started(long_clip, tmp_path / "out.mov")
    process.kill()
    process.communicate(timeout=60)
    # (Hidden files are left on file systems that know no nameless ones.)
    assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == ["in.mov"]


def test_without_pyav_one_line_says_what_to_install(clip: Path):
    program = (
        "import sys\n"
        "sys.modules['av'] = None\n"
        "from unhaze.errors import UnhazeError\n"
        "from unhaze.restore.video import read_frames, restore_video, VIDEO_SUFFIXES\n"
        "class Restorer: native, frame_analysis, threads = False, 64, 1\n"
        "for call in (lambda: restore_video(sys.argv[1], sys.argv[2], restorer=Restorer()),\n"
        "             lambda: read_frames(sys.argv[1])):\n"
        "    try:\n"
        "        call()\n"
        "    except UnhazeError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(clip), str(clip.with_name("out.mp4"))],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == [
        'restoring a video needs PyAV: pip install "unhaze[video]"',
        'reading a video needs PyAV: pip install "unhaze[video]"',
    ]


def test_ahead_passes_items_and_errors_on():
    def failing():
        yield 1
        yield 2
        raise ValueError("later")

    ahead = Ahead(failing())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="later"):
        next(ahead)
    assert list(Ahead(iter(range(50)), 3)) == list(range(50))


def test_ahead_is_never_further_ahead_than_allowed():
    taken = []

    def counting():
        for number in range(100):
            taken.append(number)
            yield number

    ahead = Ahead(counting(), 3)
    assert next(ahead) == 0
    time.sleep(0.1)
    assert len(taken) <= 1 + 3 + 1
    ahead.close()
    assert len(taken) < 10


def test_ahead_closes_what_it_takes_from():
    closed = []

    def source():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    inner = Ahead(source())
    outer = Ahead(inner)
    next(outer)
    outer.close()
    assert closed == [True]


def test_the_newest_frame_is_what_a_slow_caller_gets():
    def fast():
        for number in range(20):
            time.sleep(0.01)
            yield number

    ahead = Ahead(fast(), 1, newest=True)
    first = next(ahead)
    time.sleep(0.4)
    assert first < 5
    assert list(ahead) == [19]


def test_a_source_that_falls_silent_has_no_more_data(clip: Path):
    """FFmpeg says of it that an immediate exit was requested."""

    def demux(_: object) -> Iterator[object]:
        raise av.error.ExitError(541478725, "Immediate exit requested")
        yield

    with av.open(str(clip)) as container:
        silent = SimpleNamespace(format=container.format, streams=container.streams, demux=demux)
        reading = Reading(cast(Any, silent), container.streams.video[0])
        assert list(_packets(reading, [reading.video])) == []
    assert reading.damage.end == "no more data"
