"""The controls beside strength in the page without a server: live, exact, kept, by keys."""

import base64
from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.site.page import (
    TURNED,
    VALLEY,
    choose,
    distance,
    encoded,
    given,
    save,
    wait_until_shown,
    wide_gamut,
)
from unhaze import dehaze, photo
from unhaze.image import to_float
from unhaze.metrics import psnr
from unhaze.outputs import CONTROLS, Controls
from unhaze.restore.restorer import Restorer

pytestmark = pytest.mark.slow

CHOSEN = {"protect_sky": 0.7, "lift_shadows": 0.5, "white_balance": 0.9}


def landscape() -> np.ndarray:
    """The sample in small: it has a sky, shadows and a cast."""
    return photo.read(VALLEY).pixels[::5, ::5].copy()


PHOTOS: dict[str, Callable[[], bytes]] = {
    "turned.jpg": lambda: encoded(
        ".jpg", landscape(), quality=95, exif=TURNED, orientation=6, format="jpeg"
    ),
    "p3.png": lambda: encoded(".png", landscape(), **wide_gamut()),
    "wide.png": lambda: encoded(".png", landscape(), wide=True),
}


def unfold(page: Page) -> None:
    page.locator("#more-controls").evaluate("details => { details.open = true; }")
    expect(page.locator("#white-balance")).to_be_visible()


def set_controls(page: Page, **chosen: float) -> None:
    for name, value in chosen.items():
        ident = name.replace("_", "-")
        page.locator(f"#{ident}").fill(f"{100 * value:.0f}")
        expect(page.locator(f"#{ident}-shown")).to_have_text(f"{100 * value:.0f}%")


@pytest.mark.parametrize("name", PHOTOS)
def test_screen_and_download_are_what_python_makes(page, name):
    content = PHOTOS[name]()
    choose(page, given(name, content))
    wait_until_shown(page)
    unfold(page)
    set_controls(page, **CHOSEN)
    _, result = save(page)
    expected = dehaze(content, model="photo-fast", **CHOSEN)
    right, found, plain = (
        to_float(photo.read(each).pixels)
        for each in (expected, result, dehaze(content, model="photo-fast"))
    )
    assert psnr(found, right) >= 45
    assert psnr(found, plain) < psnr(found, right) - 7
    controlled = ",".join(str(CHOSEN[each]) for each in CONTROLS)
    expect(page.locator("#stage")).to_have_attribute("data-exact", controlled)
    restorer = Restorer("photo-fast", "cpu").controlled(Controls(**CHOSEN))
    assert distance(page, restorer.restore(photo.read(content))) < 1


def test_the_cast_of_dust_goes_by_itself_and_stays_on_request(open_page):
    page = open_page()
    dust = 0.4 * landscape() + 0.6 * 255 * np.array((0.9, 0.55, 0.1))
    dusty, grey = encoded(".png", np.rint(dust).astype(np.uint8)), PHOTOS["p3.png"]()
    choose(page, given("dusty.png", dusty), given("grey.png", grey))
    expect(page.locator("#list .state")).to_have_text(["cleared"] * 2)
    wait_until_shown(page)
    unfold(page)
    note, balance = page.locator("#cast-removed"), page.locator("#white-balance-shown")
    expect(note).to_be_visible()
    expect(balance).to_have_text("100%")
    alone = dehaze(dusty, model="photo-fast")
    assert likeness(save(page)[1], alone) >= 45
    assert distance(page, photo.read(alone)) < 1
    set_controls(page, white_balance=0)
    expect(note).to_have_count(0)
    page.wait_for_timeout(300)
    page.reload()
    wait_until_shown(page)
    expect(balance).to_have_text("0%")
    kept = dehaze(dusty, model="photo-fast", white_balance=0)
    assert likeness(save(page)[1], kept) >= 45 > likeness(kept, alone) + 20
    page.click("#reset")
    expect(balance).to_have_text("100%")
    page.click("#list li:nth-child(2) .file")
    expect(balance).to_have_text("0%")
    expect(note).to_have_count(0)
    set_controls(page, lift_shadows=0.5)
    page.click("#same-for-all")  # white balance is still each photo's own
    page.click("#list li:nth-child(1) .file")
    expect(page.locator("#lift-shadows-shown")).to_have_text("50%")
    expect(balance).to_have_text("100%")
    expect(note).to_be_visible()


def likeness(one: bytes, other: bytes) -> float:
    return psnr(*(to_float(photo.read(each).pixels) for each in (one, other)))


