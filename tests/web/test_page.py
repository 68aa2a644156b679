"""The page of `unhaze serve` in a real browser: send, compare, blend, zoom, download.

Screenshots are written to the folder that UNHAZE_SCREENSHOTS names, for people to look at.
"""

import io
import os
import re
import time
import zipfile
from pathlib import Path

import httpx2
import numpy as np
import pytest
from playwright.sync_api import expect

from tests.web.files import hazy_photo, same_but_colours
from tests.web.served_page import (
    DESKTOP,
    PHONE,
    SMALL,
    choose,
    drop,
    mean_colour,
    press_and_save,
    set_range,
    wait_for_picture,
)
from unhaze import photo
from unhaze.web.app import PAGE


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory) -> Path:
    folder = os.environ.get("UNHAZE_SCREENSHOTS")
    return Path(folder) if folder else tmp_path_factory.mktemp("screenshots")


def test_drop_blend_and_download_what_the_api_answers(open_page, page_server):
    hazy = hazy_photo(".jpg", size=(300, 400))
    page = open_page()
    drop(page, "my valley.jpg", hazy)
    wait_for_picture(page)
    expect(page.locator("#facts")).to_contain_text("400 × 300 pixels, cleared by photo")
    clear, before = mean_colour(page, 0.6, 0.9), mean_colour(page, 0.1, 0.4)

    name, full = press_and_save(page, "#download")
    assert name == "my valley.unhazed.jpg"
    assert same_but_colours(hazy, full)
    asked = len(page.evaluate("performance.getEntriesByType('resource').map(each => each.name)"))
    set_range(page.locator("#strength"), 40)
    expect(page.locator("#strength-shown")).to_have_text("40%")
    milder = mean_colour(page, 0.6, 0.9)
    assert np.array_equal(before, mean_colour(page, 0.1, 0.4))
    set_range(page.locator("#strength"), 0)
    hazy_there = mean_colour(page, 0.6, 0.9)
    assert np.abs(milder - (hazy_there + 0.4 * (clear - hazy_there))).max() < 1.5
    assert np.abs(clear - hazy_there).max() > 10
    # The slider needs no server.
    assert len(page.evaluate("performance.getEntriesByType('resource')")) == asked
    set_range(page.locator("#strength"), 40)
    _, milder_file = press_and_save(page, "#download")
    page.click("#more-controls summary")
    expect(page.locator("#stage")).to_have_attribute("data-exact", "0,0,0")
    set_range(page.locator("#strength"), 100)
    asked = len(page.evaluate("performance.getEntriesByType('resource')"))
    set_range(page.locator("#white-balance"), 90)
    assert np.abs(mean_colour(page, 0.6, 0.9) - clear).max() > 2
    assert np.array_equal(before, mean_colour(page, 0.1, 0.4))
    assert len(page.evaluate("performance.getEntriesByType('resource')")) == asked
    _, balanced = press_and_save(page, "#download")
    for wishes, saved in (
        ({"strength": 1}, full),
        ({"strength": 0.4}, milder_file),
        ({"white_balance": 0.9}, balanced),
    ):
        query = {"analysis": 256, "model": "photo"} | wishes
        answer = httpx2.post(f"{page_server.url}/v1/dehaze", content=hazy, params=query, timeout=30)
        assert saved == answer.content


def test_the_cast_of_dust_goes_by_itself_and_stays_on_request(open_page, page_server):
    dust = 0.4 * photo.read(hazy_photo(".png", size=(300, 400))).pixels
    dust += 0.6 * 255 * np.array((0.9, 0.72, 0.48))
    hazy = photo.encode(photo.Photo(np.rint(dust).astype(np.uint8)), ".png")
    page = open_page()
    choose(page, dust__png=hazy)
    wait_for_picture(page)
    expect(page.locator("#cast-removed")).to_be_visible()
    without = mean_colour(page, 0.6, 0.9)
    _, balanced = press_and_save(page, "#download")
    page.click("#more-controls summary")
    expect(page.locator("#white-balance-shown")).to_have_text("100%")
    set_range(page.locator("#white-balance"), 0)
    expect(page.locator("#cast-removed")).to_have_count(0)
    stays = mean_colour(page, 0.6, 0.9)
    assert stays[0] - stays[2] > without[0] - without[2] + 10
    _, kept = press_and_save(page, "#download")
    expect(page.locator(".note")).to_contain_text("stays unless")
    page.click("#reset")
    assert press_and_save(page, "#download")[1] == balanced
    expect(page.locator(".note")).to_have_count(0)
    for wishes, saved in (({}, balanced), ({"white_balance": 0}, kept)):
        query = {"analysis": 256, "model": "photo"} | wishes
        answer = httpx2.post(f"{page_server.url}/v1/dehaze", content=hazy, params=query, timeout=30)
        assert saved == answer.content


