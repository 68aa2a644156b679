"""`python -m benchmarks.evaluation FOLDER`: `unhaze eval` of hazy photos without a truth.

The whole command, from its start to its end: reading, resizing, restoring, FADE of both pictures
and all that `metrics.side_effects` measures. Ten seconds for 61 photos at 640 pixels.
"""

import argparse
import json
import os
from pathlib import Path

from benchmarks.measure import ROOT, python, table, write_record


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="photo")
    parser.add_argument("--long-side", type=int, default=640)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--before", type=Path, help="src/ of another version, to compare with")
    parser.add_argument(
        "--result", type=Path, default=ROOT / "results" / "benchmark-evaluation.json"
    )
    given = parser.parse_args()
    load = os.getloadavg()[0]
    words = ["eval", given.model, "--hazy", given.folder.absolute(), "--json"]
    words += ["--long-side", given.long_side]
    versions = {"now": ROOT / "src"} | ({"before": given.before} if given.before else {})
    rows = []
    for name, path in versions.items():
        whole = python("-m", "unhaze", *words, runs=given.runs, PYTHONPATH=str(path.absolute()))
        found = json.loads(whole.stdout)
        row = {"version": name, "pictures": found["images"]} | whole.facts()
        rows.append(row | {"restoring_s": round(found["seconds"], 2), "fade": found["fade"]})
    print(table(rows))
    facts = {"model": given.model, "long_side": given.long_side, "runs": given.runs}
    write_record(given.result, "evaluation", facts | {"load_before": load, "rows": rows})


if __name__ == "__main__":
    main()