def test_a_move_of_a_control_mixes_what_was_seen(open_page):
    """No network runs, no texture is sent, the photo is not sampled again; then it is exact."""
    page = open_page()
    page.add_init_script(
        "window.calls = {}; const all = WebGL2RenderingContext.prototype;"
        "for (const name of ['texImage2D', 'drawArrays']) {"
        " const own = all[name]; all[name] = function (...rest) {"
        " calls[name] = (calls[name] ?? 0) + 1; return own.apply(this, rest); }; }"
        "const Own = Worker; window.Worker = class extends Own {"
        " constructor(address, options) { super(address, options); this.kind = options.name; }"
        " postMessage(...rest) { super.postMessage(...rest);"
        "  if (this.kind === 'network') calls.network = (calls.network ?? 0) + 1; } };"
    )
    page.reload()
    choose(page, given("a.png", PHOTOS["wide.png"]()))
    wait_until_shown(page)
    page.locator("#split").fill("0")
    unfold(page)
    stage = page.locator("#stage")
    expect(stage).to_have_attribute("data-exact", "0,0,0")
    assert page.evaluate("calls.network") == 1
    assert page.evaluate("calls.texImage2D") == 4  # photo, two maps, what controls go by
    before, _ = drawn(page, strength=100)
    moving, calls = drawn(page, **dict.fromkeys(CONTROLS, 80))
    assert calls == {"drawArrays": len(CONTROLS)}
    expect(stage).to_have_attribute("data-exact", "0.8,0.8,0.8")
    assert page.evaluate("calls.network ?? 0") == 0
    exactly, _ = drawn(page, strength=100)
    assert np.abs(exactly - before).mean() > 3
    # While sliders move, the screen is near to what comes when they rest.
    assert np.abs(moving - exactly).mean() < 1.5


def drawn(page: Page, **moves: int) -> tuple[np.ndarray, dict[str, int]]:
    """(H,W,3) of the stage after sliders were moved, one a frame; what was called meanwhile."""
    address, calls = page.evaluate(
        "async (moves) => { calls = {};"
        " for (const [id, value] of Object.entries(moves)) {"
        "  const slider = document.getElementById(id); slider.value = value;"
        "  slider.dispatchEvent(new Event('input')); await new Promise(requestAnimationFrame); }"
        " const all = { ...calls };"
        " return [document.querySelector('#picture').toDataURL('image/png'), all]; }",
        {name.replace("_", "-"): value for name, value in moves.items()},
    )
    pixels = photo.read(base64.b64decode(address.partition(",")[2])).pixels
    return pixels.astype(float), calls


def test_controls_are_kept_and_given_to_all_photos_and_taken_back(open_page):
    page = open_page()
    choose(page, *(given(f"{n}.jpg", PHOTOS["turned.jpg"]()) for n in range(2)))
    expect(page.locator("#list .state")).to_have_text(["cleared"] * 2, timeout=60_000)
    expect(page.locator("#count")).to_have_text("2 of 2 done")
    expect(page.locator("#same-for-all")).to_have_count(0)
    unfold(page)
    page.locator("#strength").fill("60")
    set_controls(page, **CHOSEN)
    page.click("#same-for-all")
    expect(page.locator("#same-for-all")).to_have_count(0)
    page.wait_for_timeout(300)
    page.reload()
    wait_until_shown(page)
    page.click("#list li:nth-child(2) .file")
    expect(page.locator("#strength-shown")).to_have_text("60%")
    expect(page.locator("#white-balance-shown")).to_have_text("90%")  # unfolded as it was left
    page.click("#reset")
    for name in CONTROLS:
        expect(page.locator(f"#{name.replace('_', '-')}-shown")).to_have_text("0%")
    expect(page.locator("#reset")).to_have_count(0)
    expect(page.locator("#same-for-all")).to_be_visible()


def test_controls_are_reached_by_keys_and_named(open_page):
    page = open_page(viewport={"width": 320, "height": 640})
    choose(page, given("a.jpg", PHOTOS["turned.jpg"]()))
    wait_until_shown(page)
    page.locator("#strength").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    for name, said in zip(CONTROLS, ("Protect the sky", "Lift shadows", "White balance")):
        page.keyboard.press("Tab")
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        slider = page.get_by_role("slider", name=said)
        expect(slider).to_be_focused()
        expect(slider).to_have_value("3")
        assert slider.get_attribute("id") == name.replace("_", "-")
        box = slider.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 320 and box["height"] >= 24
    wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]
