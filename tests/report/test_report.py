"""Tables and figures say what was measured, beside what the paper says."""

import json

import numpy as np
import pytest

from unhaze import photo
from unhaze.cli import main
from unhaze.config import LossPart, Part, Recipe
from unhaze.errors import UnhazeError
from unhaze.report.paper import Row, budget, on_set, paper_rows, table_of
from unhaze.report.results import aligned, markdown, read_results
from unhaze.resolved import resolved

MEASURED = {
    "data": "sots-indoor-part",
    "protocol": "aecr",
    "images": 80,
    "psnr": 20.5,
    "ssim": 0.8,
    "fade": None,
    "params": 1761,
}
RECIPE = """
title = "AECR-Net"
[net]
name = "aecr"
preset = "code"
[data]
name = "folders"
[losses.l1]
[losses.contrastive]
[published]
sots-indoor = [19.82, 0.8178]
nh-haze = [15.40, 0.5693]
"""


# A row of Table 2 beside it, without CR, so that CR and `dfe` tell the rows of the network apart.
PLAIN = """
title = "AECR-Net base"
[net]
name = "aecr"
preset = "code"
dfe = "none"
[data]
name = "folders"
[losses.l1]
[published]
sots-indoor = [33.85, 0.9820]
"""


def settings(*losses: str, data: str = "its", **net: object) -> dict[str, object]:
    """Those that a run of AECR-Net with these losses writes down."""
    parts = {name: LossPart() for name in losses}
    return resolved(Recipe("", Part("aecr", {"preset": "code"} | net), Part(data), parts))


@pytest.fixture
def project(tmp_path):
    """Two recipes; measurements of runs by other titles, of DCP, of published weights, of more."""
    for table, name, text in (("table1", "aecr", RECIPE), ("table2", "base", PLAIN)):
        (tmp_path / "recipes" / table).mkdir(parents=True)
        (tmp_path / "recipes" / table / f"{name}.toml").write_text(text)
    training = {"samples": 1600, "seconds": 90, "hardware": "a CPU"}
    both = ("l1", "contrastive")
    published = {"recipe": "AECR-Net, published weights", "settings": {"net": "aecr"}}
    for name, facts in {
        "full": {"settings": settings(*both), "recipe": "any title"},
        "deep/study": {"settings": settings(*both, width=16), "recipe": "s", "training": training},
        "base": {"settings": settings("l1", dfe="none"), "recipe": "AECR-Net", "psnr": 18.0},
        "dcp": {"model": "dcp", "recipe": None, "psnr": 17.0, "params": 0},
        "authors": published | {"psnr": 30.0},
        "none of them": {"settings": settings("l1"), "recipe": "AECR-Net"},
        "unknown": {"settings": None, "recipe": "AECR-Net"},
        "luma": {"settings": settings(*both), "recipe": "AECR-Net", "protocol": "y"},
    }.items():
        path = tmp_path / "results" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"model": name} | MEASURED | facts))
    (tmp_path / "results" / "speed.json").write_text('{"steps_per_s": 3}')
    return tmp_path


def test_each_row_has_the_measurements_with_its_settings_and_no_others(project):
    rows = paper_rows(project / "recipes", project / "results")
    found = [(row.title, row.data, row.recipe, row.psnr, row.differs) for row in rows]
    assert found == [
        ("DCP", "sots-indoor", None, 17.0, ()),
        ("DCP", "dense-haze", None, None, ()),
        ("DCP", "nh-haze", None, None, ()),
        ("AECR-Net", "sots-indoor", "AECR-Net, published weights", 30.0, ()),
        ("AECR-Net", "sots-indoor", "s", 20.5, ("width 16 (64)",)),
        ("AECR-Net", "sots-indoor", "any title", 20.5, ()),
        ("AECR-Net", "nh-haze", None, None, ()),
        ("AECR-Net base", "sots-indoor", "AECR-Net", 18.0, ()),
    ]


def test_the_cells_show_paper_ours_difference_and_budget(project):
    rows = paper_rows(project / "recipes", project / "results")
    cells = table_of(rows, "table1")
    assert cells[0][2:5] == ["15.09 / 0.7649", "17.00 / 0.8000", "+1.91 / +0.0351"]
    assert cells[0][8] == "none"
    assert cells[3][8] == "its authors'"
    assert cells[4][5:7] == ["1,761", "width 16 (64)"]
    assert cells[4][8] == "1,600 samples, 2 min, a CPU"
    assert cells[5][6] == "-" and cells[5][8] == "not stated"
    assert cells[6][3:] == ["-", "-", "-", "-", "-", "not measured"]
    assert table_of(rows, "table3") == []


def test_a_measurement_on_another_set_does_not_belong():
    result = MEASURED | {"data": "nh-haze split=test"}
    assert on_set(result, "nh-haze") and not on_set(result, "sots-indoor")


