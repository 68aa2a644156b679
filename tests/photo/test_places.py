"""Strange places for photos: what is no file, links, closed folders, disks that are full."""

import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from tests.restore.test_files import undoing
from unhaze import photo
from unhaze.errors import UnhazeError
from unhaze.photo import Photo

HAZY = np.random.default_rng(0).integers(90, 200, (60, 80, 3), dtype=np.uint8)
ENCODED = photo.encode(Photo(HAZY), ".png")


def refused(source: Path, target: Path, said: str) -> None:
    start = time.perf_counter()
    with pytest.raises(UnhazeError, match=said) as caught:
        undoing(analysis=64).restore_file(source, target)
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - start < 10
    assert not target.parent.is_dir() or target not in target.parent.iterdir()


def test_what_is_no_file(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))
    (tmp_path / "null.jpg").symlink_to("/dev/null")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    for name, said in (
        ("folder.jpg", "is a folder"),
        ("loop.jpg", "symbolic links"),
        ("dangling.jpg", "No such file"),
        ("pipe.jpg", "pipe or device"),
        ("socket.jpg", "pipe or device"),
        ("null.jpg", "pipe or device"),
        ("zero.jpg", "pipe or device"),
        ("missing.jpg", "No such file"),
        ("folder.jpg/inside.jpg", "No such file"),
    ):
        refused(tmp_path / name, tmp_path / "out.jpg", said)


def test_a_source_behind_links_is_restored_and_stays(tmp_path):
    (tmp_path / "in.png").write_bytes(ENCODED)
    (tmp_path / "link.png").symlink_to("in.png")
    (tmp_path / "links.png").symlink_to("link.png")
    undoing(analysis=64).restore_file(tmp_path / "links.png", tmp_path / "out.png")
    assert (tmp_path / "links.png").is_symlink()
    assert (tmp_path / "in.png").read_bytes() == ENCODED
    with pytest.raises(UnhazeError, match="is the input, which is never overwritten"):
        undoing().restore_file(tmp_path / "links.png", tmp_path / "in.png", overwrite=True)


def test_a_target_that_is_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "in.png").write_bytes(ENCODED)
    (tmp_path / "precious.png").write_bytes(b"mine")
    (tmp_path / "out.png").symlink_to("precious.png")
    undoing(analysis=64).restore_file(tmp_path / "in.png", tmp_path / "out.png", overwrite=True)
    assert (tmp_path / "precious.png").read_bytes() == b"mine"
    assert photo.read_rgb(tmp_path / "out.png").shape == HAZY.shape


def test_folders_that_take_no_file(tmp_path):
    (tmp_path / "in.png").write_bytes(ENCODED)
    refused(tmp_path / "in.png", tmp_path / "nowhere" / "out.png", "no folder")
    refused(tmp_path / "in.png", tmp_path / "in.png" / "out.png", "no folder")
    refused(tmp_path / "in.png", tmp_path / ("n" * 300 + ".png"), "too long")
    closed = Path("/proc")  # where not even root may make a file
    if not closed.is_dir():
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
    refused(tmp_path / "in.png", closed / "out.png", "cannot write '.*out.png': .*(denied|No such)")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif"])
def test_a_full_disk(tmp_path, suffix):
    """The limit for a file's size stands in for the disk's."""
    resource = pytest.importorskip("resource")
    (tmp_path / "in.png").write_bytes(ENCODED)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        refused(
            tmp_path / "in.png", tmp_path / f"out{suffix}", "perhaps the disk is full|too large"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [each.name for each in tmp_path.iterdir()] == ["in.png"]
