"""The page without a server, in a real browser: the numbers of the command line, and offline.

It is what `make site` has built in site/dist; without it, these tests skip.
"""

import io
import os
import re
import zipfile
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.site.page import (
    CASES,
    ROOT,
    VALLEY,
    choose,
    empty,
    expected_and_saved,
    given,
    save,
    wait_until_shown,
)
from unhaze import dehaze, photo
from unhaze.image import to_float
from unhaze.metrics import psnr
from unhaze.photo.picture import EXIF, ICC
from unhaze.restore.restorer import Restorer

AXE = ROOT / "site" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory) -> Path:
    """The folder that UNHAZE_SCREENSHOTS names, for people to look at."""
    folder = Path(os.environ.get("UNHAZE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_the_download_is_what_the_command_line_writes(page, name):
    content = CASES[name]()
    expected, result = expected_and_saved(page, name, content)
    with photo.open_photo(expected) as by_python, photo.open_photo(result) as by_page:
        assert by_page.shape == by_python.shape
        assert by_page.dtype == by_python.dtype
        assert by_page.traits.format == by_python.traits.format
        assert by_page.traits.orientation == by_python.traits.orientation
        assert by_page.traits.metadata.get(ICC) == by_python.traits.metadata.get(ICC)
        assert by_page.traits.full_chroma == by_python.traits.full_chroma
        assert by_page.traits.lossless == by_python.traits.lossless
        assert b"Acme" in by_page.traits.metadata[EXIF]
        if by_python.traits.quality:
            assert abs(by_page.traits.quality - by_python.traits.quality) <= 1
    before, right, found = (photo.read(each) for each in (content, expected, result))
    floats = [to_float(each.pixels) for each in (before, right, found)]
    top = floats[0].max()
    floats = [each / top for each in floats]
    assert psnr(floats[2], floats[0]) < 35  # it did clear something
    assert psnr(floats[2], floats[1]) >= 45
    if right.alpha is not None:
        assert np.array_equal(found.alpha, right.alpha)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lossy.webp", "p3.webp"])
def test_without_threads_webp_is_as_near_to_the_pixels_as_the_command_lines(open_page, name):
    """Two encoders that lose something differ by more than either loses."""
    content = CASES[name]()
    page = open_page()
    choose(page, given(name, content))
    wait_until_shown(page)
    _, result = save(page)
    clear = Restorer("photo-fast", "cpu").restore(photo.read(content))
    pixels, by_page, by_python = (
        to_float(each.pixels)
        for each in (clear, photo.read(result), photo.read(dehaze(content, model="photo-fast")))
    )
    assert psnr(by_page, pixels) >= psnr(by_python, pixels) - 0.5
    assert psnr(by_page, by_python) >= 41


@pytest.mark.slow
def test_ten_photos_queue_reload_and_come_as_zip(page):
    choose(page, *(given(f"{n}.jpg", CASES["full-chroma.jpg"]()) for n in range(10)))
    state = page.locator("#list .state")
    expect(state).to_have_text(["cleared"] * 10, timeout=120_000)
    page.locator("#strength").fill("40")
    page.wait_for_timeout(300)
    page.reload()
    expect(state).to_have_text(["cleared"] * 10)
    expect(page.locator("#strength-shown")).to_have_text("40%")
    wait_until_shown(page)
    name, content = save(page, "#all")
    assert name == "unhaze.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == [f"{n}.unhazed.jpg" for n in range(10)]
        mild, full = (photo.read(archive.read(f"{n}.unhazed.jpg")).pixels for n in (0, 1))
    hazy = photo.read(CASES["full-chroma.jpg"]()).pixels
    changes = [np.abs(each.astype(int) - hazy).mean() for each in (mild, full)]
    assert 0.3 < changes[0] / changes[1] < 0.55
    page.click("#remove-all")
    expect(page.locator("#start")).to_be_visible()
    page.reload()
    expect(page.locator("#start")).to_be_visible()


@pytest.mark.slow
def test_work_is_cancelled_tried_again_and_removed(open_page):
    page = open_page("photo")
    valley = VALLEY.read_bytes()
    choose(page, given("one.jpg", valley), given("two.jpg", valley))
    expect(page.locator("#list li:nth-child(1) progress")).to_be_visible()
    page.click("#list li:nth-child(1) .cancel")
    expect(page.locator("#list li:nth-child(1) .state")).to_have_text("cancelled")
    page.click("#list li:nth-child(2) .remove")
    expect(page.locator("#list .state")).to_have_text(["cancelled"])
    page.wait_for_timeout(300)
    page.reload()
    page.wait_for_timeout(1000)  # in which it must not begin again
    expect(page.locator("#list .state")).to_have_text(["cancelled"])
    page.click("#list .retry")
    expect(page.locator("#list .state")).to_have_text(["cleared"], timeout=60_000)
    wait_until_shown(page, "photo")


@pytest.mark.slow
def test_photos_are_pasted_and_shared_by_other_apps(page, site):
    page.evaluate(
        "content => { const data = new DataTransfer();"
        " data.items.add(new File([new Uint8Array(content)], 'pasted.png', { type: 'image/png' }));"
        " document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data })); }",
        list(CASES["plain.png"]()),
    )
    expect(page.locator("#list .name")).to_have_text(["pasted.png"])
    page.evaluate(
        "content => { const form = new FormData();"
        " form.append('photos', new File([new Uint8Array(content)], 'a b.jpg'));"
        " return fetch('share', { method: 'POST', body: form }).then(() => 0); }",
        list(CASES["grey.jpg"]()),
    )
    page.goto(f"{site}?shared")
    expect(page.locator("#list .name")).to_have_text(["pasted.png", "a b.jpg"])
    expect(page.locator("#list .state")).to_have_text(["cleared", "cleared"], timeout=60_000)
    assert page.url == site


@pytest.mark.slow
def test_all_works_without_the_network_after_the_first_visit(open_page):
    page = open_page(offline=True)
    page.evaluate(
        "async () => { await navigator.serviceWorker.ready; for (;;) {"
        " const found = await caches.match('runtime/ort-wasm-simd-threaded.wasm');"
        " const all = found && await caches.match('config.json');"
        " if (all) return; await new Promise(wake => setTimeout(wake, 100)); } }"
    )
    page.context.set_offline(True)
    page.reload()
    expect(page.locator("#start")).to_be_visible()
    # The service worker's headers give WebAssembly its threads.
    assert page.evaluate("crossOriginIsolated")
    choose(page, given("p3.jpg", CASES["p3.jpg"]()))
    wait_until_shown(page)
    page.select_option("#compare-1", "photo")
    wait_until_shown(page, "photo-fast,photo")
    assert save(page)[0] == "p3.unhazed.jpg"
    page.select_option("#language", "de")
    expect(page.locator("#download")).to_have_text("Herunterladen")
    choose(page, given("a.webp", CASES["lossy.webp"]()))
    cleared = ["geklärt", "geklärt"]
    expect(page.locator("#list .state")).to_have_text(cleared, timeout=60_000)


def test_the_policy_lets_nothing_out(open_page):
    page = open_page(offline=True)
    tries = (
        "fetch('https://example.com/').then(() => 'sent', () => 'stopped')",
        "new Promise(done => { const picture = new Image(); picture.onload = () => done('sent');"
        " picture.onerror = () => done('stopped'); picture.src = 'https://example.com/a.png'; })",
        "new Promise(done => { const script = document.createElement('script');"
        " script.textContent = 'window.ran = 1'; document.head.append(script);"
        " done(window.ran ? 'ran' : 'stopped'); })",
    )
    reported = []
    page.expose_function("report", lambda directive: reported.append(directive))
    page.evaluate(
        "document.addEventListener('securitypolicyviolation', event =>"
        " window.report(event.effectiveDirective))"
    )
    for attempt in tries:
        assert page.evaluate(attempt) == "stopped"
    page.wait_for_timeout(200)
    assert {each.partition("-elem")[0] for each in reported} == {
        "connect-src", "img-src", "script-src",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1280, 860), (320, 640)], ids=["desktop", "small"])
