"""Dehazing without training: each prior in the place of a network, and what it recovers."""

from pathlib import Path

import numpy as np
import pytest

from unhaze import photo
from unhaze.cli import main
from unhaze.data.catalog import find_pairs
from unhaze.errors import UnhazeError
from unhaze.evaluation import evaluate
from unhaze.haze import add_haze
from unhaze.image import to_float
from unhaze.restore.priors import PRIORS, create_prior
from unhaze.restore.priors.color_attenuation import attenuation_depth
from unhaze.restore.priors.contrast import block_cost
from unhaze.restore.priors.dark_channel import dark_channel
from unhaze.restore.priors.haze_lines import line_transmission
from unhaze.restore.restorer import Restorer

every_prior = pytest.mark.parametrize("name", PRIORS)
AIRLIGHT = np.array([0.85, 0.9, 0.95], np.float32)


def hazy_street(times: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """clear, hazy (3,H,W) float32 and transmission (H,W) from 0.9 at the bottom to 0.15 at the top,
    above which is nothing but airlight. The things are in colours without red, green or blue and 4
    x 4 pixels of the 120 x 160; all is `times` as large.
    """
    height, width, side = 120 * times, 160 * times, 4 * times
    random = np.random.default_rng(3)
    palette = random.uniform(0, 0.8, (12, 3))
    palette[np.arange(12), np.arange(12) % 3] = 0
    things = palette[random.integers(0, 12, (30, 40))]
    clear = np.repeat(np.repeat(things, side, 0), side, 1).transpose(2, 0, 1)
    transmission = np.linspace(0.15, 0.9, height)[:, None] * np.ones((1, width))
    transmission[: height // 6] = 0
    hazy = add_haze(clear, transmission, AIRLIGHT[:, None, None])
    return clear.astype(np.float32), hazy.astype(np.float32), transmission.astype(np.float32)


def test_the_dark_channel_by_hand():
    picture = np.ones((3, 5, 5), np.float32)
    picture[1, 2, 2] = 0.25  # only in green
    dark = dark_channel(picture, 3)
    assert (dark[1:4, 1:4] == 0.25).all()
    dark[1:4, 1:4] = 1
    assert (dark == 1).all()


@pytest.mark.parametrize("refine", ["guided", "soft-matting", "none"])
def test_dcp_finds_the_haze(refine):
    _, hazy, transmission = hazy_street()
    found = create_prior("dcp", refine=refine, radius=15, reference=0).estimator.estimate(hazy)
    assert np.abs(found.airlight - AIRLIGHT).max() < 0.02
    # omega leaves 5 % of the haze; the window's least t is that of 7 rows further up.
    expected = 1 - 0.95 * (1 - transmission)
    inside = slice(40, 112)
    assert np.abs(found.transmission[inside] - expected[inside]).mean() < 0.06
    assert found.transmission.min() >= np.float32(0.1)


def test_attenuation_depth_by_hand():
    colors = np.array([[0.5, 0.25, 0.5], [1, 1, 1], [0, 0, 0]], np.float32).T[:, None]
    pale, white, black = attenuation_depth(colors)[0]
    assert pale == pytest.approx(0.121779 + 0.959710 * 0.5 - 0.780245 * 0.5, abs=1e-6)
    assert white == pytest.approx(0.121779 + 0.959710, abs=1e-6)
    assert black == pytest.approx(0.121779, abs=1e-6)


def test_cap_takes_pale_and_bright_for_far():
    _, hazy, transmission = hazy_street()
    found = create_prior("cap").estimator.estimate(hazy)
    assert np.abs(found.airlight - AIRLIGHT).max() < 0.02
    assert found.transmission.min() >= 0.1 and found.transmission.max() <= 0.9
    rows = found.transmission.mean(1)[20:]
    assert np.corrcoef(rows, transmission.mean(1)[20:])[0, 1] > 0.9


def test_haze_lines_measure_from_their_far_end():
    random = np.random.default_rng(5)
    palette = random.uniform(0, 0.7, (15, 3))
    kind = random.integers(0, 15, (60, 80))
    transmission = random.uniform(0.2, 1, (60, 80))
    clear = palette[kind].transpose(2, 0, 1)
    hazy = add_haze(clear, transmission, AIRLIGHT[:, None, None]).astype(np.float32)
    found, trust = line_transmission(hazy, AIRLIGHT, 1000)
    assert np.abs(found - transmission).mean() < 0.03
    assert trust.min() > 0 and trust.max() <= 1


def test_haze_lines_find_the_haze():
    _, hazy, transmission = hazy_street()
    found = create_prior("haze-lines").estimator.estimate(hazy)
    assert np.abs(found.airlight - AIRLIGHT).max() < 0.08
    rows = found.transmission.mean(1)[20:]
    assert np.corrcoef(rows, transmission.mean(1)[20:])[0, 1] > 0.9


def test_contrast_is_restored_until_it_would_be_clipped():
    board = np.indices((8, 8)).sum(0) % 2  # black and white: nothing is left to gain
    hazy = add_haze(np.stack([board] * 3), 0.5, 1.0).astype(np.float32)
    white = np.ones(3, np.float32)
    tried = (1.0, 0.7, 0.5, 0.4, 0.2)
    costs = [block_cost(hazy, white, t, 8, 5.0)[0, 0] for t in tried]
    assert np.argmin(costs) == tried.index(0.5)
    # At the true t: no loss, and the variance of three channels of black and white.
    assert costs[tried.index(0.5)] == pytest.approx(-3 * 0.25, abs=1e-6)


def test_contrast_finds_the_haze():
    _, hazy, transmission = hazy_street()
    found = create_prior("contrast", block=16, reference=0).estimator.estimate(hazy)
    assert np.abs(found.airlight - AIRLIGHT).max() < 0.02
    rows = found.transmission.mean(1)[20:]
    assert np.corrcoef(rows, transmission.mean(1)[20:])[0, 1] > 0.9


@every_prior
def test_priors_bring_a_picture_nearer_to_the_truth(name):
    clear, hazy, _ = hazy_street()
    restored = create_prior(name)(hazy[None])[0]
    seen = slice(40, None)  # what the haze has left of the rest is 8 bits or less
    before = np.abs(hazy - clear)[:, seen].mean()
    assert np.abs(np.clip(restored, 0, 1) - clear)[:, seen].mean() < 0.75 * before


@every_prior
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 1), (1, 40), (37, 41)])
@pytest.mark.parametrize("kind", ["black", "white", "grey", "red", "noise"])
def test_no_picture_breaks_a_prior(name, shape, kind):
    values = {"black": 0, "white": 1, "grey": 0.5, "red": np.array([1, 0, 0])[:, None, None]}
    if kind == "noise":
        hazy = np.random.default_rng(1).random((1, 3, *shape), np.float32)
    else:
        hazy = np.empty((1, 3, *shape), np.float32)
        hazy[:] = values[kind]
    given = hazy.copy()
    restored = create_prior(name)(hazy)
    assert restored.shape == hazy.shape and restored.dtype == np.float32
    assert np.isfinite(restored).all()
    assert np.array_equal(hazy, given)
    if kind in ("black", "white"):
        assert np.abs(np.clip(restored, 0, 1) - hazy).max() < 0.02


