"""Videos that are no files: pipes, URLs, live sources that are slow, lost, or of bad intent."""

import contextlib
import functools
import http.server
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.quick import slow_but
from tests.video_clips import Fixed, make_clip, needs_ffmpeg
from unhaze.errors import UnhazeError
from unhaze.restore.encoding import Encoding
from unhaze.restore.video import restore_video
from unhaze.restore.video.streams import BACKLOG, LATE, WAIT, Pace, Piped, is_video_head, peek

av = pytest.importorskip("av")


def command(*words: object, stdin: bytes) -> subprocess.CompletedProcess:
    run = [sys.executable, "-m", "unhaze", *map(str, words)]
    return subprocess.run(run, input=stdin, capture_output=True, timeout=120)


def frames_in(source: object) -> list[np.ndarray]:
    with av.open(source) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def form_of(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.format.name


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """A web server for a folder; its URL."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, form: str, *words: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@contextlib.contextmanager
def sending(*words: object) -> Iterator[subprocess.Popen]:
    """ffmpeg, sending something for as long as the block runs."""
    run = ["ffmpeg", "-v", "error", "-y", *map(str, words)]
    with subprocess.Popen(run, stdin=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("suffix", "container", "form"),
    [
        (".mkv", None, "matroska,webm"),
        (".ts", None, "mpegts"),
        (".mkv", "mpegts", "mpegts"),
        (".ts", "y4m", "yuv4mpegpipe"),
        (".mkv", "flv", "flv"),
    ],
)
def test_stdin_to_stdout_carries_a_video(
    suffix: str, container: str | None, form: str, half: Path, tmp_path: Path
):
    source, made = make_clip(tmp_path / f"in{suffix}", sound="aac"), tmp_path / "made"
    words = ["--container", container] if container else []
    done = command("-", "-o", "-", "--model", half, *words, stdin=source.read_bytes())
    assert done.returncode == 0, done.stderr
    made.write_bytes(done.stdout)
    assert form_of(made) == form
    hazy, clear = frames_in(str(source)), frames_in(str(made))
    assert len(clear) == len(hazy) == 12
    assert abs(np.mean(clear) - np.mean(hazy) / 2) < 2
    with av.open(str(made)) as opened:
        assert bool(opened.streams.audio) == (form != "yuv4mpegpipe")
    assert b"12 frames" in done.stderr


def test_yuv4mpeg_comes_and_goes(half: Path, tmp_path: Path):
    source = tmp_path / "in.y4m"
    restore_video(make_clip(tmp_path / "in.mkv"), source, restorer=Fixed())
    done = command("-", "-o", tmp_path / "out.mp4", "--model", half, stdin=source.read_bytes())
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip() == str(tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].average_rate == 10
    assert len(frames_in(str(tmp_path / "out.mp4"))) == 12
    assert source.read_bytes().startswith(b"YUV4MPEG2 W64 H48 F10:1 ")


def test_ten_bits_go_through_a_pipe(tmp_path: Path):
    source = make_clip(tmp_path / "in.mkv", layout="yuv420p10le", codec="libx265")
    target = tmp_path / "out.y4m"
    with target.open("wb") as file:
        report = restore_video(source, file, restorer=Fixed(), container="y4m")
    assert b" C420p10 " in target.read_bytes()[:80]
    assert (report.frames, report.codec) == (12, "rawvideo")
    kept = [np.abs(one - two.astype(float)).max() for one, two in zip(*map(deep, (source, target)))]
    assert max(kept) <= 1


def deep(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray()[: frame.height] for frame in container.decode(video=0)]


def test_an_index_at_the_end_needs_a_file(half: Path, tmp_path: Path):
    source = make_clip(tmp_path / "in.mp4", size=(320, 240), count=100)
    with source.open("rb") as file:
        run = [sys.executable, "-m", "unhaze", "-", "-o", "-", "--model", str(half)]
        done = subprocess.run(run, stdin=file, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert is_video_head(done.stdout)
    piped = command("-", "-o", "-", "--model", half, stdin=source.read_bytes())
    assert piped.returncode == 1
    assert piped.stdout == b""
    assert b"unhaze: error: " in piped.stderr
    assert b"Matroska has no such limit" in piped.stderr


def test_a_file_goes_to_stdout_and_a_reader_may_leave(half: Path, tmp_path: Path):
    source = make_clip(tmp_path / "in.mkv", count=200, size=(320, 240))
    run = f"{sys.executable} -m unhaze {source} -o - --model {half}"
    shown = f"{{ {run}; echo $? >{tmp_path}/status; }} | head -c 10"
    done = subprocess.run(["bash", "-c", shown], capture_output=True, timeout=120)
    assert done.stdout.startswith(b"\x1a\x45\xdf\xa3")
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert (tmp_path / "status").read_text() == "141\n"


def test_two_passes_need_a_file_to_read_and_one_to_write(tmp_path: Path):
    source, encoding = make_clip(tmp_path / "in.mkv"), Encoding(target_size=100_000)
    settings = {"restorer": Fixed(), "encoding": encoding}
    with (tmp_path / "out").open("wb") as file, pytest.raises(UnhazeError, match="two passes"):
        restore_video(source, file, **settings)
    with source.open("rb") as file, pytest.raises(UnhazeError, match="two passes"):
        restore_video(Piped(file), tmp_path / "out.mkv", **settings)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["http://127.0.0.1:9/a.mp4", "-o", "a.mp4"], "--allow-network lets FFmpeg open it"),
        (["in.mkv", "-o", "rtmp://127.0.0.1:9/a"], "--allow-network lets FFmpeg open it"),
        (["udp://127.0.0.1:9", "--allow-network"], "give -o FILE"),
        (["in.mkv", "udp://127.0.0.1:9", "--allow-network"], "must be the only INPUT"),
        (["ftp://127.0.0.1/a.mp4", "-o", "a.mp4", "--allow-network"], "expected a file, or a URL"),
        (["in.mkv", "-o", "http://127.0.0.1/a", "--allow-network"], "expected a file, or a URL"),
        (["srt://127.0.0.1:9", "-o", "a.mkv", "--allow-network"], "srt"),
        (["in.mkv", "-o", "out.mkv", "--container", "mpegts"], "--container is for stdout"),
    ],
)
def test_what_streams_cannot_be(words: list[str], message: str, unhaze, half, tmp_path: Path):
    make_clip(tmp_path / "in.mkv")
    done = unhaze(*words, "--model", half, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert message in done.stderr.decode()
    assert len(done.stderr.decode().splitlines()) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["in.mkv"]


def test_http_is_read_where_the_network_is_allowed(unhaze, half: Path, tmp_path: Path):
    make_clip(tmp_path / "in.mp4", sound="aac")
    with served(tmp_path) as url:
        words = [f"{url}/in.mp4", "-o", "out.mp4", "--allow-network", "--model", half]
        done = unhaze(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(frames_in(str(tmp_path / "out.mp4"))) == 12


@needs_ffmpeg
def test_a_playlist_names_urls_and_never_a_file_here(unhaze, half: Path, tmp_path: Path):
    public, secret = tmp_path / "public", tmp_path / "secret.ts"
    public.mkdir()
    make_clip(secret, count=30)
    shutil.copy(secret, public / "part.ts")
    for name, part in (("good", "part.ts"), ("bad", f"file://{secret}"), ("worse", str(secret))):
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:3", "#EXTINF:3,", part, "#EXT-X-ENDLIST", ""]
        (public / f"{name}.m3u8").write_text("\n".join(lines))
    with served(public) as url:
        for name, expected in (("good", 0), ("bad", 1), ("worse", 1)):
            words = [f"{url}/{name}.m3u8", "-o", f"{name}.mp4", "--allow-network", "--model", half]
            done = unhaze(*words, cwd=tmp_path)
            assert done.returncode == expected, (name, done.stderr)
    assert len(frames_in(str(tmp_path / "good.mp4"))) == 30
    assert not (tmp_path / "bad.mp4").exists()
    assert not (tmp_path / "worse.mp4").exists()


def test_a_file_opens_no_url(port: int, tmp_path: Path):
    """As the service gets them: a playlist or description of a session that names a server."""
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(0.5)
        url = f"http://127.0.0.1:{port}/a.ts"
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{url}\n#EXT-X-ENDLIST\n"
        session = f"v=0\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 33\n"
        for text in (playlist, session, f"ffconcat version 1.0\nfile {url}\n"):
            source = tmp_path / "in.mp4"
            source.write_text(text)
            with pytest.raises(UnhazeError, match="cannot read"):
                restore_video(source, tmp_path / "out.mp4", restorer=Fixed())
        with pytest.raises(TimeoutError):
            server.accept()


def as_camera(seconds: int) -> list[str]:
    """FFmpeg's words for pictures sent as a camera sends them: in real time, without delay."""
    pictures = ["-re", "-f", "lavfi", "-i", f"testsrc2=s=160x120:r=25:d={seconds}"]
    return [*pictures, "-c:v", "libx264", "-tune", "zerolatency", "-g", "12", "-f", "mpegts"]


@pytest.mark.slow
@needs_ffmpeg
def test_a_live_source_ends_when_it_stays_away(port: int, tmp_path: Path):
    url, target = f"udp://127.0.0.1:{port}", tmp_path / "out.mkv"
    with sending(*as_camera(seconds=3), f"{url}?pkt_size=1316"):
        report = restore_video(url, target, restorer=Fixed(0.5), reconnect=0.5)
    shown = frames_in(str(target))
    assert len(shown) == report.frames > 20
    assert np.mean(shown) < 100


@pytest.mark.slow
@needs_ffmpeg
def test_a_lost_source_comes_back(port: int, tmp_path: Path):
    url, target = f"tcp://127.0.0.1:{port}", tmp_path / "out.mkv"
    listening = [*as_camera(seconds=2), f"{url}?listen=1&listen_timeout=20000"]

    def send_twice() -> None:
        for _ in range(2):
            with sending(*listening) as process:
                process.wait(60)

    thread = threading.Thread(target=send_twice)
    thread.start()
    time.sleep(1)
    report = restore_video(url, target, restorer=Fixed(0.5), reconnect=6)
    thread.join()
    assert "the source was lost 1 time and reconnected" in report.notes
    shown = frames_in(str(target))
    assert len(shown) == report.frames > 50
    with av.open(str(target)) as container:
        times = [frame.pts for frame in container.decode(video=0)]
    assert times == sorted(set(times))


@needs_ffmpeg
@pytest.mark.parametrize("scheme", slow_but(["tcp"], ["udp", "tcp", "rtmp", "rtsp"]))
def test_a_url_is_written_to(scheme: str, port: int, tmp_path: Path):
    source, kept = make_clip(tmp_path / "in.mkv", count=50, sound="aac"), tmp_path / "kept.mkv"
    url = f"{scheme}://127.0.0.1:{port}" + ("/live/a" if scheme in ("rtmp", "rtsp") else "")
    listening = {
        "udp": ["-i", f"{url}?timeout=3000000"],
        "tcp": ["-i", f"{url}?listen=1"],
        "rtmp": ["-listen", "1", "-i", url],
        "rtsp": ["-rtsp_flags", "listen", "-i", url],
    }
    with sending(*listening[scheme], "-c", "copy", kept) as receiver:
        time.sleep(1.5)
        report = restore_video(source, url, restorer=Fixed(0.5))
        assert report.frames == 50
        with contextlib.suppress(subprocess.TimeoutExpired):
            receiver.wait(8)
        receiver.terminate()
        receiver.wait(10)
    assert len(frames_in(str(kept))) > 40
    with av.open(str(kept)) as container:
        assert [each.type for each in container.streams] == ["video", "audio"]


def test_what_came_late_is_passed_over(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace = Pace()
    assert pace.is_late(0.0, 0), "a backlog, as far as is known"
    assert pace.is_late(0.04, 0)
    pace.waited(2 * WAIT)
    assert not pace.is_late(0.08, 0)
    now += 0.04 + LATE / 2
    assert not pace.is_late(0.12, 0), "a little late"
    now += 0.04 + LATE
    assert pace.is_late(0.16, 0)
    assert pace.is_late(0.20, 0), "more has gathered"
    pace.waited(2 * WAIT)
    now += 0.04 - 1.5 * LATE
    assert not pace.is_late(0.24, 0)
    assert pace.left_out == 4
    now += 60
    assert not pace.is_late(5.0, 1), "the clock has leapt"
    now += 1
    assert pace.is_late(5.1, 1)
    assert not pace.is_late(5.2 + BACKLOG, 1), "nobody waits longer than that"


def test_a_sender_with_a_slow_clock_is_not_late_for_ever(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace = Pace(skipped_from=None)
    for frame in range(100_000):  # more than an hour at 25 frames a second
        now = frame * 0.04 * (1 + 2e-4)
        assert not pace.is_late(frame * 0.04, 0)


def test_heads_and_pipes():
    for head in (b"\x1a\x45\xdf\xa3", b"YUV4MPEG2 W1", b"FLV\x01", b"\0\0\0\x20ftypisom"):
        assert is_video_head(head)
    broadcast = (b"G" + bytes(187)) * 3
    assert is_video_head(broadcast)
    for head in (b"\xff\xd8\xff", b"\x89PNG", b"", b"G" * 3, b"\0\0\0\x20ftypavif"):
        assert not is_video_head(head)

    class Slow:
        """Gives three bytes at a time."""

        rest = bytes(range(200)) * 5

        def read1(self, size: int) -> bytes:
            given, self.rest = self.rest[: min(3, size)], self.rest[min(3, size) :]
            return given

    slow = Slow()
    head = peek(slow)
    assert len(head) == 512
    piped, all_of_it = Piped(slow, head), b""
    while some := piped.read(100):
        all_of_it += some
    assert all_of_it == bytes(range(200)) * 5
