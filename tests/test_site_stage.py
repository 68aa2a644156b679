"""What the page without a server shows: the same picture that it saves, and at little cost."""

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from site_page import CASES, choose, given, wait_until_shown

from unhaze import photo
from unhaze.restore.managed import colours_by
from unhaze.restore.restorer import Restorer


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


def shown_colours(page: Page) -> np.ndarray:
    """(H,W,3) of the stage's picture as it is on the screen."""
    page.wait_for_timeout(300)
    return photo.read(page.locator("#picture").screenshot(type="png")).pixels.astype(float)


def test_a_file_that_fails_leaves_no_other_photo_on_the_stage(open_page):
    page = open_page()
    choose(page, given("a.jpg", CASES["full-chroma.jpg"]()), given("b.txt", b"no picture"))
    expect(page.locator("#list .state")).to_have_text(["cleared", "failed"], timeout=60_000)
    wait_until_shown(page)
    assert shown_colours(page)[200:-200, 200:-200].std(axis=(0, 1)).min() > 10
    page.click("#list li:nth-child(2) .file")
    assert shown_colours(page)[200:-200, 200:-200].std(axis=(0, 1)).max() < 1


def test_the_picture_comes_back_when_the_card_has_forgotten_it(open_page):
    page = open_page()
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


def test_one_strength_for_all_photos(open_page):
    page = open_page()
    choose(page, *(given(f"{n}.jpg", CASES["grey.jpg"]()) for n in range(3)))
    expect(page.locator("#list .state")).to_have_text(["cleared"] * 3, timeout=60_000)
    expect(page.locator("#count")).to_have_text("3 of 3 done")
    expect(page.locator("#strength-for-all")).to_have_count(0)
    page.locator("#strength").fill("30")
    page.click("#strength-for-all")
    expect(page.locator("#strength-for-all")).to_have_count(0)
    page.click("#list li:nth-child(3) .file")
    expect(page.locator("#strength-shown")).to_have_text("30%")


@pytest.mark.parametrize("webgl", [True, False], ids=["webgl", "flat"])
@pytest.mark.parametrize("name", ["turned.jpg", "p3.png", "wide.png"])
def test_the_screen_shows_what_is_saved(open_page, name, webgl):
    content = CASES[name]()
    page = open_page()
    if not webgl:
        page.add_init_script(
            "const get = HTMLCanvasElement.prototype.getContext;"
            "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
            " return kind === 'webgl2' ? null : get.call(this, kind, ...rest); };"
        )
        page.reload()
    choose(page, given(name, content))
    wait_until_shown(page)
    assert page.locator("#message").is_visible() != webgl
    page.locator("#split").fill("0")
    page.click("#full")
    page.wait_for_timeout(300)
    shot = photo.read(page.locator("#picture").screenshot(type="png")).pixels.astype(float)
    right = Restorer("photo-fast", "cpu").restore(photo.read(content))  # before any encoder
    seen = np.rint(255 * colours_by(right.traits).to_srgb(photo.to_float(right.pixels)))
    if name == "p3.png" and not webgl:
        return  # without WebGL colours are shown as they are stored
    height, width = seen.shape[:2]
    top, left = (shot.shape[0] - height) // 2, (shot.shape[1] - width) // 2
    inside = slice(60, height - 60), slice(40, width - 40)  # clear of divider and labels
    found = [
        np.abs(shot[above : above + height, before : before + width] - seen)
        for above in (top, top + 1)
        for before in (left, left + 1)
    ]
    assert min(each[inside].mean() for each in found) < 1
