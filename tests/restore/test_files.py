"""Files in, files out: strips give what the whole picture gives, and memory does not grow."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pyvips

from tests.quick import slow_but
from unhaze import photo
from unhaze.errors import UnhazeError
from unhaze.haze import add_haze
from unhaze.photo import Photo, Traits, picture
from unhaze.restore.analysis import analysis_image
from unhaze.restore.restorer import Restorer


class Undo:
    """A model that undoes a haze of transmission 0.5 and airlight 0.8, and notes what it saw."""

    def __init__(self) -> None:
        self.card: dict[str, int] = {}
        self.device = "cpu"
        self.path = None
        self.seen: list[np.ndarray] = []

    def __call__(self, hazy: np.ndarray) -> np.ndarray:
        self.seen.append(hazy)
        return 2 * hazy - np.float32(0.8)

    def pools(self, hazy: np.ndarray) -> list[np.ndarray]:
        return []


def undoing(**settings: object) -> Restorer:
    restorer = Restorer("dcp", threads=2, **settings)
    restorer.model = Undo()
    return restorer


@pytest.fixture
def restorer() -> Restorer:
    return undoing(analysis=64)


def samples(height: int, width: int, channels: int, dtype: type = np.uint8) -> np.ndarray:
    """A hazy picture (H,W,channels) with edges, the last of 2 or 4 channels being transparency."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.sin(rows / 9 + columns / 7)[..., None] * np.arange(1, channels + 1) / 9
    blocks = ((rows // 16 + columns // 16) % 2)[..., None] / 5
    hazy = add_haze(np.clip(0.4 + waves + blocks, 0, 1), 0.5, 0.8)
    return np.rint(hazy * np.iinfo(dtype).max).astype(dtype)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    image = pyvips.Image.new_from_array(pixels)
    spaces = ("b-w", "srgb") if pixels.dtype == np.uint8 else ("grey16", "rgb16")
    image.copy(interpretation=spaces[image.bands > 2]).write_to_file(str(path), **options)
    return path


def load(path: Path) -> np.ndarray:
    """(H,W,channels) as stored."""
    image = pyvips.Image.new_from_file(str(path), access="random")
    return image.numpy().reshape(image.height, image.width, -1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_strips_give_what_the_whole_gives(tmp_path, monkeypatch, restorer, channels, dtype, suffix):
    hazy = samples(150, 200, channels, dtype)
    source, target = save(tmp_path / f"in{suffix}", hazy), tmp_path / f"out{suffix}"
    monkeypatch.setattr(picture, "STRIP", 3000)
    restorer.restore_file(source, target)
    restored = load(target)
    assert restored.dtype == dtype
    assert restored.shape == hazy.shape
    colours = 1 if channels <= 2 else 3
    whole = restorer.restore(photo.read(source))
    np.testing.assert_array_equal(restored[..., colours:], hazy[..., colours:])
    error = np.abs(restored[..., :colours].astype(int) - whole.pixels[..., :colours])
    assert error.max() <= 1  # grey: one gain, or the sum of three
    top = np.iinfo(dtype).max
    expected = np.clip(2 * (hazy[..., :colours] / top) - 0.8, 0, 1)
    assert np.abs(restored[..., :colours] / top - expected).max() < 0.02
    encoded = restorer.restore_bytes(source.read_bytes())
    assert encoded == target.read_bytes()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("native", [False, True])
def test_strength_zero_changes_no_sample(tmp_path, channels, dtype, suffix, native):
    top = np.iinfo(dtype).max
    noise = np.random.default_rng(0).integers(0, top + 1, (60, 50, channels), dtype=dtype)
    restorer = undoing(native=native)
    restorer.restore_file(
        save(tmp_path / f"in{suffix}", noise), tmp_path / f"out{suffix}", strength=0
    )
    np.testing.assert_array_equal(load(tmp_path / f"out{suffix}"), noise)
    assert restorer.model.seen == []


def test_strength_zero_keeps_the_colours_of_a_palette(tmp_path, restorer):
    hazy = samples(40, 50, 3) // 32 * 32
    save(tmp_path / "in.png", hazy, palette=True, dither=0)
    restorer.restore_file(tmp_path / "in.png", tmp_path / "out.png", strength=0)
    np.testing.assert_array_equal(load(tmp_path / "out.png"), hazy)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_jpeg_is_seen_by_the_means_of_its_blocks(tmp_path, channels):
    path = save(tmp_path / "in.jpg", samples(384, 520, channels), Q=95)
    blocks = load(path).astype(float).reshape(48, 8, 65, 8, channels).mean((1, 3))
    with photo.open_photo(path) as opened:
        assert opened.to_shrink(66).width == 520  # under 8 times as large
        found = opened.to_shrink(65).numpy().reshape(blocks.shape)
    assert np.abs(found - blocks).mean() < 1
    restorer = undoing(analysis=64)
    restorer.restore_file(path, tmp_path / "out.jpg")
    [seen] = restorer.model.seen
    whole = analysis_image(load(path).repeat(3 // channels, axis=2), 64)
    assert np.abs(seen[0].transpose(1, 2, 0) - whole).mean() < 0.004


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_a_turned_photo_is_seen_upright_and_stays_as_stored(tmp_path, orientation, suffix):
    hazy = samples(60, 90, 3)
    image = pyvips.Image.new_from_array(hazy).copy(interpretation="srgb")
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    image.write_to_file(str(tmp_path / f"in{suffix}"))
    restorer = undoing()
    restorer.restore_file(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}")
    written = pyvips.Image.new_from_file(str(tmp_path / f"out{suffix}"))
    assert (written.width, written.height) == (90, 60)
    assert written.get("orientation") == orientation
    upright = pyvips.Image.new_from_file(str(tmp_path / f"in{suffix}")).autorot().numpy() / 255
    [seen] = restorer.model.seen
    np.testing.assert_allclose(seen[0].transpose(1, 2, 0), upright, atol=1e-6)
    expected = np.clip(2 * (load(tmp_path / f"in{suffix}") / 255) - 0.8, 0, 1)
    assert np.abs(written.numpy() / 255.0 - expected).mean() < 0.02


def test_the_thumbnail_follows_and_stays_where_nothing_changes(tmp_path):
    restorer = undoing(analysis=200)
    image = pyvips.Image.new_from_array(samples(300, 400, 3)).copy(interpretation="srgb")
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Make", "Maker")
    old = image.thumbnail_image(160).jpegsave_buffer(Q=95, keep="none")
    image.set_type(pyvips.GValue.blob_type, "jpeg-thumbnail-data", old)
    image.jpegsave(str(tmp_path / "in.jpg"))
    for name, strength in (("same.jpg", 0), ("new.jpg", 1)):
        restorer.restore_file(tmp_path / "in.jpg", tmp_path / name, strength=strength)
    small = {
        name: pyvips.Image.new_from_file(str(tmp_path / name)).get("jpeg-thumbnail-data")
        for name in ("in.jpg", "same.jpg", "new.jpg")
    }
    assert small["same.jpg"] == small["in.jpg"]
    restored = pyvips.Image.new_from_file(str(tmp_path / "new.jpg")).thumbnail_image(160).numpy()
    assert np.abs(photo.read(small["new.jpg"]).pixels.astype(int) - restored).mean() < 6


def test_native_mode_sees_every_pixel(tmp_path):
    hazy = samples(100, 120, 4)
    source = save(tmp_path / "in.png", hazy)
    restorer = undoing(native=True, analysis=32)
    restorer.restore_file(source, tmp_path / "out.png", strength=0.5)
    halfway = np.clip(1.5 * (hazy[..., :3] / 255) - 0.4, 0, 1)
    restored = load(tmp_path / "out.png")
    assert np.abs(restored[..., :3] / 255 - halfway).max() <= 0.6 / 255
    np.testing.assert_array_equal(restored[..., 3], hazy[..., 3])


@pytest.mark.parametrize("native", [False, True])
def test_pictures_to_look_at(tmp_path, native):
    source = save(tmp_path / "in.jpg", samples(200, 300, 3))
    restorer = undoing(native=native, analysis=100)
    compare, folder = tmp_path / "both.png", tmp_path / "seen" / "fields"
    restorer.restore_file(source, tmp_path / "out.jpg", compare=compare, save_field=folder)
    both = photo.read_rgb(compare)
    assert both.shape[0] == 67 and 200 <= both.shape[1] <= 210
    assert both[:, -100:].std() > 1.5 * both[:, :100].std()
    names = {"out.jpg.transmission.png", "out.jpg.airlight.png"}
    assert {each.name for each in folder.iterdir()} == names
    light = photo.read_rgb(folder / "out.jpg.airlight.png")
    assert light.shape == (67, 100, 3)
    assert abs(light.mean() / 255 - 0.8) < 0.05
    with pytest.raises(UnhazeError, match="both.png' exists"):
        restorer.restore_file(source, tmp_path / "new.jpg", compare=compare)
    assert not (tmp_path / "new.jpg").exists()
    runs = len(restorer.model.seen)
    restorer.restore_file(source, tmp_path / "out.jpg", compare=compare, overwrite=True, strength=0)
    assert len(restorer.model.seen) > runs
    both = photo.read_rgb(compare).astype(int)
    assert np.abs(both[:, -100:] - both[:, :100]).max() <= 1


def test_what_cannot_be_written_is_known_before_the_work(tmp_path):
    source = save(tmp_path / "in.png", samples(20, 20, 3))
    (tmp_path / "there.png").write_bytes(b"mine")
    restorer = undoing()
    for target, said in (
        ("there.png", "exists"),
        ("in.png", "is the input"),
        ("out.bmp", "'.bmp'"),
        ("no/out.png", "no folder"),
    ):
        with pytest.raises(UnhazeError, match=said):
            restorer.restore_file(source, tmp_path / target, overwrite=target == "in.png")
    with pytest.raises(UnhazeError, match="cannot create the folder"):
        restorer.restore_file(source, tmp_path / "out.png", save_field=source)
    assert restorer.model.seen == []
    assert {each.name for each in tmp_path.iterdir()} == {"in.png", "there.png"}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_damage_found_while_writing_is_blamed_on_the_source(tmp_path, suffix, monkeypatch):
    """With strength 0 nothing has been decoded before."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8)
    whole = save(tmp_path / f"in{suffix}", noise).read_bytes()
    (tmp_path / f"in{suffix}").write_bytes(whole[: len(whole) * 2 // 3])
    monkeypatch.setattr(picture, "STRIP", 3000)
    with pytest.raises(UnhazeError, match=f"in{suffix}'") as caught:
        undoing().restore_file(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", strength=0)
    assert "write" not in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == [f"in{suffix}"]


def peak_memory() -> int:
    """Bytes, of this process; 0 where that is not known. Not by getrusage, which on Linux gives a
    new process the peak of the one that started it.
    """
    status = Path("/proc/self/status")
    facts = status.read_text().splitlines() if status.exists() else ()
    return next((1024 * int(line.split()[1]) for line in facts if line.startswith("VmHWM")), 0)


MEASURE = """
import sys
sys.path.insert(0, sys.argv[3])
from tests.restore.test_files import peak_memory, undoing
undoing(analysis=256).restore_file(sys.argv[1], sys.argv[2])
print(peak_memory())
"""


@pytest.mark.skipif(not peak_memory(), reason="this system does not say what memory was used")
@pytest.mark.parametrize("suffix", slow_but([".tif"], [".tif", ".jpg", ".png"]))
def test_memory_does_not_grow_with_the_picture(tmp_path, suffix):
    peaks = []
    for height, width in ((1000, 2000), (5000, 4000)):
        source = tmp_path / f"{width}{suffix}"
        grey = pyvips.Image.grey(width, height, uchar=True)
        grey.bandjoin([grey, grey]).copy(interpretation="srgb").write_to_file(str(source))
        command = [sys.executable, "-c", MEASURE, source, tmp_path / f"out-{width}{suffix}"]
        done = subprocess.run(
            [*command, Path(__file__).parents[2]],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 45e6  # the picture alone is 60 MB, and another 60 MB restored


SLOW = """
import sys, time
import numpy as np
from unhaze.photo import Stream, Traits, write
def rows():
    print("started", flush=True)
    for _ in range(3000):
        time.sleep(0.01)
        yield np.zeros((1, 100, 3), np.uint8)
try:
    write(Stream(rows(), (3000, 100, 3), np.dtype(np.uint8), Traits()), sys.argv[1])
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopping_while_writing_leaves_nothing(tmp_path, suffix, number):
    target = tmp_path / f"out{suffix}"
    command = [sys.executable, "-c", SLOW, target]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has SIGINT ignored, and children inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as run:
        assert run.stdout.readline() == "started\n"
        time.sleep(0.1)
        os.kill(run.pid, number)
        said, complaints = run.communicate(timeout=20)
    assert complaints == ""
    assert said == ("stopped\n" if number == signal.SIGINT else "")
    hidden_stays = number == signal.SIGKILL and not hasattr(os, "O_TMPFILE")
    assert hidden_stays or list(tmp_path.iterdir()) == []


def test_replacing_pixels_is_all_that_restore_does(restorer):
    hazy = Photo(samples(30, 40, 3), traits=Traits(quality=50, metadata={"xmp-data": b"<x/>"}))
    assert replace(restorer.restore(hazy), pixels=hazy.pixels) == hazy
