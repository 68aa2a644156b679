"""A page of someone's own photos: hazy, a prior and every model side by side, with FADE and time.

Real photos are seldom anyone's to publish, so the gallery is made where the photos are.
"""

import json
import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from unhaze import photo
from unhaze.data.pairing import list_pictures
from unhaze.errors import UnhazeError, counted
from unhaze.evaluation.models import Subject, open_subject
from unhaze.evaluation.saving import new_folder, without_nan
from unhaze.image import fitted, to_float, to_u8
from unhaze.metrics.fog_density import SMALLEST, fade
from unhaze.report.figures import strip
from unhaze.restore.models import list_models

# All that a gallery consists of; what --overwrite may replace.
PARTS = ("pictures", "strips", "index.html", "gallery.json")


@dataclass(frozen=True)
class Shown:
    """One picture on the page. model: "hazy" or the label of one. file: below the page's folder.

    fade: NaN where it has none (black, or under 16 pixels); seconds: of restoring alone, NaN for
    the hazy picture.
    """

    model: str
    file: str
    fade: float
    seconds: float


@dataclass(frozen=True)
class Entry:
    """One photo: its pictures, and what went wrong with those that are missing."""

    name: str
    width: int
    height: int
    strip: str
    pictures: list[Shown]
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Gallery:
    """The rendered gallery. faults: one line for each photo or model that could not be shown."""

    models: list[str]
    hardware: str
    long_side: int
    entries: list[Entry]
    faults: list[str]


def write_gallery(
    folder: Path,
    out: Path,
    models: Sequence[str] | None = None,
    *,
    also: Sequence[str] = (),
    long_side: int = 1024,
    limit: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
) -> Gallery:
    """Restores every photo under `folder` with all models and writes the page into `out`.

    models: as for `evaluate`; by default "dcp", `also`, and every shipped model. long_side: to
    which larger photos are shrunk; 0: none is. `out` appears whole at the end: index.html,
    pictures/ and strips/ beside it, and gallery.json, the numbers. A photo that cannot be read, or
    a model that fails on one, becomes a line of `faults` and stops nothing else.
    UnhazeError: no photos, an unknown model, none that could be shown, `out` in the way.
    """
    if long_side < 0:
        raise UnhazeError(f"long side is {long_side} pixels; expected 0 (as it is) or more")
    if not folder.is_dir():
        raise UnhazeError(f"there is no folder '{folder}'")
    own = out.resolve()  # A gallery among the photos is not shown in the next one.
    if own in (folder.resolve(), *folder.resolve().parents):
        raise UnhazeError(f"the photos are in '{out}'; choose another folder for the gallery")
    photos = [each for each in list_pictures(folder) if own not in each.resolve().parents][:limit]
    if not photos:
        raise UnhazeError(f"there are no photos in '{folder}'")
    loaded = load_all(models or ["dcp", *also, *(card.name for card in list_models())], device)
    with new_folder(out, overwrite, parts=PARTS, whole="gallery") as aside:
        entries, faults = [], []
        for place, path in enumerate(photos, 1):
            print(f"{place}/{len(photos)} {path.name}", file=sys.stderr)
            try:
                hazy = shrunk(to_float(photo.read_rgb(path)), long_side)
            except UnhazeError as error:
                faults.append(str(error))
                continue
            entry = show(place, str(path.relative_to(folder)), hazy, loaded, aside)
            entries.append(entry)
            faults += entry.faults
        if not entries:
            raise UnhazeError(f"none of the photos can be shown: {faults[0]}")
        hardware = ", ".join(dict.fromkeys(model.hardware for model in loaded.values()))
        gallery = Gallery(list(loaded), hardware, long_side, entries, faults)
        html = page(gallery, folder.absolute().name).encode("utf-8", "backslashreplace")
        (aside / "index.html").write_bytes(html)
        table = json.dumps(without_nan(asdict(gallery)), indent=1)
        (aside / "gallery.json").write_text(table + "\n", encoding="utf-8")
    return gallery


def load_all(names: Sequence[str], device: str) -> dict[str, Subject]:
    """Models by the label that stands under their pictures; those of one label get a number."""
    loaded: dict[str, Subject] = {}
    for name in dict.fromkeys(names):
        plain = label = Path(name).stem if Path(name).suffix else Path(name).name
        while label in loaded or label == "hazy":
            label = f"{plain} ({len(loaded) + 1})"
        loaded[label] = open_subject(name, device)
    return loaded


