"""Plots haze removed against harm done, which FADE alone does not show.

The plane: mean FADE on hazy photos against PSNR between input and output on clear photos, all at
one long side. The sizes: PSNR on pairs when the network sees them smaller or larger than they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unhaze.report.results import markdown, number

PLANE_HEAD = [
    *("model", "FADE, hazy (lower)", "of the input", "PSNR, clear (dB, higher)"),
    *("luminance", "first bar", "measured on"),
]
SIZES_HEAD = ["model", "data", "pictures", "seen at", "PSNR (dB)", "change (dB)"]
# First bar: nothing among the rows of `ELSEWHERE` is at most so foggy, so faithful and so light.
BAR_FADE, BAR_PSNR, BAR_LUMINANCE = 0.80, 28.0, -0.04
LONG_SIDE = 640
LARGEST_CHANGE = 2.0  # dB that halving or doubling the size may cost
OTHER_PHOTOS = "31 and 30 other photos, elsewhere"


@dataclass(frozen=True)
class Point:
    """One model on the plane. fade, fade_input: means over hazy photos. psnr: in dB, input against
    output on clear photos. luminance: relative change of theirs. None: not measured.
    """

    model: str
    fade: float
    fade_input: float | None
    psnr: float | None
    luminance: float | None
    source: str

    @property
    def passes(self) -> bool | None:
        """Whether it is over the first bar; None if that is not known."""
        if self.psnr is None or self.luminance is None:
            return None
        faithful = self.psnr >= BAR_PSNR and self.luminance > BAR_LUMINANCE
        return self.fade <= BAR_FADE and faithful


ELSEWHERE = (
    Point("hazy input", 1.557, None, None, None, OTHER_PHOTOS),
    Point("DCP", 0.552, 1.557, 20.5, -0.20, OTHER_PHOTOS),
    Point("AOD-Net", 0.615, 1.557, 15.7, -0.37, OTHER_PHOTOS),
    Point("GCANet", 0.520, 1.557, 24.4, -0.11, OTHER_PHOTOS),
    Point("LKD-Net-T (OTS)", 1.017, 1.557, 33.5, -0.04, OTHER_PHOTOS),
)


def plane_points(results: Sequence[dict[str, Any]]) -> list[Point]:
    """Every model measured on hazy and on clear photos at `LONG_SIDE`, least haze first.

    results: of `read_results`. Two records make a point if they are of the same weights.
    """
    seen = [each for each in results if each.get("long_side") == LONG_SIDE]
    seen = [each for each in seen if each.get("rescale", 1) == 1]
    clear = [each for each in seen if each.get("compared_with") == "input"]
    points = []
    for hazy in (each for each in seen if each["fade"] is not None and each not in clear):
        for kept in (each for each in clear if same_weights(each, hazy)):
            source = " / ".join(f"{each['data']} ({each['images']})" for each in (hazy, kept))
            points.append(
                Point(
                    str(hazy["model"]),
                    *(hazy["fade"], hazy["fade_hazy"], kept["psnr"], kept["luminance"]),
                    source,
                )
            )
    return sorted(points, key=lambda point: point.fade)


def same_weights(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Returns whether two records are of one model, as it was at both times."""
    return all(one.get(key) == other.get(key) for key in ("model", "weights_sha256"))


def plane_table(points: Sequence[Point]) -> str:
    """Markdown, the rows measured elsewhere at the end."""
    return markdown(PLANE_HEAD, [plane_row(point) for point in (*points, *ELSEWHERE)])


def plane_row(point: Point) -> list[str]:
    """The cells of one point."""
    verdict = {True: "yes", False: "no", None: "-"}[point.passes]
    luminance = "-" if point.luminance is None else f"{100 * point.luminance:+.1f} %"
    return [
        point.model,
        number(point.fade, "{:.3f}"),
        number(point.fade_input, "{:.3f}"),
        number(point.psnr, "{:.1f}"),
        *(luminance, verdict, point.source),
    ]


def sizes_table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: each model at each size that the network saw, beside the record at its own size."""
    rows = []
    for other in (each for each in results if each.get("rescale", 1) != 1):
        own = [each for each in results if each.get("rescale", 1) == 1 and alike(each, other)]
        change = None if not own else other["psnr"] - own[0]["psnr"]
        rows.append(
            [
                *(str(other["model"]), str(other["data"]), str(other["images"])),
                f"{other['rescale']:g} times its size",
                number(other["psnr"], "{:.2f}"),
                number(change, "{:+.2f}"),
            ]
        )
    return markdown(SIZES_HEAD, rows)


def alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Returns whether two records differ in the size that the network saw, and in nothing else."""
    keys = ("data", "images", "protocol", "long_side")
    both = one["psnr"] is not None and other["psnr"] is not None
    return both and same_weights(one, other) and all(one.get(key) == other.get(key) for key in keys)
