"""What `unhaze serve` keeps for its page: for whom, how long, and what the page does without it."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.web.files import hazy_photo, same_but_colours
from tests.web.served_page import files
from tests.web.server import Running, serving
from tests.web.test_hostile import wait_until
from unhaze.web import Settings
from unhaze.web.upload_store import Full, UploadStore, remove_leftovers


def filled(shelf: UploadStore, size: int, client: str):
    """A new item of `size` bytes that nobody works on."""
    item = shelf.new("a.jpg", "photo", client)
    item.source.write_bytes(bytes(size))
    item.state = "done"
    return item


def test_one_client_never_throws_out_what_another_has():
    shelf = UploadStore(most_bytes=3000, client_bytes=1000, seconds=3600)
    mine = [filled(shelf, 300, "me") for _ in range(3)]
    theirs = [filled(shelf, 300, "they") for _ in range(20)]
    shelf.tidy()
    assert all(each.id in shelf.items for each in mine)
    assert [each.id in shelf.items for each in theirs] == [False] * 17 + [True] * 3
    shelf.close()


def test_where_others_fill_the_shelf_the_wait_is_told_truly():
    shelf = UploadStore(most_bytes=1000, client_bytes=600, seconds=100)
    first, second = filled(shelf, 600, "a"), filled(shelf, 500, "b")
    first.used -= 97.5
    with pytest.raises(Full) as refused:
        shelf.new("c.jpg", "photo", "c")
    assert refused.value.retry_after == 3
    first.used -= 3
    assert shelf.new("c.jpg", "photo", "c").folder.exists()
    assert set(shelf.items) > {second.id}
    shelf.close()


def test_one_s_own_files_make_room_for_one_s_new_ones():
    shelf = UploadStore(most_bytes=1000, client_bytes=1000, seconds=100)
    old, new = filled(shelf, 600, "a"), filled(shelf, 400, "a")
    assert shelf.new("c.jpg", "photo", "a").id in shelf.items
    assert (old.id in shelf.items, new.id in shelf.items) == (False, True)
    shelf.close()


def test_files_die_on_time_though_nobody_asks():
    settings = Settings(device="cpu", workers=1, analysis=64, kept_seconds=0.8)
    with serving(settings) as server:
        line = HTTPConnection("127.0.0.1", server.port)
        line.request("POST", "/v1/photos", hazy_photo())
        assert line.getresponse().status == 201
        line.close()
        assert server.files()
        wait_until(lambda: not server.files(), 5)


def test_a_server_that_was_killed_leaves_nothing_to_the_next(tmp_path, monkeypatch):
    script = (
        "import sys, time; from unhaze.web.upload_store import UploadStore; "
        "shelf = UploadStore(9, 9, 9);"
        "shelf.new('a.jpg', 'photo').source.write_bytes(b'secret');"
        "print(shelf.folder, flush=True); time.sleep(600)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", script]
    dead, alive = (
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    )
    try:
        folders = [Path(each.stdout.readline().strip()) for each in (dead, alive)]
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        other = tmp_path / "unhaze-web-of-something-else"
        other.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        remove_leftovers()
        assert [each.exists() for each in (*folders, other)] == [False, True, True]
    finally:
        alive.kill()
        alive.wait()


def send_from(address: str, server: Running, body: bytes) -> int:
    """The status of an upload from another address of this computer, waiting where asked to."""
    while True:
        line = HTTPConnection("127.0.0.1", server.port, source_address=(address, 0), timeout=60)
        line.request("POST", "/v1/photos?name=other.jpg", body)
        answer = line.getresponse()
        line.close()
        if answer.status != 429:
            return answer.status
        time.sleep(int(answer.headers["retry-after"]))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers on all of 127.0.0.0/8")
@pytest.mark.parametrize("kept", [4_000_000_000, 3_000_000], ids=["roomy", "crowded"])
def test_forty_photos_come_back_while_another_client_sends_forty(browser: Browser, kept: int):
    """`crowded`: the server has room for about 20 of them, the page sends the others again."""
    photos = {f"photo{n}__jpg": hazy_photo(size=(90, 120), seed=n) for n in range(40)}
    settings = Settings(device="cpu", workers=1, analysis=64, kept_bytes=kept)
    with serving(settings) as server, ThreadPoolExecutor(1) as pool:
        body = hazy_photo(size=(90, 120))
        others = pool.submit(lambda: [send_from("127.0.0.2", server, body) for _ in range(40)])
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto(server.url)
        expect(page.locator("#start")).to_be_visible()
        page.set_input_files("#files", files(**photos))
        done = re.compile("^cleared$")
        expect(page.locator("#list .state")).to_have_text([done] * 40, timeout=120_000)
        assert others.result() == [201] * 40
        results = {}
        with page.expect_download() as saved:
            page.click("#all")
        with zipfile.ZipFile(saved.value.path()) as archive:
            results |= {name: archive.read(name) for name in archive.namelist()}
        context.close()
    assert len(results) == 40
    for key, hazy in photos.items():
        assert same_but_colours(hazy, results[f"{key.partition('__')[0]}.unhazed.jpg"])


@pytest.mark.slow
def test_dropped_text_is_not_met_with_silence(browser: Browser):
    with serving(Settings(device="cpu", workers=1, analysis=64)) as server:
        page = browser.new_page()
        page.goto(server.url)
        expect(page.get_by_text("Drop hazy photos here").first).to_be_visible()
        page.evaluate(  # in the frame after it was drawn: the page listens by then
            "new Promise((done) => requestAnimationFrame(() => setTimeout(done))).then(() => {"
            "const data = new DataTransfer(); data.setData('text/plain', 'hello');"
            "document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data,"
            " bubbles: true, cancelable: true })); })"
        )
        expect(page.locator("#message")).to_contain_text("no file")
        page.close()