def test_the_border_follows_mouse_and_keys(open_page):
    page = open_page()
    choose(page, a__jpg=hazy_photo(size=(300, 400)))
    stage = wait_for_picture(page)
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 60)
    page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 60)
    page.mouse.up()
    split = page.locator("#split")
    assert abs(float(split.input_value()) - 45) < 1
    split.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert abs(float(split.input_value()) - 47) < 1
    line = page.locator(".line").bounding_box()
    assert abs((line["x"] + line["width"] / 2 - box["x"]) / box["width"] - 0.47) < 0.02


@pytest.mark.slow
def test_full_size_shows_one_pixel_as_one_and_moves(open_page):
    page = open_page()
    hazy = hazy_photo(".png", size=(1000, 1400))
    choose(page, large__png=hazy)
    wait_for_picture(page)
    set_range(page.locator("#strength"), 0)
    page.click("#full")
    expect(page.locator("#full")).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(200)
    shot = photo.read(page.locator("#picture").screenshot(type="png")).pixels
    pixels = photo.read(hazy).pixels
    height, width = shot.shape[:2]
    top, left = (1000 - height) // 2, (1400 - width) // 2

    def differs(left: int) -> float:
        """The best of the places that halves may have been rounded to."""
        seen = shot[200:300, 100:200].astype(int)
        places = [(top + 200 + down, left + 100 + across) for down in (0, 1) for across in (0, 1)]
        cuts = [pixels[down : down + 100, across : across + 100] for down, across in places]
        return min(float(np.abs(seen - cut).max()) for cut in cuts)

    assert differs(left) <= 1
    page.locator("#stage").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    shot = photo.read(page.locator("#picture").screenshot(type="png")).pixels
    assert differs(left + 60) <= 1
    page.keyboard.press("-")
    expect(page.locator("#full")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("0")
    expect(page.locator("#fit")).to_have_attribute("aria-pressed", "true")
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 100)
    page.mouse.wheel(0, -400)
    expect(page.locator("#fit")).to_have_attribute("aria-pressed", "false")


@pytest.mark.slow
def test_many_photos_a_broken_one_and_all_as_zip(open_page, page_server):
    page = open_page()
    photos = {"first__jpg": hazy_photo(), "second__png": hazy_photo(".png", kind="uint16")}
    choose(page, **photos, broken__jpg=b"no picture")
    expect(page.locator("#list .state")).to_have_text(["cleared", "cleared", "failed"])
    page.click("li:nth-child(3) .file")
    expect(page.locator(".problem")).to_contain_text("broken.jpg")
    page.click("li:nth-child(2) .file")
    expect(page.locator("#facts")).to_contain_text("second.png")
    set_range(page.locator("#strength"), 50)
    name, content = press_and_save(page, "#all")
    assert name == "unhaze.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["first.unhazed.jpg", "second.unhazed.png"]
        for original, result in zip(photos.values(), archive.namelist()):
            assert same_but_colours(original, archive.read(result))
        half = photo.read(archive.read("second.unhazed.png")).pixels
    assert half.dtype == np.uint16
    for _ in range(3):
        page.click("#list li:first-child .remove")
    expect(page.locator("#viewer")).to_be_hidden()
    deadline = time.monotonic() + 10
    while {"first.jpg", "second.png"} & {
        each.name for each in page_server.clearer.uploads.items.values()
    }:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_models_are_compared_side_by_side(open_page):
    page = open_page()
    choose(page, a__jpg=hazy_photo(size=(120, 160)))
    wait_for_picture(page)
    expect(page.locator("#compare-1 option", has_text=re.compile("^dcp$"))).to_be_attached()
    page.select_option("#compare-1", "dcp")
    wait_for_picture(page, "photo,dcp")
    page.select_option("#compare-2", "photo-fast")
    wait_for_picture(page, "photo,dcp,photo-fast")
    expect(page.locator(".pane .tag.after")).to_have_text(["photo", "dcp", "photo-fast"])
    shares = [mean_colour(page, (i + 0.6) / 3, (i + 0.9) / 3) for i in range(3)]
    assert np.abs(shares[0] - shares[1]).max() > 3
    page.select_option("#model", "dcp")
    wait_for_picture(page, "dcp,photo-fast")
    expect(page.locator("#purpose")).to_contain_text("Dark channel")


