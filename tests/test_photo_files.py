"""Photos: what is broken ends in one clear line, and writing never harms a file."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import pyvips

from unhaze import photo
from unhaze.errors import UnhazeError
from unhaze.photo import Photo, writing


def colours() -> np.ndarray:
    """A smooth picture (40,60,3) uint8."""
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([6 * rows, 4 * columns, 2 * rows + columns], -1).astype(np.uint8)


def damaged(suffix: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    whole = photo.encode(Photo(noise), suffix)
    return whole[: len(whole) * 2 // 3]


def bomb() -> bytes:
    """A PNG of a hundred bytes that promises 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'
SIX = pyvips.Image.new_from_array(colours()).bandjoin(pyvips.Image.new_from_array(colours()))
BROKEN = {
    "cut.png": (lambda: damaged(".png"), "cut off"),
    "cut.jpg": (lambda: damaged(".jpg"), "cut off"),
    "cut.tif": (lambda: damaged(".tif"), "whole"),
    "cut.webp": (lambda: damaged(".webp"), "cut off"),
    "cut.avif": (lambda: damaged(".avif"), "cut off"),
    "empty.jpg": (lambda: b"", "empty"),
    "text.jpg": (lambda: b"not a picture at all\n" * 9, "no picture"),
    "drawing.png": (lambda: SVG, "no photo"),
    "bomb.png": (bomb, "30000 x 30000"),
    "six.tif": (SIX.tiffsave_buffer, "6 channels"),
    "wide.tif": (lambda: SIX[0].cast("uint").tiffsave_buffer(), "'uint'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_end_in_one_line(tmp_path, name, capfd):
    make, expected = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(make())
    for source, said in ((path, name), (path.read_bytes(), "the given bytes")):
        with pytest.raises(UnhazeError) as caught:
            photo.read(source)
        assert said in str(caught.value)
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_missing_file_folder_and_loop(tmp_path):
    with pytest.raises(UnhazeError, match="gone.jpg.*No such file"):
        photo.read(tmp_path / "gone.jpg")
    with pytest.raises(UnhazeError, match="folder"):
        photo.read(tmp_path)
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with pytest.raises(UnhazeError, match="symbolic links"):
        photo.read(tmp_path / "loop.jpg")


def test_size_limit_is_an_argument_and_a_variable(monkeypatch):
    encoded = photo.encode(Photo(colours()), ".png")
    with pytest.raises(UnhazeError, match="60 x 40 pixels, over the limit of 2399"):
        photo.read(encoded, max_pixels=2399)
    assert photo.read(encoded, max_pixels=2400).pixels.shape == (40, 60, 3)
    monkeypatch.setenv("UNHAZE_MAX_PIXELS", "100")
    with pytest.raises(UnhazeError, match="limit of 100"):
        photo.read(encoded)
    monkeypatch.setenv("UNHAZE_MAX_PIXELS", "many")
    with pytest.raises(UnhazeError, match="'many'"):
        photo.read(encoded)


def test_nothing_is_overwritten_unless_asked(tmp_path):
    target = tmp_path / "out.png"
    target.write_bytes(b"mine")
    with pytest.raises(UnhazeError, match="exists"):
        photo.write(Photo(colours()), target)
    assert target.read_bytes() == b"mine"
    photo.write(Photo(colours()), target, overwrite=True)
    np.testing.assert_array_equal(photo.read_rgb(target), colours())
    assert list(tmp_path.iterdir()) == [target]


def test_the_original_is_never_touched(tmp_path):
    source = tmp_path / "in.png"
    photo.write(Photo(colours()), source)
    before = source.read_bytes()
    (tmp_path / "link.png").symlink_to(source)
    for target in (source, tmp_path / "link.png"):
        with pytest.raises(UnhazeError, match="original"):
            photo.write(photo.read(source), target, overwrite=True)
    assert source.read_bytes() == before


def test_a_file_that_appears_while_writing_is_not_clobbered(tmp_path, monkeypatch):
    target = tmp_path / "out.png"
    save = writing._save

    def slow_save(picture: Photo, suffix: str, sink: pyvips.Target) -> None:
        save(picture, suffix, sink)
        target.write_bytes(b"mine")

    monkeypatch.setattr(writing, "_save", slow_save)
    with pytest.raises(UnhazeError, match="exists"):
        photo.write(Photo(colours()), target)
    assert target.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [target]


def test_without_hard_links_writing_still_works_and_still_spares(tmp_path, monkeypatch):
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError("no hard links on this file system")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    photo.write(Photo(colours()), tmp_path / "out.png")
    np.testing.assert_array_equal(photo.read_rgb(tmp_path / "out.png"), colours())
    with pytest.raises(UnhazeError, match="exists"):
        photo.write(Photo(colours()), tmp_path / "out.png")
    assert [each.name for each in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.parametrize("failure", [pyvips.Error("broken"), KeyboardInterrupt(), MemoryError()])
def test_a_crash_while_writing_leaves_nothing(tmp_path, monkeypatch, failure):
    target = tmp_path / "out.png"

    def crash(picture: Photo, suffix: str, sink: pyvips.Target) -> None:
        assert (
            len(list(tmp_path.iterdir())) == 1
        )  # the unfinished file is there, under another name
        assert not target.exists()
        raise failure

    monkeypatch.setattr(writing, "_save", crash)
    with pytest.raises(UnhazeError if isinstance(failure, pyvips.Error) else type(failure)):
        photo.write(Photo(colours()), target)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(tmp_path):
    resource = pytest.importorskip("resource")
    target = tmp_path / "out.tif"
    target.write_bytes(b"old")
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(UnhazeError, match="cannot write .*out.tif"):
            photo.write(Photo(noise), target, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_unknown_suffix_and_missing_folder(tmp_path):
    with pytest.raises(UnhazeError, match="'.xyz'.*.jpg"):
        photo.write(Photo(colours()), tmp_path / "out.xyz")
    with pytest.raises(UnhazeError, match="'.bmp'"):
        photo.encode(Photo(colours()), ".bmp")
    with pytest.raises(UnhazeError, match="No such file"):
        photo.write(Photo(colours()), tmp_path / "nowhere" / "out.png")


def test_new_files_get_the_usual_permissions(tmp_path):
    previous = os.umask(0o022)
    try:
        photo.write(Photo(colours()), tmp_path / "out.png")
    finally:
        os.umask(previous)
    assert (tmp_path / "out.png").stat().st_mode & 0o777 == 0o644
