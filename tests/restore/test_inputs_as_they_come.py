"""What photos bring with them: frames, stamps, blown skies, fog, night, grey, blocks, any scale."""

import io
from pathlib import Path

import numpy as np
import pytest

from unhaze import dehaze
from unhaze.metrics.side_effects import harm

Image = pytest.importorskip("PIL.Image")
ImageDraw = pytest.importorskip("PIL.ImageDraw")

SAMPLE = Path(__file__).parents[2] / "samples" / "valley.jpg"
CLEAR = SAMPLE.with_name("valley-clear.jpg")
MODELS = ("photo", "photo-fast")


@pytest.fixture(scope="module")
def valley() -> np.ndarray:
    """(H,W,3) uint8, long side 480."""
    with Image.open(SAMPLE) as picture:
        side = 480 / max(picture.size)
        size = [round(each * side) for each in picture.size]
        return np.asarray(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS))


def mean(pixels: np.ndarray, part: tuple[slice, slice]) -> float:
    return float(pixels[part].mean())


def framed(pixels: np.ndarray, level: int) -> tuple[np.ndarray, tuple[slice, slice]]:
    after = np.full_like(pixels, level)
    after[10:-10, 10:-10] = pixels[10:-10, 10:-10]
    return after, (slice(20, -20), slice(20, -20))


def banded(pixels: np.ndarray) -> tuple[np.ndarray, tuple[slice, slice]]:
    after, middle = pixels.copy(), len(pixels) // 2
    after[middle - 12 : middle + 12] = 255
    return after, (slice(0, middle - 24), slice(None))


def barred(pixels: np.ndarray) -> tuple[np.ndarray, tuple[slice, slice]]:
    after = pixels.copy()
    after[:12] = after[-12:] = 0
    return after, (slice(24, -24), slice(None))


def stamped(pixels: np.ndarray) -> tuple[np.ndarray, tuple[slice, slice]]:
    picture = Image.fromarray(pixels)
    place = picture.width - 140, picture.height - 24
    ImageDraw.Draw(picture).text(place, "2026-11-29 09:30", fill=(255, 170, 0))
    return np.asarray(picture), (slice(0, -40), slice(None))


