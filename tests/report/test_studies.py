"""Tables of studies at equal budgets."""

import json
from pathlib import Path

from unhaze.cli import main
from unhaze.report.paper import paper_rows
from unhaze.report.studies import study_rows, study_table

ROOT = Path(__file__).parents[2]
RECORD = {"data": "sots-indoor-part", "protocol": "aecr", "images": 80, "fade": None}
RECORD |= {"params": 2_614_229, "model": "run", "training": {"samples": 3000}}


def test_seeds_become_one_row_and_stay_out_of_the_papers_tables(tmp_path, capsys):
    folder = tmp_path / "studies" / "cr-arms"
    folder.mkdir(parents=True)
    for place, arm, values in ((1, "with", (26.0, 27.0, 28.0)), (0, "without", (25.0,))):
        for seed, psnr in enumerate(values):
            study = {"arm": arm, "place": place, "seed": seed, "validation_psnr": psnr + 1}
            study |= {"cpu_seconds": 600 + 60 * seed, "peak_mb": 1500 + seed, "minutes": None}
            record = RECORD | {"psnr": psnr, "ssim": 0.9 + seed / 100, "study": study}
            (folder / f"{arm}-{seed}.json").write_text(json.dumps(record))
    cells = study_table(study_rows(tmp_path, "cr-arms"))
    assert cells[0][:7] == ["without", "1", "25.00", "0.9000", "80", "26.00", "2,614,229"]
    assert cells[1] == [
        *("with", "3", "27.00 ± 1.00", "0.9100 ± 0.0100", "80", "28.00 ± 1.00", "2,614,229"),
        *("3,000", "11", "1.5 GB"),
    ]
    assert all(row.psnr is None for row in paper_rows(ROOT / "recipes", tmp_path))
    where = ["--recipes", str(ROOT / "recipes"), "--results", str(tmp_path)]
    assert main(["report", "paper", "--markdown", *where]) == 0
    page = capsys.readouterr().out
    assert (
        "## Our study: contrastive regularization" in page and "| with | 3 | 27.00 ± 1.00 |" in page
    )
    assert page.index("## Table 4") < page.index("Not the paper's budget")
