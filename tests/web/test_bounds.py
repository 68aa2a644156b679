"""The bounds of `unhaze serve`: each is reached here, answers as it should, and frees its place."""

import io
import json
import socket
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, IncompleteRead
from types import SimpleNamespace

import av
import httpx2
import numpy as np
import pytest

from tests.video_clips import Fixed, make_clip
from tests.web.files import hazy_photo
from tests.web.server import Running, serving
from tests.web.test_hostile import exchange, request, wait_until
from unhaze import photo
from unhaze.errors import UnhazeError
from unhaze.web import Settings, server, tasks
from unhaze.web.settings import largest_analysis
from unhaze.web.workers import Dropped, Workers

COMMON = {"device": "cpu", "workers": 1, "analysis": 64}


def sleep(models: tasks.Models, seconds: float) -> str:
    """A task that takes its time; it stands for whatever does."""
    time.sleep(seconds)
    return "slept"


def take(models: tasks.Models, size: int) -> None:
    """A task that takes memory."""
    kept = np.ones(size, np.uint8)
    time.sleep(60)
    del kept


def crash(models: tasks.Models) -> None:
    """A task that dies as a decoder may."""
    import os

    os.abort()


def stand_in(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """All work on photos takes so long instead."""
    call = Workers.call
    monkeypatch.setattr(
        Workers, "call", lambda self, *_, **more: call(self, sleep, seconds, **more)
    )


@pytest.mark.slow
def test_a_worker_that_takes_too_long_too_much_or_dies_is_replaced():
    workers = Workers(Settings(worker_bytes=600_000_000, **COMMON))
    never = threading.Event()
    try:
        assert workers.call(sleep, 0, stop=never, seconds=60) == "slept"
        first = next(iter(workers.handles)).process
        assert workers.call(sleep, 0, stop=never, seconds=60) == "slept"
        assert next(iter(workers.handles)).process is first  # it is used again
        started = time.monotonic()
        with pytest.raises(UnhazeError, match="more than 1 seconds"):
            workers.call(sleep, 60, stop=never, seconds=1)
        assert time.monotonic() - started < 5
        assert not first.is_alive()
        with pytest.raises(MemoryError):
            workers.call(take, 900_000_000, stop=never, seconds=60)
        with pytest.raises(UnhazeError, match="failed"):
            workers.call(crash, stop=never, seconds=60)
        gone = threading.Event()
        threading.Timer(0.5, gone.set).start()
        with pytest.raises(Dropped):
            workers.call(sleep, 60, stop=gone, seconds=60)
        assert not workers.handles
        assert workers.call(sleep, 0, stop=never, seconds=60) == "slept"
    finally:
        workers.close()


def test_nine_clients_that_leave_give_their_places_back(monkeypatch):
    stand_in(monkeypatch, 60)
    with serving(Settings(queue=8, **COMMON)) as running:
        body = hazy_photo()
        head = request("/v1/dehaze", length=len(body))
        lines = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(9)]
        for line in lines:
            line.sendall(head + body)
        wait_until(lambda: running.clearer.desk.taken == 9)
        assert exchange(running, head, body) == 429
        for line in lines:
            line.close()
        wait_until(lambda: running.clearer.desk.taken == 0, 10)
        assert not running.files()
        assert not running.clearer.desk.by_client
    # Nobody waits for the sixty seconds: the worker was ended.


def test_work_that_takes_too_long_is_ended_and_said(monkeypatch):
    stand_in(monkeypatch, 60)
    with serving(Settings(work_seconds=1, **COMMON)) as running:
        answer = httpx2.post(f"{running.url}/v1/dehaze", content=hazy_photo(), timeout=30)
        assert (answer.status_code, "more than 1 seconds" in answer.text) == (422, True)
        wait_until(lambda: running.clearer.desk.taken == 0)


def test_one_client_may_hold_only_so_many_places(monkeypatch):
    stand_in(monkeypatch, 1)
    body = hazy_photo()

    def send(address: str) -> tuple[int, str]:
        line = HTTPConnection("127.0.0.1", running.port, source_address=(address, 0), timeout=60)
        line.request("POST", "/v1/photos", body)
        answer = line.getresponse()
        line.close()
        return answer.status, answer.headers.get("retry-after", "")

    with (
        serving(Settings(queue=3, client_places=2, **COMMON)) as running,
        ThreadPoolExecutor(4) as pool,
    ):
        mine = [pool.submit(send, "127.0.0.1") for _ in range(2)]
        wait_until(lambda: running.clearer.desk.taken == 2)
        status, wait = send("127.0.0.1")
        assert status == 429 and int(wait) >= 1
        theirs = pool.submit(send, "127.0.0.2")
        wait_until(lambda: running.clearer.desk.taken == 3)
        # The stand-in finds nothing out about the photos, so that their entries cannot be made.
        assert {each.result()[0] for each in (*mine, theirs)} == {500}


