"""Sound and pictures are due when they were: packets to the tick, pictures to half a frame."""

import subprocess
from pathlib import Path

import pytest

from tests.quick import slow_but
from tests.restore.video.flash_and_beep import RATE, make_flash_and_beep, picture_before_sound
from tests.video_clips import Fixed, needs_ffmpeg, packets_of
from unhaze.restore.video import restore_video

av = pytest.importorskip("av")

pytestmark = needs_ffmpeg
PLAIN = ("-c:v", "libx264", "-preset", "ultrafast")
REORDERED = ("-c:v", "libx264", "-bf", "3")
EXPERIMENTAL = ("-strict", "-2")


FILES = [
    ("in.avi", (*PLAIN, "-c:a", "pcm_s16le"), ".mkv"),
    ("in.avi", (*REORDERED, "-c:a", "libmp3lame"), ".mkv"),
    ("in.avi", (*REORDERED, "-c:a", "libmp3lame"), ".mp4"),
    ("in.avi", ("-c:v", "mpeg4", "-bf", "2", "-c:a", "libmp3lame"), ".ts"),
    ("in.mkv", (*PLAIN, "-c:a", "truehd", *EXPERIMENTAL), ".mkv"),
    ("in.mkv", (*REORDERED, "-c:a", "libopus"), ".mov"),
    ("in.mp4", (*REORDERED, "-c:a", "aac"), ".mp4"),
    ("in.mp4", (*REORDERED, "-c:a", "aac", "-use_editlist", "0"), ".ts"),
    ("in.mov", (*REORDERED, "-c:a", "pcm_s24le"), ".mp4"),
    ("in.ts", ("-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2"), ".mkv"),
    ("in.flv", (*REORDERED, "-c:a", "aac"), ".mkv"),
    ("in.wmv", ("-c:v", "wmv2", "-c:a", "wmav2"), ".mkv"),
    ("in.mpg", ("-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2"), ".mp4"),
]


@pytest.mark.parametrize(("name", "words", "suffix"), slow_but(FILES[::6], FILES))
def test_the_flash_comes_with_the_beep(name: str, words: tuple, suffix: str, tmp_path: Path):
    """As far apart as in the source, as ffmpeg decodes both."""
    source = make_flash_and_beep(tmp_path / name, *words)
    target = tmp_path / f"out{suffix}"
    report = restore_video(source, target, restorer=Fixed())
    assert report.frames == 50
    expected = picture_before_sound(source)
    assert picture_before_sound(target) == pytest.approx(expected, abs=0.5 / RATE)


def test_sound_in_packets_that_share_their_times_keeps_them(tmp_path: Path):
    """TrueHD: 1200 packets a second, where Matroska counts in milliseconds."""
    words = (*PLAIN, "-c:a", "truehd", *EXPERIMENTAL)
    source, target = make_flash_and_beep(tmp_path / "in.mkv", *words), tmp_path / "out.mkv"
    restore_video(source, target, restorer=Fixed())
    given, kept = packets_of(source, "audio"), packets_of(target, "audio")
    assert len({time for time, _ in given}) < len(given)
    assert kept == given


def test_where_equal_times_are_refused_packets_are_a_tick_apart(tmp_path: Path):
    """PCM in packets of 40 samples, by milliseconds in .mkv and by samples in .mov."""
    source = tmp_path / "in.mkv"
    sound = ("-c:a", "pcm_s16le")
    make_flash_and_beep(source, *PLAIN, "-af", "asetnsamples=40", *sound)
    restore_video(source, tmp_path / "out.mov", restorer=Fixed())
    given, kept = packets_of(source, "audio"), packets_of(tmp_path / "out.mov", "audio")
    assert b"".join(data for _, data in kept) == b"".join(data for _, data in given)
    with av.open(str(tmp_path / "out.mov")) as container:
        length = float(container.streams.audio[0].duration * container.streams.audio[0].time_base)
    assert length == pytest.approx(2.0, abs=0.002)


