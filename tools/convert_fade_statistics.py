"""Turns FADE's two published .mat files into src/unhaze/metrics/fade_statistics.npz (needs scipy).

    python tools/convert_fade_statistics.py FOLDER_WITH_THE_MAT_FILES

The files are part of the MATLAB release of FADE by the LIVE laboratory of UT Austin; the notice
that has to travel with them is src/unhaze/metrics/FADE-NOTICE.txt.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.io import loadmat

KINDS = ("fogfree", "foggy")
TARGET = Path(__file__).parents[1] / "src" / "unhaze" / "metrics" / "fade_statistics.npz"


def convert(folder: Path, target: Path = TARGET) -> None:
    """Writes mean (12) and covariance (12,12), float64, of the fog-free and the foggy corpus."""
    statistics = {}
    for kind in KINDS:
        stored = loadmat(folder / f"natural_{kind}_image_features_ps8.mat")
        statistics[f"{kind}_mean"] = stored[f"mu_{kind}param"].reshape(12)
        statistics[f"{kind}_covariance"] = stored[f"cov_{kind}param"].reshape(12, 12)
    np.savez(target, **statistics)
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds natural_{fogfree,foggy}_...mat")
    convert(parser.parse_args().folder)