def test_axe_finds_no_serious_fault(open_page, screenshots, size):
    viewport = {"width": size[0], "height": size[1]}
    page = open_page(viewport=viewport, reduced_motion="reduce")
    for scheme, language in product(("light", "dark"), ("en", "ar")):
        name = f"site-{size[0]}-{scheme}-{language}"
        page.emulate_media(color_scheme=scheme)
        page.select_option("#language", language)
        expect(page.locator("html")).to_have_attribute("dir", "rtl" if language == "ar" else "ltr")
        assert serious_faults(page) == []
        page.screenshot(path=screenshots / f"{name}-start.png")
        choose(page, given("a.jpg", CASES["full-chroma.jpg"]()), given("broken.jpg", b"nothing"))
        wait_until_shown(page)
        expect(page.locator("#list li.failed")).to_be_visible()
        page.click("#list li.failed .file")
        expect(page.locator(".problem")).to_be_visible()
        assert serious_faults(page) == []
        page.click("#list li:first-child .file")
        wait_until_shown(page)
        page.locator("#more-controls").evaluate("details => { details.open = true; }")
        page.wait_for_timeout(200)
        assert serious_faults(page) == []
        wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]
        page.screenshot(path=screenshots / f"{name}.png", full_page=True)
        empty(page)


def serious_faults(page: Page) -> list[str]:
    """What axe-core calls serious or critical."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    return [
        f"{each['id']}: {each['help']}: {[node['target'] for node in each['nodes']]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def test_the_first_load_is_small(open_page):
    page = open_page()
    sizes = page.evaluate(
        "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
        ".map(each => [each.name, each.decodedBodySize])"
    )
    first = [size for name, size in sizes if not re.search(r"/(runtime|models|samples)/", name)]
    assert 50_000 < sum(first) < 1_000_000
