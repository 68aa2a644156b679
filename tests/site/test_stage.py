"""What the page without a server shows: the same picture that it saves, and at little cost."""

from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.site.page import (
    CASES,
    choose,
    distance,
    empty,
    given,
    opening,
    shown_colours,
    wait_until_shown,
)
from unhaze import photo
from unhaze.outputs import Controls
from unhaze.restore.restorer import Restorer

pytestmark = pytest.mark.slow


def test_a_move_of_the_slider_mixes_what_was_seen(open_page):
    """No texture is sent or read, the photo is not sampled again: one triangle a pane."""
    page = open_page()
    page.add_init_script(
        "window.calls = {}; const all = WebGL2RenderingContext.prototype;"
        "for (const name of ['texImage2D', 'texImage3D', 'readPixels', 'drawArrays', 'finish']) {"
        " const own = all[name]; all[name] = function (...rest) {"
        " calls[name] = (calls[name] ?? 0) + 1; return own.apply(this, rest); }; }"
    )
    page.reload()
    choose(page, given("a.jpg", CASES["full-chroma.jpg"]()))
    wait_until_shown(page)
    page.select_option("#compare-1", "photo")
    wait_until_shown(page, "photo-fast,photo")
    page.wait_for_timeout(300)
    assert page.evaluate("calls.texImage2D") == 5  # the photo, two maps of each field
    page.evaluate("calls = {}")
    for strength in (70, 40, 10):
        page.locator("#strength").fill(str(strength))
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    assert page.evaluate("calls") == {"drawArrays": 2 * 3}
    page.click("#full")
    page.wait_for_timeout(300)
    assert page.evaluate("calls.drawArrays") > 2 * 4  # looked at anew, and mixed


def test_a_file_that_fails_leaves_no_other_photo_on_the_stage(page):
    choose(page, given("a.jpg", CASES["full-chroma.jpg"]()), given("b.txt", b"no picture"))
    expect(page.locator("#list .state")).to_have_text(["cleared", "failed"], timeout=60_000)
    wait_until_shown(page)
    assert shown_colours(page)[200:-200, 200:-200].std(axis=(0, 1)).min() > 10
    page.click("#list li:nth-child(2) .file")
    assert shown_colours(page)[200:-200, 200:-200].std(axis=(0, 1)).max() < 1


def test_the_picture_comes_back_when_the_card_has_forgotten_it(page):
    choose(page, given("a.jpg", CASES["full-chroma.jpg"]()))
    wait_until_shown(page)
    before = shown_colours(page)
    page.evaluate(
        "new Promise(done => { const canvas = document.querySelector('#picture');"
        " const extension = canvas.getContext('webgl2').getExtension('WEBGL_lose_context');"
        " canvas.addEventListener('webglcontextrestored', () => done());"
        " canvas.addEventListener('webglcontextlost', () =>"
        " setTimeout(() => extension.restoreContext(), 100)); extension.loseContext(); })"
    )
    wait_until_shown(page)
    page.wait_for_timeout(500)
    assert np.abs(shown_colours(page) - before).max() <= 1


@pytest.fixture(scope="module")
def flat_page(browser, site) -> Iterator[Page]:
    """A page of a browser without WebGL."""
    with opening(browser, site) as open_it:
        page = open_it()
        page.add_init_script(
            "const get = HTMLCanvasElement.prototype.getContext;"
            "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
            " return kind === 'webgl2' ? null : get.call(this, kind, ...rest); };"
        )
        page.reload()
        yield page


SHOWN = ["turned.jpg", "p3.png", "wide.png"]


@pytest.mark.parametrize("name", SHOWN)
def test_the_screen_shows_what_is_saved(page, name):
    content = CASES[name]()
    choose(page, given(name, content))
    wait_until_shown(page)
    expect(page.locator("#message")).to_be_hidden()
    right = Restorer("photo-fast", "cpu").restore(photo.read(content))  # before any encoder
    assert distance(page, right) < 1


# Without WebGL colours are shown as they are stored.
@pytest.mark.parametrize("name", [each for each in SHOWN if each != "p3.png"])
def test_without_webgl_the_screen_shows_it_too(flat_page, name):
    content = CASES[name]()
    choose(flat_page, given(name, content))
    wait_until_shown(flat_page)
    expect(flat_page.locator("#message")).to_contain_text("no WebGL")
    restorer = Restorer("photo-fast", "cpu")
    assert distance(flat_page, restorer.restore(photo.read(content))) < 1
    flat_page.locator("#more-controls").evaluate("details => { details.open = true; }")
    flat_page.locator("#lift-shadows").fill("80")
    expect(flat_page.locator("#stage")).to_have_attribute("data-exact", "0,0.8,0")
    lifted = restorer.controlled(Controls(lift_shadows=0.8)).restore(photo.read(content))
    assert distance(flat_page, lifted) < 1
    empty(flat_page)
