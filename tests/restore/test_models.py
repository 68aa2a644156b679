"""The shipped models are what their cards say, and names, files and "auto" find the right one."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from unhaze.cli.listing import line_of_model
from unhaze.cli.listing import list_models as list_rows
from unhaze.errors import UnhazeError
from unhaze.restore import models
from unhaze.restore.models import (
    FOLDER,
    AutoRule,
    ModelCard,
    find_model,
    list_models,
    open_model,
    pick_card,
)
from unhaze.restore.priors import PRIORS

onnx = pytest.importorskip("onnx")

COMMON = """\
data = "NYU depth"
budget = "a minute"
hardware = "one core"
licence = "Apache-2.0"
"""
CARDS = """
[swift]
file = "swift.onnx"
sha256 = "{sha256}"
net = "quarter"
recipe = "recipes/photo/fast.toml"
{common}params = 3
macs_per_pixel = 14000
purpose = "Video."
limits = "Fog."
auto = [{{ use = "video", device = "cpu" }}, {{ device = "cpu", min_megapixels = 50 }}]

[thorough]
file = "thorough.onnx"
sha256 = "{sha256}"
net = "aecr"
arguments = {{ width = 16 }}
recipe = "recipes/aecr/its.toml"
{common}params = 4
macs_per_pixel = 700000
purpose = "Photos."
limits = "Fog."
measured = {{ "psnr on sots-indoor-part (aecr)" = 20.5 }}
auto = [{{}}]

