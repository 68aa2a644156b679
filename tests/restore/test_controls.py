"""Skies as they are, lighter shadows, no cast: in pictures, from Python and from the command."""

import json
from pathlib import Path

import numpy as np
import pytest

from unhaze import dehaze, photo
from unhaze.cli import main
from unhaze.errors import UnhazeError
from unhaze.image import LUMA
from unhaze.outputs import CONTROLS, Controls
from unhaze.restore.controlling import SURE, cast_of, controlled, keeps_cast, shade_of, sky_of
from unhaze.restore.models import open_model
from unhaze.restore.native import restore_whole
from unhaze.restore.restorer import Restorer

Image = pytest.importorskip("PIL.Image")

SAMPLE = Path(__file__).parents[2] / "samples" / "valley.jpg"


def landscape() -> np.ndarray:
    """(96,128,3): a smooth light sky, below it dark ground with detail and a tower into the sky."""
    picture = np.empty((96, 128, 3), np.float32)
    picture[:48] = (0.7, 0.75, 0.8)
    picture[:48] += np.linspace(0, 0.05, 48, dtype=np.float32)[:, None, None]
    noise = np.random.default_rng(0).random((48, 128, 1), np.float32)
    picture[48:] = 0.15 + 0.2 * noise
    picture[16:48, 60:68] = 0.2
    return picture


def test_the_sky_is_what_lies_smooth_below_the_top():
    sky = sky_of(landscape())[..., 0]
    assert sky[:44, :52].min() > 0.9 and sky[:44, 76:].min() > 0.9
    assert sky[56:].max() < 0.1
    assert sky[24:44, 62:66].max() < 0.3  # the tower
    dark_top = landscape()[::-1]
    assert sky_of(np.ascontiguousarray(dark_top)).mean() < 0.1


def test_a_protected_sky_stays_and_the_rest_is_cleared():
    hazy = landscape()
    restored = hazy * 0.5
    done = controlled(hazy, restored, Controls(protect_sky=1.0))
    np.testing.assert_allclose(done[:40, :50], hazy[:40, :50], atol=0.04)
    np.testing.assert_allclose(done[60:], restored[60:], atol=0.04)


def test_lifted_shadows_keep_black_order_and_light():
    ramp = np.repeat(np.linspace(0, 1, 256, dtype=np.float32), 3).reshape(1, 256, 3)
    picture = np.repeat(ramp, 64, 0)
    done = controlled(picture, picture, Controls(lift_shadows=1.0))[32, :, 0]
    assert done[0] == 0 and (np.diff(done) > 0).all()
    assert done[12] > 2 * picture[32, 12, 0]
    np.testing.assert_allclose(done[128:], picture[32, 128:, 0], atol=1e-4)
    assert shade_of(picture).min() == 0


def test_white_balance_takes_the_cast_and_keeps_the_light():
    grey = np.random.default_rng(0).random((40, 50, 1), np.float32).repeat(3, 2) * 0.8
    dusty = grey * np.array([1.1, 1.0, 0.7], np.float32)
    done = controlled(dusty, dusty, Controls(white_balance=1.0))
    np.testing.assert_allclose(done.mean((0, 1)), done.mean(), rtol=0.01)
    assert (done @ LUMA).mean() == pytest.approx((dusty @ LUMA).mean(), rel=0.01)
    half = controlled(dusty, dusty, Controls(white_balance=0.5))
    cast = [np.log(each[..., 0].mean() / each[..., 2].mean()) for each in (dusty, half)]
    assert cast[1] == pytest.approx(cast[0] / 2, rel=0.02)
    np.testing.assert_allclose(cast_of(grey), 1, atol=0.01)


def test_a_white_frame_has_no_say_in_the_colour_of_the_light():
    dusty = landscape() * np.float32((1.1, 1.0, 0.7))
    framed = dusty.copy()
    framed[:8] = 1
    np.testing.assert_array_equal(cast_of(framed), cast_of(dusty[8:]))
    np.testing.assert_array_equal(cast_of(np.ones((4, 4, 3), np.float32)), 1)


