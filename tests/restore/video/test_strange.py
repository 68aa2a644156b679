"""Videos as strangers bring them: what is lost is said, what must not be opened is not."""

import json
import subprocess
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.quick import slow_but
from tests.video_clips import Fixed, frames_of, make_clip, needs_ffmpeg
from unhaze.errors import UnhazeError
from unhaze.restore.video import restore_video
from unhaze.restore.video.clock import Clock
from unhaze.restore.video.containers import SERVICE_DEMUXERS

av = pytest.importorskip("av")

PICTURES = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=2")
SOUND = ("-f", "lavfi", "-i", "sine=d=2")
WORDS = (
    "1\n00:00:00,200 --> 00:00:00,900\nFog <i>ahead</i>\n\n2\n00:00:01,000 --> 00:00:01,900\nÄ\n"
)


def ffmpeg(*words: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, words)], check=True)


def restored(source: Path, suffix: str):
    target = source.with_name(f"out{suffix}")
    return restore_video(source, target, restorer=Fixed(), overwrite=True), target


@needs_ffmpeg
@pytest.mark.parametrize(
    ("suffix", "codec", "left_out"),
    [
        (".mkv", None, []),
        (".mp4", "mov_text", ["attachment stream 2"]),
        (".webm", "webvtt", ["attachment stream 2"]),
        (".ts", None, ["subtitle track 1", "attachment stream 2"]),
    ],
)
def test_subtitles_and_fonts_are_kept_converted_or_reported(
    suffix: str, codec: str | None, left_out: list[str], tmp_path: Path
):
    words, source = tmp_path / "words.srt", tmp_path / "in.mkv"
    words.write_text(WORDS)
    font = ["-attach", words, "-metadata:s:t", "mimetype=font/ttf"]
    streams = ["-map", 0, "-map", 1, "-c:v", "libx264", "-c:s", "srt"]
    ffmpeg(*PICTURES, "-i", words, *streams, *font, source)
    report, target = restored(source, suffix)
    assert len(frames_of(target)) == report.frames == 50
    if codec is not None:
        refused = f"'{suffix}' files cannot contain subtitle track 1 (srt)"
        assert f"{refused}; kept as plain text ({codec})" in report.notes
    for words in left_out:
        assert any(words in note and note.endswith("left out") for note in report.notes), words
    with av.open(str(target)) as container:
        kinds = [each.type for each in container.streams]
        assert ("subtitle" in kinds) == (suffix != ".ts")
        assert ("attachment" in kinds) == (suffix == ".mkv")
        assert "data" not in kinds, "nobody finds subtitles there"
        if codec == "mov_text":
            stream = container.streams.subtitles[0]
            texts = [each for packet in container.demux(stream) for each in packet.decode()]
            assert [each.dialogue.decode() for each in texts] == ["Fog ahead", "Ä"]


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_data_stream_of_an_action_camera_does_no_harm(suffix: str, tmp_path: Path):
    content, first, source = tmp_path / "data", tmp_path / "first.ts", tmp_path / "in.mp4"
    content.write_bytes(bytes(range(256)) * 9)
    coded = ["-c:v", "libx264", "-c:a", "aac", "-c:d", "copy"]
    three = ["-map", 0, "-map", 1, "-map", 2]
    ffmpeg("-f", "data", "-i", content, *PICTURES, *SOUND, *three, *coded, "-f", "mpegts", first)
    ffmpeg("-i", first, "-map", "0:d", "-map", "0:v", "-map", "0:a", "-c", "copy", source)
    report, target = restored(source, suffix)
    assert len(frames_of(target)) == report.frames == 50
    kept = report.copied - 1
    assert kept or any("data stream" in note for note in report.notes)
    with av.open(str(target)) as container:
        heard = sum(frame.samples for frame in container.decode(audio=0)) / 44100
    assert heard == pytest.approx(2, abs=0.1)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_cover_is_kept_or_said(suffix: str, tmp_path: Path):
    cover, source = tmp_path / "cover.png", tmp_path / "in.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=32x32", "-frames:v", 1, cover)
    streams = ["-map", 0, "-map", 1, "-c:v", "libx264", "-c:v:1", "png"]
    ffmpeg(*PICTURES, "-i", cover, *streams, "-disposition:v:1", "attached_pic", source)
    report, target = restored(source, suffix)
    with av.open(str(target)) as container:
        videos = len(container.streams.video)
    said = f"'{suffix}' files cannot contain cover picture 1 (png); left out"
    assert (videos, report.notes) == ((2, ()) if suffix == ".mp4" else (1, (said,)))


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mpg", ".m2ts"])
@pytest.mark.parametrize("target", [".mkv", ".mp4"])
def test_joined_recordings_are_reported_and_none_overlaps(suffix: str, target: str, tmp_path: Path):
    one, source = tmp_path / f"one{suffix}", tmp_path / f"in{suffix}"
    ffmpeg(*PICTURES, *SOUND, "-c:a", "mp2", *(["-c:v", "mpeg2video"] * (suffix == ".mpg")), one)
    damaged = one.read_bytes()[: len(one.read_bytes()) * 2 // 3]
    source.write_bytes(one.read_bytes() + damaged + one.read_bytes())
    report, result = restored(source, target)
    times = [frame.time for frame in frames_of(result)]
    assert len(times) == report.frames > 110
    assert "the timestamps of the source jump 2 times; parts were joined" in report.notes
    steps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert min(steps) > 0.02, "no part is squeezed"
    assert max(steps) < 0.4, "and none is far away"


def packet(stream: int, stamp: int | None, kind: str = "audio") -> SimpleNamespace:
    where = SimpleNamespace(index=stream, type=kind)
    times = {"pts": stamp, "dts": stamp, "duration": 40, "time_base": Fraction(1, 1000)}
    return SimpleNamespace(stream=where, **times)


def test_sound_without_times_continues_and_subtitles_follow():
    clock = Clock(broadcast=False, sparse=frozenset({2}))
    given = [packet(1, 5000), packet(1, None), packet(2, 5100), packet(1, 1000), packet(2, 1100)]
    for each in given:
        clock.correct(each)
    assert [each.dts for each in given] == [5000, 5040, 5100, 5080, 5180]
    assert clock.leaps == 1


@needs_ffmpeg
def test_the_bottom_field_stays_first(tmp_path: Path):
    source = tmp_path / "in.mpg"
    ffmpeg(*PICTURES, "-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-top", 0, source)
    _, target = restored(source, ".mp4")
    words = ["-show_entries", "stream=field_order", "-of", "json", str(target)]
    facts = json.loads(subprocess.check_output(["ffprobe", "-v", "error", *words]))
    assert facts["streams"][0]["field_order"] == "bb"


@needs_ffmpeg
@pytest.mark.parametrize(
    ("words", "source", "said"),
    [
        (
            ["format=yuva420p", "-c:v", "libvpx", "-auto-alt-ref", 0],
            "in.webm",
            ["vp8 becomes vp9", "the transparency of vp8 in this container cannot be read"],
        ),
        (
            ["format=rgb24", "-c:v", "png"],
            "in.mov",
            [
                "png becomes h264",
                "h264 is lossy; ffv1 in .mkv is lossless",
                "h264 does not keep full colour resolution",
            ],
        ),
    ],
)
def test_what_the_choice_of_a_codec_costs_is_reported(words, source, said, tmp_path: Path):
    path = tmp_path / source
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=160x120:r=25:d=0.2,{words[0]}", *words[1:], path)
    report, _ = restored(path, path.suffix)
    assert len(report.notes) == len(said)
    for note, begin in zip(report.notes, said):
        assert note.startswith(begin)


@pytest.mark.parametrize(
    "content",
    [
        "ffconcat version 1.0\nfile clip.ts\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
    ],
)
def test_a_file_that_names_others_is_not_followed(content: str, tmp_path: Path):
    make_clip(tmp_path / "clip.ts", count=3)
    (tmp_path / "in.mp4").write_text(content)
    with pytest.raises(UnhazeError, match="files that refer to others, such as playlists"):
        restored(tmp_path / "in.mp4", ".mkv")


def test_a_service_takes_only_the_containers_it_names(tmp_path: Path):
    source = make_clip(tmp_path / "in.ts", count=3)
    with pytest.raises(UnhazeError, match="files that refer to others, such as playlists"):
        restore_video(source, tmp_path / "out.mkv", restorer=Fixed(), demuxers=SERVICE_DEMUXERS)
    assert restored(source, ".mkv")[0].frames == 3


def test_too_large_frames_are_refused_before_one_is_decoded(tmp_path: Path):
    source = make_clip(tmp_path / "in.mp4", count=3)
    target = tmp_path / "out.mkv"
    with pytest.raises(UnhazeError, match="64 x 48 pixels exceed the limit of 3071"):
        restore_video(source, target, restorer=Fixed(), max_pixels=3071)
    assert restore_video(source, target, restorer=Fixed(), max_pixels=3072).frames == 3


def test_the_part_that_an_interrupt_left_goes_when_the_whole_is_there(tmp_path: Path):
    source = make_clip(tmp_path / "in.mp4", count=3)
    part = tmp_path / "out.partial.mp4"
    part.write_bytes(b"some")
    restored(source, ".mp4")
    assert not part.exists()
    source = source.rename(tmp_path / "new.partial.mp4")
    content = source.read_bytes()
    restore_video(source, tmp_path / "new.mp4", restorer=Fixed())
    assert source.exists(), "an original is never touched"
    interrupt(source, tmp_path / "new.mp4")
    assert source.read_bytes() == content, "nor by an interrupt"


def interrupt(source: Path, target: Path) -> None:
    def press_ctrl_c(done: int, total: int | None, seconds: float) -> None:
        raise KeyboardInterrupt

    how = {"restorer": Fixed(), "overwrite": True, "progress": press_ctrl_c}
    with pytest.raises(KeyboardInterrupt):
        restore_video(source, target, **how)


def test_the_part_that_an_interrupt_left_is_as_private_as_the_video(tmp_path: Path):
    source = make_clip(tmp_path / "in.mp4", count=3)
    source.chmod(0o600)
    interrupt(source, tmp_path / "out.mp4")
    assert (tmp_path / "out.partial.mp4").stat().st_mode & 0o777 == 0o600


def test_names_with_colons_are_files(tmp_path: Path):
    source = make_clip(tmp_path / "in.mp4", count=3).rename(tmp_path / "http:12:30.mp4")
    assert restored(source, ".mp4")[0].frames == 3


def test_sound_of_an_unknown_codec_is_left_out_and_said(tmp_path: Path):
    source = make_clip(tmp_path / "in.mp4", sound="aac", count=5)
    content = source.read_bytes()
    assert content.count(b"mp4a") == 1
    source.write_bytes(content.replace(b"mp4a", b"zzzz").replace(b"esds", b"zzzz"))
    report, target = restored(source, ".mp4")
    assert report.notes == ("'.mp4' files cannot contain audio track 1 (unknown); left out",)
    assert len(frames_of(target)) == 5


@needs_ffmpeg
def test_a_part_has_not_the_timecode_of_the_whole(tmp_path: Path):
    source, target = tmp_path / "in.mov", tmp_path / "out.mov"
    ffmpeg(*PICTURES, "-c:v", "libx264", "-timecode", "01:00:00:00", source)
    report = restore_video(source, target, restorer=Fixed(), start=1)
    assert report.notes == ("the timecode is that of the whole video, so a part has none",)
    with av.open(str(target)) as container:
        assert "timecode" not in container.streams.video[0].metadata | container.metadata


def stamped(path: Path, target: Path, number: int, seconds: float) -> None:
    """Moves the times of the video's packet `number` in an MPEG transport stream."""
    data = bytearray(path.read_bytes())
    found = -1
    for place in range(0, len(data), 188):
        begins, extra = data[place + 1] & 0x40, data[place + 3] & 0x20
        at = place + 4 + (1 + data[place + 4] if extra else 0)
        if not begins or data[at : at + 3] != b"\0\0\1" or data[at + 3] >> 4 != 0xE:
            continue
        found += 1
        if found == number:
            for one in range(data[at + 7] >> 6 & 1, -1, -1):  # the time of display, of decoding
                field = at + 9 + 5 * one
                old = (data[field] >> 1 & 7) << 30 | data[field + 1] << 22
                old |= (data[field + 2] >> 1) << 15 | data[field + 3] << 7 | data[field + 4] >> 1
                new = old + round(90_000 * seconds)
                mark = data[field] & 0xF0
                data[field] = mark | (new >> 30 & 7) << 1 | 1
                data[field + 1], data[field + 2] = new >> 22 & 255, (new >> 15 & 127) << 1 | 1
                data[field + 3], data[field + 4] = new >> 7 & 255, (new & 127) << 1 | 1
    target.write_bytes(data)


@pytest.mark.parametrize("seconds", slow_but([-1.2], [400.0, -1.2, 30.0]))
@pytest.mark.parametrize("suffix", slow_but([".mp4"], [".mp4", ".mkv"]))
def test_a_single_wild_time_does_not_part_sound_and_picture(seconds, suffix, tmp_path: Path):
    source = ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=4", "-f", "lavfi", "-i", "sine=d=4"]
    ffmpeg(*source, "-c:v", "libx264", "-bf", "0", "-c:a", "aac", tmp_path / "calm.ts")
    stamped(tmp_path / "calm.ts", tmp_path / "wild.ts", 50, seconds)
    report, target = restored(tmp_path / "wild.ts", suffix)
    with av.open(str(target)) as container:
        pictures = [frame.time for frame in container.decode(video=0)]
    with av.open(str(target)) as container:
        sound = [frame.time for frame in container.decode(audio=0)]
    assert len(pictures) == 100
    steps = np.diff(pictures)
    assert abs(steps - 0.04).max() < 0.005, "every picture when it is due"
    assert abs(pictures[-1] - pictures[0] - 3.96) < 0.01
    assert abs((sound[-1] - sound[0]) - 4.0) < 0.1
    assert [note for note in report.notes if "invalid timestamp" in note]
    assert not [note for note in report.notes if "jump" in note]
