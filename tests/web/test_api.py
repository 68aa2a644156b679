"""The HTTP API of `unhaze serve`, in one process: every route, what is kept, every refusal."""

import io
import time
import zipfile
from collections.abc import Iterator

import av
import pytest
from starlette.testclient import TestClient

from tests.video_clips import make_clip, rgb_of
from tests.web.files import bomb, hazy_photo, same_but_colours
from unhaze import photo
from unhaze.errors import UnhazeError
from unhaze.restore.restorer import Restorer
from unhaze.web import Settings, create_app
from unhaze.web.desk import Desk
from unhaze.web.upload_store import UploadStore, safe_name, safe_suffix
from unhaze.web.workers import Workers

SETTINGS = Settings(device="cpu", workers=1, analysis=256)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(SETTINGS)) as client:
        yield client


def client_with(**settings: object) -> TestClient:
    """A server of its own, to be used in a `with`."""
    return TestClient(create_app(Settings(device="cpu", workers=1, analysis=256, **settings)))


def files_of(client: TestClient) -> int:
    """How many files lie in the private folder."""
    folder = client.app.state.clearer.uploads.folder
    return sum(each.is_file() and each.name != "lease" for each in folder.rglob("*"))


def send_photo(client: TestClient, body: bytes, **query: str) -> dict:
    answer = client.post("/v1/photos", content=body, params=query)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("suffix", "kind", "media_type"),
    [
        (".jpg", "uint8", "image/jpeg"),
        (".png", "uint16", "image/png"),
        (".tif", "uint16", "image/tiff"),
        (".webp", "uint8", "image/webp"),
    ],
)
def test_a_picture_comes_back_as_it_was_but_clear(client, suffix, kind, media_type):
    hazy = hazy_photo(suffix, kind=kind)
    before = files_of(client)
    answer = client.post("/v1/dehaze", content=hazy, params={"name": f"my photo{suffix}"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == media_type
    assert f"my%20photo.unhazed{suffix}" in answer.headers["content-disposition"]
    assert same_but_colours(hazy, answer.content)
    assert files_of(client) == before


def test_the_answer_is_what_the_library_makes(client):
    hazy = hazy_photo(".png")
    answer = client.post("/v1/dehaze", content=hazy, params={"strength": 0.6, "model": "dcp"})
    expected = Restorer("dcp", "cpu", threads=1).restore_bytes(hazy, strength=0.6)
    assert (photo.read(answer.content).pixels == photo.read(expected).pixels).all()


def test_strength_zero_changes_no_pixel(client):
    hazy = hazy_photo(".png", kind="uint16")
    answer = client.post("/v1/dehaze", content=hazy, params={"strength": 0})
    assert (photo.read(answer.content).pixels == photo.read(hazy).pixels).all()


def test_a_kept_photo_in_any_strength_is_what_one_call_answers(client):
    hazy = hazy_photo(".jpg", size=(90, 120))
    entry = send_photo(client, hazy, name="a.JPG")
    assert (entry["width"], entry["height"], entry["result_name"]) == (120, 90, "a.unhazed.jpg")
    for strength in (0, 0.5, 1):
        query = {"strength": strength}
        result = client.get(f"/v1/photos/{entry['id']}/result", params=query)
        once = client.post("/v1/dehaze", content=hazy, params=query | {"analysis": 256})
        assert result.content == once.content
        assert 'filename="a.unhazed.jpg"' in result.headers["content-disposition"]
    item = client.app.state.clearer.uploads.items[entry["id"]]
    assert sorted(each.name for each in item.folder.iterdir()) == ["preview.npz", "source.jpg"]
    assert client.delete(f"/v1/photos/{entry['id']}").status_code == 204
    assert client.get(f"/v1/photos/{entry['id']}/result").status_code == 404
    assert not item.folder.exists()


def test_previews_are_small_upright_or_whole(client):
    tall = photo.Traits(orientation=6)
    pixels = photo.read(hazy_photo(".png", size=(60, 80))).pixels
    entry = send_photo(client, photo.encode(photo.Photo(pixels, traits=tall), ".jpg"))
    assert (entry["width"], entry["height"]) == (60, 80)
    shapes = {}
    for side in ("hazy", "restored"):
        for size in (40, 9000):
            query = {"side": side, "size": size}
            answer = client.get(f"/v1/photos/{entry['id']}/preview", params=query)
            assert answer.headers["content-type"] == "image/jpeg"
            shapes[side, size] = photo.read(answer.content).pixels
    assert shapes["hazy", 40].shape == shapes["restored", 40].shape == (40, 30, 3)
    assert shapes["hazy", 9000].shape == (80, 60, 3)
    assert abs(shapes["hazy", 40].astype(int) - shapes["restored", 40]).max() > 5


def test_all_as_zip(client):
    photos = [hazy_photo(".png", seed=seed) for seed in range(2)]
    idents = [send_photo(client, each, name="same.png")["id"] for each in photos]
    query = {"item": [f"{idents[0]}:1", f"{idents[1]}:0.5"]}
    answer = client.get("/v1/archive", params=query)
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["same.unhazed.png", "same.unhazed 2.png"]
        results = [archive.read(name) for name in archive.namelist()]
    alone = client.get(f"/v1/photos/{idents[1]}/result", params={"strength": 0.5}).content
    assert results[1] == alone
    assert same_but_colours(photos[0], results[0])
    assert client.get("/v1/archive", params={"item": f"{idents[0]}:7"}).status_code == 422
    assert client.get("/v1/archive", params={"item": "nobody:1"}).status_code == 404
    assert client.get("/v1/archive").status_code == 422


def wait_for(client: TestClient, ident: str) -> dict:
    """The entry of a video as soon as nothing happens to it any more."""
    deadline = time.monotonic() + 60
    while True:
        entry = client.get(f"/v1/videos/{ident}").json()
        if entry["state"] in ("done", "failed"):
            return entry
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_video_is_restored_in_the_background(client, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", sound="aac")
    query = {"name": "clip.mp4", "model": "dcp"}
    answer = client.post("/v1/videos", content=clip.read_bytes(), params=query)
    assert answer.status_code == 202, answer.text
    entry = wait_for(client, answer.json()["id"])
    assert (entry["state"], entry["done"], entry["error"]) == ("done", 12, "")
    result = client.get(f"/v1/videos/{entry['id']}/result")
    assert result.headers["content-type"] == "video/mp4"
    assert "clip.unhazed.mp4" in result.headers["content-disposition"]
    (tmp_path / "result.mp4").write_bytes(result.content)
    restored = rgb_of(tmp_path / "result.mp4")
    assert restored.shape == (12, 48, 64, 3)
    assert abs(restored.astype(int) - rgb_of(clip)).mean() > 1
    archive = client.get("/v1/archive", params={"item": entry["id"]})
    with zipfile.ZipFile(io.BytesIO(archive.content)) as file:
        assert file.read("clip.unhazed.mp4") == result.content
    assert client.get(f"/v1/photos/{entry['id']}/result").status_code == 404
    assert client.delete(f"/v1/videos/{entry['id']}").status_code == 204


def test_a_video_is_encoded_as_the_client_says(client, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", sound="aac")
    query = {"name": "a.mp4", "model": "dcp"}
    bad = client.post("/v1/videos", content=b"", params=query | {"crf": "best"})
    assert "crf is 'best'" in bad.json()["detail"]
    query |= {"codec": "hevc", "crf": "30", "audio": "none"}
    answer = client.post("/v1/videos", content=clip.read_bytes(), params=query)
    result = client.get(f"/v1/videos/{wait_for(client, answer.json()['id'])['id']}/result")
    with av.open(io.BytesIO(result.content)) as container:
        assert [each.name for each in container.streams] == ["hevc"]


def test_playlists_and_too_long_videos_are_refused(tmp_path):
    secret = tmp_path / "secret.mp4"
    make_clip(secret)
    playlist = f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    concat = f"ffconcat version 1.0\nfile '{secret}'\n".encode()
    with client_with(max_frames=5) as client:
        for body in (playlist, concat, b"\0\0\0\x08mda", b"GIF89a", hazy_photo(".jpg")):
            answer = client.post("/v1/videos", content=body, params={"name": "a.mp4"})
            assert answer.status_code == 422
            assert "MP4" in answer.json()["detail"]
        answer = client.post("/v1/videos", content=secret.read_bytes())
        entry = wait_for(client, answer.json()["id"])
        assert "limit of 5" in entry["error"]
        damaged = client.post("/v1/videos", content=secret.read_bytes()[:300])
        entry = wait_for(client, damaged.json()["id"])
        assert entry["state"] == "failed"
        assert "/tmp" not in entry["error"]
        assert client.get(f"/v1/videos/{entry['id']}/result").status_code == 404
        assert client.app.state.clearer.video_desk.taken == 0


def test_what_the_server_says_of_itself(client):
    assert client.get("/healthz").json() == {"status": "ok", "places_taken": 0, "places": 9}
    known = client.get("/v1/models").json()
    assert {"photo-fast", "dcp"} <= {each["name"] for each in known["models"]}
    assert known["limits"]["pixels"] == SETTINGS.max_pixels
    client.get("/v1/photos/made-up/result")
    numbers = client.get("/metrics").text
    route = 'path="/v1/photos/{ident}/result",status="404"'
    assert f'unhaze_requests_total{{method="GET",{route}}}' in numbers
    assert "made-up" not in numbers
    assert "unhaze_places_taken 0.0" in numbers


@pytest.mark.parametrize("path", ["", "config.json", "style.css", "icon.svg", "docs", "healthz"])
def test_every_answer_has_tight_headers(client, path):
    answer = client.get(f"/{path}")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy.replace("'wasm-unsafe-eval'", "")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    if path != "docs":
        assert "http:" not in answer.text.replace("http://www.w3.org/2000/svg", "")
    assert "https:" not in answer.text


def test_the_page_names_no_file_outside(client):
    for path in ("/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "//etc/passwd", "/page/app.js"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("body", "query", "status", "words"),
    [
        (b"", {}, 422, "empty"),
        (b"no picture", {}, 422, "it is no picture"),
        (bomb(), {"name": "bomb.png"}, 422, "60000 x 60000 pixels, over the limit"),
        (hazy_photo()[:400], {}, 422, "cannot read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", {}, 422, "it is SVG"),
        (hazy_photo(), {"strength": "2"}, 422, "less than or equal"),
        (hazy_photo(), {"strength": "nan"}, 422, "strength"),
        (hazy_photo(), {"analysis": "1"}, 422, "greater than or equal"),
        (hazy_photo(), {"model": "../../etc/passwd"}, 422, "must be one of auto"),
        (hazy_photo(), {"model": "/tmp/x.onnx"}, 422, "must be one of auto"),
        (hazy_photo(), {"model": "http://x/y.onnx"}, 422, "must be one of auto"),
        (hazy_photo(), {"name": "x" * 300}, 422, "at most 255"),
    ],
)
def test_refusals_say_why_and_tell_nothing_of_the_server(client, body, query, status, words):
    for path in ("/v1/dehaze", "/v1/photos"):
        if "strength" in query or "analysis" in query:
            path = "/v1/dehaze"
        before = files_of(client)
        answer = client.post(path, content=body, params=query)
        assert (answer.status_code, words in answer.text) == (status, True), answer.text
        assert str(client.app.state.clearer.uploads.folder) not in answer.text
        assert "UNHAZE_MAX_PIXELS" not in answer.text
        assert files_of(client) == before


def test_names_with_tricks_stay_inside(client):
    names = [
        "../../etc/cron.d/x.jpg",
        "..\\..\\x.jpg",
        "/etc/passwd",
        "a\x00b.jpg",
        "\r\nSet-Cookie: a",
    ]
    for name in [
        *names,
        "x.jpg/..",
        "....",
        "nul",
        "x" * 255,
        "😀\u202egpj.exe",
        "-rf *.jpg",
        "'\"<b>",
    ]:
        answer = client.post("/v1/dehaze", content=hazy_photo(), params={"name": name})
        assert answer.status_code == 200, name
        disposition = answer.headers["content-disposition"]
        assert not set("/\\\r\n\x00") & set(disposition.replace("utf-8''", "")), disposition
        assert "set-cookie" not in answer.headers
    outside = client.app.state.clearer.uploads.folder.parent
    assert not (outside / "x.jpg").exists()


def test_suffixes_and_names_are_plain():
    assert [safe_suffix(each) for each in ("a.JPG", "a", "a.b/c", "a.é", "a.toolong")] == [
        ".jpg", "", "", "", "",
    ]  # fmt: skip
    assert safe_name("C:\\photos\\be:ach.jpg", ".png") == "beach.unhazed.png"
    assert safe_name("..", ".png") == "photo.unhazed.png"


def test_too_large_a_body_is_refused_by_its_header_or_by_counting():
    with client_with(max_bytes=3000) as client:
        announced = client.post("/v1/dehaze", content=bytes(3001))
        assert (announced.status_code, "3,000 bytes" in announced.text) == (413, True)
        counted = client.post("/v1/dehaze", content=(bytes(1000) for _ in range(4)))
        assert counted.status_code == 413
        odd = client.post("/v1/dehaze", content=b"", headers={"content-length": "-1"})
        assert odd.status_code == 400
        assert files_of(client) == 0
        assert client.app.state.clearer.desk.taken == 0


def test_the_token_opens():
    with client_with(token="s3cret") as client:
        assert client.get("/healthz").status_code == 200
        for path in ("/", "/v1/models", "/metrics", "/app.js", "/openapi.json", "/docs"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        wrong = {"authorization": "Bearer s3cre"}
        assert client.get("/v1/models", headers=wrong).status_code == 401
        assert client.get("/v1/models?token=s3cret").status_code == 401
        right = {"authorization": "bearer s3cret"}
        assert client.get("/v1/models", headers=right).status_code == 200
        answer = client.get("/?token=s3cret", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "./")
        assert "httponly" in answer.headers["set-cookie"].lower()
        assert client.get("/v1/models").status_code == 200  # by the cookie


def test_other_sites_may_use_it_only_if_they_are_named():
    foreign = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
    with client_with(origins=("https://good.example",), hosts=("testserver",)) as client:
        assert client.post("/v1/dehaze", content=b"x", headers=foreign).status_code == 403
        good = foreign | {"origin": "https://good.example"}
        answer = client.post("/v1/dehaze", content=hazy_photo(), headers=good)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://good.example"
        asked = foreign | {"access-control-request-method": "POST"}
        assert client.options("/v1/dehaze", headers=asked).status_code == 400
        assert client.get("/healthz", headers={"host": "rebound.example"}).status_code == 400


def test_settings_that_make_no_sense_end_in_one_line():
    for wrong in ({"max_bytes": 0}, {"queue": -1}, {"origins": ("*",)}, {"token": "a b"}):
        with pytest.raises(UnhazeError):
            Settings(**wrong)


def test_the_shelf_keeps_what_was_used_last(tmp_path):
    shelf = UploadStore(5000, 1000, 3600)
    items = [shelf.new("a.jpg", "photo") for _ in range(3)]
    for item in items:
        item.state = "done"
        item.source.write_bytes(bytes(450))
    items[1].used -= 10
    shelf.tidy()
    assert list(shelf.items) == [items[0].id, items[2].id]
    items[0].source.write_bytes(bytes(2000))
    items[0].used -= 5
    shelf.tidy()
    assert list(shelf.items) == [items[2].id]
    items[2].used -= 4000
    assert shelf.get(items[2].id, "photo") is None
    waiting = shelf.new("b.jpg", "photo")
    waiting.used -= 4000
    shelf.tidy()
    assert waiting.folder.exists()  # it is still coming
    shelf.close()
    assert not shelf.folder.exists()


def test_a_removed_photo_at_work_is_gone(client, monkeypatch):
    entry = send_photo(client, hazy_photo())
    clearer = client.app.state.clearer
    item = clearer.uploads.items[entry["id"]]
    write = clearer.write_result

    def remove_and_write(*words):
        clearer.uploads.remove(item.id)
        return write(*words)

    monkeypatch.setattr(clearer, "write_result", remove_and_write)
    assert client.get(f"/v1/photos/{item.id}/result").status_code == 404


def test_lack_of_memory_and_room_is_reported(client, monkeypatch):
    def fail(error: BaseException):
        def raise_it(*_: object, **__: object) -> None:
            raise error

        return raise_it

    monkeypatch.setattr(Workers, "call", fail(MemoryError()))
    assert client.post("/v1/dehaze", content=hazy_photo()).status_code == 413
    monkeypatch.setattr(Workers, "call", fail(OSError(28, "No space left on device")))
    assert client.post("/v1/dehaze", content=hazy_photo()).status_code == 507
    assert client.app.state.clearer.desk.taken == 0


def test_the_wait_grows_with_the_queue():
    desk = Desk(1, 2)
    desk.usual_seconds = 4
    with desk.place(), desk.place(), desk.place():
        with pytest.raises(Exception, match="try again in 12 seconds"), desk.place():
            pass
        assert desk.taken == 3
    assert desk.taken == 0
    desk.close()