def shrunk(picture_hwc: np.ndarray, long_side: int) -> np.ndarray:
    """(H,W,3) float32 in [0,1], at most `long_side` pixels long; 0: as it is."""
    return fitted(picture_hwc, long_side) if 0 < long_side < max(picture_hwc.shape) else picture_hwc


def show(
    place: int, name: str, hazy: np.ndarray, models: dict[str, Subject], folder: Path
) -> Entry:
    """Restores one photo with each model and saves its pictures and its strip below `folder`."""
    faults, pictures, cells = [], [], []

    def add(label: str, picture: np.ndarray, seconds: float) -> None:
        picture = np.clip(picture, 0, 1)
        score = fade(picture) if min(picture.shape[:2]) >= SMALLEST else math.nan
        file = f"pictures/{place:04d}-{slug(label)}.jpg"
        photo.write_rgb(folder / file, to_u8(picture))
        pictures.append(Shown(label, file, score, seconds))
        cells.append((f"{label} {number(score, 2)}", picture))

    add("hazy", hazy, math.nan)
    for label, model in models.items():
        try:
            restored, seconds = timed(model.restore, hazy)
            if not np.isfinite(restored).all():
                raise UnhazeError("its result has values that are NaN or infinite")
            add(label, restored, seconds)
        except UnhazeError as error:
            faults.append(f"'{name}' by {label}: {error}")
    height, width = hazy.shape[:2]
    file = f"strips/{place:04d}-{slug(Path(name).stem)}.png"
    photo.write_rgb(folder / file, strip(cells, None))
    return Entry(name, width, height, file, pictures, faults)


def timed(
    restore: Callable[[np.ndarray], np.ndarray], hazy: np.ndarray
) -> tuple[np.ndarray, float]:
    """Returns the restored picture of `hazy` and the seconds that it took."""
    started = time.perf_counter()
    restored = restore(hazy)
    return restored, time.perf_counter() - started


def slug(name: str) -> str:
    """`name` as a part of a file name that needs no quoting in a link and is not too long."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:99] or "picture"


def page(gallery: Gallery, title: str) -> str:
    """The HTML document; everything it refers to lies beside it."""
    template = Template((files("unhaze.report") / "gallery.html").read_text(encoding="utf-8"))
    count = len(gallery.entries)
    size = f"shrunk to {gallery.long_side} pixels" if gallery.long_side else "at their own size"
    return template.substitute(
        title=escape(title),
        photos=f"{counted(count, 'photo')}, {size}",
        hardware=escape(gallery.hardware),
        head="".join(f"<th>{each}</th>" for each in ("", "FADE", "seconds", "photos")),
        rows="".join(mean_row(gallery, label) for label in ("hazy", *gallery.models)),
        faults="".join(f"<li>{escape(each)}</li>" for each in gallery.faults),
        entries="\n".join(section(entry) for entry in gallery.entries),
    )


def mean_row(gallery: Gallery, label: str) -> str:
    """Means over all photos that `label` could be shown for."""
    shown = [each for entry in gallery.entries for each in entry.pictures if each.model == label]
    cells = [escape(label), number(mean([each.fade for each in shown]), 3)]
    cells += [number(mean([each.seconds for each in shown]), 2), str(len(shown))]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"


def section(entry: Entry) -> str:
    """One photo: its pictures side by side, each a link to itself, which a script opens large."""
    figures = "".join(
        f'<figure><a href="{each.file}"><img loading="lazy" src="{each.file}"'
        f' width="{entry.width}" height="{entry.height}" alt="{escape(each.model)}"></a>'
        f"<figcaption><b>{escape(each.model)}</b> {caption(each)}</figcaption></figure>\n"
        for each in entry.pictures
    )
    faults = "".join(f'<p class="fault">{escape(each)}</p>' for each in entry.faults)
    heading = f"<h2>{escape(entry.name)}</h2>"
    link = f'<a class="strip" href="{entry.strip}">strip as PNG</a>'
    header = f"<header>{heading}{link}</header>"
    return f'<section>{header}{faults}<div class="row">{figures}</div></section>'


def caption(shown: Shown) -> str:
    """FADE, and the seconds if it was restored."""
    seconds = "" if math.isnan(shown.seconds) else f", {shown.seconds:.2f} s"
    return f"FADE {number(shown.fade, 2)}{seconds}"


def mean(values: Sequence[float]) -> float:
    """Returns the mean of those that are numbers; NaN if none is."""
    known = [each for each in values if not math.isnan(each)]
    return math.fsum(known) / len(known) if known else math.nan


def number(value: float, decimals: int) -> str:
    """A dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.{decimals}f}"
