"""The built page of site/ in Chromium for its tests: a file server, photos to give, saved ones."""

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, expect

from tests.web.files import ACME
from unhaze import dehaze, photo
from unhaze.image import to_float
from unhaze.photo import profile
from unhaze.photo.picture import EXIF, ICC
from unhaze.restore.analysis import colours_by

expect.set_options(timeout=60_000)  # a busy machine is no fault of the page
ROOT = Path(__file__).parents[2]
DIST = ROOT / "site" / "dist"
VALLEY = ROOT / "samples" / "valley.jpg"
TURNED = b"II*\x00\x08\x00\x00\x00\x02\x00\x0f\x01\x02\x00\x05\x00\x00\x00\x26\x00\x00\x00"
TURNED += b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00Acme\x00"


class Handler(http.server.SimpleHTTPRequestHandler):
    """A plain file server, as static hosts are."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".wasm": "application/wasm",
        ".mjs": "text/javascript",
        ".webmanifest": "application/manifest+json",
    }

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def serving_site() -> Iterator[str]:
    """The address of what `make site` has built; skips without it."""
    if not (DIST / "index.html").is_file():
        pytest.skip("the page is not built; run `make site` (it needs Node)")
    handler = functools.partial(Handler, directory=str(DIST))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def is_fault(said: ConsoleMessage) -> bool:
    """Whether the browser complains of more than the policy's having stopped something."""
    return said.type == "error" and "Content Security Policy" not in said.text


@contextmanager
def opening(browser: Browser, site: str) -> Iterator[Callable[..., Page]]:
    """Opens pages; when the block ends, they must have asked no other origin and had no error."""
    contexts, asked, errors = [], [], []

    def take_back(request: Request) -> None:
        """What the policy stops has not left, though the browser tells of it."""
        if request.failure == "csp":
            asked.remove(request.url)

    def open_it(model: str = "photo-fast", *, offline: bool = False, **settings: object) -> Page:
        """offline: with a service worker, which fetches all files first, and with threads."""
        workers = "allow" if offline else "block"
        settings = {
            "viewport": {"width": 1280, "height": 860},
            "service_workers": workers,
        } | settings
        context = browser.new_context(**settings)
        contexts.append(context)
        context.add_init_script(
            f"localStorage['unhaze.model'] ??= '{model}'; localStorage['unhaze.language'] ??= 'en'"
        )
        page = context.new_page()
        page.set_default_timeout(60_000)
        context.on("request", lambda request: asked.append(request.url))
        context.on("requestfailed", lambda request: take_back(request))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if is_fault(said) else None)
        page.goto(site)
        if offline:
            until_isolated(page)
        expect(page.locator("#sample, #controls").first).to_be_visible()
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith((site, f"blob:{site}"))] == []
    assert errors == []
    assert asked


def empty(page: Page) -> None:
    """As it was opened, for the next test, but that models are loaded."""
    while page.locator("#list .remove").count():
        page.locator("#list .remove").first.click()
    expect(page.locator("#start")).to_be_visible()


def until_isolated(page: Page) -> None:
    """The first visit loads the page twice: the second time with threads."""
    for _ in range(600):
        try:
            if page.evaluate("crossOriginIsolated"):
                return
        except Error as error:  # asked between the two
            assert "context was destroyed" in str(error), error
        page.wait_for_timeout(50)
    raise AssertionError("the page has no threads")


def given(name: str, content: bytes) -> dict[str, object]:
    return {"name": name, "mimeType": "", "buffer": content}


def choose(page: Page, *files: dict[str, object]) -> None:
    page.set_input_files("#files", list(files))


def wait_until_shown(page: Page, models: str = "photo-fast") -> None:
    expect(page.locator("#stage")).to_have_attribute("data-ready", models, timeout=60_000)


def save(page: Page, button: str = "#download") -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def scene(height: int = 210, width: int = 317) -> np.ndarray:
    """A part of the sample, hazy."""
    return photo.read(VALLEY).pixels[300 : 300 + height, 500 : 500 + width]


