"""Finds packages that this project does not need, to be measured beside it: in another Python."""

import argparse
import importlib.util
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ADVICE = "give a Python that has it (--peer-python), or have one made (--make-peer FOLDER)"


def add_peer_options(parser: argparse.ArgumentParser) -> None:
    """The options by which another Python is given or made; `peer_of` reads them."""
    parser.add_argument("--peer-python", type=Path, help="a Python with what is missing in this")
    parser.add_argument("--make-peer", type=Path, metavar="FOLDER", help="make that Python there")


def peer_of(given: argparse.Namespace) -> Path | None:
    """The Python that the options name, made if they ask for it."""
    return make_peer(given.make_peer) if given.make_peer else given.peer_python


def python_with(package: str, given: Path | None) -> Path | None:
    """This Python or the given one, if `package` can be imported there; else None.

    SystemExit: there is no such Python.
    """
    if importlib.util.find_spec(package):
        return Path(sys.executable)
    if given is None:
        return None
    try:
        tried = subprocess.run([given, "-c", f"import {package}"], capture_output=True)
    except OSError as error:
        raise SystemExit(f"--peer-python {given}: {error.strerror}") from error
    return None if tried.returncode else given


def make_peer(folder: Path) -> Path:
    """A virtual environment with torchvision and the PyTorch that goes with it.

    The default PyTorch of Linux takes 5 GB and computes on the processor as the small one does.
    Returns its Python; an existing one is kept.
    """
    program = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        # Three: exactly this, not one for processors only, which torchvision's wheel does not fit.
        packages = [f"torch==={version('torch').partition('+')[0]}", "torchvision"]
        install = [program, "-m", "pip", "install", "--quiet", *packages, "numpy"]
        subprocess.run(install, check=True)
    return program