def test_the_command_prints_text_markdown_and_json(project, capsys):
    where = ["--recipes", str(project / "recipes"), "--results", str(project / "results")]
    assert main(["report", "paper", *where]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Table 1: compared methods\n\nrow") and "+1.91" in text
    assert main(["report", "paper", *where, "--markdown"]) == 0
    assert "| DCP | sots-indoor | 15.09 / 0.7649 |" in capsys.readouterr().out
    assert main(["report", "paper", *where, "--table", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[4]["samples"] == 1600 and rows[4]["hardware"] == "a CPU"
    assert main(["report", "paper", *where, "--table", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_missing_folders_end_in_one_line(project, capsys):
    assert main(["report", "paper", "--recipes", str(project / "results")]) == 2
    assert "holds no recipes of table1" in capsys.readouterr().err
    where = ["--recipes", str(project / "recipes")]
    assert main(["report", "paper", *where, "--results", str(project / "none")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    (project / "results" / "broken.json").write_text("{")
    with pytest.raises(UnhazeError, match="not valid JSON"):
        read_results(project / "results")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"psnr": "20"}, "broken.json': 'psnr' must be of type float | None, not '20'"),
        ({"images": None}, "'images' must be of type int, not None"),
        ({"protocol": 3}, "'protocol' must be of type str, not 3"),
        ({"settings": []}, "'settings' must be of type dict | None, not []"),
        ({"training": {"samples": "x"}}, "broken.json', training: 'samples' must be of type int"),
        ({"study": {"arm": "a"}}, "broken.json': 'place' must be of type int, not None"),
    ],
)
def test_a_damaged_record_is_named_with_its_key(project, capsys, changed, words):
    record = json.loads((project / "results" / "full.json").read_text()) | changed
    study = project / "results" / "studies" / "table1"
    study.mkdir(parents=True)
    (study / "broken.json").write_text(json.dumps(record))
    where = ["--recipes", str(project / "recipes"), "--results", str(project / "results")]
    assert main(["report", "paper", *where]) == 2
    assert words in capsys.readouterr().err


def test_the_figure_is_a_picture(project, capsys):
    out = project / "figure.png"
    where = ["--recipes", str(project / "recipes"), "--results", str(project / "results")]
    for wrong in ("figure", "figure.xyz"):
        assert main(["report", "figure", *where, "-o", str(project / wrong)]) == 2
        assert f"{wrong}' must end in one of ." in capsys.readouterr().err
    assert main(["report", "figure", *where, "-o", str(out)]) == 0
    pixels = photo.read_rgb(out)
    orange = (pixels == (255, 127, 14)).all(-1).sum()
    blue = (pixels == (31, 119, 180)).all(-1).sum()
    assert orange > 20 and blue > 20  # at least one point of ours and one of the paper
    out.write_bytes(b"mine")
    assert main(["report", "figure", *where, "-o", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err and out.read_bytes() == b"mine"
    assert main(["report", "figure", *where, "-o", str(out), "--overwrite"]) == 0


def test_strips_hold_hazy_every_model_and_clear_under_their_names(tmp_path, capsys):
    for kind, value in (("hazy", 200), ("clear", 90)):
        (tmp_path / kind).mkdir()
        for name in ("a", "b", "c", "d"):
            pixels = np.full((40, 60, 3), value, np.uint8)
            photo.write_rgb(tmp_path / kind / f"{name}.png", pixels)
    out = tmp_path / "strips.png"
    folders = ["--hazy", str(tmp_path / "hazy"), "--clear", str(tmp_path / "clear")]
    assert main(["report", "strips", "identity", *folders, "--limit", "2", "-o", str(out)]) == 0
    pixels = photo.read_rgb(out)
    assert pixels.shape == (2 * (40 + 28), 3 * 60 + 2 * 6, 3)
    assert (pixels[40, [30, 96, 162], 0] == [200, 200, 90]).all()
    assert (pixels[:28, :60] < 128).any()  # the caption is written
    assert main(["report", "strips", "identity", *folders, "-o", str(tmp_path / "x.foo")]) == 2
    assert main(["report", "strips", "identity", *folders, "-o", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    (tmp_path / "none").mkdir()
    empty = ["--hazy", str(tmp_path / "none"), "-o", str(out), "--overwrite"]
    assert main(["report", "strips", "identity", *empty]) == 2
    assert f"there are no pictures in '{tmp_path / 'none'}'" in capsys.readouterr().err


def test_pictures_of_different_widths_make_no_strip(tmp_path, capsys):
    for name, width in (("a", 50), ("b", 60)):
        photo.write_rgb(tmp_path / f"{name}.png", np.zeros((40, width, 3), np.uint8))
    command = [
        "report",
        "strips",
        "identity",
        "--hazy",
        str(tmp_path),
        "-o",
        str(tmp_path / "s.png"),
    ]
    assert main(command) == 2
    assert "differ in width" in capsys.readouterr().err


def test_tables_keep_their_columns():
    assert aligned(["a", "bb"], [["ccc", "d"]]) == "a    bb\nccc  d\n"
    assert markdown(["a"], [["x|y"]]).splitlines()[2] == "| x\\|y |"
    assert markdown(["a"], []) == "Nothing yet.\n"


def test_a_budget_without_facts_is_not_invented():
    row = Row("table1", "AOD-Net", "sots-indoor", 19.82, 0.8178, psnr=20.0, ssim=0.8)
    assert budget(row) == "not stated"
