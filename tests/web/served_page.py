"""The page of `unhaze serve` in Chromium for its tests: opened, given files, looked at."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect

from tests.web.server import Running
from unhaze import photo

expect.set_options(timeout=60_000)  # a busy machine is no fault of the page
DESKTOP, PHONE, SMALL = (1280, 900), (390, 844), (320, 640)


def is_fault(said: ConsoleMessage) -> bool:
    """Whether the browser complains; that a server refused a file is only noted."""
    return said.type == "error" and "status of 422" not in said.text


@contextmanager
def opening_served(browser: Browser, server: Running) -> Iterator[Callable[..., Page]]:
    """Opens pages; when the block ends, they must have asked no other server and had no error."""
    contexts, asked, errors = [], [], []

    def open_it(size: tuple[int, int] = DESKTOP, **settings: object) -> Page:
        viewport = {"width": size[0], "height": size[1]}
        contexts.append(browser.new_context(viewport=viewport, locale="en-GB", **settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if is_fault(said) else None)
        # As if the runtime for browsers were not installed: what is tested here is the server's.
        page.route(
            "**/config.json", lambda route: route.fulfill(json={"server": True, "browser": False})
        )
        page.goto(server.url)
        expect(page.locator("#start")).to_be_visible()
        return page

    yield open_it
    for context in contexts:
        context.close()
    elsewhere = [url for url in asked if not url.startswith((server.url, f"blob:{server.url}"))]
    assert (elsewhere, errors) == ([], [])
    assert asked or not contexts  # a test that skips opens none


def files(**named: bytes) -> list[dict]:
    """As a person chooses them; a__jpg is a.jpg."""
    kinds = {"mp4": "video/mp4", "jpg": "image/jpeg", "png": "image/png", "tif": "image/tiff"}
    names = {key.replace("__", "."): body for key, body in named.items()}
    return [
        {"name": name, "mimeType": kinds[name.rpartition(".")[2]], "buffer": body}
        for name, body in names.items()
    ]


def choose(page: Page, **named: bytes) -> None:
    page.set_input_files("#files", files(**named))


def wait_for_picture(page: Page, models: str = "photo") -> Locator:
    """The stage, as soon as it shows what these models made."""
    stage = page.locator("#stage")
    expect(stage).to_have_attribute("data-ready", models, timeout=20_000)
    return stage


def mean_colour(page: Page, left: float, right: float) -> np.ndarray:
    """Of the middle of the screen's stage, between these shares of its width."""
    page.wait_for_timeout(150)
    shot = photo.read(page.locator("#picture").screenshot(type="png")).pixels
    height, width = shot.shape[:2]
    return shot[height // 3 : height * 2 // 3, int(left * width) : int(right * width)].mean((0, 1))


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
