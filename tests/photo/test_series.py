"""Animations come back as animations: frames, times, loops, transparency; steady in their field."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from unhaze import photo
from unhaze.errors import UnhazeError
from unhaze.outputs import Output
from unhaze.restore.restorer import Restorer

PIL = pytest.importorskip("PIL.Image")

DELAYS = [50, 60, 70, 80]
KINDS = ("gif", "webp", "png", "avif")
SHAPE = (64, 96)


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer("dcp", analysis=64)


def frames(alpha: bool = False) -> list[np.ndarray]:
    """A hazy hill that moves to the right; with alpha, a corner cannot be seen."""
    rows, columns = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    made = []
    for shift in range(len(DELAYS)):
        hill = 120 + 50 * np.sin((columns - 6 * shift) / 9) * (rows / SHAPE[0])
        pixels = np.stack([hill, hill + 20, hill + 40], axis=2)
        if alpha:
            shown = np.where((rows < 20) & (columns < 20), 0, 255)
            pixels = np.dstack([pixels, shown])
        made.append(pixels.astype(np.uint8))
    return made


def animation(kind: str, alpha: bool = False) -> bytes:
    pictures = [PIL.fromarray(each) for each in frames(alpha)]
    lossless = {"webp": {"lossless": True}, "avif": {"quality": 100}}.get(kind, {})
    more = {} if kind == "avif" else {"loop": 3}
    file = io.BytesIO()
    settings = {"save_all": True, "append_images": pictures[1:], "duration": DELAYS}
    pictures[0].save(file, kind, **settings, **lossless, **more)
    return file.getvalue()


def opened(data: bytes) -> tuple[list[np.ndarray], list[int]]:
    """Frames as Pillow decodes them, and their times."""
    picture, pixels, delays = PIL.open(io.BytesIO(data)), [], []
    for number in range(picture.n_frames):
        picture.seek(number)
        pixels.append(np.array(picture.convert("RGBA")))
        delays.append(round(picture.info["duration"]))
    return pixels, delays


@pytest.mark.parametrize("kind", KINDS)
def test_an_animation_stays_one(kind, restorer, tmp_path: Path):
    (tmp_path / f"a.{kind}").write_bytes(animation(kind))
    restorer.restore_file(tmp_path / f"a.{kind}", tmp_path / f"b.{kind}")
    got, delays = opened((tmp_path / f"b.{kind}").read_bytes())
    before, _ = opened(animation(kind))
    assert len(got) == len(DELAYS) and delays == DELAYS
    for each, hazy in zip(got, before):
        assert each.shape == hazy.shape
        assert each[..., :3].mean() < hazy[..., :3].mean() - 40, "the veil is still there"
    if kind != "avif":
        assert PIL.open(tmp_path / f"b.{kind}").info["loop"] == 3


@pytest.mark.parametrize("kind", ["webp", "png"])
def test_strength_0_changes_no_frame(kind, restorer):
    done = restorer.restore_bytes(animation(kind, alpha=True), strength=0)
    for got, wanted in zip(opened(done)[0], frames(alpha=True)):
        seen = wanted[..., 3] > 0
        assert np.array_equal(got[seen], wanted[seen])
        assert np.array_equal(got[..., 3], wanted[..., 3])


def test_what_cannot_be_seen_has_no_influence(restorer):
    black = [each * (each[..., 3:] > 0).astype(np.uint8) for each in frames(alpha=True)]
    white = [
        np.where(each[..., 3:] > 0, each, each | np.uint8([255, 255, 255, 0]))
        for each in frames(alpha=True)
    ]
    results = []
    for made in (black, white):
        pictures = [PIL.fromarray(each) for each in made]
        file = io.BytesIO()
        pictures[0].save(file, "png", save_all=True, append_images=pictures[1:], duration=50)
        results.append(opened(restorer.restore_bytes(file.getvalue()))[0])
    for one, other in zip(*results):
        assert np.abs(one[30:, 30:].astype(int) - other[30:, 30:]).max() <= 2


def test_the_field_is_steady(restorer):
    """The same picture with some noise: its mean brightness does not jump from frame to frame."""
    random = np.random.default_rng(0)
    pictures = [
        PIL.fromarray(np.clip(frames()[0] + random.normal(0, 2, (*SHAPE, 3)), 0, 255).astype("u1"))
        for _ in range(6)
    ]
    file = io.BytesIO()
    pictures[0].save(file, "png", save_all=True, append_images=pictures[1:], duration=50)
    together = [each[..., :3].mean() for each in opened(restorer.restore_bytes(file.getvalue()))[0]]
    alone = []
    for each in pictures:
        one = io.BytesIO()
        each.save(one, "png")
        alone.append(photo.read(restorer.restore_bytes(one.getvalue())).pixels.mean())
    steps = [np.abs(np.diff(means)).mean() for means in (together, alone)]
    assert steps[0] < steps[1]


@pytest.mark.parametrize("given, seen", [(None, 640), (800, 800), (64, 64)])
def test_the_network_sees_frames_at_the_given_size(given: int | None, seen: int, monkeypatch):
    asked = Restorer("dcp", analysis=given)
    sizes, estimate = [], asked.estimate
    monkeypatch.setattr(
        asked, "estimate", lambda small: sizes.append(max(small.shape[:2])) or estimate(small)
    )
    wide = [PIL.fromarray(each).resize((900, 60)) for each in frames()[:2]]
    file = io.BytesIO()
    wide[0].save(file, "png", save_all=True, append_images=wide[1:])
    asked.restore_bytes(file.getvalue())
    assert sizes == [seen, seen]


def test_into_another_format(restorer, tmp_path, caplog):
    (tmp_path / "a.gif").write_bytes(animation("gif"))
    restorer.restore_file(tmp_path / "a.gif", tmp_path / "b.webp")
    assert opened((tmp_path / "b.webp").read_bytes())[1] == DELAYS
    assert not caplog.messages
    restorer.restore_file(tmp_path / "a.gif", tmp_path / "b.jpg")
    assert any("all but the first of 4" in line for line in caplog.messages)


def test_an_animated_png_that_becomes_jpeg_says_so(restorer, tmp_path, caplog):
    (tmp_path / "a.png").write_bytes(animation("png"))
    restorer.restore_file(tmp_path / "a.png", tmp_path / "b.jpg")
    assert any("all but the first of 4" in line for line in caplog.messages)


def test_depth_and_colours_of_animations_are_what_they_are(restorer):
    with pytest.raises(UnhazeError, match="8 bits"):
        restorer.restore_bytes(animation("png"), output=Output(bit_depth=16))


def test_without_pillow_the_first_frame_of_a_png_is_restored_and_it_is_reported(
    restorer, tmp_path, caplog, monkeypatch
):
    (tmp_path / "a.png").write_bytes(animation("png"))
    monkeypatch.setitem(sys.modules, "PIL", None)
    restorer.restore_file(tmp_path / "a.png", tmp_path / "b.png")
    assert photo.read(tmp_path / "b.png").pixels.shape == (*SHAPE, 3)
    assert any('pip install "unhaze[formats]"' in line for line in caplog.messages)
    assert any("all but the first of 4" in line for line in caplog.messages)
