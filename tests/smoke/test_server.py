"""The service on any Python and any allowed version of FastAPI and its server, over a real port."""

from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest

from tests.smoke.serving import serving
from unhaze import photo

pytest.importorskip("fastapi", reason="needs the extra web")


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("server")) as address:
        yield address


def test_a_photo_comes_back_in_its_size(address: str):
    pixels = np.random.default_rng(0).integers(100, 255, (48, 64, 3), np.uint8)
    body = photo.encode(photo.Photo(pixels), ".png")
    with urlopen(Request(f"{address}/v1/dehaze?strength=1", body), timeout=60) as answer:
        restored = photo.read(answer.read()).pixels
    assert restored.shape == pixels.shape
    assert (restored != pixels).any()


def test_what_is_not_a_picture_is_refused(address: str):
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(f"{address}/v1/dehaze", b"no picture"), timeout=60)
    assert 400 <= refused.value.code < 500


def test_page_metrics_and_description_are_served(address: str):
    for path, words in (("/", b"<html"), ("/metrics", b"unhaze_"), ("/openapi.json", b"dehaze")):
        with urlopen(address + path, timeout=60) as answer:
            assert words in answer.read(), path
