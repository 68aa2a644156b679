"""What one may send to the API and what comes beside the picture: forms, formats, headers, ids."""

import json
import logging
import re
from collections.abc import Iterator

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.restore.test_controls import DUST, landscape
from tests.video_clips import make_clip
from tests.web.files import hazy_photo, same_but_colours
from tests.web.test_api import client_with, files_of, wait_for
from unhaze import photo
from unhaze.formats import NAMED
from unhaze.web import Settings, create_app
from unhaze.web.negotiation import NotAcceptable, choose, wanted_formats
from unhaze.web.parameters import OUTPUT
from unhaze.web.tasks import Order
from unhaze.web.uploads import MOST_FIELD_BYTES, Form


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    settings = Settings(device="cpu", workers=1, analysis=64, access_log="json")
    with TestClient(create_app(settings)) as client:
        yield client


def sent(hazy: bytes, name: str = "a.jpg") -> dict[str, tuple[str, bytes]]:
    """A form's file, as clients of HTTP take it."""
    return {"file": (name, hazy)}


def test_a_form_gives_what_a_bare_body_gives(client):
    hazy, before = hazy_photo(), files_of(client)
    bare = client.post("/v1/dehaze", content=hazy, params={"strength": 0.5, "model": "dcp"})
    fields = {"strength": "0.5", "model": "dcp"}
    form = client.post("/v1/dehaze", files=sent(hazy, "beach.jpg"), data=fields)
    assert form.status_code == 200, form.text
    assert form.content == bare.content
    assert 'filename="beach.unhazed.jpg"' in form.headers["content-disposition"]
    mixed = client.post("/v1/dehaze?model=dcp", files=sent(hazy), data={"strength": "0.5"})
    assert mixed.content == bare.content
    named = client.post("/v1/dehaze?name=z.jpg", files=sent(hazy))
    assert 'filename="z.unhazed.jpg"' in named.headers["content-disposition"]
    assert files_of(client) == before


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_a_path_that_is_none_is_404_and_names_the_nearest(client, method):
    answer = client.request(method, "/v1/photo")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "no path '/v1/photo'; did you mean '/v1/photos'?"}
    answer = client.request(method, "/v1/zzz")
    assert answer.status_code == 404 and "there are: /v1/" in answer.json()["detail"]


def test_a_form_serves_kept_photos_and_videos_too(client, tmp_path):
    entry = client.post("/v1/photos", files=sent(hazy_photo(), "ü.jpg")).json()
    assert (entry["name"], entry["result_name"]) == ("ü.jpg", "ü.unhazed.jpg")
    clip = make_clip(tmp_path / "clip.mp4").read_bytes()
    answer = client.post("/v1/videos", files=sent(clip, "clip.mp4"), data={"model": "dcp"})
    entry = wait_for(client, answer.json()["id"])
    assert (entry["state"], entry["result_name"]) == ("done", "clip.unhazed.mp4")
    bare = client.post("/v1/videos", content=clip, params={"model": "dcp"}).json()
    assert bare["name"] == "video.mp4"
    assert wait_for(client, bare["id"])["result_name"] == "video.unhazed.mp4"


