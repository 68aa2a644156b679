"""A file that was cut off is said to be, whatever its container; a whole one never is."""

import subprocess
from pathlib import Path

import pytest

from tests.quick import slow_but
from tests.video_clips import Fixed, make_clip, needs_ffmpeg
from unhaze.errors import UnhazeError
from unhaze.restore.encoding import Encoding
from unhaze.restore.video import restore_video
from unhaze.restore.video.declared import missing_bytes

PICTURES = ("-f", "lavfi", "-i", "testsrc2=s=160x96:r=25:d=2")
SOUND = ("-f", "lavfi", "-i", "sine=d=2")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-c:a", "aac")
MPEG4 = ("-c:v", "mpeg4", "-c:a", "libmp3lame")
KINDS = {
    "in.mkv": H264,
    "in.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-c:a", "libopus"),
    "live.mkv": (*H264, "-live", "1", "-f", "matroska", "pipe:1"),
    "piped.mkv": (*H264, "-f", "matroska", "pipe:1"),
    "in.mp4": (*H264, "-movflags", "+faststart"),
    "fragments.mp4": (*H264, "-movflags", "frag_keyframe+empty_moov"),
    "edited.mp4": (*H264, "-bf", "2", "-ss", "0.3", "-movflags", "+faststart"),
    "varying.mp4": (*H264, "-vf", "select='mod(n,3)'", "-vsync", "vfr", "-movflags", "+faststart"),
    "in.mov": (*MPEG4, "-movflags", "+faststart"),
    "in.avi": MPEG4,
    "in.flv": H264,
    "in.wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
    "in.ogv": ("-c:v", "libtheora", "-c:a", "libvorbis"),
    "in.mxf": ("-c:v", "mpeg2video", "-ar", "48000", "-c:a", "pcm_s16le"),
    "in.ts": H264,
    "in.m2ts": H264,
}


def made(folder: Path, name: str) -> Path:
    target, words = folder / name, KINDS[name]
    command = ["ffmpeg", "-v", "error", *PICTURES, *SOUND, *words]
    if words[-1] == "pipe:1":
        target.write_bytes(subprocess.check_output(command))
    else:
        subprocess.run([*command, str(target)], check=True)
    return target


@needs_ffmpeg
@pytest.mark.parametrize("name", slow_but(["in.mkv", "in.mp4", "in.ts"], KINDS))
def test_the_end_that_is_missing_is_reported(name: str, tmp_path: Path):
    whole = made(tmp_path, name)
    assert missing_bytes(whole) == 0
    report = restore_video(whole, tmp_path / "whole.out.mkv", restorer=Fixed())
    assert not any("pictures end" in note or "cut off" in note for note in report.notes)
    for share in (0.95, 0.6):
        content = whole.read_bytes()
        part = whole.with_stem(f"part{share}")
        # In the middle of a packet of a transport stream: whole ones tell nothing.
        size = int(len(content) * share)
        part.write_bytes(content[: size - size % 188 + 94 if "ts" in whole.suffix else size])
        found = restore_video(part, part.with_suffix(".out.mkv"), restorer=Fixed())
        assert found.frames < report.frames or share > 0.9
        (said,) = [note for note in found.notes if "the source is cut off" in note]
        assert "that it declares are missing; the pictures end at" in said


@needs_ffmpeg
def test_a_file_without_its_index_is_reported_to_be_cut_off(tmp_path: Path):
    whole = make_clip(tmp_path / "in.mp4")
    part = tmp_path / "part.mp4"
    part.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UnhazeError, match="part.mp4.*it is cut off, .* bytes or more") as error:
        restore_video(part, tmp_path / "out.mp4", restorer=Fixed())
    assert "\n" not in str(error.value)


@needs_ffmpeg
def test_a_wanted_part_before_the_cut_is_whole(tmp_path: Path):
    whole = made(tmp_path, "in.mp4")
    part = tmp_path / "part.mp4"
    part.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.8)])
    report = restore_video(part, tmp_path / "out.mp4", restorer=Fixed(), end=1.0)
    assert report.frames == 25 and not report.notes
    report = restore_video(part, tmp_path / "more.mp4", restorer=Fixed(), end=1.9)
    assert report.frames < 45
    assert any("the source is cut off" in note for note in report.notes)


@needs_ffmpeg
def test_sound_that_is_longer_than_the_pictures_is_no_cut(tmp_path: Path):
    source = tmp_path / "in.mkv"
    longer = ("-f", "lavfi", "-i", "sine=d=5")
    command = ["ffmpeg", "-v", "error", *PICTURES, *longer, *H264, str(source)]
    subprocess.run(command, check=True)
    for audio in ("copy", "none"):
        report = restore_video(
            source, tmp_path / f"{audio}.mkv", restorer=Fixed(), encoding=Encoding(audio=audio)
        )
        assert report.frames == 50 and not report.notes


def test_what_stands_behind_a_video_is_no_box(tmp_path: Path):
    """Cameras and mail programs append what they like."""
    source = make_clip(tmp_path / "in.mp4")
    for tail in (b"\0" * 999, b"SEFT" * 99, b"\xff" * 99, b"\0\0\0\7mdat"):
        longer = tmp_path / "longer.mp4"
        longer.write_bytes(source.read_bytes() + tail)
        assert missing_bytes(longer) == 0
    for content in (b"", b"RIFF", b"\x1aE\xdf\xa3", b"FLV", b"OggS\0", b"\0\0\0\1mdat", b"G" * 99):
        (tmp_path / "short").write_bytes(content)
        missing_bytes(tmp_path / "short")
