"""A video there and back on any Python and any allowed version of PyAV, with its sound."""

from pathlib import Path

import pytest

from unhaze import restore_video
from unhaze.restore.restorer import Restorer

pytest.importorskip("av", reason="needs the extra video")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_every_frame_and_the_sound_come_back(tmp_path: Path, suffix: str):
    from tests.video_clips import make_clip, packets_of, rgb_of

    clip = make_clip(tmp_path / f"in{suffix}", count=25, sound="aac")
    target = tmp_path / f"out{suffix}"
    report = restore_video(clip, target, restorer=Restorer("dcp", analysis=64))
    hazy, restored = rgb_of(clip), rgb_of(target)
    assert report.frames == 25
    assert restored.shape == hazy.shape
    assert restored.std() > hazy.std()
    assert packets_of(target, "audio") == packets_of(clip, "audio")
