"""The training pack: what goes in comes out, small, whole, and read like the folder it is of."""

import json
import zipfile

import numpy as np
import pytest
import torch

from unhaze import photo
from unhaze.config import Augment, Part
from unhaze.data.build import create_data
from unhaze.data.check import check
from unhaze.data.pack import is_pack, make_pack, read_pack
from unhaze.data.rgbd import RGBD
from unhaze.errors import UnhazeError
from unhaze.haze import HazeLaw


def smooth(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A picture (height,width,3) uint8 of a few soft waves, as compressible as a photo."""
    rows, columns = np.mgrid[0:height, 0:width] / 20
    waves = [
        np.sin(
            random.uniform(0.3, 1) * rows + random.uniform(0.3, 1) * columns + random.uniform(0, 6)
        )
        for _ in range(3)
    ]
    return np.rint(127 + 100 * np.stack(waves, -1)).astype(np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three 67x51 scenes with a frame of 2; depth reaches 240, 120 and 60 at the right edge."""
    root = tmp_path_factory.mktemp("scenes")
    random = np.random.default_rng(0)
    for kind in ("clear", "depth"):
        (root / kind).mkdir()
    for number, deepest in enumerate((240, 120, 60)):
        photo.write_rgb(root / "clear" / f"{number}.png", smooth(random, 51, 67))
        ramp = np.linspace(deepest / 4, deepest, 63).round().astype(np.uint8)
        depth = np.pad(ramp, 2, constant_values=255)[None, :, None].repeat(51, 0).repeat(3, 2)
        photo.write_rgb(root / "depth" / f"{number}.png", depth)
    return root


@pytest.fixture(scope="module")
def pack(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("packs") / "scenes.pack"
    make_pack(root, out, border=2, codec="webp", quality=90, source="waves")
    return out


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(-10 * torch.log10((one.float() - other.float()).square().mean()))


@pytest.mark.parametrize(("codec", "quality"), [("webp", 90), ("avif", 80)])
def test_round_trip(root, tmp_path, codec, quality):
    report = make_pack(root, tmp_path / "pack", border=2, codec=codec, quality=quality)
    assert (report.scenes, report.size) == (3, (63, 47))
    assert report.bytes == (tmp_path / "pack").stat().st_size
    assert 0 < 3 * (report.clear_bytes + report.depth_bytes) < report.bytes
    names, clear, depth = read_pack(tmp_path / "pack")
    assert names == ["0", "1", "2"]
    assert (clear.shape, clear.dtype) == ((3, 3, 47, 63), torch.uint8)
    assert (depth.shape, depth.dtype) == ((3, 1, 24, 32), torch.uint8)
    source = RGBD(root, border=2)
    for number in range(3):
        assert psnr(clear[number] / 255, source.clear[number] / 255) > 35
        # Depth is stored as a share of the scene's deepest, so all three ramps come out the same.
        assert depth[number].float().mean(dim=(0, 1))[[0, 15, 31]].tolist() == pytest.approx(
            [65, 159, 255], abs=4
        )


def test_haze_from_the_pack_is_that_of_the_folder(root, pack):
    constant = HazeLaw(beta=(1.2, 1.2), airlight=(0.9, 0.9))
    packed, source = RGBD(pack, constant), RGBD(root, constant, border=2)
    for number in range(3):
        assert psnr(packed.pair(number).hazy, source.pair(number).hazy) > 36
    augment, device = Augment(crop=24), torch.device("cpu")
    from_pack = packed.draw(0, 3, size=4, augment=augment, device=device)
    from_folder = source.draw(0, 3, size=4, augment=augment, device=device)
    assert psnr(from_pack.clear, from_folder.clear) > 33


def test_a_recipe_reads_a_pack_as_it_reads_the_folder(pack):
    for border in (0, 2):
        data = create_data(Part("rgbd", {"root": str(pack), "border": border, "scenes": [1, 3]}))
        assert data.names == ["1", "2"]
        assert data.pair(0).clear.shape == (3, 47, 63)


def test_anyone_can_look_inside(pack):
    with zipfile.ZipFile(pack) as archive:
        assert archive.testzip() is None
        index = json.loads(archive.read("index.json"))
        assert {each.compress_type for each in archive.infolist()} == {zipfile.ZIP_STORED}
        assert photo.read(archive.read("clear/1.webp")).pixels.shape == (47, 63, 3)
    assert (index["source"], index["border"], index["size"]) == ("waves", 2, [63, 47])
    assert index["clear"] == {"codec": "webp", "quality": 90}
    assert [scene["name"] for scene in index["scenes"]] == ["0", "1", "2"]
    deepest = [scene["deepest"] * 255 for scene in index["scenes"]]
    assert deepest == pytest.approx([240, 120, 60], abs=1e-3)


def test_the_limit_is_kept_and_nothing_left_behind(root, tmp_path):
    with pytest.raises(UnhazeError, match=r"over the limit of 0\.0 MiB; set a lower quality"):
        make_pack(root, tmp_path / "pack", codec="webp", limit=1000)
    size = make_pack(root, tmp_path / "pack", codec="webp").bytes
    with pytest.raises(UnhazeError, match="over the limit"):
        make_pack(root, tmp_path / "small", codec="webp", limit=size - 1)
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]


def test_nothing_is_overwritten_unasked(root, pack, tmp_path):
    (tmp_path / "pack").write_text("precious")
    with pytest.raises(UnhazeError, match="exists; --overwrite replaces it"):
        make_pack(root, tmp_path / "pack")
    assert (tmp_path / "pack").read_text() == "precious"
    make_pack(root, tmp_path / "pack", border=2, codec="webp", overwrite=True)
    assert is_pack(tmp_path / "pack")


def test_what_cannot_be_packed(root, tmp_path):
    for arguments, message in (
        ({"codec": "jpeg"}, "expected 'avif' or 'webp'"),
        ({"border": 26}, "too small for a border of 26"),
    ):
        with pytest.raises(UnhazeError, match=message):
            make_pack(root, tmp_path / "pack", **arguments)
    with pytest.raises(UnhazeError, match="there is no folder '.*absent'"):
        make_pack(tmp_path / "absent", tmp_path / "pack")
    with pytest.raises(UnhazeError, match="cannot write"):
        make_pack(root, tmp_path / "absent" / "pack", codec="webp")
    for kind, pixels in (("clear", smooth(np.random.default_rng(1), 30, 30)), ("depth", None)):
        (tmp_path / kind).mkdir()
        flat = np.full((30, 30, 3), 5, np.uint8)
        photo.write_rgb(tmp_path / kind / "a.png", flat if pixels is None else pixels)
    with pytest.raises(UnhazeError, match="depth is the same everywhere"):
        make_pack(tmp_path, tmp_path / "pack")
    for name, side in (("a", 30), ("b", 31)):
        for kind in ("clear", "depth"):
            picture = smooth(np.random.default_rng(2), side, 30)
            photo.write_rgb(tmp_path / kind / f"{name}.png", picture)
    with pytest.raises(UnhazeError, match="'a' and 'b' are 30x30 and 30x31"):
        make_pack(tmp_path, tmp_path / "pack", codec="webp")


def test_what_cannot_be_read(root, pack, tmp_path):
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("index.json", '{"format": "unhaze pack 9"}')
    empty = tmp_path / "empty.zip"
    zipfile.ZipFile(empty, "w").close()
    text = tmp_path / "text"
    text.write_text("text")
    for path, arguments, message in (
        (tmp_path / "absent", {}, "cannot read pack '.*absent'"),
        (text, {}, "is not a pack; make one with `unhaze data pack`"),
        (empty, {}, "has no index.json"),
        (other, {}, "is 'unhaze pack 9'; this version reads 'unhaze pack 1'"),
        (pack, {"scenes": (5, 9)}, r"scenes is \[5, 9\], and there are 3 in '"),
        (pack, {"scenes": (1, 4)}, "expected 0 <= first < end <= 3"),
        (pack, {"border": 10}, "was cut by 2 px, not by 10"),
    ):
        with pytest.raises(UnhazeError, match=message):
            read_pack(path, **arguments)


def test_a_damaged_pack_says_so(pack, tmp_path):
    data = bytearray(pack.read_bytes())
    start = data.index(b"clear/1.webp") + 20
    data[start : start + 60] = bytes(60)
    (tmp_path / "pack").write_bytes(data)
    with pytest.raises(UnhazeError, match="is damaged: .*clear/1.webp"):
        read_pack(tmp_path / "pack")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "pack '.*' is cut off: its end is missing; copy it anew"),
        (b"", "is empty; expected a pack: copy it anew"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a git-LFS pointer .* and not a pack"),
        (b"\n<!DOCTYPE html><title>Sign in</title>", "is an HTML page and not a pack"),
    ],
)
def test_a_pack_that_did_not_arrive_whole_is_named(pack, tmp_path, content, message):
    path = tmp_path / "a.pack"
    path.write_bytes(pack.read_bytes()[:-200] if content is None else content)
    for use in (lambda: RGBD(path), lambda: check("rgbd", path)):
        with pytest.raises(UnhazeError, match=message):
            use()