@pytest.mark.slow
def test_a_reload_brings_everything_back(open_page):
    page = open_page()
    choose(page, a__jpg=hazy_photo(size=(120, 160)), b__png=hazy_photo(".png", seed=1))
    expect(page.locator("#list .state")).to_have_text(["cleared", "cleared"])
    set_range(page.locator("#strength"), 30)
    page.wait_for_timeout(300)
    page.reload()
    expect(page.locator("#list .state")).to_have_text(["cleared", "cleared"])
    wait_for_picture(page)
    expect(page.locator("#strength-shown")).to_have_text("30%")
    assert press_and_save(page, "#download")[0] == "a.unhazed.jpg"


@pytest.mark.slow
def test_what_waits_can_be_cancelled_and_tried_again(open_page, page_server):
    page = open_page()
    held = []
    page.route("**/v1/photos?*", lambda route: held.append(route))
    choose(page, a__jpg=hazy_photo(), b__jpg=hazy_photo(seed=1))
    expect(page.locator("#list li:nth-child(1) progress")).to_be_visible()
    page.click("#list li:nth-child(2) .cancel")
    page.click("#list li:nth-child(1) .cancel")
    expect(page.locator("#list .state")).to_have_text(["cancelled", "cancelled"])
    page.unroute("**/v1/photos?*")
    page.click("#list li:nth-child(1) .retry")
    expect(page.locator("#list .state")).to_have_text(["cleared", "cancelled"])


@pytest.mark.slow
def test_everything_is_reached_by_keys(open_page):
    page = open_page()
    choose(page, a__jpg=hazy_photo(), b__jpg=hazy_photo(seed=1))
    expect(page.locator("#list .state")).to_have_text(["cleared", "cleared"])
    expect(page.locator("#compare-1 option", has_text=re.compile("^dcp$"))).to_be_attached()
    page.locator("#language").focus()
    reached = []
    for _ in range(18):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.id || document.activeElement.title"
                " || document.activeElement.tagName"
            )
        )
    wanted = ["a.jpg", "Remove", "b.jpg", "Remove", "files", "remove-all", "stage", "split"]
    wanted += ["model", "compare-1", "strength", "SUMMARY", "fit", "full", "download", "all"]
    assert [each for each in reached if each in wanted][:16] == wanted
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, button, [role]')].filter(each =>"
        " !(each.labels?.length || each.textContent.trim() || each.getAttribute('aria-label')"
        " || each.id === 'message')).map(each => each.outerHTML)"
    )
    assert unnamed == []


@pytest.mark.slow
def test_formats_that_browsers_do_not_read_are_shown_by_the_server(open_page):
    page = open_page()
    hazy = hazy_photo(".tif", size=(120, 160), kind="uint16")
    choose(page, deep__tif=hazy)
    wait_for_picture(page)
    expect(page.locator("#facts")).to_contain_text("160 × 120 pixels")
    name, content = press_and_save(page, "#download")
    assert name == "deep.unhazed.tif"
    assert same_but_colours(hazy, content)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE, SMALL], ids=["desktop", "phone", "small"])
def test_it_fits_the_screen_light_and_dark(open_page, screenshots, size, scheme):
    page = open_page(size, color_scheme=scheme, has_touch=size != DESKTOP)
    screenshots.mkdir(parents=True, exist_ok=True)
    kind = f"{ {DESKTOP: 'desktop', PHONE: 'phone', SMALL: 'small'}[size] }-{scheme}"
    page.screenshot(path=screenshots / f"{kind}-start.png")
    valley = Path(__file__).parents[2] / "samples" / "valley.jpg"
    choose(page, valley__jpg=valley.read_bytes())
    wait_for_picture(page)
    wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]
    for ident in ("#strength", "#download", "#fit", "#model"):
        box = page.locator(ident).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0]
        assert size != DESKTOP or box["y"] + box["height"] <= size[1], (
            f"{ident} is below the screen"
        )
        assert box["height"] >= 28
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(each) for each in paper[4:-1].split(",")) / 3
    assert (brightness < 60) == (scheme == "dark")
    page.wait_for_timeout(200)
    page.screenshot(path=screenshots / f"{kind}.png", full_page=True)


@pytest.mark.slow
def test_what_needs_the_server_goes_there_by_one_button(open_page):
    if not (PAGE / "runtime").is_dir():
        pytest.skip("the runtime for browsers is not built; run `make site` (it needs Node)")
    page = open_page()
    page.unroute("**/config.json")
    page.reload()
    page.locator("#place label", has_text="In this browser").click()
    choose(page, a__tif=hazy_photo(".tif", size=(120, 160)))
    expect(page.locator(".problem")).to_contain_text("this needs the server", timeout=60_000)
    page.click("#send")
    expect(page.locator("#list .state")).to_have_text(["cleared"], timeout=60_000)
    wait_for_picture(page)
