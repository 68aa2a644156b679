"""`evaluate` on made pictures: every kind of model, what is saved, and what is refused."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from unhaze import photo
from unhaze.config import Part
from unhaze.data.catalog import PairFiles, find_pairs
from unhaze.errors import UnhazeError
from unhaze.evaluation import evaluate, sha256, write_result
from unhaze.haze import add_haze
from unhaze.image import to_float
from unhaze.metrics import measure
from unhaze.nets import create_net
from unhaze.weights import save_weights

GAIN, AIRLIGHT = 0.7, 0.9


def drawn(seed: int, height: int = 24, width: int = 34) -> np.ndarray:
    """A colourful (H,W,3) uint8 picture."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3))
    return coarse.repeat(4, axis=0).repeat(4, axis=1)[:height, :width].astype(np.uint8)


def hazy_twin(clear_u8: np.ndarray) -> np.ndarray:
    return np.rint(255 * add_haze(clear_u8 / 255, GAIN, AIRLIGHT)).astype(np.uint8)


@pytest.fixture
def pairs(tmp_path) -> list[PairFiles]:
    """Three pairs; the last clear picture has a frame of 2 px that the hazy one lacks."""
    root = tmp_path / "data"
    (root / "hazy").mkdir(parents=True)
    (root / "clear").mkdir()
    for index in range(3):
        clear = drawn(index)
        hazy = hazy_twin(clear)
        photo.write_rgb(root / "clear" / f"{index}.png", clear)
        photo.write_rgb(root / "hazy" / f"{index}.png", hazy[2:-2, 2:-2] if index == 2 else hazy)
    return find_pairs("folders", root, border=2)


@pytest.fixture
def dehazer(tmp_path) -> Path:
    """An .onnx file that inverts the haze of `hazy_twin`: restored = (hazy - A) / t + A."""
    return save_onnx(tmp_path / "dehazer.onnx", 1 / GAIN, AIRLIGHT * (1 - 1 / GAIN))


