"""Open connections are bounded, for one client and in all; whoever is turned away is told."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from tests.web.files import hazy_photo
from tests.web.server import Running, serving
from tests.web.test_hostile import wait_until
from unhaze.cli.options import GIVEN
from unhaze.cli.serve import Given, serve, token_of
from unhaze.errors import UnhazeError
from unhaze.web import Settings, connections, server
from unhaze.web.connections import Door, network_of

COMMON = {"device": "cpu", "workers": 1, "analysis": 64}
ONE, TWO = "127.0.0.1", "127.0.0.2"


@contextmanager
def idle(running: Running, count: int, address: str = ONE) -> Iterator[list[socket.socket]]:
    """So many connections from an address that ask for nothing."""
    place = (ONE, running.port)
    lines = [socket.create_connection(place, 10, (address, 0)) for _ in range(count)]
    try:
        yield lines
    finally:
        for line in lines:
            line.close()


def ask(running: Running, address: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and words of /healthz, asked from an address by a client that sends first."""
    with socket.create_connection((ONE, running.port), 10, (address, 0)) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := line.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, json.loads(body).get("detail", "")


def test_one_client_may_hold_only_so_many_connections():
    with serving(Settings(max_connections=40, client_connections=4, **COMMON)) as running:
        door = running.door
        with idle(running, 4, TWO):
            wait_until(lambda: door.open == 4)
            status, headers, said = ask(running, TWO)
            assert (status, headers["connection"]) == (429, "close")
            assert 1 <= int(headers["retry-after"]) <= server.IDLE_SECONDS
            assert "4 connections" in said
            assert ask(running, ONE)[0] == 200  # another client comes in
        # Who has closed a connection does not hold it until it would time out, as with Hypercorn.
        wait_until(lambda: door.open == 0, server.IDLE_SECONDS / 3)
        assert ask(running, TWO)[0] == 200
        numbers = httpx2.get(f"{running.url}/metrics").text
        assert "unhaze_connections 1.0" in numbers


@pytest.mark.slow
def test_all_together_may_hold_only_so_many_and_idle_ones_make_room(monkeypatch):
    monkeypatch.setattr(server, "IDLE_SECONDS", 4)
    with serving(Settings(max_connections=6, **COMMON)) as running:
        wait_until(lambda: running.door.open == 0)
        with idle(running, 3, ONE) as lines, idle(running, 3, TWO):
            wait_until(lambda: running.door.open == 6)
            status, headers, said = ask(running, "127.0.0.3")
            assert (status, headers["retry-after"]) == (503, "4")
            assert "all 6 connections are taken" in said
            # What it was told is true: after four seconds of silence they are closed.
            time.sleep(4.5)
            assert ask(running, "127.0.0.3")[0] == 200
            assert lines[0].recv(1) == b""
        wait_until(lambda: running.door.open == 0)
        assert not running.door.by_client


def test_hundreds_that_are_turned_away_cost_nothing(monkeypatch):
    monkeypatch.setattr(connections, "MOST_LINGERING", 8)
    with serving(Settings(max_connections=20, client_connections=10, **COMMON)) as running:
        before = running.tasks()
        with idle(running, 300, TWO):
            wait_until(lambda: running.door.open == 10)
            answer = httpx2.post(f"{running.url}/v1/dehaze", content=hazy_photo(), timeout=60)
            assert answer.status_code == 200
            assert running.tasks() < before + 150
        wait_until(lambda: running.door.open <= 1)


def test_the_door_counts_by_network():
    door = Door(3, 2)
    with door.inside("a"), door.inside("a"):
        assert door.refusal("a") == (
            429, "you hold 2 connections, which is all that one client may",
        )  # fmt: skip
        assert door.refusal("b") is None
        with door.inside("b"):
            assert door.refusal("c") == (503, "all 3 connections are taken")
    assert door.refusal("a") is None
    assert not door.by_client
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::9")
    assert network_of("2001:db8:1:2::9") != network_of("2001:db8:1:3::9")
    assert network_of(ONE) != network_of(TWO)


def test_the_limit_of_descriptors_is_kept(monkeypatch):
    monkeypatch.setattr(server, "descriptors", lambda: server.RESERVED + 5)
    with serving(Settings(**COMMON)) as running:
        wait_until(lambda: running.door.open == 0)
        with idle(running, 5, TWO):
            wait_until(lambda: running.door.open == 5)
            assert ask(running, ONE)[0] == 503


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], (1024, 0, 0)),
        (["--host", "0.0.0.0", "--queue", "7", "--workers", "1"], (1024, 256, 4)),
        (["--host", "0.0.0.0", "--behind-proxy", "--queue", "7", "--workers", "1"], (1024, 0, 4)),
        (["--max-connections", "64", "--client-connections", "8"], (64, 8, 0)),
    ],
)
def test_the_command_bounds_what_others_hold(words, expected):
    context = serve.make_context("serve", words)
    settings = Given(**context.meta[GIVEN]).settings()
    found = (settings.max_connections, settings.client_connections, settings.client_places)
    assert found == expected


def test_the_token_may_lie_in_a_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    assert token_of("", str(file)) == "s3cret"
    assert token_of("t", None) == "t"
    file.write_text(" \n")
    for token, place, words in (
        ("t", str(file), "exclude each other"),
        ("", str(file), "is empty"),
        ("", str(tmp_path / "none"), "cannot read the token"),
    ):
        with pytest.raises(UnhazeError, match=words):
            token_of(token, place)
