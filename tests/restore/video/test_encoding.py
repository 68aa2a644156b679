"""What a user says of the result of a video holds in command, Python, batch and service alike."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.quick import slow_but
from tests.video_clips import Fixed, frames_of, make_clip
from unhaze.errors import UnhazeError
from unhaze.restore.encoding import CHOICES, Encoding, read_encoding
from unhaze.restore.video import restore_video
from unhaze.restore.video.codecs import choose_layout
from unhaze.restore.video.encoders import CODECS, HARDWARE
from unhaze.restore.video.planned import plan_video

av = pytest.importorskip("av")


def noisy_frames(count: int, size: tuple[int, int] = (320, 192)) -> list[np.ndarray]:
    noise = np.random.default_rng(0)
    down = np.linspace(90, 160, size[1])[:, None, None]
    return [
        np.clip(down + noise.normal(0, 12, (size[1], size[0], 3)), 0, 255).astype(np.uint8)
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory) -> Path:
    """10 s of noise, H.264 at a usual quality, with sound."""
    path = tmp_path_factory.mktemp("noisy") / "noisy.mp4"
    settings = {"options": {"crf": "28", "preset": "fast"}}
    frames = noisy_frames(100)
    return make_clip(path, frames=frames, sound="aac", settings=settings)


def encoded_bytes(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(packet.size for packet in container.demux(video=0))


def test_the_table_and_the_class_have_the_same_names():
    assert list(CHOICES) == list(Encoding.__dataclass_fields__)


def test_by_itself_the_size_is_about_that_of_the_source(noisy: Path, tmp_path: Path):
    restore_video(noisy, tmp_path / "out.mp4", restorer=Fixed(1.5, -0.2))
    assert 0.85 < encoded_bytes(tmp_path / "out.mp4") / encoded_bytes(noisy) < 1.35


def test_without_a_change_noise_too_stays_within_48_db(noisy: Path, tmp_path: Path):
    restore_video(noisy, tmp_path / "out.mp4", restorer=Fixed(), strength=0)
    with av.open(str(noisy)) as before, av.open(str(tmp_path / "out.mp4")) as after:
        pairs = zip(before.decode(video=0), after.decode(video=0), strict=True)
        errors = [
            np.square(one.to_ndarray() - two.to_ndarray().astype(float)).mean()
            for one, two in pairs
        ]
    assert 10 * np.log10(255**2 / np.mean(errors)) > 48


def test_batch_says_before_what_a_video_becomes(noisy: Path, tmp_path: Path, unhaze, half):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(noisy.read_bytes())
    words = [
        "batch",
        tmp_path / "in",
        tmp_path / "out",
        "--dry-run",
        "--crf",
        "20",
        "--model",
        half,
    ]
    done = unhaze(*words)
    assert done.returncode == 0, done.stderr
    assert b"a.mp4 -> a.mp4: " in done.stdout
    assert b"h264 by libx264 (crf 20" in done.stdout
    (entry,) = json.loads(unhaze(*words, "--json").stdout)["files"]
    assert entry["video"]["options"]["crf"] == "20"


def test_a_small_crf_is_better_and_larger(noisy: Path, tmp_path: Path):
    sizes = []
    for crf in (14, 24, 34):
        target = tmp_path / f"{crf}.mp4"
        restore_video(noisy, target, restorer=Fixed(), encoding=Encoding(crf=crf))
        sizes.append(encoded_bytes(target))
    assert sizes[0] > 1.5 * sizes[1] > 2.2 * sizes[2]


@pytest.mark.parametrize("codec", slow_but(["h264"], ["h264", "h265", "av1", "vp9"]))
def test_a_bit_rate_is_kept(codec: str, noisy: Path, tmp_path: Path):
    wanted = Encoding(codec=codec, bitrate="600k", audio="none")
    restore_video(noisy, tmp_path / "out.mkv", restorer=Fixed(), encoding=wanted)
    assert encoded_bytes(tmp_path / "out.mkv") * 8 / 10 == pytest.approx(600_000, rel=0.3)


@pytest.mark.parametrize("codec", slow_but(["h264"], ["h264", "h265"]))
def test_two_passes_reach_a_size(codec: str, noisy: Path, tmp_path: Path):
    calls = []
    wanted = Encoding(codec=codec, target_size=500_000)
    target = tmp_path / "out.mp4"
    report = restore_video(
        noisy,
        target,
        restorer=Fixed(),
        encoding=wanted,
        progress=lambda *call: calls.append(call[:2]),
    )
    assert target.stat().st_size == pytest.approx(500_000, rel=0.06)
    assert report.frames == len(frames_of(target)) == 100
    assert calls[0] == (1, 200) and calls[-1] == (200, 200)
    assert not list(tmp_path.glob("*look*")) and not list(Path.cwd().glob("x264_2pass*"))


def test_preset_and_pixel_format(noisy: Path, tmp_path: Path):
    wanted = Encoding(preset="medium", pixel_format="yuv444p10le", crf=20)
    restore_video(noisy, tmp_path / "out.mkv", restorer=Fixed(), encoding=wanted)
    assert frames_of(tmp_path / "out.mkv")[0].format.name == "yuv444p10le"
    assert b"subme=7" in (tmp_path / "out.mkv").read_bytes(), "x264 writes what medium is"


def test_the_codec_of_the_source_and_its_other_name(tmp_path: Path):
    source = make_clip(tmp_path / "in.mkv", codec="libx265")
    same = Encoding(codec="copy-of-source")
    assert restore_video(source, tmp_path / "a.mp4", restorer=Fixed(), encoding=same).codec == (
        "h265"
    )
    assert Encoding(codec="hevc") == Encoding(codec="h265")
    old = make_clip(tmp_path / "old.mkv", codec="mpeg4", count=3)
    with pytest.raises(UnhazeError, match="cannot write mpeg4, the codec of the source"):
        restore_video(old, tmp_path / "b.mkv", restorer=Fixed(), encoding=same)


@pytest.mark.parametrize(
    ("audio", "suffix", "expected"),
    [("copy", ".mp4", ["aac"]), ("opus", ".mp4", ["opus"]), ("aac", ".mkv", ["aac"])]
    + [("none", ".mp4", []), ("opus", ".webm", ["opus"])],
)
def test_sound(audio: str, suffix: str, expected: list[str], noisy: Path, tmp_path: Path):
    target = tmp_path / f"out{suffix}"
    restore_video(noisy, target, restorer=Fixed(), encoding=Encoding(audio=audio), end=2)
    with av.open(str(target)) as container:
        assert [each.codec_context.name for each in container.streams.audio] == expected
        assert sum(1 for _ in container.decode(video=0)) == 20
    if expected:
        with av.open(str(target)) as container:
            samples = sum(frame.samples for frame in container.decode(audio=0))
        assert samples > 40_000 * min(2, 10)


def test_hardware_that_is_not_there_is_reported(noisy: Path, tmp_path: Path):
    wanted = Encoding(hw="vaapi")
    report = restore_video(noisy, tmp_path / "out.mp4", restorer=Fixed(), encoding=wanted, end=1)
    [note] = report.notes
    assert note.startswith("no encoder in hardware (vaapi: ") and "libx264 encodes" in note
    with pytest.raises(UnhazeError, match="hw is 'gpu'; expected auto, off, nvenc"):
        Encoding(hw="gpu")


def test_hardware_that_works_encodes(noisy: Path, tmp_path: Path, monkeypatch):
    """Stands in for a card: x264 under another name, with a preset that only it has."""
    card = replace(CODECS["h264"], options={"crf": "30", "tune": "film"}, presets=("p4",))
    monkeypatch.setitem(HARDWARE, "nvenc", {"h264": card})
    for kind in ("nvenc", "auto"):
        plan = plan_video(noisy, tmp_path / "out.mp4", encoding=Encoding(hw=kind, crf=21))
        assert (plan.options, plan.notes) == ({"crf": "21", "tune": "film"}, ())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crf": 70}, "crf is 70; expected a number from 0 to 63"),
        ({"crf": "good"}, "crf is 'good'; expected a number"),
        ({"bitrate": "8Q"}, "bitrate is '8Q'; expected bits a second, as in 8M"),
        ({"target_size": 0}, "target_size is 0; expected bytes, as in 700M"),
        ({"audio": "mp3"}, "audio is 'mp3'; expected copy, aac, opus, none"),
        ({"preset": "a b"}, "preset is 'a b'; expected a preset"),
        ({"crf": 0, "bitrate": "1M"}, "crf and bitrate exclude each other"),
    ],
)
def test_values_of_no_meaning(values: dict, message: str):
    with pytest.raises(UnhazeError) as error:
        Encoding(**values)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"preset": "slowest"}, "libx264 has no preset 'slowest'; did you mean 'slow"),
        ({"crf": 60}, "crf is 60; for libx264, expected at most 51"),
        ({"codec": "ffv1", "crf": 20}, "crf is 20; for ffv1, leave it out"),
        ({"codec": "prores", "bitrate": "5M"}, "prores has no adjustable bitrate"),
        ({"pixel_format": "yuv420p12"}, "libx264 cannot encode 320 x 192 pixels as"),
        ({"target_size": 10_000}, "10 s with this audio need"),
    ],
)
def test_what_an_encoder_cannot(values: dict, message: str, noisy: Path, tmp_path: Path):
    with pytest.raises(UnhazeError) as error:
        restore_video(
            noisy, tmp_path / "out.mkv", restorer=Fixed(), encoding=Encoding(**values), end=10
        )
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_holds_the_same_and_the_call_wins(tmp_path: Path):
    file = tmp_path / "good.toml"
    file.write_text('codec = "av1"\ncrf = 30\naudio = "none"\n')
    assert read_encoding({}, file) == Encoding(codec="av1", crf=30, audio="none")
    assert read_encoding({"bitrate": "2M", "codec": None}, file) == Encoding(
        codec="av1", bitrate=2_000_000, audio="none"
    )
    file.write_text("quality = 3\n")
    with pytest.raises(UnhazeError, match="unknown key 'quality'"):
        read_encoding({}, file)


def test_a_dry_run_says_what_would_be_written(noisy: Path, tmp_path: Path, unhaze):
    target = tmp_path / "out.mp4"
    words = [noisy, "-o", target, "--dry-run", "--codec", "hevc", "--crf", "22"]
    done = unhaze(*words, "--audio", "opus", "--preset", "fast")
    assert done.returncode == 0, done.stderr
    line = done.stdout.decode()
    assert line.startswith(f"{noisy} -> {target}: 320 x 192, 10 frames/s, 10.0 s, h265 by libx265")
    assert "crf 22" in line and "preset fast" in line and "audio opus" in line
    done = unhaze(*words, "--json")
    [entry] = json.loads(done.stdout)["files"]
    assert entry["video"]["options"]["crf"] == "22" and entry["video"]["frames"] == 100
    assert list(tmp_path.iterdir()) == []
    done = unhaze(noisy, "-o", target, "--dry-run", "--preset", "slowest")
    assert (done.returncode, done.stdout) == (1, b"")


def test_command_and_batch_do_as_they_are_told(noisy: Path, tmp_path: Path, half, unhaze):
    words = ["--model", half, "--crf", "30", "--audio", "none", "--end", "1"]
    assert unhaze(noisy, "-o", tmp_path / "a.mp4", *words).returncode == 0
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('crf = 30\naudio = "none"\n')
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.mp4").write_bytes(noisy.read_bytes())
    words = ["batch", source, tmp_path / "out", "--model", half, "--encoding", recipe]
    done = unhaze(*words, "--end", "1", "--dry-run")
    assert b"a.mp4 -> " in done.stdout and not (tmp_path / "out").exists()
    assert unhaze(*words, "--end", "1").returncode == 0
    results = [tmp_path / "a.mp4", tmp_path / "out" / "a.mp4"]
    sizes = [encoded_bytes(each) for each in results]  # by encoders of 1 and 2 threads
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)
    for path in results:
        with av.open(str(path)) as container:
            assert not container.streams.audio
    manifest = (tmp_path / "out" / "unhaze-manifest.jsonl").read_text()
    assert json.loads(manifest.splitlines()[0])["settings"]["encoding"]["crf"] == 30


@pytest.mark.parametrize(
    ("source", "layout", "lost"),
    [
        ("rgb24", "yuv420p", True),
        ("rgb48le", "yuv420p10le", True),
        ("yuvj422p", "yuv420p", True),
        ("yuv444p", "yuv444p", False),  # a video that somebody made so
        ("yuv422p10le", "yuv422p10le", False),
        ("gray", "gray", False),
    ],
)
def test_pictures_become_what_players_decode(source, layout, lost):
    chosen, notes = choose_layout("h264", source, 64, 48)
    assert chosen == layout
    assert any("colour resolution" in each for each in notes) is lost
    assert choose_layout("h264", source, 64, 48, wanted="yuv444p")[0] == "yuv444p"
    assert choose_layout("h264", "rgb24", 63, 48)[0] == "yuv444p"  # 4:2:0 needs even numbers