HEAD = "Content-Disposition: form-data; name="


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([f'{HEAD}"strenght"\r\n\r\n0.2'], "no field 'strenght'; did you mean 'strength'?"),
        ([f'{HEAD}"strength"\r\n\r\n7'], "strength is '7': input should be less than or equal"),
        ([f'{HEAD}"model"\r\n\r\nnope'], "must be one of auto"),
        ([f'{HEAD}"model"\r\n\r\ndcp', f'{HEAD}"model"\r\n\r\ncap'], "given twice"),
        ([f'{HEAD}"name"\r\n\r\n' + "x" * (MOST_FIELD_BYTES + 1)], "over 4096 bytes"),
        ([f'{HEAD}"photo"; filename="b.jpg"\r\n\r\nx'], "in the field 'file'; got 'photo'"),
        ([f'{HEAD}"file"; filename="b.jpg"\r\n\r\nx'], "expected one file"),
        ([f'{HEAD}"f{n}"\r\n\r\nx' for n in range(40)], "too many"),
    ],
)
def test_forms_that_are_wrong_are_refused_in_one_line(client, parts, words):
    before = files_of(client)
    photo_part = f'{HEAD}"file"; filename="a.jpg"\r\n\r\n'.encode() + hazy_photo()
    pieces = [photo_part, *(part.encode() for part in parts)]
    body = b"".join(b"--cut\r\n" + piece + b"\r\n" for piece in pieces) + b"--cut--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=cut"}
    answer = client.post("/v1/dehaze", content=body, headers=kind)
    assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.text
    assert files_of(client) == before
    assert client.app.state.clearer.desk.taken == 0


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        (
            "multipart/form-data; boundary=cut",
            b"--cut\r\n" + HEAD.encode(),
            "the form is incomplete",
        ),
        ("multipart/form-data; boundary=cut", b"no form", "cannot be read"),
        ("multipart/form-data", b"--cut--", "Content-Type of the form has no boundary"),
        ("multipart/form-data; boundary=" + "x" * 500, b"--x--", "cannot be read"),
        ("multipart/form-data; boundary=cut", b"--cut--\r\n", "no file was sent"),
    ],
)
def test_forms_that_are_invalid_are_refused_in_one_line(client, kind, body, words):
    before = files_of(client)
    answer = client.post("/v1/dehaze", content=body, headers={"content-type": kind})
    assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.text
    assert files_of(client) == before


def test_a_form_may_come_in_pieces_of_any_size(tmp_path):
    hazy = hazy_photo()
    body = f'--cut\r\n{HEAD}"strength"\r\n\r\n0.5\r\n--cut\r\n'.encode()
    body += f'{HEAD}"file"; filename="a b.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'.encode()
    body += hazy + b"\r\n--cut--\r\n"
    for size in (1, 7, 1000):
        with (tmp_path / "a").open("w+b") as target:
            form = Form(b"cut", target)
            for start in range(0, len(body), size):
                form.write(body[start : start + size])
            form.close()
            assert (form.fields, form.name) == ({"strength": "0.5"}, "a b.jpg")
            target.seek(0)
            assert target.read() == hazy


