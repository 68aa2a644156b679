"""Draws the training curve of a run folder: loss and validation PSNR over steps, as PNG.

`python tools/plot_run.py RUN -o curve.png`; needs matplotlib, which no extra installs.
"""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args()
    lines = (given.run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    figure = Figure(figsize=(7, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    steps, losses = series(entries, "total")
    above.plot(steps, losses, color="0.8", label="one step")
    above.plot(steps, smooth(losses), color="tab:blue", label="mean of about ten")
    above.set(ylabel="training loss", yscale="log")
    above.legend()
    below.plot(*series(entries, "validation_psnr"), "o-", label="restored")
    below.plot(*series(entries, "validation_hazy_psnr"), "--", color="0.5", label="hazy")
    below.set(xlabel="step", ylabel="validation PSNR (dB)")
    below.legend()
    figure.savefig(given.out, dpi=110)


def series(entries: list[dict], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of the log lines that have `key`."""
    found = [entry for entry in entries if key in entry]
    return [entry["step"] for entry in found], [entry[key] for entry in found]


def smooth(values: list[float]) -> list[float]:
    """A running mean that forgets a tenth at every value."""
    means = values[:1]
    for value in values[1:]:
        means.append(0.9 * means[-1] + 0.1 * value)
    return means


if __name__ == "__main__":
    main()