def test_idle_connections_shut_nobody_out_and_are_closed(monkeypatch):
    monkeypatch.setattr(server, "IDLE_SECONDS", 2)
    with serving(Settings(**COMMON)) as running:
        lines = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(260)]
        try:
            for line in lines[:130]:
                line.sendall(b"GET / HTTP/1.1\r\nHost:")
            started = time.monotonic()
            assert httpx2.get(f"{running.url}/healthz", timeout=10).status_code == 200
            assert time.monotonic() - started < 2
            for line in lines:
                line.settimeout(10)
                assert line.recv(1) == b""  # closed by the server
        finally:
            for line in lines:
                line.close()


def test_requests_at_a_time_are_bounded_but_not_health(monkeypatch):
    with serving(Settings(max_requests=8, body_seconds=20, **COMMON)) as running:
        lines = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(2)]
        for line in lines:
            line.sendall(request("/v1/photos", length=100) + b"x")
        wait_until(lambda: running.clearer.desk.taken == 2)
        answer = httpx2.get(f"{running.url}/v1/models")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert httpx2.get(f"{running.url}/healthz").status_code == 200
        for line in lines:
            line.close()
        wait_until(lambda: httpx2.get(f"{running.url}/v1/models").status_code == 200)


@pytest.fixture(scope="module")
def running():
    with serving(Settings(max_bytes=10_000_000, **COMMON)) as running:
        yield running


def post(running: Running, path: str, body: bytes) -> httpx2.Response:
    return httpx2.post(running.url + path, content=body, timeout=60)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif", ".gif"])
def test_every_promised_format_is_read_with_untrusted_loaders_blocked(running, suffix):
    if suffix == ".gif":
        import pyvips

        pixels = photo.read(hazy_photo(".png")).pixels
        body = pyvips.Image.new_from_array(pixels).write_to_buffer(".gif")
    else:
        body = hazy_photo(suffix)
    answer = post(running, f"/v1/dehaze?name=a{suffix}", body)
    assert answer.status_code == 200, answer.text


def test_svg_is_refused_before_it_is_parsed(running):
    body = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'>" + b"<g/>" * 900_000
    started = time.monotonic()
    assert post(running, "/v1/dehaze", body + b"</svg>").status_code == 422
    assert time.monotonic() - started < 5  # 30 to 50 s, when libvips parsed it


def test_dear_models_are_bounded_by_what_they_would_take(running):
    assert largest_analysis("dcp-soft-matting") < 1100 < largest_analysis("dcp")
    query = "model=dcp-soft-matting&analysis=2048"
    answer = post(running, f"/v1/dehaze?{query}", hazy_photo())
    assert (answer.status_code, "at most 1044 pixels" in answer.text) == (422, True)


def test_operators_say_which_models_there_are():
    with serving(Settings(models=("photo-fast", "dcp"), **COMMON)) as running:
        known = httpx2.get(f"{running.url}/v1/models").json()["models"]
        assert [each["name"] for each in known] == ["photo-fast", "dcp"]
        assert post(running, "/v1/dehaze?model=cap", hazy_photo()).status_code == 422
        assert post(running, "/v1/photos", hazy_photo()).json()["model"] == "photo-fast"
    with pytest.raises(UnhazeError, match="photo-fst"):
        Settings(models=("photo-fst",))


def fate(running: Running, body: bytes) -> dict:
    """The entry of a video when nothing happens to it any more."""
    ident = post(running, "/v1/videos?name=a.mp4", body).json()["id"]
    states: list[dict] = []

    def ended() -> bool:
        states.append(httpx2.get(f"{running.url}/v1/videos/{ident}").json())
        return states[-1]["state"] in ("done", "failed")

    wait_until(ended, 60)
    return states[-1]


def test_frames_have_a_limit_of_their_own_before_any_is_decoded(running, tmp_path):
    large = make_clip(tmp_path / "large.mp4", size=(3008, 3008), count=1).read_bytes()
    entry = fate(running, large)
    assert (entry["state"], "exceed the limit of 9000000" in entry["error"]) == ("failed", True)


SDP = (
    b"\x1a\x45\xdf\xa3\r\nv=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
)


def test_only_containers_reach_a_demuxer(running, tmp_path):
    """A session description that begins as Matroska does, and that FFmpeg takes for what it is."""
    source = tmp_path / "a.mp4"
    source.write_bytes(SDP)
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as said, pytest.raises(UnhazeError):
            tasks.check_video(SimpleNamespace(settings=Settings()), source)
    finally:
        av.logging.set_level(before)
    assert any("whitelist" in message for _, _, message in said)
    assert fate(running, SDP)["state"] == "failed"


@pytest.mark.parametrize(("kind", "said"), [("ts", "refer to others"), ("mp4", "exceed the limit")])
def test_the_work_itself_opens_a_video_as_strictly(kind, said, tmp_path, monkeypatch):
    """Whatever the check before it let through, such as a file of which a header changes."""
    source = make_clip(tmp_path / f"a.{kind}", size=(128, 128), count=1)
    models = SimpleNamespace(
        settings=Settings(max_frame_pixels=128 * 128 - 1),
        tell=lambda *_: None,
        restorer=lambda *_, **__: Fixed(),
    )
    monkeypatch.setattr(tasks, "check_video", lambda *_: 1)
    item = SimpleNamespace(source=source, folder=tmp_path)
    with pytest.raises(UnhazeError, match=said):
        tasks.clear_video(models, item, "photo-fast", 1.0, ".mkv")
    assert not list(tmp_path.glob("result*"))