def test_the_format_is_what_the_parameter_or_accept_says(client):
    hazy = hazy_photo()
    for query, accept, kind in (
        ({}, "*/*", "image/jpeg"),
        ({}, "image/*", "image/jpeg"),
        ({}, "image/avif,image/webp,image/apng,image/*,*/*;q=0.8", "image/jpeg"),
        ({}, "image/png", "image/png"),
        ({}, "image/jpeg;q=0.5, image/webp", "image/webp"),
        ({"format": "png"}, "image/*", "image/png"),
        ({"format": "tiff"}, "*/*", "image/tiff"),
        ({"format": "same"}, "image/webp", "image/webp"),
    ):
        answer = client.post("/v1/dehaze", content=hazy, params=query, headers={"accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert photo.read(answer.content).pixels.shape == (60, 80, 3)
    answer = client.post("/v1/dehaze", content=hazy, headers={"accept": "application/json"})
    assert (answer.status_code, "image/jpeg" in answer.json()["detail"]) == (406, True)
    entry = client.post("/v1/photos", content=hazy, params={"name": "b.jpg"}).json()
    path = f"/v1/photos/{entry['id']}/result"
    answer = client.get(path, params={"format": "webp"})
    assert answer.headers["content-type"] == "image/webp"
    assert 'filename="b.unhazed.webp"' in answer.headers["content-disposition"]
    assert client.get(path, headers={"accept": "image/png"}).headers["content-type"] == "image/png"
    assert same_but_colours(hazy, client.get(path).content)


def test_accept_is_read_as_the_standard_says():
    assert set(wanted_formats("")) == set(NAMED)
    assert wanted_formats("image/png;q=0, image/*") == dict.fromkeys(set(NAMED) - {"png"}, 1.0)
    assert wanted_formats("image/webp; q=0.3, IMAGE/PNG;q=broken") == {"webp": 0.3, "png": 1.0}
    assert choose(wanted_formats("image/webp, */*;q=0.1"), ".jpg") == "webp"
    assert choose(wanted_formats("*/*"), ".tiff") == "same"
    for none in ("text/html", "image/*;q=0", "video/mp4, application/*"):
        with pytest.raises(NotAcceptable):
            wanted_formats(none)


def test_the_options_of_written_photos_are_parameters(client):
    assert Order(output={"format": "jpg"}).suffix(".jpeg") == ".jpeg"
    assert Order(output={"format": "tiff"}).suffix(".png") == ".tif"
    paths = client.get("/openapi.json").json()["paths"]
    for path, method in (("/v1/dehaze", "post"), ("/v1/photos/{ident}/result", "get")):
        names = {each["name"] for each in paths[path][method]["parameters"]}
        assert set(OUTPUT) <= names
    form = paths["/v1/dehaze"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"file", "strength", "model", *OUTPUT} <= set(form["properties"])


def test_headers_tell_what_was_done_and_what_was_lost(client):
    deep = hazy_photo(".png", kind="uint16")
    answer = client.post("/v1/dehaze", content=deep, params={"model": "dcp", "format": "jpg"})
    assert answer.headers["unhaze-model"] == "dcp"
    assert answer.headers["unhaze-size"] == "80x60"
    assert 0 < float(answer.headers["unhaze-seconds"]) < 60
    assert "16 bits" in answer.headers["unhaze-lost"]
    assert "/tmp" not in answer.headers["unhaze-lost"]
    answer = client.post("/v1/dehaze", content=deep, params={"model": "dcp"})
    assert "unhaze-lost" not in answer.headers
    entry = client.post("/v1/photos", content=deep).json()
    answer = client.get(f"/v1/photos/{entry['id']}/result", params={"format": "jpg"})
    assert "16 bits" in answer.headers["unhaze-lost"]


@pytest.mark.parametrize("path", ["/v1/dehaze", "/v1/photos"])
def test_a_video_is_sent_to_where_videos_go(client, path):
    answer = client.post(path, content=b"\0\0\0\x18ftypisom\0\0\2\0isommp41")
    assert answer.status_code == 422 and "send videos to /v1/videos" in answer.json()["detail"]


def test_what_becomes_of_a_cast_has_a_header_of_its_own(client):
    dust = 0.5 * landscape() + 0.5 * np.float32(DUST)
    hazy = photo.encode(photo.Photo(np.rint(dust * 65535).astype(np.uint16)), ".png")
    params = {"model": "photo-fast", "format": "jpg"}
    entry = client.post("/v1/photos", content=hazy, params={"model": "photo-fast"}).json()
    assert entry["white_balance"] == 1
    kept = f"/v1/photos/{entry['id']}/result"
    answers = {
        "removed": client.post("/v1/dehaze", content=hazy, params=params),
        "stays": client.post("/v1/dehaze", content=hazy, params=params | {"white_balance": 0}),
        "stays unless": client.get(kept, params={"format": "jpg"}),  # beside the page's sliders
        "unless": client.get(kept, params={"format": "jpg", "white_balance": 0}),
    }
    for said, answer in answers.items():
        assert said in answer.headers["unhaze-notes"]
        assert answer.headers["unhaze-lost"] == "'.jpg' holds no 16 bits a channel; rounded to 8"
    assert answers["unless"].content == answers["stays unless"].content
    balanced = client.post("/v1/dehaze", content=hazy, params=params | {"white_balance": 1})
    assert "unhaze-notes" not in balanced.headers and "unhaze-lost" in balanced.headers
    assert balanced.content == answers["removed"].content != answers["stays"].content


def test_each_request_has_an_id_and_a_line(client, caplog):
    with caplog.at_level(logging.INFO, logger="unhaze.access"):
        given = client.get("/v1/models", headers={"x-request-id": "proxy-7"})
        made = client.get("/v1/nothing?name=secret")
        forged = client.get("/v1/models", headers={"x-request-id": 'a" b\tc'})
        client.get("/healthz")
    assert given.headers["x-request-id"] == "proxy-7"
    assert re.fullmatch("[0-9a-f]{32}", made.headers["x-request-id"])
    assert re.fullmatch("[0-9a-f]{32}", forged.headers["x-request-id"])
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert [(each["path"], each["status"]) for each in lines] == [
        ("/v1/models", 200), ("/v1/nothing", 404), ("/v1/models", 200),
    ]  # fmt: skip
    assert lines[0]["id"] == "proxy-7"
    assert lines[0]["bytes"] == len(given.content)
    assert "secret" not in caplog.text


def test_a_fault_is_found_again_in_the_log(monkeypatch, caplog):
    settings = Settings(device="cpu", workers=1, analysis=64, access_log="text")
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        monkeypatch.setattr(app.state.clearer, "look", lambda *_: 1 / 0)
        with caplog.at_level(logging.INFO, logger="unhaze.access"):
            answer = client.post("/v1/photos", content=hazy_photo())
    assert answer.status_code == 500
    ident = answer.headers["x-request-id"]
    assert ident in answer.json()["detail"]
    assert any(
        ident in each.getMessage() and " 500 " in each.getMessage() for each in caplog.records
    )
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/models/photo-fast.onnx", "/index.html", "/"])
def test_a_wrong_range_is_refused_like_everything_else(client, path: str):
    size = int(client.head(path).headers["content-length"])
    for given, status in (("bytes=99999999-", 416), ("pages=1-2", 400), ("bytes=5-2", 400)):
        answer = client.get(path, headers={"range": given})
        assert (answer.status_code, list(answer.json())) == (status, ["detail"])
        assert answer.json()["detail"] and "cache-control" in answer.headers
        assert answer.headers.get("content-range") == (f"bytes */{size}" if status == 416 else None)
        assert client.head(path, headers={"range": given}).content == b""
    part = client.get(path, headers={"range": "bytes=0-9"})
    assert (part.status_code, len(part.content)) == (206, 10)


def test_a_browser_without_the_token_gets_a_form():
    wants = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    with client_with(token="s3cret") as client:
        for path, action in (("/", "token"), ("/docs", "token"), ("/v1/models", "../token")):
            answer = client.get(path, headers=wants)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert f'<form method="post" action="{action}">' in answer.text
            policy = answer.headers["content-security-policy"]
            assert "form-action 'self'" in policy and "unsafe" not in policy
        assert client.get("/").json()["detail"].startswith("a token is needed")
        wrong = client.post("/token", data={"token": "no"}, follow_redirects=False)
        assert (wrong.status_code, "not the token" in wrong.text) == (401, True)
        assert not client.cookies
        foreign = {"sec-fetch-site": "cross-site"}
        assert client.post("/token", data={"token": "s3cret"}, headers=foreign).status_code == 403
        right = client.post("/token", data={"token": "s3cret"}, follow_redirects=False)
        assert (right.status_code, right.headers["location"]) == (303, "./")
        assert client.get("/", headers=wants).status_code == 200
        # The cookie that a browser has is not overwritten by a link with another token.
        assert client.get("/?token=other", follow_redirects=False).status_code == 401
        assert client.get("/", headers=wants).status_code == 200


def test_ready_is_not_the_same_as_alive(client, monkeypatch):
    assert (client.get("/readyz").status_code, client.get("/readyz").json()) == (
        200,
        {"status": "ready"},
    )
    clearer = client.app.state.clearer
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "no room"})
        assert client.get("/healthz").status_code == 200
    with monkeypatch.context() as patch:
        patch.setattr(clearer.desk, "stopping", True)
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "stopping"})
        assert client.get("/healthz").status_code == 200
        for refused in (client.get("/v1/models"), client.post("/v1/dehaze", content=b"x")):
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
    assert client.get("/v1/models").status_code == 200


