"""Formats x payloads, judged by exiftool: what a source says, its result says, or a line does."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from unhaze import photo
from unhaze.photo import Photo
from unhaze.restore.restorer import Restorer

pytestmark = pytest.mark.skipif(
    shutil.which("exiftool") is None,
    reason="no exiftool here; on Debian: apt-get install libimage-exiftool-perl",
)
# What is written into the source: a tag and its value; the word by which its loss is said.
PAYLOADS = {
    "EXIF:Artist": ("Someone", "EXIF"),
    "EXIF:GPSLatitude": (48.2, "EXIF"),
    "XMP:Title": ("Täler im Dunst", "XMP"),
    "XMP-crs:RawFileName": ("a" * 300, "XMP"),
    "IPTC:Caption-Abstract": ("A caption", "IPTC"),
    "Comment": ("Seen from afar", "comments"),
}
SOURCES = {
    ".jpg": set(PAYLOADS),
    ".png": {*PAYLOADS} - {"IPTC:Caption-Abstract"},  # exiftool writes it into no new PNG
    ".tif": {*PAYLOADS} - {"Comment"},
    ".webp": {"EXIF:Artist", "EXIF:GPSLatitude", "XMP:Title", "XMP-crs:RawFileName"},
    ".avif": {"EXIF:Artist", "EXIF:GPSLatitude", "XMP:Title", "XMP-crs:RawFileName"},
}
TARGETS = (*SOURCES, ".gif")


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """A folder with one file of each format, that says all that exiftool can make it say."""
    folder = tmp_path_factory.mktemp("sources")
    down, across = np.mgrid[0:48, 0:64]
    pixels = np.stack([90 + down, 100 + across, 120 + (down + across) / 2], -1).astype(np.uint8)
    for suffix, tags in SOURCES.items():
        photo.write(Photo(pixels), folder / f"in{suffix}")
        words = [f"-{tag}={PAYLOADS[tag][0]}" for tag in sorted(tags)]
        words += ["-EXIF:GPSLatitudeRef=N"]
        command = ["exiftool", "-q", "-overwrite_original", *words, folder / f"in{suffix}"]
        subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer("dcp", "cpu", analysis=64, threads=1)


def said_in(path: Path) -> dict[str, object]:
    """Tag -> value of all payloads that a file says, wherever the format puts comments."""
    command = ["exiftool", "-j", "-n", *(f"-{tag}" for tag in PAYLOADS), str(path)]
    (found,) = json.loads(subprocess.check_output(command))
    names = {tag: tag.rpartition(":")[2] for tag in PAYLOADS}
    return {tag: found[name] for tag, name in names.items() if name in found}


@pytest.mark.parametrize("suffix", SOURCES)
def test_the_sources_say_it_all(suffix, sources):
    assert said_in(sources / f"in{suffix}").keys() == SOURCES[suffix]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_result_says_what_its_source_says_or_a_line_does(
    source, target, sources, restorer, tmp_path, caplog
):
    given, made = sources / f"in{source}", tmp_path / f"out{target}"
    restorer.restore_file(given, made)
    before, after = said_in(given), said_in(made)
    changed = {tag for tag in before if after.get(tag) != before[tag]}
    unsaid = {tag for tag in changed if PAYLOADS[tag][1] not in caplog.text}
    if source == ".png":  # whose comment is one of its texts
        unsaid -= {"Comment"} if "texts of PNG; left out" in caplog.text else set()
    assert not unsaid
    assert not {tag for tag in after if tag not in before}, "nothing is invented"
    assert not changed or source != target
