"""The page of the shipped models: a card each, and how they compare with one another."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.report.plane import (
    BAR_FADE,
    BAR_LUMINANCE,
    BAR_PSNR,
    LARGEST_CHANGE,
    LONG_SIDE,
    plane_points,
    plane_table,
    sizes_table,
)
from unhaze.report.results import markdown
from unhaze.restore.models import FOLDER, ModelCard

INTRODUCTION = """\
# Shipped models

`make tables` writes this page from `src/unhaze/models/models.toml` and `results/`.
`--model auto` checks the list from the top. `unhaze report gallery photos/` shows all models and
the dark channel prior on photos of your own, with FADE and time.
"""
PLANE = f"""\
## Haze removed against harm done

FADE alone rewards darkening, so it is shown together with the effect of a model on clear photos.
All pictures are resized to a long side of {LONG_SIDE} pixels (8 bits), because FADE depends on the
size. PSNR compares input and output and is averaged over the pictures; an unchanged picture counts
as 100 dB. Luminance is the mean relative change of the mean luminance of these pictures. The first
bar is met with FADE at most {BAR_FADE:.2f} at {BAR_PSNR:g} dB or more,
with less than {-100 * BAR_LUMINANCE:g} % of luminance lost.

```sh
unhaze eval photo-fast --hazy hazy/ --long-side {LONG_SIDE} --result results/hazy-{LONG_SIDE}.json
unhaze eval photo-fast --unchanged clear/ --long-side {LONG_SIDE} --result results/clear.json
python -m tools.report plane
```

Rows measured elsewhere are of other photos; compare them only roughly.
"""
SIZES = f"""\
## Pictures of other sizes

The network sees the hazy picture at half or twice its size; its output is resized back and compared
with the ground truth under the same protocol. A change of more than {LARGEST_CHANGE:g} dB in PSNR
would mean that the network depends on the scale of its input.

```sh
unhaze eval photo-fast --hazy test/hazy --clear test/clear --rescale 0.5 --result results/half.json
python -m tools.report sizes
```
"""


def models_page(cards: Sequence[ModelCard], results: Sequence[dict[str, Any]]) -> str:
    """The whole page as Markdown."""
    sections = [INTRODUCTION, *(card_section(card) for card in cards)]
    sections += [f"{PLANE}\n{plane_table(plane_points(results))}"]
    sections += [f"{SIZES}\n{sizes_table(results)}"]
    return "\n".join(sections)


def card_section(card: ModelCard, folder: Path = FOLDER) -> str:
    """One card; `folder` holds its file."""
    size = (folder / card.file).stat().st_size / 1e6
    arguments = "".join(f", {key} {value}" for key, value in card.arguments.items())
    rows = [
        ["network", f"`{card.net}`{arguments}: {card.params:,} parameters, {size:.1f} MB"],
        ["cost", f"{card.macs_per_pixel / 1000:.1f} GMAC per megapixel ({card.speed})"],
        ["recipe", f"`{card.recipe}`"],
        *(["data", card.data], ["budget", card.budget], ["hardware", card.hardware]),
        *([what, f"{value:g}"] for what, value in card.measured.items()),
        *(["limits", card.limits], ["licence", card.licence]),
    ]
    pictures = "".join(f"\n![{card.name}]({picture})\n" for picture in card.pictures)
    return f"## `{card.name}`\n\n{card.purpose}\n\n{markdown(['', ''], rows)}{pictures}"