DUST, GREY = (0.9, 0.72, 0.48), (0.8, 0.8, 0.8)
STORM = (0.9, 0.55, 0.1)


@pytest.mark.parametrize(
    ("airlight", "through", "stays"),
    [(DUST, 0.5, True), (DUST, 1.0, False), (GREY, 0.5, False), (DUST[::-1], 0.5, False)],
)
def test_coloured_haze_is_told_from_grey_haze_and_none(airlight, through, stays):
    hazy = through * landscape() + (1 - through) * np.float32(airlight)
    assert keeps_cast(hazy, hazy) is stays
    assert not keeps_cast(hazy, landscape())  # a model that removes the cast


def test_a_warm_scene_without_haze_has_dark_shadows():
    warm = landscape()[48:] * np.float32((1.2, 0.9, 0.5))
    assert not keeps_cast(warm, warm)
    assert keeps_cast(0.5 * warm + 0.5 * np.float32(DUST), warm, SURE)
    behind_light_haze = 0.9 * warm + 0.1 * np.float32(GREY)
    assert keeps_cast(behind_light_haze, warm) and not keeps_cast(behind_light_haze, warm, SURE)


@pytest.fixture
def dusty(tmp_path):
    path = tmp_path / "dust.png"
    hazy = 0.5 * landscape() + np.float32(0.5) * np.float32(STORM)
    Image.fromarray(np.rint(255 * hazy).astype(np.uint8)).save(path)
    return path


def test_the_cast_of_dust_goes_by_itself_and_stays_on_request(dusty, tmp_path, capfd):
    """Nothing is said where white balance is given and above 0."""
    found = {}
    for balance, said in ((None, "0 keeps it"), ("0", "stays unless"), ("1", None)):
        target = tmp_path / f"{balance}.png"
        given = [] if balance is None else ["--white-balance", balance]
        assert main(["run", str(dusty), "--json", *given, "-o", str(target)]) == 0
        assert [said in each for each in notes(capfd)] == ([] if said is None else [True])
        found[balance] = target.read_bytes()
    assert found[None] == found["1"] != found["0"]
    pixels = np.asarray(Image.open(dusty))
    np.testing.assert_array_equal(dehaze(pixels), np.asarray(Image.open(tmp_path / "None.png")))


def test_the_colour_of_thin_dust_goes_with_it():
    """Without white balance: the airlight that is subtracted has that colour."""
    clear = landscape()
    hazy = 0.5 * clear + np.float32(0.5) * np.float32(DUST)
    restored = dehaze(np.rint(255 * hazy).astype(np.uint8), white_balance=0) / 255
    added, left = ((each - clear)[..., ::2].mean((0, 1)) @ (1, -1) for each in (hazy, restored))
    assert abs(left) < 0.5 * added


def test_only_photos_are_balanced_by_themselves(dusty):
    """Frames of one video must not differ, and a page with sliders shows what they say."""
    restorer = Restorer("photo-fast")
    pixels = np.asarray(Image.open(dusty))
    kept = restorer.controlled(Controls(white_balance=0.0))
    np.testing.assert_array_equal(restorer.estimate(pixels), kept.estimate(pixels))
    with photo.open_photo(dusty) as opened:
        np.testing.assert_array_equal(restorer.look(opened).maps, kept.look(opened).maps)
        assert not np.array_equal(
            restorer.look(opened, automatic=True).maps, kept.look(opened).maps
        )


def test_what_is_said_of_a_cast_is_true_of_the_result(dusty, tmp_path, capfd, caplog):
    """At strength 0, of animations (also beside them), and of sequences, whose frames are many."""
    unchanged = ["run", str(dusty), "-o", str(tmp_path / "a.png"), "--strength", "0", "--compare"]
    assert main([*unchanged, "--json"]) == 0
    assert not any("was removed" in each for each in notes(capfd))

    frame, moving = Image.open(dusty), tmp_path / "in.webp"
    other = frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    frame.save(moving, save_all=True, append_images=[other], lossless=True)
    target = tmp_path / "out.webp"
    assert main(["run", str(moving), "-o", str(target), "--compare", "--json"]) == 0
    assert not any("was removed" in each for each in notes(capfd))
    beside = np.asarray(Image.open(f"{target}.compare.jpg").convert("RGB"), float)[:, -128:]
    shown = np.asarray(Image.open(target).convert("RGB"), float)
    assert np.abs(beside.mean((0, 1)) - shown.mean((0, 1))).max() < 6

    for number in range(2):
        frame.save(tmp_path / f"{number}.png")
    caplog.clear()
    assert main(["run", str(tmp_path / "%d.png"), "-o", str(tmp_path / "to" / "%d.png")]) == 0
    assert "dust" not in caplog.text