def save_onnx(path: Path, gain: float, offset: float) -> Path:
    sizes = ["batch", 3, "height", "width"]
    hazy, restored = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)
        for name in ("hazy", "restored")
    )
    numbers = [
        helper.make_tensor("gain", TensorProto.FLOAT, [], [gain]),
        helper.make_tensor("offset", TensorProto.FLOAT, [], [offset]),
    ]
    nodes = [
        helper.make_node("Mul", ["hazy", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["restored"]),
    ]
    graph = helper.make_graph(nodes, "dehazer", [hazy], [restored], numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.helper.set_model_props(model, {"params": "2"})
    onnx.save(model, path)
    return path


def tiny_net() -> tuple[torch.nn.Module, Part]:
    part = Part("aecr", {"width": 8, "whitening": False})
    torch.manual_seed(0)
    return create_net(part.name, **part.arguments), part


def files_in(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


def test_identity_scores_the_hazy_pictures(pairs):
    result = evaluate("identity", pairs)
    rows = []
    for pair, border in zip(pairs, (0, 0, 2)):
        hazy, clear = (to_float(photo.read_rgb(each)) for each in (pair.hazy, pair.clear))
        rows.append(measure(hazy, clear[border : -border or None, border : -border or None]))
    for name in ("psnr", "ssim", "ciede2000"):
        assert getattr(result, name) == pytest.approx(np.mean([row[name] for row in rows]))
        assert [row[name] for row in result.per_image] == [row[name] for row in rows]
    assert (result.model, result.images, result.protocol) == ("identity", 3, "aecr")
    assert (result.params, result.change, result.weights_sha256) == (0, 0.0, None)
    assert result.fade is None


def test_an_onnx_file_restores(pairs, dehazer):
    """Undoing the haze leaves only the rounding of the hazy PNG: 1/510 at most over the gain."""
    result = evaluate(dehazer, pairs, device="cpu")
    assert 45 < result.psnr < 60
    assert result.psnr > evaluate("identity", pairs).psnr + 20
    assert result.params == 2
    assert result.weights_sha256 == sha256([dehazer])
    assert result.seconds > 0 and result.change > 0.05


def test_weights_and_run_folder_score_the_same(pairs, tmp_path):
    net, part = tiny_net()
    save_weights(tmp_path / "net.safetensors", net, part)
    state = tmp_path / "run" / "state-000000007"
    state.mkdir(parents=True)
    save_weights(state / "ema.safetensors", net, part)
    weights = evaluate(tmp_path / "net.safetensors", pairs, device="cpu")
    run = evaluate(tmp_path / "run", pairs, device="cpu")
    assert weights.psnr == run.psnr
    assert weights.params == sum(parameter.numel() for parameter in net.parameters())
    assert weights.weights_sha256 == run.weights_sha256 == sha256([tmp_path / "net.safetensors"])
    hazy = to_float(photo.read_rgb(pairs[0].hazy))
    with torch.no_grad():
        restored = net.eval()(torch.from_numpy(hazy).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    clear = to_float(photo.read_rgb(pairs[0].clear))
    assert weights.per_image[0]["psnr"] == pytest.approx(measure(restored.numpy(), clear)["psnr"])


def test_what_is_saved(pairs, dehazer, tmp_path):
    out = tmp_path / "deep" / "out"
    result = evaluate(dehazer, pairs, save=out, metrics=["psnr", "fade"])
    assert files_in(out) == sorted(
        ["evaluation.json", "per_image.csv"]
        + [f"{kind}/{index}.png" for kind in ("restored", "strips") for index in range(3)]
    )
    with (out / "per_image.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["name", "psnr", "fade", "fade_hazy", "change", "luminance", "seconds"]
    assert [float(row["psnr"]) for row in rows] == [row["psnr"] for row in result.per_image]
    assert json.loads((out / "evaluation.json").read_text()) == json.loads(result.to_json())
    restored = photo.read_rgb(out / "restored" / "0.png").astype(int)
    assert np.abs(restored - drawn(0)).max() <= 1
    strip = photo.read_rgb(out / "strips" / "2.png")
    hazy = photo.read_rgb(pairs[2].hazy)
    height, width = hazy.shape[:2]
    assert strip.shape == (height, 3 * width + 8, 3)
    assert np.array_equal(strip[:, :width], hazy)
    assert (strip[:, width : width + 4] == 255).all()
    assert np.array_equal(strip[:, width + 4 : -width - 4], photo.read_rgb(out / "restored/2.png"))
    assert np.array_equal(strip[:, -width:], drawn(2)[2:-2, 2:-2])
    assert [each.name for each in out.parent.iterdir()] == ["out"]


def test_a_name_that_is_no_text_is_saved(pairs, tmp_path):
    pair = PairFiles("bad\udcff", pairs[0].hazy, pairs[0].clear, pairs[0].border)
    evaluate("identity", [pair], save=tmp_path / "out")
    assert (tmp_path / "out" / "restored" / "bad\udcff.png").exists()
    assert "\nbad\\udcff," in (tmp_path / "out" / "per_image.csv").read_text("utf-8")


def test_pictures_without_clear_ones_get_fade(pairs, dehazer, tmp_path):
    blind = [PairFiles(pair.name, pair.hazy, None) for pair in pairs]
    result = evaluate(dehazer, blind, save=tmp_path / "out")
    assert result.psnr is None and result.ssim is None
    assert 0 < result.fade < result.fade_hazy
    assert photo.read_rgb(tmp_path / "out" / "strips" / "0.png").shape == (24, 2 * 34 + 4, 3)
    assert evaluate("identity", blind).fade == pytest.approx(result.fade_hazy)


def test_limit_takes_the_first(pairs):
    result = evaluate("identity", pairs, limit=2)
    assert [row["name"] for row in result.per_image] == ["0", "1"]
    assert result.images == 2


def test_json_has_the_keys_of_the_contract_and_no_nan(tmp_path):
    photo.write_rgb(tmp_path / "black.png", np.zeros((16, 16, 3), np.uint8))
    pair = PairFiles("black", tmp_path / "black.png", None)
    table = json.loads(evaluate("identity", [pair]).to_json(), parse_constant=pytest.fail)
    assert {"model", "images", "protocol", "psnr", "ssim", "params", "seconds"} <= table.keys()
    assert table["fade"] is None and table["per_image"][0]["fade"] is None


def test_results_file(pairs, tmp_path):
    result = evaluate("identity", pairs, protocol="y")
    path = tmp_path / "results" / "identity.json"
    write_result(result, path, data="folders")
    table = json.loads(path.read_text(encoding="utf-8"))
    assert (table["data"], table["recipe"]) == ("folders", None)
    assert (table["psnr"], table["protocol"], table["images"]) == (result.psnr, "y", 3)
    assert table["hardware"] and table["date"] == result.date and "per_image" not in table
    with pytest.raises(UnhazeError, match="exists"):
        write_result(result, path, data="folders")
    write_result(result, path, data="others", overwrite=True)
    assert json.loads(path.read_text(encoding="utf-8"))["data"] == "others"
    assert len(list(path.parent.iterdir())) == 1


def test_a_used_folder_is_kept_until_told_otherwise(pairs, tmp_path):
    out = tmp_path / "out"
    evaluate("identity", pairs, save=out)
    before = (out / "evaluation.json").read_text()
    with pytest.raises(UnhazeError, match="not empty"):
        evaluate("identity", pairs, save=out, limit=1)
    assert (out / "evaluation.json").read_text() == before
    evaluate("identity", pairs, save=out, limit=1, overwrite=True)
    assert json.loads((out / "evaluation.json").read_text())["images"] == 1
    assert len(list((out / "restored").iterdir())) == 1


def test_overwriting_never_takes_what_is_not_an_evaluation(pairs, tmp_path):
    out = tmp_path / "holiday"
    out.mkdir()
    (out / "beach.jpg").write_bytes(b"precious")
    with pytest.raises(UnhazeError, match=r"'beach.jpg', which is not part of the evaluation"):
        evaluate("identity", pairs, save=out, overwrite=True)
    assert files_in(out) == ["beach.jpg"]


def test_an_empty_folder_may_be_used_and_a_file_may_not(pairs, tmp_path):
    (tmp_path / "empty").mkdir()
    evaluate("identity", pairs, save=tmp_path / "empty")
    assert "evaluation.json" in files_in(tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UnhazeError, match="is a file"):
        evaluate("identity", pairs, save=tmp_path / "file", overwrite=True)


def test_a_bad_picture_is_named_and_the_rest_is_measured_and_kept(pairs, tmp_path):
    whole = evaluate("identity", [pairs[0], pairs[2]])
    Path(pairs[1].hazy).write_bytes(Path(pairs[1].hazy).read_bytes()[:60])
    result = evaluate("identity", pairs, save=tmp_path / "out")
    assert [each["name"] for each in result.failed] == ["1"]
    assert "1.png" in result.failed[0]["error"]
    assert (result.images, result.psnr, result.ssim) == (2, whole.psnr, whole.ssim)
    assert sorted(path.name for path in (tmp_path / "out" / "restored").iterdir()) == [
        "0.png",
        "2.png",
    ]
    write_result(result, tmp_path / "record.json", data="made")
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["images"], len(record["failed"])) == (2, 1)


def test_no_good_picture_leaves_nothing(pairs, tmp_path):
    for pair in pairs:
        Path(pair.hazy).write_text("no picture")
    with pytest.raises(UnhazeError, match="0.png.*all 3 pictures"):
        evaluate("identity", pairs, save=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_nan_names_the_picture(pairs, tmp_path):
    model = save_onnx(tmp_path / "broken.onnx", float("nan"), 0.0)
    with pytest.raises(UnhazeError, match=r"0\.png'.* NaN"):
        evaluate(model, pairs)


def test_sizes_that_differ_are_refused(pairs):
    photo.write_rgb(pairs[1].clear, drawn(1, 24, 40))
    [failure] = evaluate("identity", pairs).failed
    assert (failure["name"], "differ in size" in failure["error"]) == ("1", True)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("identity", {"protocol": "aerc"}, "did you mean 'aecr'"),
        ("identity", {"metrics": ["psnrr"]}, "did you mean 'psnr'"),
        ("identity", {"limit": 0}, "at least 1"),
        ("nothing.safetensors", {}, "nothing.safetensors"),
        ("nothing.onnx", {}, "nothing.onnx"),
        ("identitty", {}, "identitty"),
    ],
)
def test_bad_requests(pairs, model, arguments, message):
    with pytest.raises(UnhazeError, match=message) as caught:
        evaluate(model, pairs, **arguments)
    assert "\n" not in str(caught.value)


def test_bad_pairs(pairs, tmp_path):
    with pytest.raises(UnhazeError, match="no pictures"):
        evaluate("identity", [])
    mixed = [*pairs, PairFiles("blind", pairs[0].hazy, None)]
    with pytest.raises(UnhazeError, match="has no clear picture, which 'psnr' needs"):
        evaluate("identity", mixed)
    with pytest.raises(UnhazeError, match="two pictures are named '0'"):
        evaluate("identity", [*pairs, pairs[0]], save=tmp_path / "out")
    tiny = tmp_path / "tiny.png"
    photo.write_rgb(tiny, drawn(0, 5, 5))
    with pytest.raises(UnhazeError, match=r"tiny\.png'.*7x7"):
        evaluate("identity", [PairFiles("tiny", tiny, tiny)], protocol="skimage")


def test_an_onnx_model_is_evaluated_without_pytorch(pairs, dehazer):
    """The default install has NumPy, ONNX Runtime and libvips; the measures need no more."""
    program = (
        "import sys; from pathlib import Path; from unhaze.data.catalog import PairFiles;"
        "from unhaze.evaluation import evaluate;"
        f"pairs = [PairFiles('0', Path({str(pairs[0].hazy)!r}), Path({str(pairs[0].clear)!r}))];"
        f"print(evaluate({str(dehazer)!r}, pairs, metrics=['psnr', 'ssim', 'fade']).psnr);"
        "print([name for name in ('torch', 'scipy', 'skimage') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == "" and done.returncode == 0
    psnr, heavy = done.stdout.splitlines()
    assert float(psnr) > 45 and heavy == "[]"


def test_progress_goes_to_stderr(pairs, capsys):
    evaluate("identity", pairs, progress=True)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.splitlines() == ["1/3 0", "2/3 1", "3/3 2"]


def test_identity_on_the_published_part_of_sots_indoor(shared_data):
    """All 80 pictures; the expected numbers are scikit-image's, SSIM on four of them."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    root = shared_data / "data" / "sots-indoor-part"
    pairs = find_pairs("sots-indoor", root, partial=True)
    thin = [pair for pair in pairs if pair.name.endswith("_1")][:4]
    psnr, ssim = [], []
    for pair in pairs:
        hazy, clear = (photo.read_rgb(each) / 255 for each in (pair.hazy, pair.clear))
        psnr.append(peak_signal_noise_ratio(clear, hazy, data_range=1))
        if pair in thin:
            ssim.append(structural_similarity(clear, hazy, channel_axis=-1, data_range=1))
    result = evaluate("identity", pairs, metrics=["psnr"])
    assert (result.images, len(thin)) == (80, 4)
    assert result.psnr == pytest.approx(np.mean(psnr), abs=1e-4)
    assert result.psnr == pytest.approx(11.2936, abs=1e-4)
    result = evaluate("identity", thin, protocol="skimage", metrics=["ssim"])
    assert result.ssim == pytest.approx(np.mean(ssim), abs=1e-4)