def test_subtitles_that_begin_at_once_both_do(tmp_path: Path):
    texts = "1\n00:00:00,500 --> 00:00:01,000\nOne\n\n2\n00:00:00,500 --> 00:00:01,500\nOther\n"
    (tmp_path / "in.srt").write_text(texts)
    clip, source = make_flash_and_beep(tmp_path / "clip.mkv", *PLAIN), tmp_path / "in.mkv"
    given = ["-i", clip, "-i", tmp_path / "in.srt", "-c", "copy", source]
    subprocess.run(["ffmpeg", "-v", "error", *map(str, given)], check=True)
    restore_video(source, tmp_path / "out.mkv", restorer=Fixed())
    kept = packets_of(tmp_path / "out.mkv", "subtitle")
    assert kept == [(0.5, b"One"), (0.5, b"Other")]


@pytest.mark.parametrize(
    ("codec", "suffix", "kept"),
    [
        ("pcm_s16le", ".ts", "aac"),
        ("flac", ".ts", "aac"),
        ("libvorbis", ".ts", "aac"),
        ("libmp3lame", ".ts", "mp3"),
        ("dca", ".ts", "dts"),
        ("libopus", ".ts", "opus"),
        ("pcm_s16le", ".mp4", "pcm_s16le"),
        ("pcm_s24le", ".mp4", "aac"),
        ("pcm_f32le", ".mp4", "aac"),
    ],
)
def test_players_find_the_sound_again(codec: str, suffix: str, kept: str, tmp_path: Path):
    """What MPEG-TS has no name for is lost there, and MP4's deeper PCM is taken for noise."""
    words = (*PLAIN, "-c:a", codec, *EXPERIMENTAL)
    source, target = make_flash_and_beep(tmp_path / "in.mkv", *words), tmp_path / f"out{suffix}"
    report = restore_video(source, target, restorer=Fixed())
    with av.open(str(source)) as container:
        before = container.streams.audio[0].codec_context.codec.canonical_name
    with av.open(str(target)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == kept
    said = [note for note in report.notes if "encoded as aac" in note]
    assert len(said) == (before != kept)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_samples_of_an_avi_stay_the_same(channels: int, suffix: str, tmp_path: Path):
    """AVI gives its channels no names, and MP4 refuses those that have none when it ends."""
    words = (*PLAIN, "-ac", str(channels), "-c:a", "pcm_s16le")
    source, target = make_flash_and_beep(tmp_path / "in.avi", *words), tmp_path / f"out{suffix}"
    report = restore_video(source, target, restorer=Fixed())
    assert not report.notes
    given, kept = (
        b"".join(data for _, data in packets_of(path, "audio")) for path in (source, target)
    )
    assert len(given) == 2 * 48000 * 2 * channels
    assert kept == given


def test_a_tick_is_no_frame_rate(tmp_path: Path):
    """FFmpeg tells 60000 frames a second of a DV stream, which x264 in MP4 refuses."""
    words = ("-c:v", "dvvideo", "-s", "720x576", "-pix_fmt", "yuv420p", "-ac", "2")
    source, target = make_flash_and_beep(tmp_path / "in.dv", *words), tmp_path / "out.mp4"
    report = restore_video(source, target, restorer=Fixed())
    with av.open(str(target)) as container:
        assert container.streams.video[0].average_rate == RATE
    assert report.frames == 50


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_sound_before_the_start_of_an_edit_list_is_left_out(suffix: str, tmp_path: Path):
    """ffmpeg cuts a copy at the last key frame, and has players begin later."""
    whole = make_flash_and_beep(tmp_path / "in.mp4", *REORDERED, "-c:a", "aac")
    source, target = tmp_path / "part.mp4", tmp_path / f"out{suffix}"
    cut = ["ffmpeg", "-v", "error", "-ss", "0.53", "-i", str(whole), "-c", "copy", str(source)]
    subprocess.run(cut, check=True)
    restore_video(source, target, restorer=Fixed())
    assert picture_before_sound(target) == pytest.approx(
        picture_before_sound(source), abs=0.5 / RATE
    )
    with av.open(str(target)) as container:
        first = {
            stream.type: min(p.pts * p.time_base for p in container.demux(stream) if p.size)
            for stream in container.streams
            if not container.seek(0)
        }
    assert first["video"] - first["audio"] < 0.1