def test_a_video_that_nobody_asks_for_is_given_up(monkeypatch):
    call = Workers.call
    monkeypatch.setattr(
        Workers,
        "call",
        lambda self, *_, progress, **more: call(self, sleep, 60, progress=progress, **more),
    )
    with serving(Settings(forgotten_seconds=1, **COMMON)) as running:
        body = b"\0\0\0\x08ftypisom"
        assert post(running, "/v1/videos", body).status_code == 202
        assert running.clearer.video_desk.taken == 1
        wait_until(lambda: running.clearer.video_desk.taken == 0, 15)


def test_an_archive_holds_each_photo_once(running):
    ident = post(running, "/v1/photos?name=a.jpg", hazy_photo()).json()["id"]
    query = {"item": [f"{ident}:1"] * 40}
    answer = httpx2.get(f"{running.url}/v1/archive", params=query, timeout=60)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.unhazed.jpg"]
    query = {"item": [f"{ident}:1", f"{ident}:0.5"]}
    answer = httpx2.get(f"{running.url}/v1/archive", params=query)
    assert (answer.status_code, "two strengths" in answer.text) == (422, True)


def test_an_archive_that_fails_half_way_breaks_off(running):
    idents = [post(running, "/v1/photos", hazy_photo(seed=n)).json()["id"] for n in range(2)]
    running.clearer.uploads.items[idents[1]].source.unlink()
    line = HTTPConnection("127.0.0.1", running.port, timeout=60)
    line.request("GET", f"/v1/archive?item={idents[0]}&item={idents[1]}")
    answer = line.getresponse()
    assert answer.status == 200
    with pytest.raises(IncompleteRead):
        answer.read()
    line.close()
    wait_until(lambda: running.clearer.desk.taken == 0)
    first = running.clearer.uploads.items[idents[0]].folder
    assert sorted(each.name for each in first.iterdir()) == ["preview.npz", "source"]


def test_unknown_parameters_are_refused_with_the_nearest(running):
    answer = post(running, "/v1/dehaze?strenght=0.2", hazy_photo())
    assert (answer.status_code, "did you mean 'strength'?" in answer.text) == (422, True)
    assert httpx2.get(f"{running.url}/v1/models?token=x").status_code == 422


def test_head_allow_and_json_refusals(running):
    entry = post(running, "/v1/photos", hazy_photo()).json()
    photo_path = f"/v1/photos/{entry['id']}"
    for path in ("/", "/style.css", "/healthz", "/readyz", "/v1/models", "/docs", photo_path):
        head, whole = (ask(running.url + path) for ask in (httpx2.head, httpx2.get))
        assert (head.status_code, head.content) == (200, b"") and whole.content
        for name in ("content-type", "content-length"):
            assert head.headers[name] == whole.headers[name]
    assert httpx2.head(f"{running.url}/metrics").status_code == 200
    assert httpx2.head(f"{running.url}/v1/dehaze").headers["allow"] == "POST"
    assert httpx2.head(f"{running.url}/v1/photos/none").status_code == 404
    for path, allowed in (
        ("/v1/dehaze", "POST"),
        (f"/v1/photos/{entry['id']}", "DELETE, GET, HEAD"),
        ("/", "GET, HEAD"),
        ("/app.js", "GET, HEAD"),
    ):
        answer = httpx2.request("PUT", running.url + path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert "expected one of" in answer.json()["detail"]
    with serving(Settings(hosts=("127.0.0.1",), **COMMON)) as strict:
        answer = httpx2.get(f"{strict.url}/healthz", headers={"host": "rebound.example"})
        assert (answer.status_code, "not called so" in answer.json()["detail"]) == (400, True)


def test_a_fault_of_ours_is_a_json_500(running, monkeypatch):
    monkeypatch.setattr(running.clearer, "look", lambda *_: 1 / 0)
    answer = post(running, "/v1/photos", hazy_photo())
    assert (answer.status_code, json.loads(answer.content)["detail"][:7]) == (500, "a fault")
    assert running.clearer.desk.taken == 0


@pytest.mark.slow
def test_a_large_body_that_is_refused_leaves_nothing_behind(monkeypatch):
    """Hypercorn hands a body over in ten pieces of 64 kB; more would wait for ever, and be kept."""
    stand_in(monkeypatch, 4)
    with serving(Settings(queue=0, **COMMON)) as running, ThreadPoolExecutor(1) as pool:
        before = running.tasks()
        first = pool.submit(post, running, "/v1/dehaze", hazy_photo())
        wait_until(lambda: running.clearer.desk.taken == 1)
        for _ in range(5):
            started = time.monotonic()
            assert post(running, "/v1/dehaze", bytes(5_000_000)).status_code == 429
            assert time.monotonic() - started < 3
        first.result()
        wait_until(lambda: running.tasks() <= before + 2)  # one connection may still be idle