SPOILS = {
    "white frame": lambda pixels: framed(pixels, 255),
    "black frame": lambda pixels: framed(pixels, 0),
    "white band": banded,
    "black bars": barred,
    "date stamp": stamped,
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("spoil", SPOILS)
def test_what_is_no_part_of_the_scene_changes_nothing_else(valley, model, spoil):
    after, rest = SPOILS[spoil](valley)
    share = mean(dehaze(after, model=model), rest) / mean(dehaze(valley, model=model), rest)
    assert 0.93 <= share <= 1.05


@pytest.mark.parametrize("model", MODELS)
def test_a_frame_stays_as_it_is(valley, model):
    for level in (0, 255):
        restored = dehaze(framed(valley, level)[0], model=model)
        assert np.abs(restored[:6].astype(int) - level).max() <= 1


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("level", [128, 160, 200])
def test_flat_fog_stays_fog(model, level):
    noise = np.random.default_rng(0).normal(level, 2, (180, 320, 3))
    fog = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
    assert dehaze(fog, model=model).mean() == pytest.approx(level, rel=0.15)


@pytest.mark.parametrize("model", MODELS)
def test_two_stops_under_is_not_crushed(valley, model):
    dark = np.rint(valley / 4).astype(np.uint8)
    assert harm(dark / 255, dehaze(dark, model=model) / 255)["newly_at_0"] < 0.3


@pytest.mark.parametrize("model", MODELS)
def test_a_blown_sky_stays_blown_and_darkens_nothing(valley, model):
    blown, rows = valley.copy(), len(valley) // 4
    blown[:rows] = 255
    restored, whole = dehaze(blown, model=model), dehaze(valley, model=model)
    assert restored[: rows - 8].min() >= 250
    assert restored[rows + 10 :].mean() >= 0.93 * whole[rows + 10 :].mean()


@pytest.mark.parametrize("model", MODELS)
def test_the_distance_of_the_sample_opens(model):
    """2.5 dB with photo, 3.5 with photo-fast, in the upper two fifths; the prior alone 4.2."""
    hazy, clear = (np.asarray(Image.open(path).convert("RGB")) for path in (SAMPLE, CLEAR))
    far = slice(len(hazy) * 2 // 5)
    before, after = (
        np.square(each[far] - clear[far].astype(float)).mean()
        for each in (hazy, dehaze(hazy, model=model))
    )
    assert 10 * np.log10(before / after) > 2.2


@pytest.mark.parametrize("model", MODELS)
def test_night_stays_night(model):
    down, across = np.mgrid[:240, :320]
    night = np.full((240, 320, 3), 10.0)
    for row, column in ((80, 60), (120, 160), (90, 260)):
        away = np.hypot(down - row, across - column)[..., None]
        night += np.array([255, 220, 150]) * np.exp(-away / 12)
    night = np.clip(night, 0, 255).astype(np.uint8)
    restored = dehaze(night, model=model)
    assert 0.8 * night.mean() < restored.mean() < 1.2 * night.mean()
    assert restored[80, 60].max() > 240  # a lamp


@pytest.mark.parametrize("model", MODELS)
def test_halves_of_a_split_screen_keep_to_themselves(valley, model):
    clear = Image.open(CLEAR).convert("RGB")
    clear = np.asarray(clear.resize(valley.shape[1::-1], Image.Resampling.LANCZOS))
    half = valley.shape[1] // 2
    both = np.concatenate([valley[:, :half], clear[:, half:]], axis=1)
    restored = dehaze(both, model=model).astype(float)
    hazy_before = np.abs(valley[:, :half] - clear[:, :half].astype(float)).mean()
    hazy_after = np.abs(restored[:, :half] - clear[:, :half]).mean()
    assert hazy_after < hazy_before
    assert np.abs(restored[:, half:] - clear[:, half:]).mean() < 0.1 * hazy_before


@pytest.mark.parametrize("model", MODELS)
def test_grey_photos_are_cleared_as_much(valley, model):
    grey = np.asarray(Image.fromarray(valley).convert("L"))
    restored = dehaze(grey, model=model).astype(float)
    coloured = dehaze(valley, model=model)
    expected = np.asarray(Image.fromarray(coloured).convert("L"))
    assert restored.std() == pytest.approx(expected.std(), rel=0.2)
    assert restored.std() > 1.1 * grey.std()


@pytest.mark.parametrize("model", MODELS)
def test_heavy_jpeg_is_cleared_about_alike(valley, model):
    buffer = io.BytesIO()
    Image.fromarray(valley).save(buffer, "JPEG", quality=15)
    spoiled = np.asarray(Image.open(buffer))
    restored, whole = (dehaze(each, model=model).astype(float) for each in (spoiled, valley))
    assert restored.mean() == pytest.approx(whole.mean(), rel=0.1)
    assert np.abs(restored - whole).mean() < 2 * np.abs(spoiled - valley.astype(float)).mean()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("scale", [0.4, 0.7, 1.5, 3.0])
def test_any_scale_is_cleared_about_alike(valley, model, scale):
    size = [round(scale * side) for side in valley.shape[1::-1]]
    other = np.asarray(Image.fromarray(valley).resize(size, Image.Resampling.LANCZOS))
    restored, whole = (dehaze(each, model=model).astype(float) for each in (other, valley))
    assert restored.mean() == pytest.approx(whole.mean(), rel=0.09)
    assert restored.std() == pytest.approx(whole.std(), rel=0.12)


@pytest.mark.parametrize("model", MODELS)
def test_what_alpha_hides_changes_nothing(valley, model):
    alpha = np.full((*valley.shape[:2], 1), 255, np.uint8)
    alpha[:, :60] = 0
    pictures = []
    for hidden in (0, 255):
        pixels = np.concatenate([valley, alpha], axis=2)
        pixels[:, :60, :3] = hidden
        pictures.append(dehaze(pixels, model=model)[:, 60:])
    np.testing.assert_array_equal(*pictures)
