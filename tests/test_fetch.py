"""Downloads: whole and right or not at all, taken up where they stopped; errors say what to do."""

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from unhaze import fetch as fetch_module
from unhaze.errors import UnhazeError
from unhaze.fetch import fetch

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """A server of one file. drops: how many connections close early, each after `piece` bytes."""

    url: str
    drops: int = 0
    piece: int = 300_000
    ranges: bool = True
    requests: list[str | None] = field(default_factory=list)


@pytest.fixture
def site(monkeypatch, tmp_path) -> Iterator[Site]:
    monkeypatch.setenv("UNHAZE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch_module, "PAUSE_SECONDS", 0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            site.requests.append(self.headers["Range"])
            if self.path != "/vgg%20small.bin":
                return self.send_error(404)
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
            start = int(wanted[1]) if wanted and site.ranges else 0
            if start >= len(CONTENT):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            end = len(CONTENT)
            if site.drops:
                site.drops -= 1
                end = start + site.piece
            return self.wfile.write(CONTENT[start:end])

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site = Site(f"http://127.0.0.1:{server.server_port}/vgg%20small.bin")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("digits", [8, 64])
def test_downloads_once(site, tmp_path, digits):
    path = fetch(site.url, SHA256[:digits])
    assert path.is_relative_to(tmp_path / "cache")
    assert path.name == "vgg small.bin"
    assert path.read_bytes() == CONTENT
    assert fetch(site.url, SHA256[:digits]) == path
    assert site.requests == [None]


def test_dropped_connections_are_taken_up_again(site):
    # More drops than attempts: every one brings bytes, so none of them is a failure.
    site.drops, site.piece = fetch_module.ATTEMPTS + 2, 100_000
    assert fetch(site.url, SHA256).read_bytes() == CONTENT
    assert site.requests == [None] + [f"bytes={k}00000-" for k in range(1, 8)]


def test_next_run_continues_where_the_last_one_stopped(site):
    partial = fetch_module.cached_path(site.url, SHA256)
    partial = partial.with_name(partial.name + ".part")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT[:123_456])
    path = fetch(site.url, SHA256)
    assert site.requests == ["bytes=123456-"]
    assert path.read_bytes() == CONTENT
    assert not partial.exists()


def test_whole_partial_file_is_accepted(site):
    path = fetch_module.cached_path(site.url, SHA256)
    path.parent.mkdir(parents=True)
    path.with_name(path.name + ".part").write_bytes(CONTENT)
    assert fetch(site.url, SHA256).read_bytes() == CONTENT


def test_server_without_ranges_starts_over(site):
    site.drops, site.ranges = 1, False
    assert fetch(site.url, SHA256).read_bytes() == CONTENT
    assert site.requests == [None, "bytes=300000-"]


def test_gives_up_when_no_bytes_come(site):
    site.drops, site.piece = 99, 0
    with pytest.raises(UnhazeError, match="closed early; run again to resume"):
        fetch(site.url, SHA256)
    assert len(site.requests) == fetch_module.ATTEMPTS


def test_wrong_checksum_leaves_nothing(site, tmp_path):
    wrong = "0" * 64
    with pytest.raises(UnhazeError, match=f"sent a file with sha256 {SHA256}, expected {wrong}"):
        fetch(site.url, wrong)
    left = [path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert left == [".lock"]


def test_damaged_cached_file_is_named_and_kept(site):
    path = fetch(site.url, SHA256)
    path.write_bytes(b"damaged")
    with pytest.raises(UnhazeError, match="delete it to download it again"):
        fetch(site.url, SHA256)
    assert path.read_bytes() == b"damaged"


def test_file_put_by_hand_needs_no_network(site):
    url = "http://127.0.0.1:1/by-hand.bin"
    path = fetch_module.cached_path(url, SHA256)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetch(url, SHA256) == path
    assert site.requests == []


def test_not_found(site):
    url = site.url.replace("small", "large")
    with pytest.raises(UnhazeError, match="the server returned status 404") as error:
        fetch(url, SHA256)
    assert url in str(error.value)


def test_offline_says_address_and_place(site):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/weights.pth"
    with pytest.raises(UnhazeError) as error:
        fetch(url, SHA256)
    message = str(error.value)
    assert url in message
    assert str(fetch_module.cached_path(url, SHA256)) in message
    assert "\n" not in message


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://127.0.0.1/", "weights.pth"])
def test_strange_address(url):
    with pytest.raises(UnhazeError, match="expected an http"):
        fetch(url, SHA256)


@pytest.mark.parametrize("sha256", ["", "dcbb9e9", SHA256.upper(), "not hexadecimal"])
def test_checksum_must_be_one(site, sha256):
    with pytest.raises(ValueError, match="8 to 64 hexadecimal digits"):
        fetch(site.url, sha256)
    assert site.requests == []


def test_cache_that_is_a_file(site, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNHAZE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UnhazeError, match="set UNHAZE_CACHE"):
        fetch(site.url, SHA256)


@pytest.mark.skipif(fetch_module.fcntl is None, reason="this system has no flock")
def test_two_at_once_download_once(site):
    paths = []
    threads = [
        threading.Thread(target=lambda: paths.append(fetch(site.url, SHA256))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4
    assert paths[0].read_bytes() == CONTENT
    assert site.requests == [None]
