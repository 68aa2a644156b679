"""What frames carry beside their samples is in the result, or a line says that it is not."""

import gc
from pathlib import Path

import pytest

from tests.video_clips import Fixed, frames_of, hazy_scene, make_clip
from unhaze.restore.video import restore_video
from unhaze.restore.video.codecs import carried_by

av = pytest.importorskip("av")
Type = av.sidedata.sidedata.Type

# ATSC A/53: user data of a picture with one pair of bytes, which begins a caption.
CAPTION = b"\0\0\1\xb2GA94\x03\x41\xff\xfc\x94\x2c\xff"
FIRST_SLICE = b"\0\0\1\1"
GRADED = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"


def captioned(path: Path) -> Path:
    """MPEG-2 video with a caption in each picture."""
    with av.open(str(path), "w", format="mpeg2video") as container:
        video = container.add_stream("mpeg2video", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for step in range(12):
            frame = av.VideoFrame.from_ndarray(hazy_scene(64, 48, step))
            container.mux(video.encode(frame.reformat(format="yuv420p")))
        container.mux(video.encode(None))
    path.write_bytes(path.read_bytes().replace(FIRST_SLICE, CAPTION + FIRST_SLICE))
    return path


@pytest.mark.parametrize(("codec", "kept"), [("h264", True), ("h265", False), ("ffv1", False)])
def test_closed_captions_are_kept_or_said(codec: str, kept: bool, tmp_path: Path):
    source, target = captioned(tmp_path / "in.mpg"), tmp_path / "out.mkv"
    assert all(frame.side_data.get(Type.A53_CC) for frame in frames_of(source))
    report = restore_video(source, target, restorer=Fixed(), codec=codec)
    assert [bool(frame.side_data.get(Type.A53_CC)) for frame in frames_of(target)] == [kept] * 12
    said = f"this {codec} does not keep closed captions"
    assert (said in report.notes) == (not kept)


@pytest.mark.parametrize(
    ("suffix", "codec", "kept"), [(".mp4", "h265", True), (".mkv", "av1", False)]
)
def test_the_light_of_hdr10_is_kept_or_said(suffix: str, codec: str, kept: bool, tmp_path: Path):
    params = f"log-level=error:master-display={GRADED}:max-cll=1000,400"
    settings = {"options": {"x265-params": params}}
    kind = {"codec": "libx265", "layout": "yuv420p10le", "size": (160, 96)}
    source = make_clip(tmp_path / "in.mp4", settings=settings, **kind)
    assert frames_of(source)[0].side_data.get(Type.CONTENT_LIGHT_LEVEL) is not None
    target = tmp_path / f"out{suffix}"
    report = restore_video(source, target, restorer=Fixed(), codec=codec)
    held = frames_of(target)[0].side_data
    assert (held.get(Type.MASTERING_DISPLAY_METADATA) is not None) == kept
    said = f"this {codec} does not keep the mastering display of HDR, the light level of HDR"
    assert (said in report.notes) == (not kept)


def frames_alive() -> list[av.VideoFrame]:
    return [each for each in gc.get_objects() if type(each) is av.VideoFrame]


def test_no_frame_waits_for_the_collector(tmp_path: Path):
    gc.collect()
    gc.disable()
    earlier = frames_alive()  # of other tests
    try:
        with av.open(str(captioned(tmp_path / "in.mpg"))) as container:
            for frame in container.decode(video=0):
                assert carried_by(frame) == {Type.A53_CC}
        del frame
        assert len(frames_alive()) == len(earlier)
    finally:
        gc.enable()
