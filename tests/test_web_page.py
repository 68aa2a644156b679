"""The page in a real browser: drop, compare, blend, zoom, download; by mouse, keys and finger.

Screenshots are written to the folder that UNHAZE_SCREENSHOTS names, for people to look at.
"""

import io
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect
from video_clips import make_clip, rgb_of
from web_files import hazy_photo, same_but_colours
from web_server import Running, serving

from unhaze import photo
from unhaze.web import Settings

DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving(Settings(device="cpu", workers=1, analysis=256)) as running:
        yield running


def is_fault(said: ConsoleMessage) -> bool:
    """Whether the browser complains; that a server refused a file is only noted."""
    return said.type == "error" and "status of 422" not in said.text


@pytest.fixture
def open_page(browser: Browser, server: Running) -> Iterator[Callable[..., Page]]:
    """A new page; when the test ends, it must have asked no other server and had no error."""
    contexts, asked, errors = [], [], []

    def open_it(size: tuple[int, int] = DESKTOP, **settings: object) -> Page:
        viewport = {"width": size[0], "height": size[1]}
        contexts.append(browser.new_context(viewport=viewport, **settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if is_fault(said) else None)
        page.goto(server.url)
        expect(page.locator("#purpose")).not_to_be_empty()
        return page

    yield open_it
    for context in contexts:
        context.close()
    elsewhere = [url for url in asked if not url.startswith((server.url, f"blob:{server.url}"))]
    assert (elsewhere, errors) == ([], [])
    assert asked


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory) -> Path:
    folder = os.environ.get("UNHAZE_SCREENSHOTS")
    return Path(folder) if folder else tmp_path_factory.mktemp("screenshots")


def files(**named: bytes) -> list[dict]:
    """As a person chooses them; a__jpg is a.jpg."""
    kinds = {"mp4": "video/mp4", "jpg": "image/jpeg", "png": "image/png"}
    names = {key.replace("__", "."): body for key, body in named.items()}
    return [
        {"name": name, "mimeType": kinds[name.rpartition(".")[2]], "buffer": body}
        for name, body in names.items()
    ]


def choose(page: Page, **named: bytes) -> None:
    page.set_input_files("#files", files(**named))


def wait_for_picture(page: Page, ident: str = "after") -> Locator:
    """The element, as soon as it shows its picture."""
    picture = page.locator(f"#{ident}")
    deadline = time.monotonic() + 20
    while not picture.evaluate("picture => picture.complete && picture.naturalWidth > 0"):
        assert time.monotonic() < deadline
        page.wait_for_timeout(30)
    return picture


def set_range(slider: Locator, value: float) -> None:
    """As a hand would: the value changes, then the page hears of it."""
    slider.evaluate(
        "(slider, value) => { slider.value = value;"
        " slider.dispatchEvent(new Event('input')); slider.dispatchEvent(new Event('change')); }",
        value,
    )


