"""docs/zoo.md, the page of published networks."""

from typing import Any

from unhaze.report.results import markdown
from unhaze.report.zoo import list_rows

BESIDE = 0.2  # processors that other programs kept busy, from which on it is said
DATASETS = {"sots_indoor": "SOTS indoor", "sots_outdoor": "SOTS outdoor", "haze4k": "Haze4K"}
TITLES = {
    "score": "By published score on SOTS indoor",
    "cost": "By cost",
    "size": "By size",
    "year": "By year",
}

HEAD = """# The zoo: published networks

`make tables` writes this page from `src/unhaze/zoo/` and `results/benchmark-zoo.json`.

All facts are those stated by the authors at the linked commit. Scores are theirs (dB / SSIM, with
their own protocol). Licences apply to their code and weights; with "none stated", ask the authors.
Their weights are not part of this project. `parity`: the network here reproduces the reference
outputs of the authors' code (tests/zoo). Speed is measured on two CPU cores with the ONNX
file, at 256 x 256 and 1024 x 1024; \\* marks measurements beside other programs. `measured` is the
score of their published weights here, on 80 pairs of SOTS indoor (protocol `aecr`; all protocols
are in [results.md](results.md)). [zoo-pictures.md](zoo-pictures.md) shows their results on a
rendered sample. The tables are sorted by [score](#by-published-score-on-sots-indoor),
[cost](#by-cost), [size](#by-size) and [year](#by-year); the last one has [all facts](#all-facts).

```sh
unhaze zoo --sort cost             # or name, score, size, year; --json for programs
unhaze zoo get lkdnet-s-its        # downloads weights that are plain files
unhaze photo.jpg --model lkdnet-s-its
unhaze zoo identify downloads/     # identifies files; runs nothing in them
unhaze photo.jpg --model FILE      # any checkpoint of these networks
unhaze eval FILE --hazy hazy/ --clear clear/
```

FILE is an unmodified `.pth`, `.pk`, `.pkl`, `.pt`, `.ckpt`, `.tar` or `.safetensors` file of the
authors or of a training. Its tensors identify network and variant, also under `module.`,
`state_dict`, `net`, `params`, or an average over training (`ema`), which is preferred. If two
variants have the same names and shapes (fsnet-its and fsnet-ots, dmphn and dmshn), words of the
path decide; `--net NAME/PRESET` overrides. DEA-Net in its training form runs in the merged form.
`.onnx` files of other programs run as well; a TOML file beside them states what cannot be detected
([use.md](use.md#networks-that-others-published)). To add a network, see
[add-a-net.md](add-a-net.md).
"""


def zoo_page() -> str:
    """docs/zoo.md."""
    parts = [HEAD]
    for order, title in TITLES.items():
        rows = [numbers_of(row) for row in list_rows(order)]
        parts.append(f"## {title}\n\n{markdown(list(rows[0]), [[*row.values()] for row in rows])}")
    rows = [cells_of(row) for row in list_rows()]
    parts.append(f"## All facts\n\n{markdown(list(rows[0]), [[*row.values()] for row in rows])}")
    return "\n".join(parts)


def numbers_of(row: dict[str, Any]) -> dict[str, str]:
    """Head -> cell of the short tables."""
    return {
        "network": row["name"],
        "year": str(row["year"]),
        "parameters": f"{row['parameters']:,}",
        "GMAC at 256": number(row["gmacs_256"], 2),
        **{title: row["scores"].get(data, "") for data, title in DATASETS.items()},
        "measured": ", ".join(f"{name}: {score}" for name, score in row["measured"].items()),
        "s at 256": number(row["seconds_256"], 3) + beside(row["beside_256"]),
        "s at 1024": number(row["seconds_1024"], 2) + beside(row["beside_1024"]),
    }


def cells_of(row: dict[str, Any]) -> dict[str, str]:
    """Head -> cell of the long table."""
    paper = f"{row['title']}, {row['venue']}"
    if row["arxiv"]:
        paper += f", [arXiv:{row['arxiv']}](https://arxiv.org/abs/{row['arxiv']})"
    repository = f"https://github.com/{row['repository']}/tree/{row['commit']}"
    return {
        "network": f"[{row['name']}]({repository})",
        "paper": paper,
        "licence": row["licence"],
        "weights": ", ".join(f"`{name}`" for name in row["get"]) or row["weights"],
        "parity": "A and B" if row["parity"] else "no" if row["here"] else "not here yet",
    }


def number(value: float | None, decimals: int) -> str:
    """Formats `value`; an empty string if it was not measured."""
    return "" if value is None else f"{value:.{decimals}f}"


def beside(cores: float | None) -> str:
    """The mark of a time that was measured beside other programs."""
    return " \\*" if cores is not None and cores >= BESIDE else ""
