"""Pictures for a paper: PSNR against parameters (its Figure 2), and strips of rivals (6 to 8)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from unhaze import photo
from unhaze.atomic import made_aside
from unhaze.data.catalog import PairFiles, fit_clear
from unhaze.errors import UnhazeError
from unhaze.evaluation.models import open_subject
from unhaze.image import to_float, to_u8
from unhaze.metrics import measure
from unhaze.report.paper import Row, by_authors

# Parameters as the paper's Table 1 states them, in millions; KDDN's network is not public.
PAPER_PARAMS = {
    "DehazeNet": 0.01,
    "AOD-Net": 0.002,
    "GridDehazeNet": 0.96,
    "FFA-Net": 4.68,
    "MSBDN": 31.35,
    "KDDN": 5.99,
    "AECR-Net": 2.61,
}
GAP = 6  # white pixels between the pictures of a strip
CAPTION = 28  # pixels above a strip for the names


def draw_parameters(rows: Sequence[Row], out: Path) -> None:
    """PSNR on SOTS indoor against parameters: the paper's points hollow, ours filled.

    rows: of `paper_rows`. `out`: .png, .svg or .pdf.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    if out.suffix[1:].lower() not in (kinds := figure.canvas.get_supported_filetypes()):
        raise UnhazeError(f"'{out}' must end in one of .{', .'.join(kinds)}")
    axes = figure.subplots()
    for row in rows:
        if row.table != "table1" or row.data != "sots-indoor":
            continue
        name = next((each for each in PAPER_PARAMS if row.title.startswith(each)), None)
        if name is not None:
            place = (PAPER_PARAMS[name] * 1e6, row.paper_psnr)
            axes.plot(*place, "o", mfc="none", color="tab:blue")
            axes.annotate(name, place, textcoords="offset points", xytext=(5, 5))
        if row.psnr is not None and row.params:
            axes.plot(row.params, row.psnr, "o", color="tab:orange")
            label = f"{name or row.title}, {'authors' if by_authors(row) else 'ours'}"
            axes.annotate(
                label, (row.params, row.psnr), textcoords="offset points", xytext=(5, -12)
            )
    axes.plot([], [], "o", mfc="none", color="tab:blue", label="paper, SOTS indoor")
    axes.plot([], [], "o", color="tab:orange", label="measured here")
    axes.set(xscale="log", xlabel="parameters", ylabel="PSNR (dB)")
    axes.margins(x=0.14, y=0.08)  # room for the names
    axes.grid(alpha=0.3)
    axes.legend()
    with made_aside(out) as aside:
        figure.savefig(aside, dpi=130)


def write_strips(
    models: Sequence[str], pairs: Sequence[PairFiles], out: Path, *, device: str = "auto"
) -> None:
    """One picture: a row for each pair, hazy | every model | clear, with PSNR where clear is known.

    Pictures of one row keep their size; UnhazeError if they are too different to be stacked.
    """
    loaded = {name: open_subject(name, device) for name in models}
    rows = []
    for pair in pairs:
        hazy = to_float(photo.read_rgb(pair.hazy))
        cells = [("hazy", hazy)]
        cells += [(Path(name).name, model.restore(hazy)) for name, model in loaded.items()]
        clear = None
        if pair.clear is not None:
            clear = fit_clear(pair, to_float(photo.read_rgb(pair.clear)), hazy)
            cells.append(("clear", clear))
        rows.append(strip(cells, clear))
    widths = {row.shape[1] for row in rows}
    if len(widths) > 1:
        raise UnhazeError("the pictures differ in width; make a strip for each size")
    photo.write(photo.Photo(np.concatenate(rows)), out, overwrite=True)


def strip(cells: Sequence[tuple[str, np.ndarray]], clear: np.ndarray | None) -> np.ndarray:
    """Pictures (H,W,3) in [0,1] side by side under their names, as uint8."""
    parts: list[np.ndarray] = []
    for name, picture in cells:
        label = name
        if clear is not None and name != "clear":
            psnr = measure(picture, clear, "aecr", metrics=("psnr",))["psnr"]
            label = f"{name} {psnr:.2f} dB"
        pixels = to_u8(picture)
        named = np.concatenate([caption(label, pixels.shape[1]), pixels])
        gap = np.full((len(named), GAP, 3), 255, np.uint8)
        parts += [gap, named] if parts else [named]
    return np.concatenate(parts, axis=1)


def caption(text: str, width: int) -> np.ndarray:
    """(CAPTION, width, 3) uint8: black words on white, cut off at the right."""
    escaped: Any = text.replace("&", "&amp;").replace("<", "&lt;")
    words = pyvips.Image.text(escaped, height=CAPTION - 10, dpi=96)
    words = words.gravity("centre", max(words.width, 1), CAPTION, extend="black")
    canvas = words.embed(4, 0, width, CAPTION, extend="black").invert()
    return np.repeat(canvas.numpy().reshape(CAPTION, width, 1), 3, axis=2)
