"""`unhaze.dehaze` answers in the type it was given."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unhaze
from unhaze import UnhazeError, photo


def colours(*shape: int) -> np.ndarray:
    """Smooth values from 0 to 1."""
    return np.linspace(0, 1, int(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4), (1, 1, 3)])
def test_arrays(half: Path, shape: tuple[int, ...], dtype: str, native: bool):
    top = 1 if dtype.startswith("float") else np.iinfo(dtype).max
    hazy = (colours(*shape) * top).astype(dtype)
    kept = hazy.copy()
    restored = unhaze.dehaze(hazy, model=half, native=native)
    assert (restored.shape, restored.dtype) == (hazy.shape, hazy.dtype)
    assert np.array_equal(hazy, kept)
    if len(shape) == 3 and shape[2] == 4:
        assert np.array_equal(restored[..., 3], hazy[..., 3])
    colour = (slice(None), slice(None), slice(0, 3))[: len(shape)]
    difference = np.abs(restored[colour].astype(float) - hazy[colour].astype(float) / 2) / top
    assert difference.mean() < (0.003 if native else 0.02)


@pytest.mark.parametrize("dtype", [">u2", ">f4", "<u2", "float64"])
def test_arrays_in_any_layout(half: Path, dtype: str):
    top = np.float64(65535 if "u" in dtype else 1)
    plain = (colours(20, 30, 4) * top).astype(dtype).astype(np.uint16 if "u" in dtype else float)
    expected = unhaze.dehaze(plain, model=half)
    backwards = plain.astype(dtype)[::-1, ::-1][::-1, ::-1]
    wide = np.repeat(plain.astype(dtype), 2, axis=1)[:, ::2]
    frozen = np.asfortranarray(plain.astype(dtype))
    frozen.setflags(write=False)
    for hazy in (backwards, wide, frozen):
        restored = unhaze.dehaze(hazy, model=half)
        assert (restored.dtype, restored.shape) == (hazy.dtype, hazy.shape)
        assert np.array_equal(restored, expected)


def test_stacks_of_arrays(half: Path):
    frames = (colours(3, 20, 30, 3) * 255).astype(np.uint8)
    restored = unhaze.dehaze(frames, model=half)
    assert (restored.shape, restored.dtype) == (frames.shape, frames.dtype)
    assert np.array_equal(restored[1], unhaze.dehaze(frames[1], model=half))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("RGB", "RGB"), ("RGBA", "RGBA")]
    + [("CMYK", "RGB"), ("YCbCr", "RGB")],
)
def test_pil_images(half: Path, mode: str, expected: str):
    hazy = Image.fromarray((colours(20, 30, 4) * 255).astype(np.uint8)).convert("RGB").convert(mode)
    hazy.info["dpi"] = (300, 300)
    restored = unhaze.dehaze(hazy, model=half, native=True)
    assert (restored.size, restored.mode) == (hazy.size, expected)
    assert restored.info["dpi"] == (300, 300)
    before, after = (np.asarray(each.convert("L"), float) for each in (hazy, restored))
    assert np.abs(after - before / 2).mean() < 2


@pytest.mark.parametrize(
    ("mode", "dtype", "expected"),
    [("I;16", "<u2", "I;16"), ("I;16B", ">u2", "I;16"), ("I;16L", "<u2", "I;16"), ("I", "i4", "I")],
)
def test_pil_images_of_16_bits(half: Path, mode: str, dtype: str, expected: str):
    samples = (colours(20, 30) * 65535).astype(dtype)
    hazy = Image.frombytes(mode, (30, 20), samples.tobytes())
    hazy.info["dpi"] = (300, 300)
    restored = unhaze.dehaze(hazy, model=half, native=True)
    assert (restored.size, restored.mode) == (hazy.size, expected)
    assert restored.info == {"dpi": (300, 300)}
    before, after = (np.asarray(each).astype(float) for each in (hazy, restored))
    assert before.max() == 65535
    assert np.abs(after - before / 2).max() < 2


def test_pil_keeps_what_belongs_to_the_picture(half: Path, tmp_path: Path):
    hazy = Image.fromarray((colours(20, 30, 3) * 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x010F] = "maker"
    hazy.save(tmp_path / "a.jpg", exif=exif, icc_profile=b"profile")
    with Image.open(tmp_path / "a.jpg") as opened:
        restored = unhaze.dehaze(opened, model=half)
    assert restored.getexif()[0x010F] == "maker"
    assert restored.info["icc_profile"] == b"profile"
    four_inks = hazy.convert("CMYK")
    four_inks.info["icc_profile"] = b"of inks"
    assert "icc_profile" not in unhaze.dehaze(four_inks, model=half).info


def test_tensors(half: Path):
    import torch

    hazy = torch.linspace(0, 1, 2 * 3 * 20 * 30).view(2, 3, 20, 30)
    batch = unhaze.dehaze(hazy, model=half, native=True)
    assert torch.allclose(batch, hazy / 2, atol=1e-6)
    assert torch.equal(unhaze.dehaze(hazy[1], model=half, native=True), batch[1])
    assert unhaze.dehaze(hazy.bfloat16(), model=half, native=True).dtype == torch.bfloat16
    bytes_ = unhaze.dehaze((hazy * 255).byte(), model=half, native=True)
    assert bytes_.dtype == torch.uint8
    assert abs(bytes_.float().mean() - 63.5) < 1
    deep = unhaze.dehaze((hazy * 65535).to(torch.uint16), model=half, native=True)
    assert deep.dtype == torch.uint16
    assert abs(deep.float().mean() / 65535 - 0.25) < 0.01
    transposed = hazy[0].transpose(1, 2).requires_grad_()
    assert torch.allclose(unhaze.dehaze(transposed, model=half, native=True), transposed / 2)


def test_paths_and_bytes(half: Path, tmp_path: Path):
    pixels = (colours(20, 30, 3) * 255).astype(np.uint8)
    path = tmp_path / "photo.png"
    photo.write_rgb(path, pixels)
    written = unhaze.dehaze(path, model=half, native=True)
    assert written == tmp_path / "photo.unhazed.png"
    assert np.abs(photo.read_rgb(written) - pixels / 2).max() <= 0.5
    with pytest.raises(UnhazeError, match="exists"):
        unhaze.dehaze(path, model=half)
    assert unhaze.dehaze(str(path), model=half, overwrite=True) == str(written)
    assert unhaze.dehaze(path, model=half, out=tmp_path / "b.jpg") == tmp_path / "b.jpg"
    encoded = unhaze.dehaze(path.read_bytes(), model=half, native=True)
    assert isinstance(encoded, bytes)
    assert np.abs(photo.read(encoded).pixels - pixels / 2).max() <= 0.5


def test_a_path_may_be_a_video(half: Path, tmp_path: Path):
    av = pytest.importorskip("av")
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        pixels = np.full((48, 64, 3), 200, np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    assert unhaze.dehaze(path, model=half) == tmp_path / "clip.unhazed.mkv"
    with av.open(str(tmp_path / "clip.unhazed.mkv")) as container:
        [frame] = container.decode(video=0)
    assert abs(frame.to_ndarray(format="rgb24").astype(float).mean() - 100) < 4
    with pytest.raises(UnhazeError, match="quality, strip_metadata: only for photos"):
        unhaze.dehaze(path, quality=50, strip_metadata=True)


def test_a_video_is_seen_at_the_analysis_that_is_asked_for(tmp_path: Path, monkeypatch):
    av = pytest.importorskip("av")
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=1)
        stream.width, stream.height, stream.pix_fmt = 700, 16, "yuv420p"
        grey = av.VideoFrame.from_ndarray(np.full((16, 700, 3), 120, np.uint8), format="rgb24")
        container.mux([*stream.encode(grey), *stream.encode(None)])
    from unhaze.restore.restorer import Restorer

    seen, estimate = [], Restorer.estimate

    def look(self: Restorer, pixels: np.ndarray, **facts: bool) -> np.ndarray:
        seen.append(pixels.shape[1])
        return estimate(self, pixels, **facts)

    monkeypatch.setattr(Restorer, "estimate", look)
    for analysis in (None, 690, 64):
        unhaze.dehaze(path, model="dcp", analysis=analysis, overwrite=True)
    assert seen == [640, 690, 64]


def test_strength_zero_is_the_input(half: Path):
    hazy = (colours(20, 30, 3) * 255).astype(np.uint8)
    assert np.array_equal(unhaze.dehaze(hazy, model=half, strength=0), hazy)


@pytest.mark.parametrize(
    ("picture", "settings", "message"),
    [
        (np.zeros((4, 4, 2), np.uint8), {}, r"\(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), {}, r"\(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.int32), {}, "int32"),
        (np.full((4, 4, 3), 255.0), {}, "from 255 to 255"),
        (
            np.zeros((4, 4, 3), np.uint8),
            {"out": "b.png"},
            "out is only for a picture given by its path",
        ),
        (np.zeros((4, 4, 3), np.uint8), {"strength": 2}, "strength"),
        (np.zeros((4, 4, 3), np.uint8), {"strength": float("nan")}, "strength"),
        (np.zeros((4, 4, 3), np.uint8), {"model": "fotoo"}, "fotoo"),
        (np.zeros((4, 4, 3), np.uint8), {"strength": "1"}, "strength is '1'; expected 0"),
        (np.zeros((4, 4, 3), np.uint8), {"model": 3}, "no model '3'"),
        (np.zeros((4, 4, 3), np.uint8), {"model": ""}, "no model ''"),
        (np.zeros((4, 4, 3), np.uint8), {"device": 5}, "'device' must be of type str, not 5"),
        (np.zeros((4, 4, 3), np.uint8), {"analysis": [9]}, "'analysis' must be of type int"),
        (np.zeros((4, 4, 3), np.uint8), {"native": "yes"}, "'native' must be of type bool"),
        (np.full((4, 4, 3), np.nan), {}, "no finite numbers"),
        (b"no picture", {}, "no picture"),
        (b"", {}, "the given bytes are empty"),
        (b"no picture", {"format": "xyz"}, "format is 'xyz'; there are: jpg, .*, gif, same$"),
        ("absent.jpg", {}, "no file 'absent.jpg'"),
        (Path(__file__).parent, {}, "is a folder"),
        (Path(__file__), {}, "test_api.py"),
        ([1, 2, 3], {}, "cannot dehaze a list; expected a path, bytes"),
        (Image.new("F", (4, 4)), {}, "mode F"),
        (Image.new("I", (4, 4), 70000), {}, "from 70000 to 70000; expected 0 to 65535"),
        (np.zeros((0, 4, 4, 3), np.uint8), {}, r"\(0, 4, 4, 3\)"),
        (np.zeros((4, 4, 3), np.uint32), {}, "uint32"),
    ],
)
def test_mistakes(half: Path, picture, settings: dict, message: str):
    with pytest.raises(UnhazeError, match=message) as caught:
        unhaze.dehaze(picture, **{"model": half} | settings)
    assert "\n" not in str(caught.value)


def test_later_calls_share_the_model(half: Path):
    from unhaze.api import restorer_for

    unhaze.dehaze(np.zeros((4, 4, 3), np.uint8), model=half)
    hits = restorer_for.cache_info().hits
    unhaze.dehaze(np.zeros((4, 4, 3), np.uint8), model=half)
    assert restorer_for.cache_info().hits == hits + 1


def test_deep_pil_images_with_values_of_eight_bits(half: Path):
    """Mode I is also what an 8-bit picture becomes; taken for 16 bits, it would be near black."""
    grey = np.linspace(0, 255, 600).astype(np.uint8).reshape(20, 30)
    got = unhaze.dehaze(Image.fromarray(grey.astype(np.int32)), model=half)
    expected = np.asarray(unhaze.dehaze(Image.fromarray(grey), model=half))
    assert got.mode == "I" and np.array_equal(np.asarray(got), expected)


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_what_a_mask_hides_has_no_influence_and_stays(half: Path, dtype: str):
    top = 1 if dtype.startswith("float") else 255
    hazy = (colours(40, 30, 3) * top).astype(dtype)
    results = []
    for hidden in (0, top):
        picture = np.ma.array(hazy.copy(), mask=np.zeros(hazy.shape, bool))
        picture.data[:12], picture.mask[:12] = hidden, True
        results.append(unhaze.dehaze(picture, model=half))
        assert np.array_equal(results[-1].mask, picture.mask)
        assert (results[-1].data[:12] == hidden).all()
    one, other = results
    assert np.array_equal(one.data[12:], other.data[12:])
    assert one.data[30:].mean() < 0.7 * hazy[30:].mean()


def test_matrices_are_arrays(half: Path):
    """Its indexing is another one, which once ended the process."""
    grey = (colours(20, 30) * 255).astype(np.uint8)
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.asmatrix(grey)
    restored = unhaze.dehaze(matrix, model=half)
    assert np.array_equal(restored, unhaze.dehaze(grey, model=half))


@pytest.mark.parametrize("path", ["", "  "])
def test_an_empty_path_is_not_this_folder(half: Path, path: str):
    with pytest.raises(UnhazeError, match="empty path"):
        unhaze.dehaze(path, model=half)


def test_errors_can_be_printed_and_speak_python(half: Path, tmp_path: Path):
    with pytest.raises(UnhazeError) as caught:
        unhaze.dehaze("\udcff\x1b[31m.jpg", model=half)
    assert str(caught.value).encode() == rb"no file '\xff\x1b[31m.jpg'"
    source = tmp_path / "a.png"
    photo.write(photo.Photo((colours(20, 30, 3) * 255).astype(np.uint8)), source)
    unhaze.dehaze(source, model=half)
    with pytest.raises(UnhazeError, match=r"exists; overwrite=True replaces it$"):
        unhaze.dehaze(source, model=half)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on Windows")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_is_told_instead_of_waiting_for_ever(half: Path, tmp_path: Path):
    hazy = (colours(20, 30, 3) * 255).astype(np.uint8)
    source = tmp_path / "a.png"
    photo.write(photo.Photo(hazy), source)
    unhaze.dehaze(hazy, model=half)
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()

    def dehaze_all() -> None:
        for picture in (hazy, source, source.read_bytes()):
            with pytest.raises(UnhazeError) as caught:
                unhaze.dehaze(picture, model=half)
            told.put(str(caught.value))

    process = context.Process(target=dehaze_all, daemon=True)
    process.start()
    process.join(20)
    process.kill()
    assert process.exitcode == 0
    assert all("get_context('spawn')" in told.get() for _ in range(3))
