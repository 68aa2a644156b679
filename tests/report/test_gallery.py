"""`unhaze report gallery`: what lies in the folder, what the page shows, what goes wrong."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from unhaze import photo
from unhaze.cli import main
from unhaze.errors import UnhazeError
from unhaze.metrics.fog_density import fade
from unhaze.report.gallery import write_gallery
from unhaze.restore.models import list_models


def drawn(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(90, 256, (height // 10, width // 10, 3))
    return coarse.repeat(10, axis=0).repeat(10, axis=1).astype(np.uint8)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three photos, one with a name that HTML and links would stumble over, and a broken one."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    photo.write_rgb(folder / "1 <b>&'fog' #1?.png", drawn(1))
    photo.write_rgb(folder / "2.jpg", drawn(2, 200, 100))
    photo.write_rgb(folder / "more" / "2.png", drawn(3))
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_the_gallery_of_a_folder(photos, half, tmp_path, capsys):
    out = tmp_path / "page"
    words = ["report", "gallery", str(photos), "--out", str(out), "--long-side", "100"]
    assert main([*words, "--model", "dcp", "--model", str(half)]) == 1
    captured = capsys.readouterr()
    assert captured.out.strip() == str(out / "index.html")
    (fault,) = (line for line in captured.err.splitlines() if line.startswith("unhaze: error: "))
    assert "broken.png': it is no picture" in fault
    table = json.loads((out / "gallery.json").read_text())
    assert [entry["name"] for entry in table["entries"]] == [
        "1 <b>&'fog' #1?.png",
        "2.jpg",
        "more/2.png",
    ]
    for entry, pixels in zip(table["entries"], (drawn(1), None, drawn(3))):
        assert [each["model"] for each in entry["pictures"]] == ["hazy", "dcp", "half"]
        hazy, _, _ = (photo.read_rgb(out / each["file"]) for each in entry["pictures"])
        assert hazy.shape == (entry["height"], entry["width"], 3)
        if pixels is not None:
            assert entry["pictures"][0]["fade"] == pytest.approx(fade(pixels / 255))
            assert entry["pictures"][2]["fade"] == pytest.approx(fade(pixels / 510), rel=0.02)
        assert [each["seconds"] is None for each in entry["pictures"]] == [True, False, False]
        strip = photo.read_rgb(out / entry["strip"])
        assert strip.shape == (entry["height"] + 28, 3 * entry["width"] + 12, 3)
        lossless, _, halved = (
            strip[28:, start : start + entry["width"]].astype(int)
            for start in range(0, strip.shape[1], entry["width"] + 6)
        )
        assert np.abs(lossless / 2 - halved).max() <= 1
        np.testing.assert_allclose(lossless.mean(), hazy.mean(), atol=3)
    assert (table["entries"][1]["height"], table["entries"][1]["width"]) == (100, 50)
    assert sorted(each.name for each in out.iterdir()) == [
        "gallery.json",
        "index.html",
        "pictures",
        "strips",
    ]


def test_the_page_refers_to_what_lies_beside_it_and_to_nothing_else(photos, half, tmp_path):
    gallery = write_gallery(photos, tmp_path / "page", [str(half)])
    page = (tmp_path / "page" / "index.html").read_text()
    links = set(re.findall(r'(?:src|href)="([^"]*)"', page))
    assert len(links) == 2 * 3 + 3
    assert all((tmp_path / "page" / link).is_file() for link in links)
    assert "://" not in page and "<b>&amp;'fog'" not in page.replace("&#x27;", "'")
    assert "1 &lt;b&gt;&amp;" in page
    assert page.count('loading="lazy"') == 6 and "color-scheme: light dark" in page
    scores = [each.fade for entry in gallery.entries for each in entry.pictures[1:]]
    assert f"<td>half</td><td>{np.mean(scores):.3f}</td>" in page
    assert "broken.png" in page


def test_by_default_dcp_and_every_shipped_model_and_what_is_added(photos, half, tmp_path):
    words = ["report", "gallery", str(photos), "--out", str(tmp_path / "page"), "--limit", "1"]
    assert main([*words, "--also", str(half), "--device", "cpu"]) == 0
    table = json.loads((tmp_path / "page" / "gallery.json").read_text())
    assert table["models"] == ["dcp", "half", *(card.name for card in list_models())]


def test_a_model_that_fails_is_reported_and_the_others_are_shown(
    photos, half, tmp_path, monkeypatch
):
    from unhaze.evaluation.models import Subject

    def fail(hazy: np.ndarray) -> np.ndarray:
        raise UnhazeError("not enough memory")

    answers = {
        "fails": Subject(fail, 0, None, "here"),
        "nan": Subject(lambda hazy: hazy * np.nan, 0, None, "here"),
        "same": Subject(lambda hazy: hazy, 0, None, "here"),
    }
    monkeypatch.setattr("unhaze.report.gallery.open_subject", lambda name, device: answers[name])
    gallery = write_gallery(photos, tmp_path / "page", list(answers), limit=1)
    assert [each.model for each in gallery.entries[0].pictures] == ["hazy", "same"]
    assert [fault.partition("by ")[2].split(":")[0] for fault in gallery.faults] == ["fails", "nan"]
    assert "not enough memory" in (tmp_path / "page" / "index.html").read_text()


def test_small_and_black_photos_have_no_fade(tmp_path, half):
    (tmp_path / "in").mkdir()
    photo.write_rgb(tmp_path / "in" / "black.png", np.zeros((40, 40, 3), np.uint8))
    photo.write_rgb(tmp_path / "in" / "tiny.png", drawn(0, 10, 10))
    gallery = write_gallery(tmp_path / "in", tmp_path / "page", [str(half)], long_side=0)
    assert not gallery.faults and all(np.isnan(each.pictures[0].fade) for each in gallery.entries)
    assert "FADE -" in (tmp_path / "page" / "index.html").read_text()


def test_names_that_are_long_or_no_text_are_shown(half, tmp_path, capfd):
    folder = tmp_path / "photos"
    folder.mkdir()
    photo.write_rgb(folder / f"{'x' * 250}.png", drawn(1))
    shutil.copy(folder / f"{'x' * 250}.png", os.fsdecode(bytes(folder) + b"/bad\xff.png"))
    gallery = write_gallery(folder, tmp_path / "page", [str(half)])
    assert len(gallery.entries) == 2 and not gallery.faults
    assert "<h2>bad\\udcff.png</h2>" in (tmp_path / "page" / "index.html").read_text("utf-8")
    capfd.readouterr()  # the name that is no text: workers of pytest-xdist cannot report it


def test_models_of_one_name_are_told_apart(photos, half, tmp_path):
    (tmp_path / "b").mkdir()
    shutil.copy(half, tmp_path / "b" / "half.onnx")
    both = [str(half), str(tmp_path / "b" / "half.onnx"), str(half)]
    gallery = write_gallery(photos, tmp_path / "page", both, limit=1)
    assert gallery.models == ["half", "half (2)"]
    assert len({each.file for each in gallery.entries[0].pictures}) == 3


def test_what_is_in_the_way_stays(photos, half, tmp_path, capsys):
    out = photos / "page"
    write_gallery(photos, out, [str(half)], limit=1)
    with pytest.raises(UnhazeError, match="not empty; --overwrite replaces it"):
        write_gallery(photos, out, [str(half)], limit=1)
    # The gallery among the photos is none of them.
    again = write_gallery(photos, out, [str(half)], overwrite=True)
    assert len(again.entries) == 3
    (out / "precious.txt").write_text("mine")
    with pytest.raises(
        UnhazeError, match=r"also holds 'precious.txt', which is not part of the ga"
    ):
        write_gallery(photos, out, [str(half)], overwrite=True)
    assert (out / "precious.txt").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "there is no folder 'nowhere'"),
        (["empty"], "there are no photos in 'empty'"),
        (["bad"], "none of the photos can be shown: 'bad/a.png' is empty"),
        (["bad", "--out", "."], "the photos are in '.'; choose another folder"),
        (["bad", "--out", "bad", "--overwrite"], "the photos are in 'bad'; choose another folder"),
        (["bad", "--model", "fotos"], "no model 'fotos'"),
        (["bad", "--long-side", "-1"], "--long-side"),
        (["bad", "--limit", "x"], "--limit"),
    ],
)
def test_wrong_use_ends_in_one_line_and_leaves_nothing(
    tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"")
    assert main(["report", "gallery", *words]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in last
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bad", "empty"]
