"""What every test shares: one thread, and the optional data that lies beside the project."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny tensors are ten times faster on one thread than fought over by several."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder named by UNHAZE_DATA (default: `shared` beside the project); skips without it."""
    default = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("UNHAZE_DATA", default))
    if not (folder / "data").is_dir():
        pytest.skip(f"no data at '{folder}'; set UNHAZE_DATA to the folder that holds data/")
    return folder
