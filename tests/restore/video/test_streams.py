"""Packets belong to their streams: data and timecode, joined recordings, foreign sound."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.video_clips import Fixed, make_clip, needs_ffmpeg
from unhaze.restore.video import restore_video
from unhaze.restore.video.reading import Clock
from unhaze.restore.video.streams import Piped

av = pytest.importorskip("av")

PICTURES = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=2")
SOUND = ("-f", "lavfi", "-i", "sine=d=2")


def ffmpeg(*words: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, words)], check=True)


def restored(source: Path, suffix: str | None = None):
    target = source.with_name(f"out{suffix or source.suffix}")
    return restore_video(source, target, restorer=Fixed()), target


def frames_and_end(path: Path) -> tuple[int, float]:
    """Frames of the video, and the time at which its last one is due, in seconds."""
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    return len(times), times[-1] - times[0]


@needs_ffmpeg
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_video_behind_the_sound_keeps_its_last_frames(threads: int, tmp_path: Path):
    """Empty last packets all claim stream 0; each thread of FFmpeg holds back a frame."""
    source = tmp_path / "in.mp4"
    ffmpeg(*SOUND, *PICTURES, "-map", 0, "-map", 1, "-c:a", "aac", "-c:v", "libx264", source)
    code = (
        "import sys; import unhaze.restore.video.reading as reading\n"
        "from unhaze.restore.video import restore_video\n"
        "sys.path.insert(0, sys.argv[2]); from tests.video_clips import Fixed\n"
        "found = reading.find_video\n"
        "def find(*words):\n"
        "    video = found(*words); video.codec_context.thread_count = int(sys.argv[1])\n"
        "    return video\n"
        "reading.find_video = find\n"
        "print(restore_video(sys.argv[3], sys.argv[4], restorer=Fixed()).frames)\n"
    )
    words = [str(threads), str(Path(__file__).parents[3]), str(source), str(tmp_path / "out.mp4")]
    done = subprocess.check_output([sys.executable, "-c", code, *words], text=True)
    assert int(done) == 50
    assert frames_and_end(tmp_path / "out.mp4") == (50, pytest.approx(1.96))


@needs_ffmpeg
def test_a_timecode_track_becomes_a_tag_and_a_track_again(tmp_path: Path):
    source = tmp_path / "in.mov"
    ffmpeg(*PICTURES, "-c:v", "libx264", "-timecode", "01:02:03:04", source)
    report, target = restored(source)
    assert report.frames == 50 and report.notes == ()
    with av.open(str(target)) as container:
        assert container.streams.video[0].metadata["timecode"] == "01:02:03:04"
        assert [stream.type for stream in container.streams] == ["video", "data"]


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mkv", ".mov"])
def test_attachments_and_data_do_not_end_a_video(suffix: str, tmp_path: Path):
    first, source = tmp_path / "first.mov", tmp_path / f"in{suffix}"
    ffmpeg(*PICTURES, *SOUND, "-c:v", "libx264", "-c:a", "aac", "-timecode", "01:00:00:00", first)
    if suffix == ".mkv":
        (tmp_path / "font.ttf").write_bytes(b"\0\1\0\0" + bytes(64))
        font = ["-attach", tmp_path / "font.ttf", "-metadata:s:t", "mimetype=font/ttf"]
        ffmpeg("-i", first, *font, "-map", "0:v", "-map", "0:a", "-c", "copy", source)
    else:
        ffmpeg("-i", first, "-map", "0", "-c", "copy", source)
    report, target = restored(source)
    assert report.frames == 50
    with av.open(str(target)) as container:
        kinds = [stream.type for stream in container.streams]
    assert kinds == ["video", "audio", "attachment" if suffix == ".mkv" else "data"]


@needs_ffmpeg
@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize("parts", [2, 3])
def test_joined_recordings_play_one_after_the_other(sound: bool, parts: int, tmp_path: Path):
    one, source = tmp_path / "one.ts", tmp_path / "in.ts"
    ffmpeg(*PICTURES, *(SOUND if sound else ()), "-c:v", "libx264", "-c:a", "aac", one)
    source.write_bytes(one.read_bytes() * parts)
    report, target = restored(source)
    assert report.frames == 50 * parts
    assert frames_and_end(target) == (50 * parts, pytest.approx(2 * parts - 0.04, abs=0.05))
    if sound:
        with av.open(str(target)) as container:
            heard = sum(frame.samples for frame in container.decode(audio=0)) / 44100
        assert heard == pytest.approx(2 * parts, abs=0.15)


@needs_ffmpeg
def test_a_hole_in_a_recording_is_passed_over(tmp_path: Path):
    one, source = tmp_path / "one.ts", tmp_path / "in.ts"
    ffmpeg(*PICTURES, *SOUND, "-c:v", "libx264", "-g", 10, "-c:a", "aac", one)
    data, packet = one.read_bytes(), 188
    count = len(data) // packet
    source.write_bytes(data[: count // 3 * packet] + data[count // 2 * packet :])
    report, target = restored(source)
    assert 30 <= report.frames == frames_and_end(target)[0] < 50


@needs_ffmpeg
def test_a_second_video_with_reordered_frames_is_copied(tmp_path: Path):
    source = tmp_path / "in.mkv"
    ffmpeg(*PICTURES, *PICTURES, "-map", 0, "-map", 1, "-c:v", "libx264", "-bf", 3, source)
    report, target = restored(source)
    assert (report.frames, report.copied) == (50, 1)
    with av.open(str(target)) as container:
        assert sum(1 for _ in container.decode(video=1)) == 50


@needs_ffmpeg
@pytest.mark.parametrize(
    "source, codec, target, made",
    [
        ("in.avi", "adpcm_ms", ".mkv", "aac"),
        ("in.avi", "pcm_mulaw", ".mkv", "aac"),
        ("in.wmv", "wmav2", ".mp4", "aac"),
        ("in.mp4", "aac", ".webm", "opus"),
    ],
)
def test_sound_that_the_target_cannot_hold_is_encoded_and_said(
    source, codec, target, made, tmp_path
):
    path = tmp_path / source
    video = "wmv2" if path.suffix == ".wmv" else "mpeg4"
    ffmpeg(*PICTURES, *SOUND, "-c:v", video, "-c:a", codec, path)
    report, result = restored(path, target)
    said = f"'{target}' files cannot contain audio track 1 ({codec}); encoded as {made}"
    assert report.notes == (said,)
    with av.open(str(result)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == made
        heard = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert heard == pytest.approx(2, abs=0.1)


def packet(stream: int, seconds: float, duration: float = 0.04) -> SimpleNamespace:
    base = Fraction(1, 1000)
    stamp = round(seconds * 1000)
    return SimpleNamespace(
        stream=SimpleNamespace(index=stream),
        pts=stamp,
        dts=stamp,
        duration=round(duration * 1000),
        time_base=base,
    )


def corrected(clock: Clock, packets: list[SimpleNamespace]) -> list[float]:
    for each in packets:
        clock.correct(each)
    return [each.dts / 1000 for each in packets]


def test_streams_that_jump_at_one_place_stay_together():
    """The last packet of the old part comes after the first of the new one."""
    clock = Clock(broadcast=True)
    given = [(0, 5.0), (1, 5.0), (0, 5.04), (1, 1.0), (0, 5.08), (0, 0.98), (1, 1.04), (0, 1.02)]
    times = corrected(clock, [packet(*each) for each in given])
    assert times == pytest.approx([5, 5, 5.04, 5.04, 5.08, 5.02, 5.08, 5.06], abs=0.11)
    assert times[5] - times[3] == pytest.approx(-0.02)  # as far apart as they were


def test_a_pause_stays_where_time_is_no_broadcast_clock():
    pause = [packet(0, 0.0), packet(0, 0.04), packet(0, 60.0)]
    assert corrected(Clock(broadcast=False), pause) == [0, 0.04, 60]
    pause = [packet(0, 0.0), packet(0, 0.04), packet(0, 60.0)]
    assert corrected(Clock(broadcast=True), pause) == pytest.approx([0, 0.04, 0.08])


def test_reordered_and_equal_times_are_no_jump():
    given = [packet(0, each) for each in (0.0, 0.04, 0.0, 0.08, 0.04)]
    assert corrected(Clock(broadcast=True), given) == [0.0, 0.04, 0.0, 0.08, 0.04]


def test_the_source_of_the_tests_is_no_special_case(tmp_path: Path):
    """A plain clip has its very times."""
    source = make_clip(tmp_path / "in.mkv", count=5)
    _, target = restored(source)
    assert frames_and_end(target) == frames_and_end(source)


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_part_of_a_pipe(tmp_path: Path, suffix: str):
    source = make_clip(tmp_path / f"in{suffix}", count=20, sound="aac")
    with source.open("rb") as file:
        report = restore_video(Piped(file), tmp_path / "out.mkv", restorer=Fixed(), start=1.5)
    assert report.frames == 5