def shown_colours(page: Page) -> np.ndarray:
    """(H,W,3) of the stage's picture as it is on the screen."""
    page.wait_for_timeout(300)
    return photo.read(page.locator("#picture").screenshot(type="png")).pixels.astype(float)


def distance(page: Page, right: photo.Photo) -> float:
    """Mean levels between the stage at full size and a photo in sRGB, clear of the labels."""
    page.locator("#split").fill("0")
    page.click("#full")
    shot = shown_colours(page)
    seen = np.rint(255 * colours_by(right.traits).to_srgb(to_float(right.pixels)))
    height, width = seen.shape[:2]
    top, left = (shot.shape[0] - height) // 2, (shot.shape[1] - width) // 2
    inside = slice(60, height - 60), slice(40, width - 40)
    return min(
        np.abs(shot[above : above + height, before : before + width] - seen)[inside].mean()
        for above in (top, top + 1)
        for before in (left, left + 1)
    )


def encoded(
    suffix: str,
    pixels: np.ndarray | None = None,
    *,
    wide: bool = False,
    bits: int = 16,
    **traits: object,
) -> bytes:
    """A file of `pixels`, or of a part of the sample. `wide`: in 16 bits, of which `bits` count."""
    pixels, alpha = scene() if pixels is None else pixels, traits.pop("alpha", None)
    if wide:
        pixels = (pixels.astype(np.uint16) * 257 + 60) >> (16 - bits)
    metadata = {EXIF: traits.pop("exif", ACME)} | traits.pop("metadata", {})
    kept = photo.Traits(metadata=metadata, **traits)
    return photo.encode(photo.Photo(pixels, alpha, kept), suffix)


def slope() -> np.ndarray:
    """Alpha that hides the left fifth and shows the right half."""
    ramp = np.clip(np.linspace(-0.5, 2, scene().shape[1]), 0, 1)
    return np.rint(255 * np.broadcast_to(ramp, scene().shape[:2])).astype(np.uint8)


def wide_gamut() -> dict[str, object]:
    icc = profile.matrix_profile(profile.PRIMARIES[12], profile.srgb_curve)
    return {"metadata": {ICC: icc}, "profile": icc}


CASES: dict[str, Callable[[], bytes]] = {
    "small-chroma.jpg": lambda: encoded(".jpg", quality=90, format="jpeg", full_chroma=False),
    "full-chroma.jpg": lambda: encoded(".jpg", quality=80, format="jpeg"),
    "grey.jpg": lambda: encoded(".jpg", quality=92, format="jpeg", grey=True),
    "turned.jpg": lambda: encoded(".jpg", quality=92, exif=TURNED, orientation=6, format="jpeg"),
    "p3.jpg": lambda: encoded(".jpg", quality=95, format="jpeg", **wide_gamut()),
    "plain.png": lambda: encoded(".png"),
    "p3.png": lambda: encoded(".png", **wide_gamut()),
    "wide.png": lambda: encoded(".png", wide=True),
    "narrow.png": lambda: encoded(".png", wide=True, bits=12),
    "alpha.png": lambda: encoded(".png", alpha=slope()),
    "lossy.webp": lambda: encoded(".webp", quality=85, format="webp"),
    "lossless-alpha.webp": lambda: encoded(".webp", lossless=True, format="webp", alpha=slope()),
    "p3.webp": lambda: encoded(".webp", quality=90, format="webp", **wide_gamut()),
}


def expected_and_saved(page: Page, name: str, content: bytes) -> tuple[bytes, bytes]:
    """What Python makes of a photo, and what the page saves of it, under the name of results."""
    expected = dehaze(content, model="photo-fast")
    choose(page, given(name, content))
    wait_until_shown(page)
    saved, result = save(page)
    assert saved == f"{Path(name).stem}.unhazed{Path(name).suffix}"
    return expected, result
