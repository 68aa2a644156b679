"""Photos: what is broken ends in one clear line, and writing never harms a file."""

import gc
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips

from unhaze import atomic, photo
from unhaze.errors import UnhazeError
from unhaze.photo import Photo, Stream, Traits


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
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
BROKEN = {
    "cut.png": (lambda: damaged(".png"), "cut off"),
    "cut.jpg": (lambda: damaged(".jpg"), "cut off"),
    "cut.tif": (lambda: damaged(".tif"), "whole"),
    "cut.webp": (lambda: damaged(".webp"), "cut off"),
    "cut.avif": (lambda: damaged(".avif"), "cut off"),
    "empty.jpg": (lambda: b"", "empty"),
    "text.jpg": (lambda: b"not a picture at all\n" * 9, "no picture"),
    "pointer.jpg": (lambda: POINTER, "a git-LFS pointer (run `git lfs pull` there)"),
    "page.jpg": (lambda: b"\xef\xbb\xbf \n<!doctype HTML><title>Sign in", "an HTML page"),
    "drawing.png": (lambda: SVG, "it is SVG"),
    "bomb.png": (bomb, "30000 x 30000"),
    "six.tif": (SIX.copy(interpretation="b-w").tiffsave_buffer, "6 channels"),
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


@pytest.fixture(params=["nameless", "hidden"])
def kind(request, monkeypatch) -> str:
    """How the unfinished file is kept: without a name, or with one where there is no such thing."""
    if request.param == "hidden":
        monkeypatch.setattr(atomic, "_nameless", lambda folder: None)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no nameless files")
    return request.param


def strips(after: Callable[[], object] = lambda: None) -> Stream:
    """A picture that is 99 rows high; before its last strip something happens."""

    def rows() -> Iterator[np.ndarray]:
        yield np.zeros((50, 70, 3), np.uint8)
        after()
        yield np.full((49, 70, 3), 200, np.uint8)

    return Stream(rows(), (99, 70, 3), np.dtype(np.uint8), Traits())


def test_a_stream_is_written_as_it_comes(tmp_path, kind):
    photo.write(strips(), tmp_path / "out.png")
    assert photo.read_rgb(tmp_path / "out.png")[[0, 49, 50, 98], 69, 2].tolist() == [0, 0, 200, 200]
    assert [each.name for each in tmp_path.iterdir()] == ["out.png"]


def test_a_file_that_appears_while_writing_is_not_clobbered(tmp_path, kind):
    target = tmp_path / "out.png"
    with pytest.raises(UnhazeError, match="exists"):
        photo.write(strips(lambda: target.write_bytes(b"mine")), target)
    assert target.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [target]


def test_an_original_that_appears_under_the_targets_name_is_spared(tmp_path, kind):
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    photo.write(Photo(colours()), source)
    stream = replace(strips(lambda: target.symlink_to(source)), traits=Traits(path=source))
    with pytest.raises(UnhazeError, match="original"):
        photo.write(stream, target, overwrite=True)
    np.testing.assert_array_equal(photo.read_rgb(source), colours())


def test_without_hard_links_writing_still_works_and_still_spares(tmp_path, monkeypatch, kind):
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError("no hard links on this file system")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    photo.write(Photo(colours()), tmp_path / "out.png")
    np.testing.assert_array_equal(photo.read_rgb(tmp_path / "out.png"), colours())
    with pytest.raises(UnhazeError, match="exists"):
        photo.write(Photo(colours()), tmp_path / "out.png")
    assert [each.name for each in tmp_path.iterdir()] == ["out.png"]


def out_of_memory() -> None:
    raise MemoryError


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif"])
@pytest.mark.parametrize("failure", [UnhazeError("broken"), KeyboardInterrupt(), MemoryError()])
def test_a_crash_while_writing_leaves_nothing(tmp_path, kind, suffix, failure, capfd):
    seen = []

    def crash() -> None:
        seen.extend(each.suffix for each in tmp_path.iterdir())
        raise failure

    with pytest.raises(type(failure)) as caught:
        photo.write(strips(crash), tmp_path / f"out{suffix}")
    assert caught.value is failure
    assert seen == ([".part"] if kind == "hidden" else [])
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_a_picture_that_ends_too_early_is_not_a_picture(tmp_path):
    short = replace(strips(), shape=(150, 70, 3))
    with pytest.raises(UnhazeError, match="cannot write"):
        photo.write(short, tmp_path / "out.png")
    assert list(tmp_path.iterdir()) == []


def test_what_libvips_says_against_writing_is_reported(tmp_path):
    wide = Stream(
        [np.zeros((1, 20_000, 3), np.uint8)] * 2, (2, 20_000, 3), np.dtype(np.uint8), Traits()
    )
    with pytest.raises(UnhazeError, match="cannot write .*out.webp.*too large"):
        photo.write(wide, tmp_path / "out.webp")
    with pytest.raises(UnhazeError, match="cannot encode '.webp'.*too large"):
        photo.encode(wide, ".webp")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".avif"])
def test_a_full_disk_leaves_the_old_file(tmp_path, kind, suffix):
    resource = pytest.importorskip("resource")
    target = tmp_path / f"out{suffix}"
    target.write_bytes(b"old")
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(UnhazeError, match=f"cannot write .*out{suffix}"):
            photo.write(Photo(noise), target, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_target_that_is_not_a_regular_file_is_refused(tmp_path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("folder.png", "pipe.png"):
        with pytest.raises(UnhazeError, match="not a regular file"):
            photo.write(Photo(colours()), tmp_path / name, overwrite=True)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts what /proc/self/fd lists")
def test_descriptors_are_given_back(tmp_path):
    """Each picture opens a pipe, a file and a folder."""
    gc.collect()  # what other tests have left
    before = len(list(Path("/proc/self/fd").iterdir()))
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        photo.write(Photo(colours()), tmp_path / f"out{suffix}")
        photo.read(tmp_path / f"out{suffix}")
        with pytest.raises(MemoryError):
            photo.write(strips(out_of_memory), tmp_path / f"no{suffix}")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_unknown_suffix_and_missing_folder(tmp_path):
    with pytest.raises(UnhazeError, match="'.xyz'.*.jpg"):
        photo.write(Photo(colours()), tmp_path / "out.xyz")
    with pytest.raises(UnhazeError, match="'.bmp'"):
        photo.encode(Photo(colours()), ".bmp")
    with pytest.raises(UnhazeError, match="no folder .*nowhere"):
        photo.write(Photo(colours()), tmp_path / "nowhere" / "out.png")


def test_new_files_get_the_usual_permissions(tmp_path):
    previous = os.umask(0o022)
    try:
        photo.write(Photo(colours()), tmp_path / "out.png")
    finally:
        os.umask(previous)
    assert (tmp_path / "out.png").stat().st_mode & 0o777 == 0o644
