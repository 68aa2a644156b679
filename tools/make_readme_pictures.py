"""Makes the picture at the top of README.md: samples/valley.jpg beside what the tool makes of it.

Runs the very command of the README on a copy, and puts the two pictures side by side.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyvips

ROOT = Path(__file__).parents[1]
WIDTH, GAP = 800, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="auto", help="as in `unhaze run --model`")
    model = parser.parse_args().model
    with tempfile.TemporaryDirectory() as folder:
        hazy = Path(shutil.copy(ROOT / "samples" / "valley.jpg", folder))
        command = [sys.executable, "-m", "unhaze", str(hazy), "--model", model]
        subprocess.run(command, check=True)
        restored = hazy.with_suffix(".unhazed.jpg")
        pictures = [pyvips.Image.thumbnail(str(path), WIDTH) for path in (hazy, restored)]
        strip = pyvips.Image.arrayjoin(pictures, across=2, shim=GAP, background=[255])
        target = ROOT / "docs" / "images" / "valley-before-after.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        strip.write_to_file(str(target), Q=86, optimize_coding=True)
    print(target.relative_to(ROOT))


if __name__ == "__main__":
    main()