@every_prior
def test_the_card_says_what_it_is(name):
    model = create_prior(name)
    assert model.card["net"] == name and model.card["params"] == 0
    assert model.card["paper"] == PRIORS[name].paper
    assert model.card["context"] is None  # never in tiles: the airlight is the whole picture's
    assert (model.device, model.path) == ("cpu", None)


def test_arguments_reach_the_prior():
    model = create_prior("dcp", omega=0.5)
    assert model.card["arguments"]["omega"] == 0.5
    assert create_prior("dcp-soft-matting").card["arguments"]["refine"] == "soft-matting"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("dpc", {}, "no prior 'dpc'; did you mean 'dcp'"),
        ("dcp", {"pach": 3}, "no argument 'pach'; did you mean 'patch'"),
        ("dcp", {"patch": "15"}, "must be of type int"),
        ("dcp", {"patch": 0}, "patch is 0; expected 1 to 999"),
        ("dcp", {"omega": float("nan")}, "omega is nan"),
        ("dcp", {"smallest": 0.0}, "smallest is 0"),
        ("dcp", {"airlight": "median"}, "must be one of brightest, mean"),
        ("dcp", {"refine": "bilateral"}, "must be one of guided, soft-matting, none"),
        ("cap", {"largest": 0.05}, "largest is 0.05; expected 0.1 to 1"),
        ("haze-lines", {"lines": 2}, "lines is 2"),
        ("contrast", {"step": -0.1}, "step is -0.1"),
    ],
)
def test_wrong_arguments_end_in_one_line(name, arguments, message):
    with pytest.raises(UnhazeError, match=message) as error:
        create_prior(name, **arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "hazy",
    [
        np.zeros((3, 4, 4), np.float32),
        np.zeros((1, 3, 4, 4)),
        np.zeros((1, 3, 0, 4), np.float32),
        np.full((1, 3, 4, 4), np.nan, np.float32),
    ],
)
def test_wrong_pictures_end_in_one_line(hazy):
    with pytest.raises(UnhazeError, match="expected"):
        create_prior("dcp")(hazy)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """hazy/street.png and clear/street.png."""
    clear, hazy, _ = hazy_street()
    root = tmp_path_factory.mktemp("street")
    for name, picture in (("clear", clear), ("hazy", hazy)):
        (root / name).mkdir()
        pixels = np.rint(picture.transpose(1, 2, 0) * 255).astype(np.uint8)
        photo.write_rgb(root / name / "street.png", pixels)
    return root


def test_a_prior_restores_photos_and_is_evaluated(folder, tmp_path, capsys):
    target = tmp_path / "street.png"
    assert (
        main(["run", str(folder / "hazy" / "street.png"), "--model", "dcp", "-o", str(target)]) == 0
    )
    clear, hazy = (
        to_float(photo.read_rgb(folder / name / "street.png")) for name in ("clear", "hazy")
    )
    restored = to_float(photo.read_rgb(target))
    assert np.abs(restored - clear)[40:].mean() < 0.75 * np.abs(hazy - clear)[40:].mean()
    folders = {name: str(folder / name) for name in ("hazy", "clear")}
    found = evaluate("dcp", find_pairs("folders", ".", **folders))
    assert (found.params, found.weights_sha256) == (0, None)
    assert found.psnr > evaluate("identity", find_pairs("folders", ".", **folders)).psnr + 2


def test_the_size_of_the_analysis_image_changes_little():
    _, hazy, _ = hazy_street(4)
    pixels = np.rint(hazy.transpose(1, 2, 0) * 255).astype(np.uint8)
    fine = Restorer("dcp", analysis=640).restore_pixels(pixels).astype(float)
    coarse = Restorer("dcp", analysis=400).restore_pixels(pixels).astype(float)
    assert np.abs(fine - coarse).mean() < 6
    assert np.abs(fine - pixels).mean() > 20


def test_dcp_on_sots_indoor(shared_data):
    root = shared_data / "data" / "sots-indoor-part"
    folders = {name: str(root / name) for name in ("hazy", "clear")}
    pairs = find_pairs("folders", ".", **folders)[::20]
    found = evaluate("dcp", pairs)
    assert 19 < found.psnr < 21.5
    assert evaluate("identity", pairs).psnr < 14
