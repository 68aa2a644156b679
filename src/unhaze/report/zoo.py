"""The table of published networks, for `unhaze zoo` and docs/zoo.md."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unhaze.nets import NETS
from unhaze.report.results import markdown
from unhaze.zoo import Network, list_networks, list_offers

RESULTS = Path("results/benchmark-zoo.json")  # written by benchmarks/zoo.py
MEASURED = "results/sots-indoor-part-{name}-aecr.json"  # written by `unhaze eval NAME --result`
BESIDE = 0.2  # processors that other programs kept busy, from which on it is said
DATASETS = {"sots_indoor": "SOTS indoor", "sots_outdoor": "SOTS outdoor", "haze4k": "Haze4K"}
NUMBERS = ("gmacs_256", "seconds_256", "beside_256", "seconds_1024", "beside_1024")

# What rows can be sorted by; those without such a number come last.
ORDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "name": lambda row: row["name"],
    "score": lambda row: -float(row["scores"].get("sots_indoor", "0").split(" ")[0]),
    "cost": lambda row: row["gmacs_256"] or float("inf"),
    "size": lambda row: row["parameters"],
    "year": lambda row: -row["year"],
}
TITLES = {
    "score": "By published score on SOTS indoor",
    "cost": "By cost",
    "size": "By size",
    "year": "By year",
}

HEAD = """# The zoo: published networks

`unhaze report zoo` writes this page from `src/unhaze/zoo/` and `results/benchmark-zoo.json`.

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


def list_rows(order: str = "name") -> list[dict[str, Any]]:
    """One row per variant: the facts of `Network`, and `here`, `parity`, `get`, cost and speed.

    here: its network is in `NETS`. parity: proven by our tests. get: names for `unhaze zoo get`.
    gmacs_256: multiplications, in 10^9, at 256 x 256; seconds_256, seconds_1024: on two cores;
    beside_256, beside_1024: how many cores other programs kept busy meanwhile; None where not
    measured. measured: name of weights -> "dB / SSIM" on the part of SOTS indoor.
    """
    measured = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    rows = [row_of(network, measured.get("networks", {})) for network in list_networks().values()]
    return rows if order == "name" else sorted(rows, key=ORDERS[order])


def row_of(network: Network, measured: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Returns the row of one variant."""
    here = network.net in NETS and (not network.preset or network.preset in presets(network))
    numbers = measured.get(network.name, {})
    own = [each for each in list_offers().values() if each.network == network.name]
    get = list(dict.fromkeys(network.name if each.part else each.name for each in own))
    return asdict(network) | {
        "here": here,
        "parity": here and network.parity,
        "get": get,
        "measured": {each.name: score for each in own if (score := score_of(each.name))},
        **{name: numbers.get(name) for name in NUMBERS},
    }


def presets(network: Network) -> dict[str, dict[str, Any]]:
    """Returns the presets of the network's entry in `NETS`."""
    return NETS[network.net].presets


def score_of(name: str) -> str:
    """dB and SSIM of published weights, "" where they were not measured."""
    record = Path(MEASURED.format(name=name))
    if not record.is_file():
        return ""
    numbers = json.loads(record.read_text(encoding="utf-8"))
    return f"{numbers['psnr']:.2f} / {numbers['ssim']:.4f}"


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
