"""A video restored: its pictures change as the field says, and everything else stays."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.video_clips import (
    Fixed,
    add_subtitles,
    frames_of,
    hazy_scene,
    make_clip,
    packets_of,
    rgb_of,
)
from unhaze.errors import UnhazeError
from unhaze.restore.video import TARGET_SUFFIXES, VIDEO_SUFFIXES, restore_video
from unhaze.restore.video.containers import CONTAINERS

av = pytest.importorskip("av")

BT709, SMPTE170M, BT2020, PQ = 1, 6, 9, 16  # numbers of ISO/IEC 23091-2
LIMITED, FULL = 1, 2


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", sound="aac")


def test_pictures_change_as_the_field_says(clip: Path, tmp_path: Path):
    calls = []
    report = restore_video(
        clip,
        tmp_path / "out.mkv",
        restorer=Fixed(1.2, -0.1),
        codec="ffv1",
        progress=lambda *call: calls.append(call),
    )
    expected = np.clip(1.2 * rgb_of(clip).astype(float) - 25.5, 0, 255)
    restored = rgb_of(tmp_path / "out.mkv")
    assert np.abs(restored - expected).mean() < 1.5
    assert np.abs(restored.mean((0, 1, 2)) - expected.mean((0, 1, 2))).max() < 0.7
    assert [call[:2] for call in calls] == [(number, 12) for number in range(1, 13)]
    assert calls == sorted(calls, key=lambda call: call[2])
    assert (report.frames, report.width, report.height, report.codec) == (12, 64, 48, "ffv1")
    assert (report.copied, report.damaged, report.scenes, report.notes) == (1, 0, 1, ())
    assert set(report.stages) == {"read", "field", "apply", "write"}
    assert all(seconds > 0 for seconds in report.stages.values())


def test_strength_0_of_a_lossless_video_is_identical(tmp_path: Path):
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", layout="yuv422p10le")
    report = restore_video(source, tmp_path / "out.mkv", restorer=Fixed(2), strength=0)
    assert report.estimates == 0
    for before, after in zip(frames_of(source), frames_of(tmp_path / "out.mkv"), strict=True):
        assert [bytes(plane) for plane in before.planes] == [bytes(plane) for plane in after.planes]


@pytest.mark.parametrize("matrix", [BT709, SMPTE170M, BT2020])
@pytest.mark.parametrize("color_range", [LIMITED, FULL])
@pytest.mark.parametrize("layout", ["yuv420p", "yuv444p10le"])
def test_colours_survive_the_way_to_rgb_and_back(
    matrix: int, color_range: int, layout: str, tmp_path: Path
):
    tags = {"colorspace": matrix, "color_range": color_range, "color_primaries": matrix}
    source = make_clip(tmp_path / "in.mkv", layout=layout, count=3, settings=tags)
    restore_video(source, tmp_path / "out.mkv", restorer=Fixed(), codec="ffv1")
    for before, after in zip(frames_of(source), frames_of(tmp_path / "out.mkv"), strict=True):
        assert (after.colorspace, after.color_range) == (matrix, color_range)
        assert after.color_primaries == before.color_primaries == matrix
        for one, other in zip(before.planes, after.planes):
            kind = np.uint16 if "10" in layout else np.uint8
            difference = np.frombuffer(one, kind).astype(int) - np.frombuffer(other, kind)
            assert np.abs(difference).max() <= (4 if "10" in layout else 1)


def test_the_network_sees_true_colours(tmp_path: Path):
    """A matrix or range that is taken wrongly shifts colours by far more than coding does."""
    scene = np.full((48, 64, 3), (200, 60, 40), np.uint8)
    for tags in (
        {"colorspace": BT709, "color_range": LIMITED},
        {"colorspace": SMPTE170M, "color_range": FULL},
    ):
        encoded = av.VideoFrame.from_ndarray(scene, "rgb24").reformat(
            format="yuv444p",
            dst_colorspace=tags["colorspace"] if tags["colorspace"] == 1 else 5,
            dst_color_range=tags["color_range"],
        )
        path = tmp_path / "in.mkv"
        with av.open(str(path), "w") as container:
            video = container.add_stream("ffv1", rate=10, width=64, height=48, pix_fmt="yuv444p")
            video.codec_context.colorspace = tags["colorspace"]
            video.codec_context.color_range = tags["color_range"]
            container.mux(video.encode(encoded))
            container.mux(video.encode(None))
        restorer = Fixed()
        restore_video(path, tmp_path / "out.mkv", restorer=restorer, overwrite=True)
        seen = restorer.seen[0].mean((0, 1)) * 255
        assert np.abs(seen - scene[0, 0]).max() < 1.5, tags


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "ffv1", "prores"])
def test_every_codec_keeps_ten_bits(codec: str, tmp_path: Path):
    ramp = np.linspace(20000, 40000, 64).astype(np.uint16)
    scene = np.repeat(np.repeat(ramp[None, :, None], 64, 0), 3, 2)
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", layout="yuv420p10le", frames=[scene] * 4)
    report = restore_video(source, tmp_path / "out.mkv", restorer=Fixed(), codec=codec)
    frames = frames_of(tmp_path / "out.mkv")
    assert report.codec == codec
    assert len(frames) == 4
    assert max(part.bits for part in frames[0].format.components) >= 10
    row = frames[0].to_ndarray(format="gray16le")[32].astype(int)
    assert len(set(row)) > 48, "an 8-bit step on the way would leave fewer levels"


@pytest.mark.parametrize(
    ("codec", "layout", "family"),
    [
        ("libx264", "yuv420p", "h264"),
        ("libx265", "yuv420p10le", "h265"),
        ("libvpx-vp9", "yuv420p", "vp9"),
        ("mpeg4", "yuv420p", "h264"),
        ("prores_ks", "yuv422p10le", "prores"),
        ("ffv1", "yuv444p", "ffv1"),
    ],
)
def test_the_codec_is_that_of_the_source_or_near(
    codec: str, layout: str, family: str, tmp_path: Path
):
    source = make_clip(tmp_path / "in.mkv", codec=codec, layout=layout, count=3)
    report = restore_video(source, tmp_path / "out.mkv", restorer=Fixed())
    assert report.codec == family
    assert frames_of(tmp_path / "out.mkv")[0].format.name == layout


def test_sound_subtitles_chapters_and_words_are_kept(tmp_path: Path):
    chapters = [(0.0, 0.5, "One"), (0.5, 1.2, "Two")]
    plain = make_clip(
        tmp_path / "a.mkv", sound="aac", chapters=chapters, metadata={"title": "Fog", "place": "x"}
    )
    source = add_subtitles(plain, tmp_path / "b.mkv")
    with av.open(str(plain)) as container:
        assert len(container.chapters()) == 2
    report = restore_video(source, tmp_path / "out.mkv", restorer=Fixed())
    assert report.copied == 2
    for kind in ("audio", "subtitle"):
        assert packets_of(tmp_path / "out.mkv", kind) == packets_of(source, kind)
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [each.type for each in container.streams] == ["video", "audio", "subtitle"]
        assert container.streams.audio[0].metadata["language"] == "deu"
        assert container.streams.subtitles[0].metadata["language"] == "fra"
    report = restore_video(plain, tmp_path / "chapters.mp4", restorer=Fixed())
    with av.open(str(tmp_path / "chapters.mp4")) as container:
        titles = [each["metadata"]["title"] for each in container.chapters()]
        assert container.metadata["title"] == "Fog"
    assert titles == ["One", "Two"]
    # The text track in which MP4 keeps its chapters is not reported as lost.
    again = restore_video(tmp_path / "chapters.mp4", tmp_path / "again.mp4", restorer=Fixed())
    assert again.notes == ()


def test_mp4_subtitles_are_kept(clip: Path, tmp_path: Path):
    source = add_subtitles(clip, tmp_path / "in.mp4")
    restore_video(source, tmp_path / "out.mp4", restorer=Fixed())
    assert packets_of(tmp_path / "out.mp4", "subtitle") == packets_of(source, "subtitle")


def test_a_part_is_cut_out_of_all_streams(tmp_path: Path):
    chapters = [(0.0, 0.5, "One"), (0.5, 1.2, "Two")]
    plain = make_clip(tmp_path / "a.mkv", sound="aac")
    source = add_subtitles(plain, tmp_path / "b.mkv")
    report = restore_video(source, tmp_path / "out.mkv", restorer=Fixed(), start=0.3, end=0.9)
    frames = frames_of(tmp_path / "out.mkv")
    assert report.frames == len(frames) == 6
    assert [round(frame.time, 3) for frame in frames] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert np.abs(rgb_of(tmp_path / "out.mkv")[0].astype(int) - rgb_of(source)[3]).mean() < 3
    sound = packets_of(tmp_path / "out.mkv", "audio")
    origin = packets_of(source, "audio")
    begin = frames_of(source)[3].time
    wanted = [(time - begin, data) for time, data in origin if begin - 1e-6 <= time < 0.9]
    assert [data for _, data in sound] == [data for _, data in wanted]
    assert np.abs(np.array([t for t, _ in sound]) - [t for t, _ in wanted]).max() < 0.002
    words = packets_of(tmp_path / "out.mkv", "subtitle")
    assert [data for _, data in words] == [b"First", "Zweitens: ärgerlich".encode()]
    assert words[0][0] == 0
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.duration <= 650_000, "and not the whole 1.2 s"
    whole = make_clip(tmp_path / "c.mkv", chapters=chapters)
    restore_video(whole, tmp_path / "d.mkv", restorer=Fixed(), start=0.3, end=0.9)
    with av.open(str(tmp_path / "d.mkv")) as container:
        spans = [
            (each["start"] * each["time_base"], each["end"] * each["time_base"])
            for each in container.chapters()
        ]
    assert np.allclose(np.array(spans, float), [(0, 0.2), (0.2, 0.6)], atol=0.002)


def test_variable_frame_times_are_kept(tmp_path: Path):
    times = [0, 100, 150, 400, 410, 900, 1000, 1100, 1200, 1500, 1600, 3000]
    source = make_clip(tmp_path / "in.mp4", times=times)
    for name in ("out.mkv", "out.mp4", "out.ts"):
        restore_video(source, tmp_path / name, restorer=Fixed())
        frames = frames_of(tmp_path / name)
        measured = [round(1000 * (frame.time - frames[0].time)) for frame in frames]
        assert measured == times, name


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_is_kept_and_the_network_sees_it_upright(rotation: int, tmp_path: Path):
    scene = hazy_scene(64, 48)
    scene[:12] = 250  # as coded: a bright top
    source = make_clip(tmp_path / "in.mp4", rotation=rotation, frames=[scene] * 3)
    restorer = Fixed()
    restore_video(source, tmp_path / "out.mp4", restorer=restorer)
    kept = [frame.rotation for frame in frames_of(tmp_path / "out.mp4")]
    assert kept == [frame.rotation for frame in frames_of(source)]
    assert {turn % 360 for turn in kept} == {rotation % 360}
    seen = restorer.seen[0]
    upright = np.rot90(scene, rotation // 90)
    assert seen.shape == upright.shape
    assert np.abs(seen * 255 - upright).mean() < 6


def test_a_turned_field_is_applied_where_it_belongs(tmp_path: Path):
    class Left(Fixed):
        """Darkens the left half of what it sees."""

        def estimate(self, pixels: np.ndarray, *, grey: bool = False) -> np.ndarray:
            maps = super().estimate(pixels)
            maps[:, 0, :, : maps.shape[3] // 2] *= 0.5
            return maps

    scene = np.full((48, 64, 3), 200, np.uint8)
    source = make_clip(tmp_path / "in.mp4", rotation=90, frames=[scene] * 2)
    restore_video(source, tmp_path / "out.mp4", restorer=Left())
    upright = np.rot90(rgb_of(tmp_path / "out.mp4")[1])
    assert upright.shape == (64, 48, 3)
    assert upright[:, :20].mean() < 105 < 195 < upright[:, 28:].mean()


def test_hdr_tags_and_pixel_aspect_are_kept(tmp_path: Path):
    tags = {"colorspace": BT2020, "color_primaries": BT2020, "color_trc": PQ, "color_range": 1}
    shape = {"sample_aspect_ratio": Fraction(4, 3)}
    hdr = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    options = {"options": {"x265-params": f"lossless=1:log-level=error:{hdr}:max-cll=1000,400"}}
    source = make_clip(
        tmp_path / "in.mkv", codec="libx265", layout="yuv420p10le", settings=tags | shape | options
    )
    report = restore_video(source, tmp_path / "out.mp4", restorer=Fixed())
    before, after = frames_of(source)[0], frames_of(tmp_path / "out.mp4")[0]
    found = {name: getattr(after, name) for name in tags}
    assert found == tags
    for kind in (
        av.sidedata.sidedata.Type.MASTERING_DISPLAY_METADATA,
        av.sidedata.sidedata.Type.CONTENT_LIGHT_LEVEL,
    ):
        assert bytes(before.side_data[kind]) == bytes(after.side_data[kind])
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"
    assert report.notes == ()


def test_suffixes_name_containers_that_hold_their_codecs():
    for container in CONTAINERS.values():
        assert container.codecs
    assert set(TARGET_SUFFIXES) < set(VIDEO_SUFFIXES)
    usage = (Path(__file__).parents[3] / "docs" / "use.md").read_text(encoding="utf-8")
    assert all(f" {suffix}" in usage or f"\n{suffix}" in usage for suffix in VIDEO_SUFFIXES)
    assert ".gif" not in VIDEO_SUFFIXES, "a picture"


@pytest.mark.parametrize(
    ("suffix", "codec"), [(key, codec) for key, each in CONTAINERS.items() for codec in each.codecs]
)
def test_every_codec_plays_in_every_container_that_claims_it(suffix: str, codec: str, tmp_path):
    source = make_clip(tmp_path / "in.mkv", count=2)
    target = tmp_path / f"out{suffix}"
    restore_video(source, target, restorer=Fixed(), codec=codec)
    assert len(frames_of(target)) == 2


def test_other_containers_and_wrong_suffixes(clip: Path, tmp_path: Path):
    source = make_clip(tmp_path / "in.avi", codec="mpeg4", count=3)
    assert restore_video(source, tmp_path / "out.mkv", restorer=Fixed()).frames == 3
    with pytest.raises(UnhazeError, match=r"cannot write videos as '.avi'; expected one of .mp4"):
        restore_video(clip, tmp_path / "out.avi", restorer=Fixed())
    with pytest.raises(UnhazeError, match=r"'.mp4' files cannot contain ffv1; choose one of h264"):
        restore_video(clip, tmp_path / "out.mp4", restorer=Fixed(), codec="ffv1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.avi", "out.mkv"]


@pytest.mark.parametrize("codec", ["h264", "h265", "ffv1"])
def test_odd_sizes_are_kept(codec: str, tmp_path: Path):
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", size=(63, 47), count=2)
    report = restore_video(source, tmp_path / "out.mkv", restorer=Fixed(), codec=codec)
    frame = frames_of(tmp_path / "out.mkv")[0]
    assert (frame.width, frame.height) == (63, 47)
    assert bool(report.notes) == (codec in ("h264", "h265"))


def test_codecs_say_that_they_hold_no_odd_size(tmp_path: Path):
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", size=(63, 47), count=2)
    with pytest.raises(UnhazeError, match="av1 cannot encode 63 x 47 pixels, since both must"):
        restore_video(source, tmp_path / "out.mkv", restorer=Fixed(), codec="av1")
    with pytest.raises(UnhazeError, match="prores cannot encode 63 x 47 pixels .* another codec"):
        restore_video(source, tmp_path / "out.mkv", restorer=Fixed(), codec="prores")


def test_transparency_is_kept_or_said(tmp_path: Path):
    source = make_clip(tmp_path / "in.mov", codec="prores_ks", layout="yuva444p10le", count=2)
    report = restore_video(source, tmp_path / "out.mov", restorer=Fixed())
    assert report.codec == "prores"
    assert frames_of(tmp_path / "out.mov")[0].format.name.startswith("yuva444p")
    report = restore_video(source, tmp_path / "out.mp4", restorer=Fixed())
    assert "h264 does not keep transparency" in report.notes


def test_grey_stays_grey(tmp_path: Path):
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", layout="gray", count=2)
    report = restore_video(source, tmp_path / "out.mkv", restorer=Fixed())
    before, after = frames_of(source)[0], frames_of(tmp_path / "out.mkv")[0]
    assert after.format.name == "gray"
    assert np.abs(before.to_ndarray().astype(int) - after.to_ndarray()).max() <= 1
    assert report.notes == ()


def test_interlaced_is_reported(tmp_path: Path):
    flags = av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me
    source = make_clip(tmp_path / "in.mkv", settings={"flags": flags, "field_order": 2})
    report = restore_video(source, tmp_path / "out.mkv", restorer=Fixed())
    assert any(note.startswith("interlaced") for note in report.notes)
    assert frames_of(tmp_path / "out.mkv")[0].interlaced_frame


def test_broadcast_sound_fits_into_mp4(tmp_path: Path):
    """AAC is packed in another way in MPEG-TS, whose clock does not begin at 0 either."""
    source = make_clip(tmp_path / "in.ts", sound="aac")
    assert frames_of(source)[0].time > 0
    restore_video(source, tmp_path / "out.mp4", restorer=Fixed())
    with av.open(str(tmp_path / "out.mp4")) as container:
        frames = list(container.decode(audio=0))
    assert abs(sum(frame.samples for frame in frames) / 48000 - 1.2) < 0.05
    assert frames_of(tmp_path / "out.mp4")[0].time < 0.1


def test_a_cover_picture_is_kept(tmp_path: Path):
    plain = make_clip(tmp_path / "plain.mp4", count=3)
    cover = make_clip(tmp_path / "cover.avi", codec="mjpeg", layout="yuvj420p", count=1)
    source = tmp_path / "in.mp4"
    with av.open(str(plain)) as one, av.open(str(cover)) as two, av.open(str(source), "w") as out:
        copies = [
            out.add_stream_from_template(each.streams.video[0], opaque=True) for each in (two, one)
        ]
        copies[0].disposition = av.stream.Disposition.attached_pic
        for given, copy in zip((two, one), copies):
            for packet in given.demux():
                if packet.size:
                    packet.stream = copy
                    out.mux(packet)
    report = restore_video(source, tmp_path / "out.mp4", restorer=Fixed())
    assert (report.frames, report.copied, report.notes) == (3, 1, ())
    with av.open(str(tmp_path / "out.mp4")) as container:
        pictures = [
            each
            for each in container.streams.video
            if each.disposition & av.stream.Disposition.attached_pic
        ]
        assert [each.codec_context.name for each in pictures] == ["mjpeg"]


def test_sound_longer_than_the_pictures_and_strength_0(tmp_path: Path):
    source = make_clip(tmp_path / "in.mp4", sound="aac")
    report = restore_video(
        source, tmp_path / "out.mkv", restorer=Fixed(), strength=0, start=0.5, codec="ffv1"
    )
    assert report.notes == ()
    assert np.array_equal(rgb_of(tmp_path / "out.mkv"), rgb_of(source)[5:])
