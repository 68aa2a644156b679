"""The plane, the sizes and the cards: from records to a page that is up to date."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tools.report.__main__ import main as report
from tools.report.plane import ELSEWHERE, Point, plane_points, plane_table, sizes_table
from tools.report.readme import results_table
from unhaze import photo
from unhaze.cli import main
from unhaze.report.results import read_results
from unhaze.restore.models import FOLDER, list_models

ROOT = Path(__file__).parents[3]


def record(**facts: object) -> dict[str, object]:
    plain = {"model": "m", "data": "d", "images": 3, "protocol": "aecr", "params": 1, "file": "f"}
    plain |= {"psnr": None, "ssim": None, "fade": None, "fade_hazy": None, "luminance": -0.01}
    plain |= {"weights_sha256": "a", "long_side": 640, "rescale": 1.0, "compared_with": None}
    return plain | facts


HAZY = record(fade=0.7, fade_hazy=1.6, data="hazy")
CLEAR = record(psnr=30.0, compared_with="input", data="clear", luminance=-0.02)


def test_a_point_needs_both_measurements_of_the_same_weights_at_the_same_size():
    (point,) = plane_points([HAZY, CLEAR])
    assert point == Point("m", 0.7, 1.6, 30.0, -0.02, "hazy (3) / clear (3)")
    for other in (
        {"weights_sha256": "b"},
        {"model": "n"},
        {"long_side": None},
        {"rescale": 2.0},
        {"compared_with": "clear"},
    ):
        assert plane_points([HAZY, CLEAR | other]) == [], other
    old = {key: each for key, each in HAZY.items() if key not in ("long_side", "rescale")}
    assert plane_points([old, CLEAR]) == []


@pytest.mark.parametrize(
    ("numbers", "passes"),
    [
        ((0.80, 28.0, -0.039), True),
        ((0.81, 28.0, -0.039), False),
        ((0.80, 27.9, -0.039), False),
        ((0.80, 28.0, -0.040), False),
        ((0.80, None, None), None),
    ],
)
def test_the_first_bar(numbers, passes):
    fade, psnr, luminance = numbers
    assert Point("m", fade, 1.6, psnr, luminance, "here").passes is passes


def test_nothing_that_was_measured_elsewhere_is_over_the_first_bar():
    assert not any(point.passes for point in ELSEWHERE)
    rows = plane_table(plane_points([HAZY, CLEAR])).splitlines()
    assert rows[2] == "| m | 0.700 | 1.600 | 30.0 | -2.0 % | yes | hazy (3) / clear (3) |"
    assert len(rows) == 3 + len(ELSEWHERE)
    assert all(row.endswith("elsewhere |") for row in rows[3:])


def test_sizes_are_compared_with_the_own_size():
    own = record(psnr=22.0, compared_with="clear", long_side=None)
    half = own | {"rescale": 0.5, "psnr": 21.25}
    alone = own | {"rescale": 2.0, "images": 2}
    rows = sizes_table([own, half, alone]).splitlines()[2:]
    assert rows[0] == "| m | d | 3 | 0.5 times its size | 21.25 | -0.75 |"
    assert rows[1] == "| m | d | 2 | 2 times its size | 22.00 | - |"
    # A record from before there were sizes is one of the own size.
    old = {key: each for key, each in own.items() if key not in ("long_side", "rescale")}
    assert "-0.75" in sizes_table([old, half])
    assert len(results_table([old, half, HAZY, CLEAR]).splitlines()) == 3


def test_from_pictures_to_the_plane(tmp_path, capsys, monkeypatch, half):
    """The command as a user runs it: `half` halves every value, so half the light is lost."""
    random = np.random.default_rng(0)
    for index in range(2):
        clear = random.integers(60, 256, (10, 12, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        for kind, pixels in {"clear": clear, "foggy": clear // 2 + 120}.items():
            (tmp_path / kind).mkdir(exist_ok=True)
            photo.write_rgb(tmp_path / kind / f"{index}.png", pixels)
    monkeypatch.chdir(tmp_path)
    for kind, option in {"foggy": "--hazy", "clear": "--unchanged"}.items():
        words = ["eval", str(half), option, kind, "--long-side", "640"]
        assert main([*words, "--result", f"results/{kind}.json", "--device", "cpu"]) == 0
    capsys.readouterr()
    assert report(["plane", "--json"]) == 0
    point = json.loads(capsys.readouterr().out)[0]
    assert (point["model"], point["source"]) == ("half.onnx", "foggy (2) / clear (2)")
    assert point["luminance"] == pytest.approx(-0.5, abs=1e-6)
    assert point["psnr"] == pytest.approx(20 * np.log10(2 / 0.64), abs=1.0)
    assert point["fade"] != point["fade_input"] and point["passes"] is False
    assert report(["plane"]) == 0
    assert capsys.readouterr().out.count("half.onnx") == 1
    facts = json.loads((tmp_path / "results" / "foggy.json").read_text())
    assert (facts["long_side"], facts["rescale"], facts["compared_with"]) == (640, 1.0, None)
    assert report(["sizes"]) == 0
    assert capsys.readouterr().out == "Nothing yet.\n"


def test_the_page_of_the_models_is_up_to_date(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert report(["models"]) == 0
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == page, "make tables"
    for card in list_models():
        for field in (card.limits, card.budget, card.hardware, card.data, card.licence):
            assert field in page


def test_every_card_says_all_that_a_user_must_know():
    for card in list_models():
        facts = dataclasses.asdict(card)
        for name in ("data", "recipe", "budget", "hardware", "licence", "limits", "purpose"):
            assert len(facts[name]) > 9, f"{card.name}: {name}"
        assert (ROOT / card.recipe).is_file()
        assert len(card.measured) >= 2 and len(card.pictures) >= 1
        assert all((ROOT / "docs" / picture).is_file() for picture in card.pictures)


def test_all_shipped_models_together_are_under_40_mb():
    sizes = [path.stat().st_size for path in FOLDER.glob("*.onnx")]
    assert sizes and sum(sizes) < 40_000_000


def test_no_record_is_lost_to_the_tables():
    """Every evaluation in results/ stands on the page of measurements or of models."""
    results = read_results(ROOT / "results")
    shown = results_table(results).count("](../results/")
    elsewhere = [
        each
        for each in results
        if each.get("long_side")
        or each.get("rescale", 1) != 1
        or each.get("compared_with") == "input"
    ]
    assert shown + len(elsewhere) == len(results)
