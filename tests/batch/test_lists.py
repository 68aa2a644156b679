"""Lists of files are read as they come; anything else is refused in one line."""

import os
from pathlib import Path

import pytest

from unhaze.batch.places import read_list
from unhaze.errors import UnhazeError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b"a.jpg\nb c.jpg\r\n\nfolder/\n", ["a.jpg", "b c.jpg", "folder/"]),
        (b"new\nline.jpg\0b.jpg\0", ["new\nline.jpg", "b.jpg"]),
        (b"\xff.jpg", [os.fsdecode(b"\xff.jpg")]),
        (b"\xef\xbb\xbfa.jpg\r\n", ["a.jpg"]),
        (b"", []),
    ],
)
def test_lists(text: bytes, names: list[str]):
    assert read_list(text, "names.txt") == names


@pytest.mark.parametrize(
    "text",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10",
        b"\xff\xd8\xff\xe1\x10\x20Exif",
        "a.png\r\nb.png\r\n".encode("utf-16"),
        b"\x1b[31m.png\n",
    ],
)
def test_what_is_no_list_is_not_read_as_one(text: bytes):
    with pytest.raises(UnhazeError) as error:
        read_list(text, "a.png")
    assert str(error.value).startswith("'a.png' is no list of files; expected ")
    assert str(error.value).isprintable()


def test_a_file_of_any_name_may_be_listed(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        Path("\x1b[31m.png").touch()
    except OSError:
        pytest.skip("no such names here")
    assert read_list(b"\x1b[31m.png\n", "names.txt") == ["\x1b[31m.png"]
