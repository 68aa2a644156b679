"""`evaluate` at other sizes and on clear photos that shall stay as they are."""

import importlib
import json
import math

import numpy as np
import pytest

from unhaze import photo
from unhaze.cli import main
from unhaze.data.catalog import PairFiles
from unhaze.errors import UnhazeError
from unhaze.evaluation import UNSEEN, evaluate
from unhaze.image import fitted, resized, scaled, to_float


def soft(seed: int, height: int, width: int) -> np.ndarray:
    """A smooth (H,W,3) uint8 picture, which survives resizing."""
    coarse = np.random.default_rng(seed).random((4, 5, 3), np.float32)
    return np.rint(255 * resized(coarse, height, width)).astype(np.uint8)


@pytest.fixture
def pair(tmp_path) -> PairFiles:
    clear = soft(0, 64, 96)
    photo.write_rgb(tmp_path / "clear.png", clear)
    photo.write_rgb(tmp_path / "hazy.png", clear // 2 + 100)
    return PairFiles("0", tmp_path / "hazy.png", tmp_path / "clear.png")


@pytest.mark.parametrize(
    ("shape", "long_side", "expected"),
    [((40, 80), 20, (10, 20)), ((40, 80), 160, (80, 160)), ((400, 1), 100, (100, 1))],
)
def test_long_sides(shape, long_side, expected):
    answer = fitted(np.full((*shape, 3), 0.25, np.float32), long_side)
    assert answer.shape == (*expected, 3) and answer.dtype == np.float32
    np.testing.assert_allclose(answer, np.rint(255 * 0.25) / 255, atol=1e-6)


def test_scaling_there_and_back_keeps_a_smooth_picture():
    picture = to_float(soft(1, 60, 90))
    for factor in (0.5, 2.0):
        seen = scaled(picture, factor)
        assert seen.shape == (60 * factor, 90 * factor, 3)
        assert np.abs(resized(seen, 60, 90) - picture).mean() < 0.01
    assert scaled(picture, 1.0) is picture
    ramp = np.linspace(0.2, 0.8, 90, dtype=np.float32)[None, :, None].repeat(60, 0).repeat(3, 2)
    for width in (45, 60, 120, 180):  # Nothing moves, not even by a part of a pixel.
        place = (np.arange(width) + 0.5) * 90 / width - 0.5
        found = resized(ramp, width * 2 // 3, width)[10, 8:-8, 0]
        np.testing.assert_allclose(found, (0.2 + 0.6 / 89 * place)[8:-8], atol=2e-4)
    edge = (np.indices((20, 20)).sum(0) % 2).astype(np.float32)[..., None].repeat(3, 2)
    assert scaled(edge, 3.0).min() >= 0 and scaled(edge, 3.0).max() <= 1


def test_finished_results_are_not_rescaled(pair):
    """No model is run on them, so that a record with another `rescale` would be wrong."""
    with pytest.raises(UnhazeError, match="rescale is 0.5, but the model is a folder of finished"):
        evaluate(pair.hazy.parent, [pair], rescale=0.5)


def test_the_model_sees_the_other_size_and_the_truth_keeps_its_own(pair, monkeypatch):
    seen = []

    def look(hazy: np.ndarray) -> np.ndarray:
        seen.append(hazy.shape)
        return hazy

    from unhaze.evaluation.models import Subject

    loaded = Subject(look, 0, None, "here")
    monkeypatch.setitem(evaluate.__globals__, "open_subject", lambda *_: loaded)
    own = evaluate("identity", [pair])
    half = evaluate("identity", [pair], rescale=0.5)
    twice = evaluate("identity", [pair], rescale=2, long_side=48)
    assert seen == [(64, 96, 3), (32, 48, 3), (64, 96, 3)]
    assert half.psnr == pytest.approx(own.psnr, abs=0.1) and half.psnr != own.psnr
    assert (own.rescale, half.rescale, twice.rescale) == (1.0, 0.5, 2.0)
    assert (own.long_side, twice.long_side) == (None, 48)
    assert {own.compared_with, half.compared_with} == {"clear"}


def test_clear_photos_are_their_own_truth(pair, half):
    own = PairFiles("0", pair.clear, pair.clear)
    same = evaluate("identity", [own], metrics=["psnr"])
    assert (same.psnr, same.luminance, same.compared_with) == (UNSEEN, 0.0, "input")
    halved = evaluate(half, [own], metrics=["psnr"], device="cpu")
    assert halved.luminance == pytest.approx(-0.5, abs=1e-6)
    clear = photo.read_rgb(pair.clear) / 255
    assert halved.psnr == pytest.approx(-10 * math.log10(np.mean((clear / 2) ** 2)), abs=1e-4)
    blind = evaluate("identity", [PairFiles("0", pair.hazy, None)])
    assert (blind.compared_with, blind.psnr) == (None, None)


def test_the_luminance_of_a_black_picture_is_left_out(tmp_path):
    photo.write_rgb(tmp_path / "black.png", np.zeros((20, 20, 3), np.uint8))
    black = PairFiles("black", tmp_path / "black.png", tmp_path / "black.png")
    assert evaluate("identity", [black], metrics=["psnr"]).luminance is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"long_side": 15}, "long side is 15 pixels; expected 16 to 16,384"),
        ({"long_side": 10**8}, "expected 16 to 16,384"),
        ({"long_side": 64.0}, "long side is 64.0 pixels"),
        ({"rescale": math.nan}, "rescale is nan; expected a number from 0.05 to 8"),
        ({"rescale": 0}, "rescale is 0"),
        ({"rescale": "2"}, "rescale is '2'"),
    ],
)
def test_sizes_that_make_no_sense(pair, arguments, message):
    with pytest.raises(UnhazeError, match=message):
        evaluate("identity", [pair], **arguments)


def test_the_command(pair, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["eval", "identity", "--unchanged", ".", "--long-side", "32", "--result", "r.json"]
    assert main([*words, "--limit", "1"]) == 0
    assert "luminance  0.0000" in capsys.readouterr().out
    facts = json.loads((tmp_path / "r.json").read_text())
    assert (facts["compared_with"], facts["long_side"], facts["psnr"]) == ("input", 32, UNSEEN)
    assert main(["eval", "identity", "--unchanged", ".", "--hazy", "."]) == 2
    assert "--unchanged excludes the other folders" in capsys.readouterr().err
    for wrong in (["--rescale", "nan"], ["--rescale", "big"], ["--long-side", "3"]):
        assert main(["eval", "identity", "--unchanged", ".", *wrong]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    evaluation = importlib.import_module("unhaze.evaluation")
    monkeypatch.setattr(evaluation, "evaluate", lambda *_, **__: pytest.fail("work was done"))
    for words in (
        "--unchanged . --result r.json",
        "--unchanged . --result . --overwrite",
        "--unchanged . --set border=1",
        "--unchanged . --save ./new",
        "--hazy . --clear .. --set hazy=x",
        "--data sots-indoor --root . --set root=x",
    ):
        assert main(["eval", "identity", *words.split()]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert main(["eval", "identity", "--unchanged", "nowhere"]) == 2
    assert "there is no folder 'nowhere'" in capsys.readouterr().err
