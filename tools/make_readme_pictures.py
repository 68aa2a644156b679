"""Makes the pictures of README.md and of docs/gallery.md from samples/, by the command itself.

python tools/make_readme_pictures.py [--model NAME]: the model of the picture at the top.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyvips

from unhaze.haze import add_haze, transmission

ROOT = Path(__file__).parents[1]
VALLEY = ROOT / "samples" / "valley.jpg"
TINY = ROOT / "samples" / "tiny"
IMAGES = ROOT / "docs" / "images"
WIDTH, GAP = 800, 8
MODELS = ("dcp", "photo-fast", "photo")
# Scattering coefficients for depth in units of the 2.5 km that a white pixel of samples/tiny means.
BETAS = (0.6, 1.5, 3.0)


def main() -> None:
    """Writes all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="auto", help="as in `unhaze run --model`")
    model = parser.parse_args().model
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        hazy = Path(shutil.copy(VALLEY, folder))
        clear = ROOT / "samples" / "valley-clear.jpg"
        write_row("valley-before-after", [hazy, restore(hazy, "--model", model)], WIDTH)
        made = [restore(hazy, "--model", name) for name in MODELS]
        write_row("valley-models", [hazy, *made, clear], WIDTH // 2)
        steps = [restore(hazy, "--strength", str(each)) for each in (0.4, 0.7, 1.0)]
        write_row("valley-strength", [hazy, *steps], WIDTH // 2)
        for number in (2, 9):
            write_densities(number, Path(folder))


def restore(hazy: Path, *options: str) -> Path:
    """What `unhaze run` makes of a picture, under a name of its own."""
    out = hazy.with_name("-".join([hazy.stem, "unhazed", *options]).replace("--", "") + ".png")
    command = [sys.executable, "-m", "unhaze", str(hazy), "-o", str(out), *options]
    subprocess.run(command, check=True)
    return out


def write_densities(number: int, folder: Path) -> None:
    """Three densities of haze on one small scene, above what `unhaze` makes of each."""
    clear = pyvips.Image.new_from_file(str(sorted((TINY / "clear").iterdir())[number])).numpy()
    depth = pyvips.Image.new_from_file(str(sorted((TINY / "depth").iterdir())[number])).numpy()
    depth = depth.reshape(*depth.shape[:2], -1)[..., :1] / 255
    hazy = []
    for beta in BETAS:
        picture = add_haze(clear / 255, transmission(depth, beta), 0.85)
        target = folder / f"scene-{number}-{beta}.png"
        samples = np.rint(picture * 255).astype(np.uint8)
        pyvips.Image.new_from_array(samples).write_to_file(str(target))
        hazy.append(target)
    restored = [restore(each) for each in hazy]
    write_row(f"scene-{number}-densities", [*hazy, *restored], 320, across=len(BETAS))


def write_row(name: str, paths: Sequence[Path], width: int, *, across: int | None = None) -> None:
    """docs/images/NAME.jpg: the pictures side by side, each `width` wide."""
    pictures = [pyvips.Image.thumbnail(str(path), width).copy_memory() for path in paths]
    columns = across or len(pictures)
    strip = pyvips.Image.arrayjoin(pictures, across=columns, shim=GAP, background=[255])
    target = IMAGES / f"{name}.jpg"
    strip.write_to_file(str(target), Q=86, optimize_coding=True)
    print(target.relative_to(ROOT))


if __name__ == "__main__":
    main()