[special]
file = "special.onnx"
sha256 = "{sha256}"
net = "aecr"
recipe = "recipes/aecr/its.toml"
{common}params = 4
macs_per_pixel = 44000
purpose = "On request."
limits = "Fog."
"""


def identity(path: Path) -> Path:
    """A model that changes nothing."""
    free = ["batch", 3, "height", "width"]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, free)
        for name in ("hazy", "restored")
    ]
    node = onnx.helper.make_node("Identity", ["hazy"], ["restored"])
    graph = onnx.helper.make_graph([node], "identity", ends[:1], ends[1:])
    opset = [onnx.helper.make_opsetid("", 19)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


@pytest.fixture
def shelf(tmp_path) -> Path:
    """A folder of three shipped models."""
    for name in ("swift", "thorough", "special"):
        identity(tmp_path / f"{name}.onnx")
    digest = hashlib.sha256((tmp_path / "swift.onnx").read_bytes()).hexdigest()
    (tmp_path / "models.toml").write_text(
        CARDS.format(sha256=digest, common=COMMON), encoding="utf-8"
    )
    return tmp_path


def test_cards_are_read_in_order_with_their_speed(shelf):
    cards = list_models(shelf)
    assert [card.name for card in cards] == ["swift", "thorough", "special"]
    assert [card.speed for card in cards] == ["fast", "slow", "medium"]
    assert cards[1].arguments == {"width": 16}
    assert cards[1].measured["psnr on sots-indoor-part (aecr)"] == 20.5
    assert cards[0].auto[1] == AutoRule(device="cpu", min_megapixels=50)


@pytest.mark.parametrize(
    ("use", "device", "size", "taken"),
    [
        ("photo", "cpu", None, "thorough"),
        ("photo", "cpu", (3000, 4000), "thorough"),
        ("photo", "cpu", (10000, 10000), "swift"),
        ("photo", "cuda", (10000, 10000), "thorough"),
        ("video", "cpu", None, "swift"),
        ("video", "cpu", (1080, 1920), "swift"),
        ("video", "cuda", (1080, 1920), "thorough"),
        ("video", "directml", None, "thorough"),
    ],
)
def test_auto_goes_by_the_rules_of_the_cards(shelf, use, device, size, taken):
    assert pick_card(list_models(shelf), device, size, use).name == taken
    found = find_model("auto", device=device, picture_size=size, use=use, folder=shelf)
    assert found == shelf / f"{taken}.onnx"


def test_rules_of_size():
    rule = AutoRule(min_megapixels=1, max_megapixels=12)
    held = [rule.holds("photo", "cpu", size) for size in (None, 0.5, 1, 12, 13)]
    assert held == [False, False, True, True, False]


def test_auto_with_no_rule_or_no_such_use(shelf, tmp_path):
    with pytest.raises(UnhazeError, match="give a .onnx file"):
        pick_card(list_models(shelf)[2:], "cpu", None, "photo")
    with pytest.raises(UnhazeError, match="use is 'film'; it must be one of photo, video"):
        pick_card(list_models(shelf), "cpu", None, "film")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "models.toml").touch()
    with pytest.raises(UnhazeError, match="give a .onnx file"):
        find_model("auto", folder=tmp_path / "none")


def test_models_by_name(shelf):
    assert find_model("special", folder=shelf) == shelf / "special.onnx"
    with pytest.raises(UnhazeError, match="no model 'spcial'; did you mean 'special'"):
        find_model("spcial", folder=shelf)
    with pytest.raises(UnhazeError, match="no model 'haze-line'; did you mean 'haze-lines'"):
        find_model("haze-line", folder=shelf)


def test_damaged_and_missing_shipped_models(shelf):
    with (shelf / "swift.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UnhazeError, match="'swift' is damaged"):
        find_model("swift", folder=shelf)
    (shelf / "swift.onnx").unlink()
    with pytest.raises(UnhazeError, match="'swift' is missing"):
        find_model("swift", folder=shelf)


@pytest.mark.slow
def test_models_by_path(tmp_path):
    path = identity(tmp_path / "mine.onnx")
    assert find_model(path) == find_model(str(path)) == path
    with pytest.raises(UnhazeError, match="no model file 'gone.onnx'"):
        find_model("gone.onnx")
    (tmp_path / "weights.safetensors").touch()
    (tmp_path / "empty").mkdir()
    reasons = {
        tmp_path / "weights.safetensors": "is empty",
        tmp_path / "empty": "is not a run folder",
    }
    for other, reason in reasons.items():
        with pytest.raises(UnhazeError, match=reason):
            find_model(other)
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff no weights")
    with pytest.raises(UnhazeError, match="photo.jpg.*it is a JPEG file and no weights"):
        find_model(tmp_path / "photo.jpg")


def test_a_model_opened_ahead_is_the_one_that_is_opened_next():
    models.open_ahead("photo-fast", "cpu", threads=1)
    (ahead,) = models.begun.values()
    assert open_model("photo-fast", "cpu", threads=1) is ahead.result()
    assert not models.begun
    assert open_model("photo-fast", "cpu", threads=1) is not ahead.result()
    models.open_ahead("no-such-model")
    with pytest.raises(UnhazeError, match="no model 'no-such-model'"):
        open_model("no-such-model")


def test_open_model_takes_names_files_and_priors(tmp_path, shelf, monkeypatch):
    monkeypatch.setattr(find_model, "__kwdefaults__", find_model.__kwdefaults__ | {"folder": shelf})
    hazy = np.random.default_rng(0).random((1, 3, 20, 30), dtype=np.float32)
    for name in ("auto", "special", str(shelf / "swift.onnx"), shelf / "swift.onnx"):
        model = open_model(name, "cpu", threads=1)
        np.testing.assert_array_equal(model(hazy), hazy)
        assert model.device == "cpu"
    assert open_model("auto", "cpu", use="video").path == shelf / "swift.onnx"
    assert open_model("auto", "cpu", picture_size=(9000, 9000)).path == shelf / "swift.onnx"
    assert open_model("auto", "cpu").path == shelf / "thorough.onnx"
    for name in PRIORS:
        prior = open_model(name, "cpu")
        assert (prior.card["net"], prior.device, prior.path) == (name, "cpu", None)
        assert prior.card["context"] is None
    with pytest.raises(UnhazeError, match="no device 'cuta'; did you mean 'cuda'"):
        open_model("dcp", "cuta")


def test_what_is_shipped_is_whole_and_described():
    cards = list_models()
    assert {card.file for card in cards} == {path.name for path in FOLDER.glob("*.onnx")}
    for card in cards:
        assert isinstance(card, ModelCard)
        model = open_model(card.name, "cpu", threads=1)
        for fact in ("net", "params", "macs_per_pixel"):
            assert model.card[fact] == getattr(card, fact)
        assert model.card["bytes_per_pixel"] > 10
        # Its airlight starts at the brightest place of the whole picture, which is no mean.
        assert model.card["context"] is None if card.name == "cddgan" else model.card["context"] > 0
        hazy = np.random.default_rng(0).random((1, 3, 33, 50), dtype=np.float32)
        assert np.isfinite(model(hazy)).all()
    for use in models.USES if cards else ():
        for device in ("cpu", "cuda"):
            for size in (None, (1, 1), (480, 640), (20000, 20000)):
                assert pick_card(cards, device, size, use) in cards


def test_the_list_says_size_speed_and_purpose():
    rows = list_rows()
    for row, card in zip(rows, list_models(), strict=True):
        assert (row["name"], row["params"], row["speed"]) == (card.name, card.params, card.speed)
        assert row["bytes"] == (FOLDER / card.file).stat().st_size
        assert "title" not in row
        line = line_of_model(row)
        for part in (f"{card.params:,} parameters", "MB", card.speed, card.purpose):
            assert part in line
    made_up = {"params": 1200, "bytes": 2_340_000, "speed": "fast", "macs_per_pixel": 14000}
    rules = [{"use": "video", "device": "cpu"}, {}]
    assert line_of_model(made_up | {"purpose": "Video.", "limits": "Fog.", "auto": rules}) == (
        "1,200 parameters, 2.3 MB, fast (14 GMAC per megapixel): Video. Limits: Fog."
        " [auto: use video and device cpu, or all else]"
    )
