"""Studies at equal budgets that `tools/run_study.py` measured: a table each, seeds put together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from unhaze.report.results import read_results
from unhaze.validation import check_types

# Folder below results/studies: heading, and what the reader must know.
STUDIES = {
    "cr-arms": (
        "Our study: contrastive regularization from one start, at equal budgets",
        "Not the paper's budget: one trained AECR-Net of the published size went on for as many"
        " steps of as many samples with each loss.",
    ),
    "table1": (
        "Our study: the networks of Table 1 at one budget",
        "Not the paper's budgets: each network at its published width, from a random start, on the"
        " same data and crops for the same processor time of one core (KDDN: half of it for its"
        " teacher). Quality per compute, no claim about what a network reaches in the end.",
    ),
    "unpaired": (
        "Our study: CDD-GAN, reconstructed, without pairs",
        "Not the paper's budget, and a slim generator: hazy pictures of one half of NYU Depth v2,"
        " clear ones of the other half, as many steps for each row.",
    ),
}
# What a record of a study holds, in all of its tables together.
NEEDED = {"arm": str} | dict.fromkeys(("place", "seed", "samples", "params"), int)
NEEDED |= dict.fromkeys(("psnr", "ssim", "validation_psnr", "cpu_seconds", "peak_mb"), float)
HEAD = ("arm", "seeds", "SOTS indoor, PSNR (dB)", "SSIM", "pictures", "validation, PSNR (dB)")
HEAD = (*HEAD, "parameters", "samples", "core minutes", "peak memory")


@dataclass(frozen=True)
class StudyRow:
    """An arm over its seeds; lists hold one number a seed. PSNR in dB; samples of one run."""

    title: str
    place: int
    psnr: list[float]
    ssim: list[float]
    validation_psnr: list[float]
    images: int
    params: int
    samples: list[int]
    cpu_seconds: list[float]
    peak_mb: list[float]


def study_rows(results: Path, study: str) -> list[StudyRow]:
    """The arms that have at least one measured seed, in the study's order."""
    folder = results / "studies" / study
    records = read_results(folder) if folder.is_dir() else []
    arms: dict[str, list[dict[str, Any]]] = {}
    for each in records:
        values = each | (each.get("training") or {}) | (each.get("study") or {})
        needed = {name: values.get(name) for name in NEEDED}
        check_types(needed, NEEDED, f"'{folder / each['file']}'")
        arms.setdefault(each["study"]["arm"], []).append(each)
    rows = [row_of(title, of_arm) for title, of_arm in arms.items()]
    return sorted(rows, key=lambda row: row.place)


def row_of(title: str, records: Sequence[dict[str, Any]]) -> StudyRow:
    """One row from the records of its seeds."""
    records = sorted(records, key=lambda each: each["study"]["seed"])
    studies = [each["study"] for each in records]
    return StudyRow(
        title,
        studies[0]["place"],
        psnr=[each["psnr"] for each in records],
        ssim=[each["ssim"] for each in records],
        validation_psnr=[each["validation_psnr"] for each in studies],
        images=records[0]["images"],
        params=records[0]["params"],
        samples=[each["training"]["samples"] for each in records],
        cpu_seconds=[each["cpu_seconds"] for each in studies],
        peak_mb=[each["peak_mb"] for each in studies],
    )


def study_table(rows: Sequence[StudyRow]) -> list[list[str]]:
    """The cells under `HEAD`."""
    return [
        [
            *(row.title, str(len(row.psnr)), spread(row.psnr, 2), spread(row.ssim, 4)),
            *(str(row.images), spread(row.validation_psnr, 2), f"{row.params:,}"),
            f"{round(mean(row.samples)):,}",
            f"{mean(row.cpu_seconds) / 60:.0f}",
            f"{max(row.peak_mb) / 1000:.1f} GB",
        ]
        for row in rows
    ]


def spread(values: Sequence[float], decimals: int) -> str:
    """The mean and, of several, the standard deviation between seeds."""
    middle = f"{mean(values):.{decimals}f}"
    return f"{middle} ± {stdev(values):.{decimals}f}" if len(values) > 1 else middle
