"""The network on every pixel: tiles are as good as the whole picture, and memory stays bounded."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from unhaze.errors import UnhazeError
from unhaze.image import to_float
from unhaze.restore import native
from unhaze.restore.engine import Engine, OutOfMemory
from unhaze.restore.native import restore_strips, restore_whole

onnx = pytest.importorskip("onnx")
graph = pytest.importorskip("unhaze.exporting.graph")
STEP_OF_8_BITS = 1 / 255


def small_net(path: Path, *, pooled: bool = False, context: int | None = 16, **facts) -> Path:
    """Half size and back, and, if `pooled`, two means over the whole picture, one on the other."""
    random = np.random.default_rng(0)
    weights = {}

    def node(operator: str, inputs: list[str], output: str, **attributes) -> onnx.NodeProto:
        return onnx.helper.make_node(operator, inputs, [output], **attributes)

    def conv(name: str, given: str, shape: tuple[int, ...], **attributes) -> onnx.NodeProto:
        drawn = random.normal(size=shape) / np.sqrt(shape[1] * shape[2] * shape[3])
        weights[f"{name}.weight"] = drawn.astype(np.float32)
        operator = "ConvTranspose" if "output_padding" in attributes else "Conv"
        return node(operator, [given, f"{name}.weight"], name, **attributes)

    nodes = [
        conv("first", "hazy", (8, 3, 5, 5), pads=[2] * 4),
        node("Relu", ["first"], "active"),
        conv("half", "active", (8, 8, 3, 3), pads=[1] * 4, strides=[2, 2]),
    ]
    last = "half"
    for number in range(2 if pooled else 0):
        mean, added = f"mean{number}", f"added{number}"
        nodes += [
            node("ReduceMean", [last, "axes"], mean, keepdims=1),
            conv(f"look{number}", mean, (8, 8, 1, 1)),
            node("Tanh", [f"look{number}"], f"bent{number}"),
            node("Add", [last, f"bent{number}"], f"sum{number}"),
            node("Relu", [f"sum{number}"], added),
        ]
        last = added
    twice = {"pads": [1] * 4, "strides": [2, 2], "output_padding": [1, 1]}
    nodes += [
        conv("up", last, (8, 3, 3, 3), **twice),
        node("Shape", ["hazy"], "size"),
        node("Slice", ["up", "zeros", "size"], "cropped"),
        node("Add", ["cropped", "hazy"], "restored"),
    ]
    weights |= {"axes": np.array([2, 3]), "zeros": np.zeros(4, np.int64)}
    free = ["batch", 3, "height", "width"]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, free)
        for name in ("hazy", "restored")
    ]
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "small", ends[:1], ends[1:], tensors),
        opset_imports=[onnx.helper.make_opsetid("", 19)],
        ir_version=9,
    )
    strides = [2] * len(graph.open_pools(model))
    facts |= {"pools": strides, "context": "null" if context is None else context}
    onnx.helper.set_model_props(model, {key: str(fact) for key, fact in facts.items()})
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Engine:
    return Engine(small_net(tmp_path_factory.mktemp("net") / "local.onnx"), "cpu", threads=1)


@pytest.fixture(scope="module")
def pooled(tmp_path_factory) -> Engine:
    path = small_net(tmp_path_factory.mktemp("net") / "pooled.onnx", pooled=True)
    return Engine(path, "cpu", threads=1)


def picture(height: int, width: int) -> np.ndarray:
    """(H,W,3) uint8: bright above, dark below, so that no tile is like the whole."""
    random = np.random.default_rng(1)
    light = np.linspace(0.9, 0.1, height)[:, None, None] * np.linspace(1, 0.5, width)[None, :, None]
    return np.rint(255 * light * random.uniform(0.6, 1, (height, width, 3))).astype(np.uint8)


def in_tiles(engine: Engine, pixels: np.ndarray, side: int) -> np.ndarray:
    return np.concatenate([strip for _, strip in native._restore_tiles(engine, pixels, side, 0)])


def side_taken(engine: Engine, height: int, width: int, memory: float) -> int | None:
    try:
        return native._largest_side(engine, height, width, memory)
    except UnhazeError:
        return 0


@pytest.mark.parametrize("size", [(300, 400), (257, 511), (130, 700), (1000, 90), (387, 449)])
@pytest.mark.parametrize("side", [128, 192])
def test_tiles_equal_the_whole_picture(local, size, side):
    pixels = picture(*size)
    whole = restore_whole(local, pixels)
    assert np.abs(in_tiles(local, pixels, side) - whole).max() < 0.01 * STEP_OF_8_BITS


@pytest.mark.parametrize("side", [128, 256])
def test_what_a_network_averages_over_the_picture_is_handed_to_the_tiles(pooled, side):
    pixels = picture(400, 600)
    whole = restore_whole(pooled, pixels)
    assert np.abs(in_tiles(pooled, pixels, side) - whole).max() < 0.1 * STEP_OF_8_BITS
    alone = pooled(native._prepared(pooled, to_float(pixels[:side, :side])))
    inside = slice(0, side // 2)
    wrong = alone[0, :, inside, inside].transpose(1, 2, 0) - whole[inside, inside]
    assert np.abs(wrong).max() > 3 * STEP_OF_8_BITS


def test_means_are_those_of_the_whole_picture(pooled):
    hazy = native._prepared(pooled, to_float(picture(90, 120)))
    means, sizes = pooled.pools(hazy)
    assert sizes == [8 * 45 * 60] * 2
    assert [mean.shape for mean in means] == [(1, 8, 1, 1)] * 2
    np.testing.assert_allclose(pooled(hazy, means), pooled(hazy), atol=1e-6)
    changed = [mean + 1 for mean in means]
    assert np.abs(pooled(hazy, changed) - pooled(hazy)).max() > 0.1
    # The second mean is taken of what the first one made.
    assert np.abs(pooled.pools(hazy, changed)[0][1] - means[1]).max() > 0.01
    np.testing.assert_array_equal(pooled.pools(hazy, changed)[0][0], means[0])
    # Quarters of the picture have means of their own, whose mean is that of the whole.
    quarters = [(0, 0, 46, 60), (0, 60, 46, 120), (46, 0, 90, 60), (46, 60, 90, 120)]
    parts = [pooled.pools(hazy, means, part) for part in quarters]
    for number, mean in enumerate(means):
        total = sum(found[number] * counts[number] for found, counts in parts)
        np.testing.assert_allclose(total / sizes[number], mean, atol=1e-5)
        assert np.abs(parts[0][0][number] - mean).max() > 0.01


def test_a_network_without_means_has_none(local):
    assert local.pools(native._prepared(local, to_float(picture(9, 9)))) == ([], [])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pixels_of_any_type(local, dtype):
    pixels = to_float(picture(70, 50))
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    given = pixels if dtype == np.float32 else np.rint(pixels * top).astype(dtype)
    restored = restore_whole(local, given)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, restore_whole(local, pixels), atol=1e-4)


class Shy:
    """Passes pictures through; has no memory for more than `limit` pixels."""

    def __init__(self, limit: int, card: dict | None = None) -> None:
        self.limit, self.device, self.path, self.seen = limit, "cuda", None, []
        self.card = {"context": 8} if card is None else card

    def __call__(self, hazy: np.ndarray) -> np.ndarray:
        self.seen.append(hazy.shape[2] * hazy.shape[3])
        if self.seen[-1] > self.limit:
            raise OutOfMemory("not enough memory here")
        return hazy * 0.5

    def pools(self, hazy: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
        return [], []


def test_out_of_memory_is_answered_with_smaller_tiles():
    pixels = picture(700, 900)
    shy = Shy(300_000)
    restored = restore_whole(shy, pixels)
    np.testing.assert_allclose(restored, pixels / np.float32(510), atol=1e-6)
    assert shy.seen[0] == 700 * 900
    assert max(shy.seen[2:]) <= 300_000


def test_memory_that_vanishes_half_way_costs_no_row_and_leaves_no_seam():
    pixels = picture(900, 500)
    shy = Shy(180_000)
    strips = []
    for top, strip in restore_strips(shy, pixels):
        strips.append((top, strip.copy()))
        shy.limit = 90_000 if len(strips) == 2 else shy.limit
    assert [top for top, _ in strips] == list(np.cumsum([0] + [len(each) for _, each in strips]))[
        :-1
    ]
    restored = np.concatenate([strip for _, strip in strips])
    np.testing.assert_allclose(restored, pixels / np.float32(510), atol=1e-6)


def test_no_memory_at_all_ends_in_one_line():
    with pytest.raises(UnhazeError, match="not enough memory here"):
        restore_whole(Shy(100), picture(500, 500))
    with pytest.raises(UnhazeError, match="not enough memory here"):
        restore_whole(Shy(100), picture(50, 50))


def test_a_model_of_the_whole_picture_is_never_cut_into_tiles(tmp_path):
    whole_only = Engine(small_net(tmp_path / "whole.onnx", context=None), "cpu", threads=1)
    restore_whole(whole_only, picture(100, 100), memory=1e9)
    with pytest.raises(OutOfMemory, match="200 x 100 pixels as a whole, .* are available$"):
        restore_whole(whole_only, picture(100, 200), memory=1e7)
    with pytest.raises(UnhazeError, match="not enough memory here"):
        restore_whole(Shy(100, {"context": None}), picture(500, 500))


def test_the_size_of_tiles_follows_from_the_card(local):
    light = Shy(0, {"context": 8, "bytes_per_pixel": 50})
    heavy = Shy(0, {"context": 8, "bytes_per_pixel": 5000})
    unknown = Shy(0, {})
    size, memory = (6000, 6000), 1.5e9
    assert side_taken(light, *size, memory) > side_taken(unknown, *size, memory) > 128
    assert side_taken(heavy, *size, memory) < side_taken(unknown, *size, memory)
    assert side_taken(light, *size, 1e10) is None
    assert side_taken(heavy, *size, 1e7) == 0


def test_little_memory_means_tiles_and_the_same_picture(local, monkeypatch):
    pixels = picture(600, 500)
    whole = restore_whole(local, pixels)
    seen = []
    run = native._run

    def watched(model, pixels, tile, pools=None):
        seen.append(tile)
        return run(model, pixels, tile, pools)

    monkeypatch.setattr(native, "_run", watched)
    tiled = restore_whole(local, pixels, memory=3e8)
    assert len(seen) > 3
    assert np.abs(tiled - whole).max() < 0.01 * STEP_OF_8_BITS


def test_memory_is_what_is_free_on_the_cpu_and_unknown_elsewhere(local, monkeypatch):
    monkeypatch.setattr(native, "free_memory", lambda: 1e7)
    with pytest.raises(UnhazeError, match="in small tiles needs about .* only 7 MB are available"):
        restore_whole(local, np.zeros((3000, 3000, 3), np.uint8))
    assert side_taken(Shy(0), 3000, 3000, None) is None


def test_strips_hold_little_beside_the_picture():
    pixels = np.full((2500, 1000, 3), 100, np.uint8)
    shy = Shy(10**9, {"context": 8, "bytes_per_pixel": 50})
    shy.device = "cpu"
    tracemalloc.start()
    for _, strip in restore_strips(shy, pixels, memory=2e7):
        assert strip.max() < 0.2
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e7 < pixels.size * 4


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 8), (9, 3)])
def test_the_border_is_mirrored_if_the_card_asks_for_it(size):
    class Watch(Shy):
        """Keeps what it is shown."""

        def __call__(self, hazy: np.ndarray) -> np.ndarray:
            self.seen.append(hazy)
            return hazy

    watch = Watch(0, {"multiple": 8})
    pixels = picture(*size)
    np.testing.assert_array_equal(restore_whole(watch, pixels), to_float(pixels))
    (seen,) = watch.seen
    height, width = size
    assert seen.shape == (1, 3, -(-height // 8) * 8, -(-width // 8) * 8)
    if height == 5:
        np.testing.assert_array_equal(seen[0][:, 5, :7], seen[0][:, 3, :7])


LIMITED = """
import resource, sys, numpy as np
from unhaze.restore.engine import Engine, OutOfMemory
from unhaze.restore.native import restore_whole
engine = Engine(sys.argv[1], "cpu", threads=1)
pixels = np.random.default_rng(0).integers(0, 255, (900, 1000, 3), dtype=np.uint8)
expected = restore_whole(engine, pixels)
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 60_000_000,) * 2)
try:
    engine(np.zeros((1, 3, 1200, 1400), np.float32))
    sys.exit("there was enough memory")
except OutOfMemory:
    restored = restore_whole(engine, pixels)
print(np.abs(restored - expected).max())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux' memory limits")
def test_when_memory_really_ends_the_picture_is_still_restored(tmp_path):
    path = small_net(tmp_path / "net.onnx", bytes_per_pixel=1)
    answer = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert float(answer.stdout) < STEP_OF_8_BITS
