"""`python -m benchmarks.drawn CLEAR`: haze drawn on clear photos, of which all is known.

light: t from 0.75 at the top to 0.95 at the bottom, grey; nobody should make that worse.
smoke: drifting patches of several sizes before all distances.
dust: t from 0.35 to 0.85, its light orange; how much of the cast, red less blue, is left,
by itself and with `--white-balance 1`.
cloud: a video that passes through a cloud, fog alone in the middle; how far the mean level dips
under what it was before and is afterwards.

Long side 640, restored as users get it, PSNR of files of 8 bits. A minute for each model.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import ROOT, Row, table, write_record
from unhaze import photo
from unhaze.data.pairing import list_pictures
from unhaze.data.transforms import patches
from unhaze.evaluation import sha256
from unhaze.haze import add_haze
from unhaze.image import fitted, to_float
from unhaze.outputs import Controls
from unhaze.restore.restorer import Restorer
from unhaze.restore.video import restore_frames

LIGHT, SMOKE, CLOUD = 40, 10, 3  # photos of each, at most
WHITE, SMOKY, DUSTY = (0.88, 0.89, 0.9), (0.8, 0.8, 0.82), (0.9, 0.72, 0.48)
FRAMES, FOG, NOISE = 48, 160 / 255, 2.0
CLOUD_SIDE = 320


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clear", type=Path, help="folder of clear photos")
    parser.add_argument("--model", action="append", help="by default photo and photo-fast")
    parser.add_argument("--long-side", type=int, default=640)
    parser.add_argument("--limit", type=int, default=LIGHT, help="only the first so many photos")
    parser.add_argument("--result", type=Path, default=ROOT / "results" / "benchmark-drawn.json")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    paths = list_pictures(given.clear)[: given.limit]
    photos = [fitted(to_float(photo.read_rgb(each)), given.long_side) for each in paths]
    rows = [
        {"haze": name, "model": model} | measure(Restorer(model), photos)
        for model in given.model or ("photo", "photo-fast")
        for name, measure in MEASURES.items()
    ]
    print(table(rows))
    files = {row["model"]: Restorer(row["model"]).model.path for row in rows}
    sums = {model: sha256([path]) if path else None for model, path in files.items()}
    numbers = {"rows": rows, "weights_sha256": sums, "data": given.clear.name}
    numbers |= {"long_side": given.long_side, "load_before": load}
    write_record(given.result, "drawn", numbers)


def through_top_to_bottom(clear: np.ndarray, top: float, bottom: float) -> np.ndarray:
    """Transmission (H,1,1): what is higher in a picture is farther away."""
    return np.linspace(top, bottom, len(clear), dtype=np.float32)[:, None, None]


def light_haze(clear: np.ndarray, number: int) -> np.ndarray:
    return hazed(clear, through_top_to_bottom(clear, 0.75, 0.95), WHITE)


def smoke(clear: np.ndarray, number: int) -> np.ndarray:
    """One of the turbulences that training draws, another for each photo."""
    like = torch.empty(1, 3, *clear.shape[:2])
    thin = patches(1.0, like, torch.Generator().manual_seed(number))
    return hazed(clear, thin[0, 0].numpy()[..., None], SMOKY)


def dust(clear: np.ndarray, number: int) -> np.ndarray:
    return hazed(clear, through_top_to_bottom(clear, 0.35, 0.85), DUSTY)


def hazed(clear: np.ndarray, through: np.ndarray, airlight: tuple[float, ...]) -> np.ndarray:
    """(H,W,3) uint8."""
    return np.rint(255 * add_haze(clear, through, np.array(airlight, np.float32))).astype(np.uint8)


def gains(
    restorer: Restorer,
    photos: list[np.ndarray],
    draw: Callable[[np.ndarray, int], np.ndarray],
) -> Row:
    """PSNR in dB before and after, the mean gain, and how many photos lost."""
    before, after = [], []
    for number, clear in enumerate(photos):
        hazy = draw(clear, number)
        before.append(psnr(hazy, clear))
        after.append(psnr(restorer.restore_pixels(hazy), clear))
    change = np.subtract(after, before)
    means = {"hazy_db": np.mean(before), "restored_db": np.mean(after), "gain_db": change.mean()}
    rounded = {name: round(float(value), 2) for name, value in means.items()}
    worst = round(float(change.min()), 2)
    return {"photos": len(photos)} | rounded | {"worst_db": worst, "lost": int((change < 0).sum())}


def measure_light(restorer: Restorer, photos: list[np.ndarray]) -> Row:
    return gains(restorer, photos[:LIGHT], light_haze)


def measure_smoke(restorer: Restorer, photos: list[np.ndarray]) -> Row:
    return gains(restorer, photos[:SMOKE], smoke)


def measure_dust(restorer: Restorer, photos: list[np.ndarray]) -> Row:
    """As `gains`, and the share of the cast that stays."""
    shares = []
    for number, clear in enumerate(photos[:SMOKE]):
        hazy = dust(clear, number)
        restored = restorer.restore_pixels(hazy)
        added, left = (cast(each / 255) - cast(clear) for each in (hazy, restored))
        shares.append(left / added)
    left = {"cast_left": round(float(np.mean(shares)), 3)}
    return gains(restorer, photos[:SMOKE], dust) | left


def measure_balanced(restorer: Restorer, photos: list[np.ndarray]) -> Row:
    """`measure_dust` as `--white-balance 1` restores it."""
    return measure_dust(restorer.controlled(Controls(white_balance=1.0)), photos)


def measure_cloud(restorer: Restorer, photos: list[np.ndarray]) -> Row:
    """Levels of 255 that the mean dips under what it was before and is afterwards, at most."""
    dips = []
    for clear in photos[:CLOUD]:
        frames = list(cloud(fitted(clear, CLOUD_SIDE)))
        levels = [[float(each.mean()) for each in frames]]
        levels.append([float(each.mean()) for each in restore_frames(frames, restorer)])
        dips.append([dip(np.array(each)) for each in levels])
    hazy, restored = np.max(dips, axis=0)
    return {"photos": len(dips), "dip_hazy": round(hazy, 1), "dip": round(restored, 1)}


def cloud(clear: np.ndarray) -> Iterator[np.ndarray]:
    """The camera stands still while a cloud comes and goes; fog alone for a third of the time."""
    noise = np.random.default_rng(0)
    for place in np.linspace(0, 1, FRAMES):
        through = 0.8 * np.clip(3 * abs(place - 0.5) - 0.5, 0, 1)
        frame = 255 * add_haze(clear, np.float32(through), np.float32(FOG))
        frame += noise.normal(0, NOISE, frame.shape)
        yield np.clip(np.rint(frame), 0, 255).astype(np.uint8)


def dip(levels: np.ndarray) -> float:
    """How deep the deepest valley of a curve is, below the lower of the heights beside it."""
    left = np.maximum.accumulate(levels)
    right = np.maximum.accumulate(levels[::-1])[::-1]
    return float((np.minimum(left, right) - levels).max())


def cast(picture: np.ndarray) -> float:
    """Mean of red less blue."""
    return float(picture[..., 0].mean() - picture[..., 2].mean())


def psnr(restored: np.ndarray, clear: np.ndarray) -> float:
    """Of (H,W,3) uint8 and what is known in [0,1], in dB."""
    return float(-10 * np.log10(np.mean((restored / 255 - clear) ** 2, dtype=np.float64)))


MEASURES: dict[str, Callable[[Restorer, list[np.ndarray]], Row]] = {
    "light": measure_light,
    "smoke": measure_smoke,
    "dust": measure_dust,
    "dust, white balance 1": measure_balanced,
    "cloud": measure_cloud,
}

if __name__ == "__main__":
    main()
