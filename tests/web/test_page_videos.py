"""Videos in the page of `unhaze serve`: sent, seen before and after, changed, saved."""

from pathlib import Path

import av
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.video_clips import make_clip, rgb_of
from tests.web.served_page import choose, press_and_save, set_range
from tests.web.test_hostile import wait_until
from unhaze import photo

pytestmark = pytest.mark.slow


def test_a_short_video(open_page, tmp_path):
    page = open_page()
    clip = make_clip(tmp_path / "clip.mp4", count=6)
    choose(page, clip__mp4=clip.read_bytes())
    expect(page.locator("#facts")).to_contain_text("6 frames, cleared by auto in", timeout=60_000)
    expect(page.locator("#clip")).to_be_visible(timeout=60_000)
    name, content = press_and_save(page, "#download")
    assert name == "clip.unhazed.mp4"
    (tmp_path / "restored.mp4").write_bytes(content)
    assert rgb_of(tmp_path / "restored.mp4").shape == (6, 48, 64, 3)
    page.click("#more-controls summary")
    set_range(page.locator("#lift-shadows"), 100)
    expect(page.locator("#clip")).to_be_hidden()
    expect(page.locator("#clip")).to_be_visible(timeout=60_000)
    (tmp_path / "lifted.mp4").write_bytes(press_and_save(page, "#download")[1])
    frames = [rgb_of(tmp_path / f"{each}.mp4").astype(int) for each in ("restored", "lifted")]
    assert abs(frames[1] - frames[0]).mean() > 1
    set_range(page.locator("#strength"), 0)
    expect(page.locator("#clip")).to_be_hidden()
    expect(page.locator("#clip")).to_be_visible(timeout=60_000)
    (tmp_path / "same.mp4").write_bytes(press_and_save(page, "#download")[1])
    assert abs(rgb_of(tmp_path / "same.mp4").astype(int) - rgb_of(clip)).mean() < 3


def test_a_video_is_seen_before_and_after_and_says_what_was_lost(open_page, tmp_path):
    page = open_page()
    clip = index_first(make_clip(tmp_path / "clip.mp4", count=50), tmp_path / "first.mp4")
    choose(page, clip__mp4=clip.read_bytes()[:-3000])
    expect(page.locator("#facts .note").first).to_be_visible(timeout=60_000)
    server_says = page.locator("#facts .note").all_inner_texts()
    assert any("cut off" in each or "damaged" in each for each in server_says), server_says
    expect(page.locator("#clip")).to_be_visible(timeout=60_000)
    page.locator("#position").fill("0.4")
    times = "[...document.querySelectorAll('video')].map(each => each.currentTime)"
    # Not by wait_for_function, whose scripts the page forbids.
    wait_until(lambda: np.allclose(page.evaluate(times), 0.4, atol=0.06), seconds=60)
    left, right = stage_colours(page)
    page.locator("#split").fill("100")
    before = stage_colours(page)
    page.locator("#split").fill("0")
    after = stage_colours(page)
    assert np.abs(before[0] - after[0]).max() > 5 and np.abs(before[1] - after[1]).max() > 5
    assert np.abs(left - before[0]).max() < 1 and np.abs(right - after[1]).max() < 1
    page.locator("#split").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#play")).to_have_accessible_name("Pause")
    expect(page.locator("#play")).to_have_accessible_name("Play")  # at the end


def index_first(source: Path, target: Path) -> Path:
    """The same MP4, of which a part can be read."""
    with av.open(str(source)) as read, av.open(str(target), "w", options=FAST_START) as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)
    return target


def stage_colours(page: Page) -> list[np.ndarray]:
    """Mean colours of the video left and right of the middle, clear of handle and labels."""
    shot = photo.read(page.locator("#stage").screenshot(type="png")).pixels
    height, width = shot.shape[:2]
    rows = slice(height // 5, height // 3)
    return [shot[rows, int(a * width) : int(b * width)].mean((0, 1)) for a, b in BESIDE]


FAST_START = {"movflags": "+faststart"}
BESIDE = ((0.42, 0.49), (0.51, 0.58))


def test_a_video_has_a_thumbnail_once_it_is_seen(open_page, tmp_path):
    page = open_page()
    choose(page, a__mp4=make_clip(tmp_path / "a.mp4").read_bytes())
    expect(page.locator("#list li:first-child img")).to_be_visible(timeout=60_000)
