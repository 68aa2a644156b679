"""How `unhaze serve` starts and ends: faults show at the start, and it ends in bounded time."""

import asyncio
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import yaml
from starlette.requests import ClientDisconnect, Request

from tests.web.files import hazy_photo
from tests.web.test_hostile import wait_until
from unhaze.cli import main
from unhaze.web.desk import Desk
from unhaze.web.workers import Dropped

ROOT = Path(__file__).parents[2]
SLOW = "/v1/dehaze?model=dcp-soft-matting&analysis=1024"


@contextmanager
def command(*words: str, folder: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """`unhaze serve --port 0` and its address, as it tells it; the rest of stderr is in `said`."""
    said = folder / "stderr"
    with said.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "unhaze", "serve", "--port", "0", "--workers", "1", *words],
            stderr=file,
            env=os.environ | {"TMPDIR": str(folder)},
        )
    try:
        wait_until(lambda: "http://" in said.read_text() or process.poll() is not None, 60)
        url = re.search(r"http://127\.0\.0\.1:\d+", said.read_text())
        assert url, said.read_text()
        wait_until(lambda: answers(url[0]), 30)
        yield process, url[0]
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def is_working(url: str) -> bool:
    return httpx2.get(f"{url}/healthz", timeout=5).json()["places_taken"] > 0


def children(process: subprocess.Popen) -> list[int]:
    """The processes below it (Linux)."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            facts = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(facts[1]) == process.pid and facts[0] != "Z":
            found.append(int(place.parent.name))
    return found


@pytest.mark.slow
def test_a_stop_under_work_is_short_and_clean(tmp_path):
    body = hazy_photo(size=(1200, 1600))
    with command(folder=tmp_path) as (process, url), ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(httpx2.post, url + SLOW, content=body, timeout=90) for _ in range(3)]
        wait_until(lambda: is_working(url))
        time.sleep(1)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        late = httpx2.post(url + SLOW, content=body, timeout=30)
        assert (late.status_code, late.headers["retry-after"]) == (503, "10")
        replies = [job.result() for job in jobs]
        assert process.wait(30) == 0
        assert time.monotonic() - started < 25
    # The first may have been finished in time on a quick computer.
    assert {each.status_code for each in replies} <= {200, 503}
    assert 503 in {each.status_code for each in replies}
    for each in replies:
        if each.status_code == 503:
            assert "stopping" in each.json()["detail"]
    said = (tmp_path / "stderr").read_text()
    assert "Traceback" not in said
    assert not list(tmp_path.glob("unhaze*"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the processes")
def test_workers_do_not_outlive_a_killed_server(tmp_path):
    with command(folder=tmp_path) as (process, url), ThreadPoolExecutor(1) as pool:
        body = hazy_photo(size=(1200, 1600))
        job = pool.submit(httpx2.post, url + SLOW, content=body, timeout=90)
        wait_until(lambda: is_working(url))
        workers = children(process)
        assert workers
        process.kill()
        process.wait()
        wait_until(lambda: not [each for each in workers if Path(f"/proc/{each}").exists()], 10)
        assert isinstance(job.exception(), httpx2.TransportError)


def test_the_end_of_a_job_whose_client_left_is_no_fault_in_the_log(caplog):
    def job(stop: threading.Event) -> None:
        stop.wait()
        raise Dropped

    async def leave() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def served() -> None:
        desk = Desk(1, 0)
        with pytest.raises(ClientDisconnect):
            await desk.work(job, Request({"type": "http"}, leave))
        gc.collect()  # an error that nobody took is reported when its job is forgotten
        desk.close()

    asyncio.run(served())
    assert not caplog.records


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--max-megabytes", "nan", "not a finite number"),
        ("--keep-minutes", "inf", "not a finite number"),
        ("--worker-megabytes", "1e305", "1e305 is more than 1e+09"),
        ("--workers", "100000", "100000 is not in the range 0<=x<=1024"),
    ],
)
def test_numbers_without_sense_are_refused(option, value, says, capsys):
    assert main(["serve", "--port", "0", option, value]) == 2
    said = capsys.readouterr().err
    assert says in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--device", "nope"], "device"),
        (["--models", "photo-fst"], "photo-fst"),
        (["--host", "203.0.113.7"], "assign"),
    ],
)
def test_what_cannot_work_is_reported_at_the_start(tmp_path, words, says):
    command = [sys.executable, "-m", "unhaze", "serve", "--port", "0", *words]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert says in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_limits_of_the_compose_example_add_up():
    service = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    service = service["services"]["unhaze"]
    words = service["command"]
    named = dict(zip(words[2::2], words[3::2]))
    given = {key: float(value) for key, value in named.items() if key != "--host"}
    gigabytes = float(re.search(r"size=(\d+)g", service["tmpfs"][0])[1])
    processes = given["--workers"] + 1  # and the one for videos
    server = 0.4
    needed = gigabytes + processes * given["--worker-megabytes"] / 1000 + server
    assert needed <= float(service["mem_limit"].rstrip("g"))
    uploads = (given["--workers"] + given["--queue"] + 3) * given["--max-megabytes"] / 1000
    assert given["--keep-megabytes"] / 1000 + uploads <= gigabytes
    assert "change-me" not in str(service)
    assert service["environment"]["UNHAZE_TOKEN"].startswith("${UNHAZE_TOKEN:?")
    assert int(service["stop_grace_period"].rstrip("s")) >= 25
