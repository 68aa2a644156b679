"""The gallery in a browser: every picture loads, nothing else is asked for, comparing works."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from unhaze import photo
from unhaze.report.gallery import write_gallery


@pytest.fixture
def page(tmp_path, half, browser: Browser) -> Iterator[Page]:
    """The page of two photos, one with a name full of signs; it must have had no error."""
    (tmp_path / "in").mkdir()
    for name in ("<img src=1>.png", "2.png"):
        pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
        photo.write_rgb(tmp_path / "in" / name, pixels)
    write_gallery(tmp_path / "in", tmp_path / "page", [str(half)], device="cpu")
    asked, errors = [], []
    page = browser.new_page(viewport={"width": 900, "height": 600})
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: errors.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "page" / "index.html").as_uri())
    yield page
    page.close()
    here = Path(tmp_path / "page").as_uri()
    assert errors == [] and all(url.startswith(here) for url in asked)


def test_pictures_load_and_can_be_compared(page: Page):
    pictures = page.locator("figure img")
    expect(pictures).to_have_count(4)
    for index in range(4):
        pictures.nth(index).scroll_into_view_if_needed()
        expect(pictures.nth(index)).to_have_js_property("naturalWidth", 80)
    expect(page.locator("h2").first).to_have_text("2.png")
    pictures.nth(3).click()
    over, share = page.locator("#over"), page.locator("#share")
    expect(over).to_have_attribute("src", "pictures/0002-half.jpg")
    expect(page.locator("#under")).to_have_attribute("src", "pictures/0002-hazy.jpg")
    before = over.evaluate("each => each.style.clipPath")
    share.fill("30")
    assert over.evaluate("each => each.style.clipPath") != before
    page.locator("#choices button").first.click()
    expect(over).to_have_attribute("src", "pictures/0002-hazy.jpg")
    page.keyboard.press("ArrowRight")
    expect(over).to_have_attribute("src", "pictures/0002-half.jpg")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
