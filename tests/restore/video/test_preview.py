"""`unhaze preview`: one frame before and after, or a clip of split screens."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.video_clips import Fixed, frames_of, make_clip, rgb_of
from unhaze import photo
from unhaze.errors import UnhazeError
from unhaze.restore.video.previews import preview_clip, preview_frame


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4", size=(160, 120), count=20, sound="aac")


def test_a_frame(clip: Path, tmp_path: Path):
    clip.chmod(0o600)
    preview_frame(clip, tmp_path / "look.png", restorer=Fixed(0.5), at=0.7)
    assert (tmp_path / "look.png").stat().st_mode & 0o777 == 0o600, "as private as the clip"
    pixels = photo.read_rgb(tmp_path / "look.png").astype(int)
    hazy, restored = pixels[:, :160], pixels[:, -160:]
    assert pixels.shape == (120, 322, 3)
    assert np.abs(hazy - rgb_of(clip)[7]).mean() < 2
    assert np.abs(restored - hazy / 2).mean() < 1


@pytest.mark.parametrize(("count", "at", "number"), [(3, 0.29, 2), (3, 0.15, 1), (1, None, 0)])
def test_a_frame_is_shown_until_the_next(count: int, at: float | None, number: int, tmp_path: Path):
    clip = make_clip(tmp_path / "short.mkv", codec="ffv1", count=count)
    preview_frame(clip, tmp_path / "look.png", restorer=Fixed(0.5), at=at)
    hazy = photo.read_rgb(tmp_path / "look.png").astype(int)
    expected = rgb_of(clip)[number]
    assert np.abs(hazy[:, : expected.shape[1]] - expected).mean() < 2


def test_a_clip(clip: Path, tmp_path: Path):
    target = tmp_path / "look.mp4"
    assert preview_clip(clip, target, restorer=Fixed(0.5), seconds=0.6, at=1.0) == 6
    shown, source = rgb_of(target).astype(int), rgb_of(clip).astype(int)
    assert [round(frame.time, 2) for frame in frames_of(target)] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert np.abs(shown[:, :, :70] - source[10:16, :, :70]).mean() < 6
    assert np.abs(shown[:, :, 90:] - source[10:16, :, 90:] / 2).mean() < 6
    assert shown[:, :, 80].mean() > 220, "the line between"


def test_the_command(clip: Path, half: Path, unhaze):
    done = unhaze("preview", clip, "--model", half)
    assert done.stdout.decode().strip() == str(clip.with_name("clip.preview.jpg"))
    done = unhaze("preview", clip, "--model", half, "--clip", "1")
    assert len(frames_of(clip.with_name("clip.preview.mp4"))) == 10
    done = unhaze("preview", clip, "--model", half)
    assert done.returncode != 0 and b"exists" in done.stderr


def test_what_cannot_be_shown(clip: Path, tmp_path: Path):
    for at in (9, 1e19):
        with pytest.raises(UnhazeError, match=f"has no frame at {re.escape(f'{at:g}')} s"):
            preview_frame(clip, tmp_path / "a.png", restorer=Fixed(), at=at)
    with pytest.raises(UnhazeError, match="has no frame from 9 s on"):
        preview_clip(clip, tmp_path / "a.mp4", restorer=Fixed(), seconds=1, at=9)
    with pytest.raises(UnhazeError, match="cannot write clips as"):
        preview_clip(clip, tmp_path / "a.gif", restorer=Fixed(), seconds=1)
    assert not list(tmp_path.glob("a.*"))