def test_the_document_tells_ways_in_ranges_and_examples():
    with client_with(token="s3cret") as client:
        client.headers["authorization"] = "Bearer s3cret"
        document = client.get("/openapi.json").json()
        page = client.get("/docs").text
    schemes = document["components"]["securitySchemes"]
    assert schemes["token"] == schemes["token"] | {"type": "http", "scheme": "bearer"}
    assert document["servers"][0]["url"] == "/"
    for path, methods in document["paths"].items():
        for about in methods.values():
            assert ("security" in about) == (path not in ("/healthz", "/readyz"))
            for each in about.get("parameters", []):
                if each["in"] == "query":
                    assert each["example"], (path, each["name"])
                    assert each["schema"]["description"]
                    assert each["schema"].get("type") or each["schema"].get("enum")
    [strength] = [
        each for each in document["paths"]["/v1/dehaze"]["post"]["parameters"]
        if each["name"] == "strength"
    ]  # fmt: skip
    assert (strength["schema"]["minimum"], strength["schema"]["maximum"]) == (0, 1)
    assert strength["schema"]["default"] == 1.0
    assert "<td>number from 0 to 1</td><td>1.0</td><td>0.8</td>" in page
    with client_with() as client:
        assert "security" not in client.get("/openapi.json").json()["paths"]["/v1/dehaze"]["post"]


