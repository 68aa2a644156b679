"""The page of `unhaze serve`, served and opened."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.web.server import Running


@pytest.fixture(scope="module")
def page_server() -> "Iterator[Running]":
    """A server of one worker, which analyses photos at 256 pixels."""
    from tests.web.server import serving
    from unhaze.web import Settings

    with serving(Settings(device="cpu", workers=1, analysis=256)) as running:
        yield running


@pytest.fixture
def open_page(browser: "Browser", page_server: "Running") -> "Iterator[Callable[..., Page]]":
    """Opens the page of that server, as often as called."""
    from tests.web.served_page import opening_served

    with opening_served(browser, page_server) as open_it:
        yield open_it
