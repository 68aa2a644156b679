"""The built page of site/, served and opened."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.site.page import empty, opening, serving_site


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of the page that `make site` has built; skips without it."""
    with serving_site() as url:
        yield url


@pytest.fixture
def open_page(browser: Browser, site: str) -> Iterator[Callable[..., Page]]:
    """Opens that page, as often as called."""
    with opening(browser, site) as open_it:
        yield open_it


@pytest.fixture(scope="module")
def kept_page(browser: Browser, site: str) -> Iterator[Page]:
    """That page with threads, opened once: loading the network takes longer than most tests."""
    with opening(browser, site) as open_it:
        yield open_it(offline=True)


@pytest.fixture
def page(kept_page: Page) -> Iterator[Page]:
    """`kept_page` without photos."""
    yield kept_page
    empty(kept_page)