def press_and_save(page: Page, button: str) -> tuple[str, bytes]:
    """(name, content) of the download that the button begins."""
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def drop(page: Page, name: str, body: bytes) -> None:
    """Drags a file over the page and lets it fall."""
    page.evaluate(
        """([name, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/jpeg" }));
            for (const kind of ["dragenter", "dragover", "drop"])
                document.body.dispatchEvent(new DragEvent(kind,
                    { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        [name, list(body)],
    )


def test_drop_blend_and_download_what_the_api_answers(open_page, server):
    hazy = hazy_photo(".jpg", size=(300, 400))
    page = open_page()
    drop(page, "my valley.jpg", hazy)
    after = wait_for_picture(page)
    wait_for_picture(page, "before")
    expect(page.locator("#facts")).to_contain_text("400 × 300 pixels, cleared by")

    name, full = press_and_save(page, "#download")
    assert name == "my valley.unhazed.jpg"
    assert same_but_colours(hazy, full)
    asked = len(page.evaluate("performance.getEntriesByType('resource').map(each => each.name)"))
    set_range(page.locator("#strength"), 40)
    assert after.evaluate("picture => getComputedStyle(picture).opacity") == "0.4"
    expect(page.locator("#strength-shown")).to_have_text("40 %")
    # The slider needs no server.
    assert len(page.evaluate("performance.getEntriesByType('resource')")) == asked
    name, milder = press_and_save(page, "#download")
    for strength, saved in ((1, full), (0.4, milder)):
        query = {"strength": strength, "analysis": 256}
        answer = httpx2.post(f"{server.url}/v1/dehaze", content=hazy, params=query, timeout=30)
        assert saved == answer.content


def test_the_border_follows_mouse_and_keys(open_page):
    page = open_page()
    choose(page, a__jpg=hazy_photo(size=(300, 400)))
    after = wait_for_picture(page)
    box = page.locator("#stage").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.45 * box["width"], middle, steps=3)
    page.mouse.up()
    split = page.locator("#split")
    assert abs(float(split.input_value()) - 45) < 1
    clip = after.evaluate("picture => picture.style.clipPath")
    split.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert abs(float(split.input_value()) - 47) < 1
    assert after.evaluate("picture => picture.style.clipPath") != clip
    left = page.locator("#line").evaluate("line => parseFloat(line.style.left)")
    assert abs(left / box["width"] - 0.47) < 0.02


def test_full_size_shows_one_pixel_as_one_and_moves(open_page):
    page = open_page()
    choose(page, large__jpg=hazy_photo(size=(1500, 2200)))
    wait_for_picture(page)
    pictures, stage = page.locator("#pictures"), page.locator("#stage")
    assert pictures.bounding_box()["width"] <= stage.bounding_box()["width"]
    page.click("#full")
    expect(page.locator("#full")).to_have_attribute("aria-pressed", "true")
    assert round(pictures.bounding_box()["width"]) == 2200
    deadline = time.monotonic() + 20
    while wait_for_picture(page).evaluate("picture => picture.naturalWidth") != 2200:
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)
    before = pictures.bounding_box()
    stage.focus()
    page.keyboard.press("ArrowRight")
    assert round(before["x"] - pictures.bounding_box()["x"]) == 60
    page.keyboard.press("-")
    assert round(pictures.bounding_box()["width"]) == 1760
    page.keyboard.press("0")
    expect(page.locator("#fit")).to_have_attribute("aria-pressed", "true")
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 100)
    page.mouse.wheel(0, -400)
    expect(page.locator("#fit")).to_have_attribute("aria-pressed", "false")


def test_many_photos_a_broken_one_and_all_as_zip(open_page, server):
    page = open_page()
    photos = {"first__jpg": hazy_photo(), "second__png": hazy_photo(".png", kind="uint16")}
    choose(page, **photos, broken__jpg=b"no picture")
    expect(page.locator("#list .state")).to_have_text(["cleared", "cleared", "failed"])
    expect(page.locator("#message")).to_contain_text("broken.jpg")
    page.click("li:nth-child(2) button")
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
    page.click("#remove")
    expect(page.locator("#facts")).to_contain_text("first.jpg")
    page.click("#remove")
    expect(page.locator("#viewer")).to_be_hidden()
    deadline = time.monotonic() + 10
    while {"first.jpg", "second.png"} & {each.name for each in server.clearer.shelf.items.values()}:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_another_model_clears_it_again(open_page):
    page = open_page()
    choose(page, a__jpg=hazy_photo())
    wait_for_picture(page)
    expect(page.locator("#facts")).not_to_contain_text("dcp")
    page.select_option("#model", "dcp")
    expect(page.locator("#facts")).to_contain_text("cleared by dcp")
    expect(page.locator("#purpose")).to_contain_text("Dark channel")


def test_everything_is_reached_by_keys(open_page):
    page = open_page()
    choose(page, a__jpg=hazy_photo(), b__jpg=hazy_photo(seed=1))
    expect(page.locator("#list .state")).to_have_text(["cleared", "cleared"])
    page.locator("#files").focus()
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.title"))
    wanted = ["model", "a.jpg", "b.jpg", "stage", "split", "strength", "fit", "full"]
    assert reached[:11] == [*wanted, "download", "all", "remove"]
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, button, [role]')].filter(each =>"
        " !(each.labels?.length || each.textContent.trim() || each.getAttribute('aria-label')"
        " || each.id === 'message')).map(each => each.outerHTML)"
    )
    assert unnamed == []


def test_a_short_video(open_page, tmp_path):
    page = open_page()
    clip = make_clip(tmp_path / "clip.mp4", count=6)
    choose(page, clip__mp4=clip.read_bytes())
    expect(page.locator("#facts")).to_contain_text("6 frames, cleared in")
    expect(page.locator("#clip")).to_be_visible()
    name, content = press_and_save(page, "#download")
    assert name == "clip.unhazed.mp4"
    (tmp_path / "restored.mp4").write_bytes(content)
    assert rgb_of(tmp_path / "restored.mp4").shape == (6, 48, 64, 3)
    set_range(page.locator("#strength"), 0)
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator("#viewer")).to_be_visible()
    (tmp_path / "same.mp4").write_bytes(press_and_save(page, "#download")[1])
    assert abs(rgb_of(tmp_path / "same.mp4").astype(int) - rgb_of(clip)).mean() < 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_fits_the_screen_light_and_dark(open_page, screenshots, size, scheme):
    page = open_page(size, color_scheme=scheme, has_touch=size == PHONE)
    screenshots.mkdir(parents=True, exist_ok=True)
    kind = f"{'phone' if size == PHONE else 'desktop'}-{scheme}"
    page.screenshot(path=screenshots / f"{kind}-start.png")
    valley = Path(__file__).parents[1] / "samples" / "valley.jpg"
    choose(page, valley__jpg=valley.read_bytes())
    wait_for_picture(page, "before")
    wait_for_picture(page)
    wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]
    for ident in ("#strength", "#download", "#remove", "#fit"):
        box = page.locator(ident).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0]
        assert box["y"] + box["height"] <= size[1], f"{ident} is below the screen"
        assert box["height"] >= 28
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(each) for each in paper[4:-1].split(",")) / 3
    assert (brightness < 60) == (scheme == "dark")
    page.screenshot(path=screenshots / f"{kind}.png")
