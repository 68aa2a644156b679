"""What every test shares: one thread, and the optional data that lies beside the project."""

import gc
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

import pytest

from tests.halving import write_model
from tests.rgbd_scenes import draw_scenes
from unhaze.cli import main

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from unhaze.restore.restorer import Restorer


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny tensors are ten times faster on one thread than fought over by several."""
    if importlib.util.find_spec("torch") is not None:  # tests/smoke runs without it
        import torch

        torch.set_num_threads(1)


def pytest_collection_finish():
    """Garbage is looked for seldom, and not in the modules: that took an eighth of the time."""
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


@pytest.fixture(scope="module")
def restorer() -> "Restorer":
    """The dark channel prior, quick to run."""
    from unhaze.restore.restorer import Restorer

    return Restorer("dcp", "cpu", analysis=64, threads=1)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """A folder of small clear pictures with depth."""
    return draw_scenes(tmp_path_factory.mktemp("rgbd"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder named by UNHAZE_DATA (default: `shared` beside the project); skips without it."""
    default = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("UNHAZE_DATA", default))
    if not (folder / "data").is_dir():
        pytest.skip(f"no data at '{folder}'; set UNHAZE_DATA to the folder that holds data/")
    return folder


@pytest.fixture(scope="session")
def half(tmp_path_factory) -> Path:
    """A model that halves every value: its effect is easily told."""
    return write_model(tmp_path_factory.mktemp("model") / "half.onnx", 0.5)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A Chromium without a window; skips where there is none."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium here; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def unhaze(capfdbinary, monkeypatch) -> Callable[..., CompletedProcess]:
    """The command, in this process because that is quicker; stdout and stderr are bytes."""

    def run(*words: object, cwd: Path | None = None) -> CompletedProcess:
        if cwd is not None:
            monkeypatch.chdir(cwd)
        words = list(map(str, words))
        return CompletedProcess(words, main(words), *capfdbinary.readouterr())

    return run