def test_a_photo_that_is_balanced_by_itself_is_seen_by_the_network_once(dusty, monkeypatch):
    seen = []

    def counted(*given, **named):
        seen.append(given)
        return restore_whole(*given, **named)

    monkeypatch.setattr("unhaze.restore.restorer.restore_whole", counted)
    dehaze(np.asarray(Image.open(dusty)))
    assert len(seen) == 1


def notes(capfd) -> list[str]:
    (restored,) = json.loads(capfd.readouterr().out)["files"]
    return restored["notes"]


@pytest.mark.parametrize("wrong", [-0.1, 1.5, "much", True, float("nan")])
def test_a_control_is_a_share(wrong):
    with pytest.raises(UnhazeError, match="lift_shadows is .*; expected 0"):
        Controls(lift_shadows=wrong)


@pytest.mark.parametrize("name", CONTROLS)
def test_the_command_and_python_do_the_same(name, tmp_path):
    with Image.open(SAMPLE) as picture:
        picture.resize((320, 240)).save(tmp_path / "a.png")
    option = f"--{name.replace('_', '-')}"
    assert main(["run", str(tmp_path / "a.png"), option, "0.8"]) == 0
    command = np.asarray(Image.open(tmp_path / "a.unhazed.png")).astype(int)
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    python = dehaze(pixels, **{name: 0.8}).astype(int)
    assert np.abs(command - python).max() <= 1
    assert np.abs(python - dehaze(pixels)).max() > 3
    assert (dehaze(pixels, strength=0.0, **{name: 0.8}) == pixels).all()


def test_controls_do_not_go_with_native(tmp_path, capfd):
    with pytest.raises(UnhazeError, match="cannot be combined with native"):
        dehaze(np.zeros((32, 32, 3), np.uint8), native=True, protect_sky=1.0)
    assert main(["run", str(SAMPLE), "--native", "--protect-sky", "1"]) == 2
    assert "cannot be combined with --native" in capfd.readouterr().err
    pixels = np.full((32, 32, 3), 99, np.uint8)
    expected = dehaze(pixels, native=True)
    np.testing.assert_array_equal(dehaze(pixels, native=True, white_balance=0), expected)
    small = tmp_path / "a.png"
    Image.fromarray(pixels).save(small)
    assert main(["run", str(small), "--native", "--white-balance", "0"]) == 0


def test_the_settings_of_a_prior_stand_behind_its_name():
    model = open_model("dcp:omega=0.5,patch=9,smallest=0.3,refine=none")
    told = {name: model.card["arguments"][name] for name in ("omega", "patch", "smallest")}
    assert told == {"omega": 0.5, "patch": 9, "smallest": 0.3}
    hazy = np.full((16, 16, 3), 200, np.uint8)
    hazy[8:] = 120
    mild, full = (dehaze(hazy, model=name) for name in ("dcp:omega=0.2", "dcp"))
    assert np.abs(mild.astype(int) - hazy).mean() < np.abs(full.astype(int) - hazy).mean()


@pytest.mark.parametrize(
    "name, says",
    [
        ("dcp:omega", "expected each setting once"),
        ("dcp:omega=0.8,omega=0.9", "expected each setting once"),
        ("dcp:omga=0.8", "omega"),
        ("dcp:omega=2", "omega is 2"),
        ("dcp:omega=much", "'omega' must be of type float"),
    ],
)
def test_settings_without_meaning_are_reported(name, says):
    with pytest.raises(UnhazeError, match=says):
        open_model(name)
