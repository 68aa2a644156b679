"""Counts the project's files that one trip through the code touches, between entry and result.

`python tools/count_walks.py [photo|step|frame|request]...`: a photo by the command, a training
batch and its step, a video by the command, a request of the service in its worker. Each trip is
made twice and counted the second time, when everything is imported. `-v` lists the files, and in
each the functions in the order of their first call.
"""

import sys
import tempfile
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import FrameType

import numpy as np

import unhaze

ROOT = Path(__file__).parents[1]
SOURCE = str(Path(unhaze.__file__).parent)
VALLEY = ROOT / "samples" / "valley.jpg"

Trip = Callable[[], object]


def touched(trip: Trip) -> dict[str, list[str]]:
    """Files of the package with the functions that a trip calls, in any thread."""
    called: dict[str, dict[str, None]] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        file, name = frame.f_code.co_filename, frame.f_code.co_qualname.partition(".<")[0]
        if event == "call" and name != "<module>" and file.startswith(SOURCE):
            called.setdefault(file[len(SOURCE) + 1 :], {})[name] = None

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        trip()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return {file: list(called[file]) for file in sorted(called)}


def photo(folder: Path) -> Trip:
    """`unhaze run valley.jpg -o out.jpg`"""
    from unhaze.cli import main

    return lambda: main(["run", str(VALLEY), "-o", str(folder / "out.jpg"), "--overwrite", "-q"])


def step(folder: Path) -> Trip:
    """One batch of the tiny recipe, drawn, and the optimisation step."""
    from unhaze.config import load_config
    from unhaze.data.build import create_data
    from unhaze.nets import create_net
    from unhaze.training import build_method, make_fabric
    from unhaze.training.steps import batches_from

    settings = [f"data.root={ROOT / 'samples' / 'tiny'}", "hardware.prefetch=0"]
    recipe = load_config(ROOT / "recipes" / "tiny_paired.toml", settings)
    fabric, net = make_fabric(recipe), create_net(recipe.net.name, **recipe.net.arguments)
    method, *_ = build_method(recipe, fabric, net)
    batches = batches_from(recipe, fabric, create_data(recipe.data), 0)
    return lambda: method.step(next(batches), recipe.optimizer.lr)


def frame(folder: Path) -> Trip:
    """`unhaze run clip.mkv -o out.mkv`, of one frame."""
    import av

    from unhaze.cli import main

    with av.open(str(folder / "clip.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        grey = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 120, np.uint8), format="rgb24")
        container.mux([*stream.encode(grey), *stream.encode(None)])
    clip, out = (str(folder / name) for name in ("clip.mkv", "out.mkv"))
    return lambda: main(["run", clip, "-o", out, "--overwrite", "-q"])


def request(folder: Path) -> Trip:
    """What a worker does for `POST /v1/dehaze`."""
    from unhaze.web.settings import Settings
    from unhaze.web.tasks import Models, Order, clear
    from unhaze.web.upload_store import Kept

    models = Models(Settings(), print)
    item = Kept("id", folder, "valley.jpg", "request")
    item.source.write_bytes(VALLEY.read_bytes())

    def trip() -> object:
        (folder / "result.jpg").unlink(missing_ok=True)
        return clear(models, item, "auto", 1024, Order())

    return trip


TRIPS = {"photo": photo, "step": step, "frame": frame, "request": request}


def main(words: list[str]) -> None:
    """Prints a line for each trip."""
    for name in [word for word in words if word in TRIPS] or TRIPS:
        with tempfile.TemporaryDirectory() as folder:
            trip = TRIPS[name](Path(folder))
            trip()
            files = touched(trip)
        print(f"{name}: {len(files)} files")
        if "-v" in words:
            print(*(f"    {file}: {', '.join(names)}" for file, names in files.items()), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
