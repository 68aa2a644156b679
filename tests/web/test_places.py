"""The page in the package: that of the sources; where it works, and with which models."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.web.files import hazy_photo
from tests.web.server import Running, serving
from tests.web.test_page import choose, wait_for_picture
from tools.pack_site import STAMP, TARGET, digest_of_sources
from unhaze.web import Settings


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving(Settings(device="cpu", workers=1, analysis=256)) as running:
        yield running


def test_the_packed_page_is_that_of_the_sources():
    stamp = json.loads((TARGET / STAMP).read_text(encoding="utf-8"))
    assert stamp["sources"] == digest_of_sources(), "run `make site` and commit what it changes"
    small = [each for each in TARGET.rglob("*") if each.is_file() and each.suffix != ".wasm"]
    assert sum(each.stat().st_size for each in small) < 1_000_000


@pytest.mark.slow
def test_a_server_that_allows_one_model_offers_that_one(browser: Browser):
    settings = Settings(device="cpu", workers=1, analysis=64, models=("dcp",))
    with serving(settings) as server:
        page = browser.new_page()
        page.goto(server.url)
        choose(page, a__jpg=hazy_photo())
        wait_for_picture(page, "dcp")
        expect(page.locator("#model option")).to_have_text(["dcp"])
        page.close()


@pytest.mark.slow
def test_a_place_is_chosen_and_kept(browser: Browser, server: Running):
    if not (TARGET / "runtime").is_dir():
        pytest.skip("the runtime for browsers is not installed; run `make site`")
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.set_default_timeout(30_000)
    sent = []
    page.on(
        "request", lambda request: sent.append(request.url) if "/v1/photos" in request.url else 0
    )
    page.goto(server.url)
    expect(page.get_by_label("On this server")).to_be_checked()
    page.get_by_label("In this browser").check()
    expect(page.locator("#start")).to_contain_text("Nothing is uploaded")
    choose(page, a__jpg=hazy_photo(), b__tif=hazy_photo(".tif"))
    wait_for_picture(page)
    # WebAssembly has threads where the server's headers isolate the page.
    assert page.evaluate("crossOriginIsolated")
    expect(page.locator("#list .state")).to_have_text(["cleared", "failed"])
    assert sent == []
    page.reload()
    expect(page.get_by_label("In this browser")).to_be_checked()
    page.click("#list li:nth-child(2) .file")
    page.click("#send")
    expect(page.locator("#list .state")).to_have_text(["cleared", "cleared"])
    assert sent
    context.close()
