"""The service writes photos as the command does, by the same options."""

from collections.abc import Iterator

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.web.files import hazy_photo
from unhaze import photo
from unhaze.web import Settings, create_app


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(Settings(device="cpu", workers=1, analysis=64))) as client:
        yield client


def test_depth_colours_and_metadata_are_as_asked(client):
    asked = {"model": "dcp", "format": "png", "bit_depth": 16, "color_space": "display-p3"}
    answer = client.post("/v1/dehaze", content=hazy_photo(), params=asked)
    assert answer.status_code == 200, answer.text
    got = photo.read(answer.content)
    assert got.pixels.dtype == np.uint16 and got.traits.profile is not None
    bare = {"model": "dcp", "strip_metadata": "true", "quality": 30}
    answer = client.post("/v1/dehaze", content=hazy_photo(), params=bare)
    assert photo.read(answer.content).traits.metadata == {}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"format": "jpg", "bit_depth": 16}, "JPEG holds 8 bits"),
        ({"format": "png", "quality": 50}, "PNG has no quality"),
        ({"lossless": "true", "quality": 50}, "leave out quality or lossless"),
        ({"quality": 101}, "quality"),
    ],
)
def test_what_is_contradictory_is_422(client, asked, said):
    answer = client.post("/v1/dehaze", content=hazy_photo(), params=asked | {"model": "dcp"})
    assert answer.status_code == 422 and said in answer.text


def test_bands_are_chosen_as_by_the_command(client):
    from tests.photo.test_bands import bands_of, seven

    refused = client.post("/v1/dehaze", content=seven(), params={"model": "dcp"})
    assert refused.status_code == 422 and "bands" in refused.text
    answer = client.post("/v1/dehaze", content=seven(), params={"model": "dcp", "bands": "5,4,3"})
    assert answer.status_code == 200, answer.text
    before, after = bands_of(seven()), bands_of(answer.content)
    assert np.array_equal(after[..., [0, 1, 5, 6]], before[..., [0, 1, 5, 6]])
    assert not np.array_equal(after[..., 2:5], before[..., 2:5])
