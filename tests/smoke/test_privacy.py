"""Nothing is reported to anyone and nothing is written but results, whatever the entry."""

import os
import re
import shutil
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest

from tests.quick import slow_but
from tests.smoke.serving import serving
from unhaze import photo

ROOT = Path(__file__).parents[2]
# Requests leave by these families of sockets; a name is resolved by a connection to a resolver.
NETWORK = re.compile(r"(connect|sendto|sendmsg|sendmmsg)\(.*(AF_INET6?|port=)")

KERNEL = re.compile(r"home/\.cache/unhaze/field_kernel-[0-9a-f]{16}\.so")
LIBRARY = "import unhaze; unhaze.dehaze('in.png', analysis=64)"
ENTRIES = {
    "library": ("-c", LIBRARY),
    "command": ("-m", "unhaze", "in.png", "--analysis", "64"),
    "batch": ("-m", "unhaze", "batch", "photos", "out", "--workers", "2", "--analysis", "64"),
}
RAY = ("-m", "unhaze", "batch", "photos", "out", "--cluster", "local", "--analysis", "64")


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with photos, a home and a place for temporary files, both empty."""
    for name in ("home", "tmp", "photos"):
        (tmp_path / name).mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    for name in ("in.png", "photos/1.png", "photos/2.png"):
        photo.write_rgb(tmp_path / name, pixels)
    return tmp_path


def start(desk: Path, *words: str, before: tuple[str, ...] = (), **variables: str) -> None:
    """Runs Python in `desk` as somebody who has never used it; no variable of ours is set."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    own = {"HOME": str(desk / "home"), "TMPDIR": str(desk / "tmp")}
    done = subprocess.run(
        [*before, sys.executable, *words],
        cwd=desk,
        env=kept | own | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def left(desk: Path) -> list[str]:
    """Files in the home and among the temporary ones, hidden ones as well, but for the one that
    docs/use.md names: the kernel that is built where a compiler is.
    """
    found = [path for name in ("home", "tmp") for path in (desk / name).rglob("*")]
    files = sorted(str(path.relative_to(desk)) for path in found if path.is_file())
    kernels = [name for name in files if KERNEL.fullmatch(name)]
    assert len(kernels) <= 1
    return [name for name in files if name not in kernels]


@pytest.mark.parametrize("entry", slow_but(["command"], ENTRIES))
def test_an_inference_leaves_nothing_behind(desk: Path, entry: str):
    start(desk, *ENTRIES[entry])
    assert left(desk) == []


def test_a_server_leaves_nothing_behind(desk: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("fastapi", reason="needs the extra web")
    monkeypatch.delenv(
        "ORT_DISABLE_TELEMETRY", raising=False
    )  # set when this process imported unhaze
    own = {"HOME": str(desk / "home"), "TMPDIR": str(desk / "tmp")}
    with serving(desk, **own) as address:
        body = (desk / "in.png").read_bytes()
        with urlopen(Request(f"{address}/v1/dehaze", body), timeout=60) as answer:
            assert answer.status == 200
    assert left(desk) == []


def test_a_server_sends_no_traces_where_variables_would_have_them(desk: Path):
    """FastAPI exports them for whoever sets these, if OpenTelemetry's SDK happens to be there."""
    pytest.importorskip("fastapi", reason="needs the extra web")
    with socket.socket() as collector:
        collector.bind(("127.0.0.1", 0))
        collector.listen()
        collector.setblocking(False)
        endpoint = f"http://127.0.0.1:{collector.getsockname()[1]}"
        wanted = {"FASTAPI_OTEL_AUTO_CONFIGURE": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        with serving(desk, **wanted) as address, urlopen(f"{address}/v1/models") as answer:
            assert answer.status == 200
        with pytest.raises(BlockingIOError):
            collector.accept()
    assert "telemetry" not in (desk / "said").read_text()


def test_workers_on_ray_leave_nothing_of_onnx_runtime(desk: Path):
    pytest.importorskip("ray", reason="needs the extra cluster")
    start(desk, *RAY)
    assert [name for name in left(desk) if ".ses" in name or "Microsoft" in name] == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here; apt-get install strace")
@pytest.mark.parametrize("device", slow_but(["cpu"], ["cpu", "openvino"]))
def test_no_name_is_resolved_and_nobody_called(desk: Path, device: str):
    if device == "openvino" and find_spec("openvino") is None:
        pytest.skip("needs the extra openvino")
    trace = ("strace", "-f", "-e", "trace=network", "-o", str(desk / "trace"))
    start(desk, *ENTRIES["command"], "--device", device, before=trace)
    called = [line for line in (desk / "trace").read_text().splitlines() if NETWORK.search(line)]
    assert called == []
    assert left(desk) == []


@pytest.mark.parametrize("given", ["0", "1"])
def test_the_variable_of_the_user_is_kept(desk: Path, given: str):
    program = "import os, unhaze; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    program += f"; assert os.environ['ORT_DISABLE_TELEMETRY'] == '{given}'"
    start(desk, "-c", program, ORT_DISABLE_TELEMETRY=given)


def test_the_image_says_it_as_well():
    assert "ORT_DISABLE_TELEMETRY=1" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
