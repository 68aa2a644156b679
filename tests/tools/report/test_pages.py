"""`python -m tools.report`: README.md, docs/results.md and docs/zoo.md."""

import json
from pathlib import Path

import pytest

from tools.report.__main__ import main
from tools.report.readme import results_table, with_tables
from tools.report.zoo import zoo_page
from unhaze.errors import UnhazeError

ROOT = Path(__file__).parents[3]
MARKS = ("models", "results", "speed")
MEASURED = {"model": "full", "data": "sots", "protocol": "aecr", "images": 80, "psnr": 20.5}
MEASURED |= {"ssim": 0.8, "fade": None, "params": 1761}


def test_the_readme_is_rewritten_only_where_it_is_stale(tmp_path, capsys):
    results = tmp_path / "results"
    for name in ("full", "deep/study"):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / f"{name}.json").write_text(json.dumps(MEASURED))
    readme = tmp_path / "README.md"
    marks = [f"<!-- {name}:{end} -->" for name in MARKS for end in ("start", "end")]
    readme.write_text("before\n{}\n{}\nbetween\n{}\n{}\n{}\n{}\nafter\n".format(*marks))
    words = ["readme", "--readme", str(readme), "--results", str(results)]
    assert main([*words, "--check"]) == 1
    assert "README.md is out of date; run `make tables`" in capsys.readouterr().err
    assert main(words) == 0
    assert main([*words, "--check"]) == 0
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "\nbetween\n" in text
    assert "(../results/full.json)" in text and "study" not in text  # studies have their own tables
    with pytest.raises(UnhazeError, match="none of the markers <!-- models:start -->"):
        with_tables("no markers here", [], [])


def test_faults_end_in_one_line(tmp_path, capsys):
    assert main(["readme", "--results", str(tmp_path / "none")]) == 2
    assert main(["nonsense"]) == 2
    one, other = capsys.readouterr().err.splitlines()
    assert one.startswith("error: there is no folder") and "'nonsense'" in other


def test_results_table_links_its_files():
    hazy = MEASURED | {"model": "identity", "psnr": 11.975, "params": 0, "file": "hazy.json"}
    assert results_table([hazy]).splitlines()[2] == (
        "| [hazy input](../results/hazy.json) | sots | 80 | aecr | 11.97 | 0.8000 | - | - |"
    )


def test_the_page_of_published_networks_is_up_to_date(monkeypatch):
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8")
    assert page == zoo_page(), "make tables"
