"""Sequences of pictures, as frames/%05d.png: in and out, with gaps, 16 bits and what files hold."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.video_clips import Fixed, hazy_scene, make_clip
from unhaze import photo
from unhaze.errors import UnhazeError
from unhaze.photo import Photo, Traits
from unhaze.photo.picture import EXIF, ICC, XMP
from unhaze.photo.profile import from_numbers
from unhaze.restore.encoding import Encoding
from unhaze.restore.video.sequences import (
    find_pictures,
    named,
    restore_sequence,
)
from unhaze.restore.video.streams import is_sequence

av = pytest.importorskip("av")

XMP_OF = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><a>%d</a></x:xmpmeta>"


def make_pictures(
    folder: Path, numbers: list[int], *, suffix: str = ".png", deep: bool = False
) -> str:
    """Scenes that move, their number in their XMP, in Display P3; the pattern of their names."""
    folder.mkdir(exist_ok=True)
    profile = from_numbers(12, 13)
    for number in numbers:
        pixels = hazy_scene(64, 48, number)
        pixels = pixels.astype(np.uint16) * 257 + 3 if deep else pixels
        traits = Traits(metadata={XMP: XMP_OF % number, ICC: profile}, profile=profile)
        photo.write(Photo(pixels, traits=traits), folder / f"{number:05d}{suffix}")
    return f"{folder}/%05d{suffix}"


def test_names_of_sequences(tmp_path: Path):
    assert is_sequence("frames/%05d.png")
    assert is_sequence(Path("%d.jpg"))
    for name in ("frames/a.png", "%05d/a.png", "%d-%d.png", "http://a/%05d.png", "100%.png", b"%d"):
        assert not is_sequence(name)
    (tmp_path / "%d.png").write_bytes(b"")
    assert not is_sequence(tmp_path / "%d.png"), "a file of that name"
    assert named(Path("a/f%03d.png"), 7) == Path("a/f007.png")
    assert named(Path("a/f%03d.png"), 12345) == Path("a/f12345.png")
    assert named(Path("a/f%d.png"), 7) == Path("a/f7.png")


def test_numbers_gaps_and_start(tmp_path: Path):
    for name in (
        "f001.png",
        "f002.png",
        "f004.png",
        "f1000.png",
        "f03.png",
        "f008.png.txt",
        "g5.png",
    ):
        (tmp_path / name).write_bytes(b"")
    pictures = find_pictures(tmp_path / "f%03d.png")
    assert list(pictures.files) == [1, 2, 4, 1000]
    assert pictures.note == ("996 numbers are missing: 3, 5 to 999",)
    assert list(find_pictures(tmp_path / "f%03d.png", 3).files) == [4, 1000]
    assert find_pictures(tmp_path / "f%03d.png", 1000).note == ()
    with pytest.raises(UnhazeError, match=r"from 1001 on; its numbers are 1 to 1000"):
        find_pictures(tmp_path / "f%03d.png", 1001)
    with pytest.raises(UnhazeError, match=r"no file matches .*expected names such as h1.png"):
        find_pictures(tmp_path / "h%d.png")
    with pytest.raises(UnhazeError, match="cannot read"):
        find_pictures(tmp_path / "absent" / "%d.png")


@pytest.mark.parametrize("deep", [False, True])
def test_a_sequence_keeps_numbers_bits_and_metadata(deep: bool, unhaze, half: Path, tmp_path: Path):
    numbers = [3, 4, 5, 7, 8]
    pattern = make_pictures(tmp_path / "in", numbers, deep=deep)
    done = unhaze(pattern, "-o", "out/%05d.png", "--model", half, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"1 numbers are missing: 6" in done.stderr
    facts = json.loads(done.stdout)
    assert (facts["frames"], facts["target"]) == (5, "out/%05d.png")
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [
        f"{number:05d}.png" for number in numbers
    ]
    for number in numbers:
        made = photo.read(tmp_path / "out" / f"{number:05d}.png")
        hazy = photo.read(tmp_path / "in" / f"{number:05d}.png")
        assert made.traits.metadata[XMP] == XMP_OF % number
        assert made.traits.metadata[ICC] == hazy.traits.metadata[ICC]
        assert made.pixels.dtype == (np.uint16 if deep else np.uint8)
        ratio = made.pixels.astype(float).mean() / hazy.pixels.mean()
        assert 0.4 < ratio < 0.6


def test_exif_and_jpeg_come_along(half: Path, tmp_path: Path, unhaze):
    pattern = make_pictures(tmp_path / "in", [0, 1], suffix=".jpg")
    done = unhaze(pattern, "-o", "out/a%d.jpg", "--model", half, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"out/a%d.jpg\n"
    made = photo.read(tmp_path / "out" / "a1.jpg")
    assert made.traits.metadata[XMP] == XMP_OF % 1
    assert EXIF in made.traits.metadata or made.traits.format == "jpeg"


def test_a_sequence_flickers_less_than_its_pictures_alone(tmp_path: Path):
    """The field is held: where nothing moves, an estimate that leaps is smoothed."""
    from unhaze.restore.restorer import Restorer

    class Nervous(Restorer):
        """Each look at a picture finds another gain."""

        seen = 0

        def look(self, opened):
            seen = super().look(opened)
            self.seen += 1
            seen.maps[:, 0] = 0.9 if self.seen % 2 else 0.5
            seen.maps[:, 1] = 0.0
            return seen

    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(12):
        photo.write(Photo(hazy_scene(64, 48, 0)), folder / f"{number}.png")
    restorer = Nervous("dcp", "cpu")
    (tmp_path / "out").mkdir()
    restore_sequence(folder / "%d.png", tmp_path / "out" / "%d.png", restorer=restorer)
    shown = [photo.read(tmp_path / "out" / f"{number}.png").pixels.mean() for number in range(12)]
    leaps = np.abs(np.diff(shown))[4:]
    alone = 0.4 * hazy_scene(64, 48, 0).mean()
    assert leaps.max() < alone / 4


def test_a_sequence_becomes_a_video(unhaze, half: Path, tmp_path: Path):
    pattern = make_pictures(tmp_path / "in", [10, 11, 12, 14], deep=True)
    words = [pattern, "-o", "out.mkv", "--fps", "8", "--start-number", "11", "--model", half]
    done = unhaze(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"1 numbers are missing: 13" in done.stderr
    assert b"unhaze-" not in done.stderr, "no temporary name"
    with av.open(str(tmp_path / "out.mkv")) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.average_rate) == ("ffv1", 8)
        frames = list(container.decode(video))
    assert len(frames) == 3
    assert max(part.bits for part in frames[0].format.components) == 16
    hazy = hazy_scene(64, 48, 11)
    assert np.abs(frames[0].to_ndarray(format="rgb24").astype(float) - hazy / 2).mean() < 3


def test_pictures_of_another_size_are_stretched_with_a_note(tmp_path: Path):
    pattern = make_pictures(tmp_path / "in", [1, 2, 3])
    report = restore_sequence(pattern, tmp_path / "one.mkv", restorer=Fixed())
    assert not any("stretched" in note for note in report.notes)
    photo.write_rgb(tmp_path / "in" / "00002.png", hazy_scene(48, 64, 2))
    report = restore_sequence(pattern, tmp_path / "two.mkv", restorer=Fixed())
    assert any("size of the source's frames changes" in note for note in report.notes)


def test_a_video_becomes_a_sequence(unhaze, half: Path, tmp_path: Path):
    make_clip(tmp_path / "in.mkv", codec="ffv1", layout="bgr0")
    words = ["in.mkv", "-o", "out/%03d.png", "--start-number", "0", "--model", half]
    done = unhaze(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = sorted(each.name for each in (tmp_path / "out").iterdir())
    assert names == [f"{number:03d}.png" for number in range(12)]
    for number in (0, 11):
        made = photo.read(tmp_path / "out" / f"{number:03d}.png").pixels
        assert np.abs(made - hazy_scene(64, 48, number) / 2).mean() < 1
    again = unhaze(*words, cwd=tmp_path)
    assert again.returncode == 1
    assert b"'out/000.png' exists" in again.stderr
    part = unhaze(*words, "--overwrite", "--start", "0.5", "--end", "0.8", cwd=tmp_path)
    assert part.returncode == 0, part.stderr
    made = photo.read(tmp_path / "out" / "000.png").pixels
    assert np.abs(made - hazy_scene(64, 48, 5) / 2).mean() < 1


def test_a_profile_in_frames_does_not_kill_the_process_later(tmp_path: Path):
    """PyAV frees the tags of such side data twice, when garbage is collected."""
    make_pictures(tmp_path / "in", list(range(10)))
    code = (
        "import gc, sys\n"
        "sys.path.insert(0, sys.argv[1]); from tests.video_clips import Fixed\n"
        "from unhaze.restore.video.sequences import restore_sequence\n"
        "restore_sequence(sys.argv[2], sys.argv[3], restorer=Fixed(0.5)); gc.collect()\n"
    )
    words = [str(Path(__file__).parents[3]), f"{tmp_path}/in/%05d.png", str(tmp_path / "out.mkv")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_ten_bits_become_sixteen(tmp_path: Path):
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", layout="yuv420p10le", count=2)
    report = restore_sequence(source, tmp_path / "%d.png", restorer=Fixed(0.5))
    made = photo.read(tmp_path / "2.png").pixels
    assert (report.frames, made.dtype) == (2, np.uint16)
    assert np.abs(made / 257 - hazy_scene(64, 48, 1) / 2).mean() < 3


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        ("out/%d.png", {"fps": 25.0}, "fps is only for a sequence that becomes a video"),
        (
            "out/%d.png",
            {"encoding": Encoding(crf=20)},
            "settings of videos, such as codec",
        ),
        ("out/%d.png", {"start": 1.0}, "start and end are only for videos"),
        ("out/%d.xyz", {}, ".xyz"),
        ("in/%05d.png", {}, "is the input"),
        ("out.xyz", {}, "cannot write videos as '.xyz'"),
    ],
)
def test_what_a_sequence_cannot(target: str, settings: dict, message: str, tmp_path: Path):
    pattern = make_pictures(tmp_path / "in", [1, 2])
    before = {each: each.read_bytes() for each in (tmp_path / "in").iterdir()}
    with pytest.raises(UnhazeError, match=message):
        restore_sequence(pattern, tmp_path / target, restorer=Fixed(), **settings)
    assert {each: each.read_bytes() for each in (tmp_path / "in").iterdir()} == before


@pytest.mark.parametrize(
    ("words", "form"), [((), "matroska,webm"), (("--container", "y4m"), "yuv4mpegpipe")]
)
def test_a_sequence_goes_to_stdout(
    unhaze, half: Path, tmp_path: Path, words: tuple[str, ...], form: str
):
    pattern = make_pictures(tmp_path / "in", [1, 2])
    done = unhaze(pattern, "-o", "-", *words, "--model", half)
    assert done.returncode == 0, done.stderr
    with av.open(io.BytesIO(done.stdout)) as made:
        assert (made.format.name, len([*made.decode(video=0)])) == (form, 2)


def test_a_broken_picture_is_named(unhaze, half: Path, tmp_path: Path):
    pattern = make_pictures(tmp_path / "in", [1, 2, 3])
    (tmp_path / "in" / "00002.png").write_bytes(b"no picture")
    done = unhaze(pattern, "-o", "out/%d.png", "--model", half, cwd=tmp_path)
    assert done.returncode == 1
    assert b"00002.png" in done.stderr
    assert len(done.stderr.splitlines()) == 1
