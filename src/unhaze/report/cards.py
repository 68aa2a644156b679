"""The page of the shipped models: a card each, and how they compare with one another."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unhaze.report.plane import (
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
# The models that come along

Written by `unhaze report models` from `src/unhaze/models/models.toml` and `results/`.
`--model auto` goes through the list from above. To see all of them on photos of your own, beside
the dark channel prior, with FADE and time: `unhaze report gallery photos/`.
"""
PLANE = f"""\
## Cleared against harmed

FADE alone rewards darkening, so it stands beside what a model does to photos that have no haze.
All pictures are brought to a long side of {LONG_SIDE} pixels (shrunk or enlarged, 8 bits), because
FADE depends on the size. PSNR is that between input and output, averaged over the pictures; one
that comes out exactly as it went in counts as 100 dB. Luminance is the mean relative change of the
same pictures' mean luminance. First bar: FADE at most {BAR_FADE:.2f} at {BAR_PSNR:g} dB or more,
with less than {-100 * BAR_LUMINANCE:g} % of luminance lost.

```sh
unhaze eval photo-fast --hazy hazy/ --long-side {LONG_SIDE} --result results/hazy-{LONG_SIDE}.json
unhaze eval photo-fast --unchanged clear/ --long-side {LONG_SIDE} --result results/clear.json
unhaze report plane
```

Rows that were measured elsewhere are of other photos: compare them only roughly.
"""
SIZES = f"""\
## Pictures of other sizes

The network sees the hazy picture at half or twice its size; what it returns is brought back and
measured against the truth by the same protocol. If that changed the PSNR by more than
{LARGEST_CHANGE:g} dB, it would depend on the scale of what it sees.

```sh
unhaze eval photo-fast --hazy test/hazy --clear test/clear --rescale 0.5 --result results/half.json
unhaze report sizes
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
        ["cost", f"{card.macs_per_pixel / 1000:.1f} GMAC a megapixel ({card.speed})"],
        ["recipe", f"`{card.recipe}`"],
        *(["data", card.data], ["budget", card.budget], ["hardware", card.hardware]),
        *([what, f"{value:g}"] for what, value in card.measured.items()),
        *(["limits", card.limits], ["licence", card.licence]),
    ]
    pictures = "".join(f"\n![{card.name}]({picture})\n" for picture in card.pictures)
    return f"## `{card.name}`\n\n{card.purpose}\n\n{markdown(['', ''], rows)}{pictures}"
