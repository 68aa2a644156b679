"""`unhaze zoo get`: published weights from a server, right or not at all, and with consent."""

import hashlib
import io
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from unhaze import fetch, photo, zoo
from unhaze.cli import main
from unhaze.nets import create_net
from unhaze.photo import Photo

FILES: dict[str, bytes] = {}
DROPS: list[int] = []  # bytes after which the next connections close


@pytest.fixture
def shelf(monkeypatch, tmp_path) -> Iterator[Path]:
    """A server of three offers: one MIT, one without a licence, one in two parts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = FILES.get(self.path)
            if content is None:
                return self.send_error(404)
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
            start = int(wanted[1]) if wanted else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = start + DROPS.pop() if DROPS else None
            return self.wfile.write(content[start:end])

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    FILES.clear(), DROPS.clear()
    monkeypatch.setenv("UNHAZE_ZOO_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("UNHAZE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch, "PAUSE_SECONDS", 0)
    free, none = "MIT (LICENSE: A, 2020)", "none stated (no licence file)"
    facts = {"net": "aodnet", "title": "T", "venue": "V", "year": 2020, "commit": "c0ffee"}
    facts |= {"weights": "Drive folder 1x", "parameters": 1}
    networks = {
        name: zoo.Network(name, repository=f"a/{name}", licence=licence, **facts)
        for name, licence in (("free", free), ("bare", none), ("split", free), ("drive", none))
    }
    torch.manual_seed(0)
    torch.save(create_net("aodnet").state_dict(), tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    offers = {}
    for name, network, path, part in (
        ("free-its", "free", "its/a.pth", False),
        ("bare-its", "bare", "its/b.pth", False),
        ("split-1", "split", "x_encoder_lv1.pkl", True),
        ("split-2", "split", "x_decoder_lv1.pkl", True),
    ):
        own = content + name.encode() if part else content
        FILES[f"/a/{network}/c0ffee/{path}"] = own
        sha256 = hashlib.sha256(own).hexdigest()
        offers[name] = zoo.Offer(name, network, path, len(own), sha256, part)
    monkeypatch.setattr(zoo, "list_networks", lambda: networks)
    monkeypatch.setattr(zoo, "list_offers", lambda: offers)
    yield tmp_path
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_weights_are_fetched_with_their_licence_and_just_run(shelf, capsys):
    Path(shelf / "in").mkdir()
    hazy = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    photo.write(Photo(hazy), shelf / "in" / "a.png")
    run = [str(shelf / "in" / "a.png"), "-o", str(shelf / "out.png"), "--model", "free-its"]
    assert main(run) == 2
    assert "run: unhaze zoo get free-its" in capsys.readouterr().err
    DROPS.extend([1000, 2000])  # two connections end early
    assert main(["zoo", "get", "free-its"]) == 0
    printed = capsys.readouterr()
    assert "licence: MIT (LICENSE: A, 2020)" in printed.err
    path = Path(printed.out.strip())
    assert path.read_bytes() == (shelf / "w.pth").read_bytes()
    FILES.clear()  # from now on the cache is enough
    assert main(["zoo", "get", "free-its"]) == 0
    assert main(run) == 0
    assert not np.array_equal(photo.read(shelf / "out.png").pixels, hazy)
    made = list((shelf / "cache" / "onnx").glob("*.onnx"))
    assert len(made) == 1
    changed = made[0].stat().st_mtime_ns
    assert main([*run, "--overwrite"]) == 0
    assert made[0].stat().st_mtime_ns == changed


def test_without_a_licence_consent_is_needed(shelf, capsys):
    assert main(["zoo", "get", "bare-its"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "give --yes" in printed.err and "none stated" in printed.err
    assert not list((shelf / "cache").rglob("b.pth"))
    assert main(["zoo", "get", "bare-its", "--yes"]) == 0
    assert Path(capsys.readouterr().out.strip()).is_file()


class Terminal(io.StringIO):
    """A stdin at which somebody sits."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_consent_is_asked_for_once(shelf, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert main(["zoo", "get", "bare-its"]) == 2
    printed = capsys.readouterr()
    assert "may not be permitted" in printed.err and "download them? [y/N]" in printed.err
    assert printed.err.endswith("'bare-its' was not downloaded\n") and printed.out == ""
    assert not list((shelf / "cache").rglob("b.pth"))
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert main(["zoo", "get", "bare-its"]) == 0
    path = capsys.readouterr().out.strip()
    assert Path(path).is_file()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["zoo", "get", "bare-its"]) == 0
    assert capsys.readouterr().out.strip() == path


def test_a_wrong_file_is_thrown_away(shelf, capsys):
    FILES["/a/free/c0ffee/its/a.pth"] = b"another file"
    assert main(["zoo", "get", "free-its"]) == 2
    assert "sent a file with sha256" in capsys.readouterr().err
    assert not list((shelf / "cache").rglob("a.pth"))


def test_parts_come_together_in_a_folder(shelf, capsys):
    assert main(["zoo", "get", "split"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert sorted(path.name for path in folder.iterdir()) == [
        "x_decoder_lv1.pkl",
        "x_encoder_lv1.pkl",
    ]


@pytest.mark.parametrize(
    "name, message",
    [
        ("drive", "get them by hand: Drive folder 1x (https://github.com/a/drive;"),
        ("free", "'free' is offered as free-its; name one of them"),
        ("fre-its", "nothing is called 'fre-its' here; did you mean 'free-its'"),
    ],
)
def test_what_cannot_be_fetched_is_reported_with_the_way(name, message, shelf, capsys):
    assert main(["zoo", "get", name]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_package_offers_files_by_their_full_checksums():
    assert len(zoo.list_offers()) == 19
    for offer in zoo.list_offers().values():
        assert re.fullmatch("[0-9a-f]{64}", offer.sha256)
        assert offer.network in zoo.list_networks()
        assert re.search("/[0-9a-f]{40}/", offer.url)