def test_a_parameter_that_comes_twice_is_refused(client):
    answer = client.post("/v1/dehaze?strength=0.1&strength=0.9", content=hazy_photo())
    assert (answer.status_code, "given twice" in answer.text) == (422, True)
    answer = client.post("/v1/dehaze?strength=0.1", files=sent(b"x"), data={"strength": "1"})
    assert (answer.status_code, "in the address and in the form" in answer.text) == (422, True)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "", "a", "-1", "9" * 99])
@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/v1/dehaze", "strength"),
        ("POST", "/v1/dehaze", "analysis"),
        ("POST", "/v1/dehaze", "quality"),
        ("POST", "/v1/videos", "strength"),
        ("POST", "/v1/videos", "crf"),
        ("POST", "/v1/videos", "bitrate"),
        ("GET", "/v1/photos/none/result", "strength"),
        ("GET", "/v1/photos/none/preview", "size"),
    ],
)
def test_a_number_of_no_meaning_is_one_line(client, method, path, name, value):
    answers = [client.request(method, path, params={name: value}, content=b"")]
    if method == "POST":
        form = {"data": {name: value}, "files": {"file": ("a.jpg", hazy_photo(".jpg"))}}
        answers.append(client.post(path, **form))
    for answer in answers:
        assert answer.status_code == 422, answer.text
        detail = answer.json()["detail"]
        assert isinstance(detail, str) and "\n" not in detail
        assert answer is not answers[0] or name in detail


def test_what_a_video_lacks_is_reported(client, tmp_path):
    clip = make_clip(tmp_path / "clip.mkv", sound="aac", count=30)
    content, query = clip.read_bytes(), {"name": "clip.mkv", "model": "dcp"}
    whole = client.post("/v1/videos", content=content, params=query).json()
    part = client.post("/v1/videos", content=content[: len(content) // 2], params=query).json()
    assert wait_for(client, whole["id"])["notes"] == []
    entry = wait_for(client, part["id"])
    assert entry["state"] == "done" and 0 < entry["done"] < 30
    (note,) = entry["notes"]
    assert note.startswith("the source is cut off")
