"""Makes docs/zoo-pictures.md: a rendered sample, restored by published weights and by our models.

`unhaze zoo get NAME` first for the published ones. Only pictures of samples/ are shown, so that the
page is free of anyone's rights; the networks' weights do not become part of the project.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyvips

from unhaze.metrics import PROTOCOLS, psnr
from unhaze.zoo import list_networks, list_offers

ROOT = Path(__file__).parents[1]
PAGE, IMAGES = ROOT / "docs" / "zoo-pictures.md", ROOT / "docs" / "images" / "zoo"
WIDTH = 640  # pixels, about what most of the weights were trained for
OURS = ("photo", "aecr")
PUBLISHED = (
    "lkdnet-s-its", "lkdnet-t-its", "lkdnet-s-ots", "lkdnet-t-ots", "gcanet", "light-dehazenet",
)  # fmt: skip
HEAD = f"""# The zoo: pictures

`python tools/make_zoo_pictures.py` writes this page, after `unhaze zoo get NAME` for each network.
The picture is [rendered](../samples/README.md), so the clear scene is known: dB and SSIM (protocol
`aecr`) are of this one picture of {WIDTH} pixels, restored by `unhaze valley.jpg --model NAME`. It
is an outdoor scene and much hazier than the training data of the published weights;
[zoo.md](zoo.md) has their scores on data of their own kind. The weights named `its`, and those of
GCANet, were trained indoors.

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[*OURS, *PUBLISHED], help="models to show")
    names = parser.parse_args().names
    IMAGES.mkdir(parents=True, exist_ok=True)
    hazy, clear = (small(ROOT / "samples" / f"{name}.jpg") for name in ("valley", "valley-clear"))
    rows = [row("hazy", "the sample", hazy, clear), row("clear", "without haze", clear, clear)]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "valley.png"
        hazy.write_to_file(str(source))
        for name in names:
            target = Path(folder) / f"{name}.png"
            command = [sys.executable, "-m", "unhaze", str(source), "-o", str(target)]
            subprocess.run([*command, "--model", name], check=True)
            restored = pyvips.Image.new_from_file(str(target), memory=True)
            rows.append(row(name, title_of(name), restored, clear))
    PAGE.write_text(HEAD + "\n".join(rows), encoding="utf-8")


def small(path: Path) -> pyvips.Image:
    """A picture of the samples at `WIDTH`."""
    return pyvips.Image.thumbnail(str(path), WIDTH).copy_memory()


def row(name: str, title: str, picture: pyvips.Image, clear: pyvips.Image) -> str:
    """Writes the picture; returns its part of the page."""
    file = IMAGES / f"{name}.jpg"
    picture.write_to_file(str(file), Q=82, optimize_coding=True, strip=True)
    restored, truth = (each.numpy()[..., :3].astype(np.float32) / 255 for each in (picture, clear))
    numbers = ""
    if picture is not clear:
        ssim = PROTOCOLS["aecr"].ssim(restored, truth)
        numbers = f": {psnr(restored, truth):.2f} dB / {ssim:.3f}"
    return f"**{name}** ({title}){numbers}\n\n![{name}](images/zoo/{file.name})\n"


def title_of(name: str) -> str:
    """Whose weights they are."""
    offer = list_offers().get(name)
    if offer is None:
        return "a model of this project"
    network = list_networks()[offer.network]
    return f"published weights, https://github.com/{network.repository}"


if __name__ == "__main__":
    main()
