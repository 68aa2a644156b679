"""The field over time: it flickers less than frame by frame, follows motion, and ends at cuts."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.video_clips import Fixed, hazy_scene, make_clip, rgb_of
from unhaze.errors import UnhazeError
from unhaze.image import LUMA
from unhaze.restore.video import read_frames, restore_frames, restore_video
from unhaze.restore.video.changes import find_motion, in_the_fog_of, is_cut
from unhaze.restore.video.temporal import Moment, Steadiness, next_moment


class Nervous(Fixed):
    """Stretches what it sees to full contrast: like a network, it answers noise with noise."""

    def estimate(self, pixels: np.ndarray, *, grey: bool = False) -> np.ndarray:
        super().estimate(pixels)
        low, high = np.percentile(pixels[::5, ::5], (2, 98))
        maps = np.empty((3, 2, *pixels.shape[:2]), np.float32)
        maps[:, 0] = 1 / (high - low)
        maps[:, 1] = -low / (high - low)
        return maps


def noisy(scene: np.ndarray, count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """A still scene seen by a bad camera: fine noise, and blotches as left by compression."""
    noise = np.random.default_rng(seed)
    height, width = scene.shape[:2]
    for _ in range(count):
        blotches = noise.normal(0, 1, (height // 8, width // 8, 1)).repeat(8, 0).repeat(8, 1)
        frame = scene + noise.normal(0, 4, scene.shape) + blotches
        yield np.clip(np.rint(frame), 0, 255).astype(np.uint8)


def flicker(frames: list[np.ndarray]) -> float:
    """Standard deviation over time of the mean luma, in levels of 255."""
    return float(np.std([frame.astype(float).mean((0, 1)) @ LUMA for frame in frames]))


@pytest.mark.parametrize("hold", [1, 4])
def test_a_still_scene_flickers_less_with_smoothing(hold: int):
    hazy = list(noisy(hazy_scene(128, 96), 40))
    alone = list(restore_frames(hazy, Nervous(), smoothing=0, hold=1))
    steady = list(restore_frames(hazy, Nervous(), hold=hold))
    assert flicker(alone) > 1.5 * flicker(hazy), "else there is nothing to smooth"
    assert flicker(steady) < 0.65 * flicker(alone)
    mean = np.mean(alone[10:], 0).mean() - np.mean(steady[10:], 0).mean()
    assert abs(mean) < 2, "smoothing does not change the colours"


def test_the_light_of_a_still_scene_changes_later_than_its_parts():
    """As where the grain of another key frame is answered by another mean light."""
    small = hazy_scene(64, 48).astype(np.float32) / 255
    steadiness, offset = Steadiness(0.8, 1), np.zeros((3, 1, 64), np.float32)
    moment, maps = None, np.zeros((3, 2, 48, 64), np.float32)
    maps[:, 0] = 1

    def lighter(frames: int) -> np.ndarray:
        nonlocal moment
        maps[:, 1] = offset
        for _ in range(frames):
            moment = next_moment(moment, small, lambda _: maps.copy(), steadiness)
        return moment.maps[0, 1].mean(0)

    assert not lighter(10).any()
    offset += 0.006
    assert 0.15 < lighter(5).mean() / 0.006 < 0.25, "a fifth of what it would be: 1 - 0.8**5"
    offset[..., :32] -= 0.006
    offset[..., 32:] += 0.006
    parts = lighter(5)
    assert 0.6 < (parts[32:] - parts[:32]).mean() / 0.012 < 0.7, "parts follow as ever: 1 - 0.8**5"
    assert abs(lighter(150).mean() / 0.006 - 1) < 0.01, "at last all is taken up"
    offset += 0.2
    lighter(5)
    taken = lighter(10).mean() - 0.006
    assert 0.9 < taken / (0.2 * (1 - 0.8**15)) < 1, "what is no grain is not held back"


def test_the_light_follows_a_cloud_that_comes_and_goes():
    """Seen by a network that knows all: what is behind stays about as light as it is."""
    scene = np.random.default_rng(0).uniform(0.15, 0.65, (24, 32)).repeat(4, 0).repeat(4, 1)
    clear, fog = scene.astype(np.float32)[..., None].repeat(3, 2), np.float32(0.63)
    gone = np.linspace(0.8, 0.2, 40, dtype=np.float32)
    moment, levels = None, []
    for through in (*gone, *[gone[-1]] * 10, *gone[::-1]):
        maps = np.empty((3, 2, *scene.shape), np.float32)
        maps[:, 0], maps[:, 1] = 1 / through, fog * (1 - 1 / through)
        seen = through * clear + (1 - through) * fog
        moment = next_moment(moment, seen, lambda _, maps=maps: maps, Steadiness(0.8, 4))
        result = moment.maps[:, 0] * seen.transpose(2, 0, 1) + moment.maps[:, 1]
        levels.append(255 * float(result.mean() - clear.mean()))
    assert np.abs(levels).max() < 13
    assert np.abs(np.diff(levels)).max() < 5
    assert abs(levels[-1]) < 6


def test_the_network_rests_while_the_field_holds():
    restorer = Nervous()
    list(restore_frames(noisy(hazy_scene(64, 48), 17), restorer, hold=4))
    assert len(restorer.seen) == 5
    restorer = Nervous()
    list(restore_frames(noisy(hazy_scene(64, 48), 17), restorer, hold=1))
    assert len(restorer.seen) == 17


def clears_too_much(
    moment: Moment | None, seen: np.ndarray, through: float, fog: float = 0.63
) -> Moment:
    """The next moment of a scene in grey fog, by a network that takes it for denser."""
    maps, gain = np.empty((3, 2, *seen.shape[:2]), np.float32), np.float32(through**-1.6)
    maps[:, 0], maps[:, 1] = gain, fog * (1 - gain)
    return next_moment(moment, seen, lambda _: maps, Steadiness(0.8, 4))


@pytest.mark.parametrize(("frames", "at_most"), [(30, 10), (6, 15)])
def test_fog_that_comes_and_goes_does_not_darken_what_stands_still(frames: int, at_most: int):
    scene = np.random.default_rng(0).uniform(0.15, 0.65, (24, 32)).repeat(4, 0).repeat(4, 1)
    clear, fog = scene.astype(np.float32)[..., None].repeat(3, 2), np.float32(0.63)
    coming = np.linspace(1, 0.4, frames, dtype=np.float32)
    moment, levels, without = None, [], []
    for through in (*coming, *coming[::-1]):
        seen = through * clear + (1 - through) * fog
        moment = clears_too_much(moment, seen, through)
        for maps, each in ((moment.field, levels), (moment.maps, without)):
            result = np.clip(maps[:, 0] * seen.transpose(2, 0, 1) + maps[:, 1], 0, 1)
            each.append(255 * float(result.mean() - clear.mean()))
    assert min(without) < -30
    assert min(levels) > -at_most
    for _ in range(40):
        moment = clears_too_much(moment, clear, 1.0)
    assert moment.share == pytest.approx(1, abs=0.01)


def test_what_is_withheld_is_forgotten():
    """A train, or a white frame, for which the network removed less, has gone."""
    scene = np.random.default_rng(0).uniform(0.4, 0.6, (24, 32)).repeat(4, 0).repeat(4, 1)
    hazy = scene.astype(np.float32)[..., None].repeat(3, 2)
    moment, shares = None, []
    for number in range(530):
        moment = clears_too_much(moment, hazy, 1.0 if number < 30 else 0.5)
        shares.append(moment.share)
    assert min(shares) < 0.5, "else nothing was withheld"
    assert shares[-1] > 0.95


def test_a_crossfade_ends_what_is_withheld():
    """The next scene may well be darker than the one before."""
    random, fog, moment = np.random.default_rng(0), np.float32(0.63), None
    scenes = [random.uniform(low, low + 0.3, (12, 16)) for low in (0.35, 0.05)]
    bright, dark = (each.repeat(8, 0).repeat(8, 1).astype(np.float32) for each in scenes)
    for share in (*np.zeros(30), *np.linspace(0, 1, 50), *np.ones(15)):
        clear = np.float32(1 - share) * bright + np.float32(share) * dark
        hazy, through = 0.4 * clear + 0.6 * fog, 1 - 0.6 * share
        moment = clears_too_much(moment, hazy[..., None].repeat(3, 2), through)
    assert moment is not None and moment.scenes == 1, "else it was a cut"
    assert moment.share > 0.4


def test_light_that_falls_or_moves_on_is_restored_in_full():
    wide = np.random.default_rng(0).uniform(0.15, 0.65, (24, 96)).repeat(4, 0).repeat(4, 1)
    fog = np.float32(0.63)
    hazy = (0.5 * wide + 0.5 * fog).astype(np.float32)[..., None].repeat(3, 2)
    moment = None
    for number in range(30):  # a camera that closes its aperture
        light = np.float32(0.98**number)
        moment = clears_too_much(moment, hazy[:, :128] * light, 0.5, 0.63 * light)
        assert moment.share > 0.85
    moment = None
    for number in range(30):  # a pan
        moment = clears_too_much(moment, hazy[:, 8 * number :][:, :128], 0.5 - 0.005 * number)
        assert moment.share > 0.85


def test_without_smoothing_every_frame_stands_alone():
    hazy = [hazy_scene(64, 48, step) for step in range(5)]
    alone = [next(iter(restore_frames([frame], Nervous()))) for frame in hazy]
    for one, other in zip(alone, restore_frames(hazy, Nervous(), smoothing=0, hold=1), strict=True):
        assert np.array_equal(one, other)


def test_a_cut_starts_again():
    first, second = hazy_scene(64, 48), hazy_scene(64, 48, seed=2)[:, ::-1] // 2
    hazy = [first] * 3 + [second] * 3
    steadiness = Steadiness(0.9, 100)
    moment, moments = None, []
    for frame in hazy:
        moment = next_moment(moment, frame.astype(np.float32) / 255, Nervous().estimate, steadiness)
        moments.append(moment)
    assert [each.scenes for each in moments] == [1, 1, 1, 2, 2, 2]
    assert [each.estimates for each in moments] == [1, 1, 1, 2, 2, 2]
    alone = Nervous().estimate(second.astype(np.float32) / 255)
    assert np.array_equal(moments[3].maps, alone), "no trace of the scene before"


def test_cuts_are_told_from_motion_noise_light_and_fog():
    scene = hazy_scene(128, 96).astype(np.float32) @ LUMA / 255
    noise = np.random.default_rng(0).normal(0, 0.04, scene.shape).astype(np.float32)
    assert not is_cut(scene, scene + noise)
    assert not is_cut(scene, scene * 0.6 + 0.3)
    assert not is_cut(scene, np.roll(scene, 1, 1))
    fog = np.full_like(scene, 0.8)
    assert not is_cut(fog + noise / 8, fog - noise[::-1] / 8)
    assert is_cut(scene, scene[::-1, ::-1] * 0.7)


@pytest.mark.parametrize("motion", [(0, 0), (3, -5), (-2, 11), (14, 0)])
def test_motion_of_the_camera_is_found(motion: tuple[int, int]):
    noise = np.random.default_rng(3)
    coarse = noise.random((40, 50)).repeat(6, 0).repeat(6, 1).astype(np.float32)
    before = coarse[60:160, 60:200]
    after = coarse[60 - motion[0] : 160 - motion[0], 60 - motion[1] : 200 - motion[1]]
    grain = noise.normal(0, 0.02, after.shape).astype(np.float32)
    assert np.abs(np.subtract(find_motion(before, after + grain), motion)).max() < 0.6


def test_the_grain_of_fog_has_no_motion():
    noise = np.random.default_rng(0).normal(0.6, 0.01, (20, 96, 128)).astype(np.float32)
    assert {find_motion(*pair) for pair in itertools.pairwise(noise)} == {(0.0, 0.0)}


def test_fog_is_told_from_what_moves():
    scene = hazy_scene(128, 96).astype(np.float32) @ LUMA / 255
    foggy = 0.7 * scene + 0.3 * np.float32(0.63)
    foggy[40:48, 60:68] += 0.1
    away = np.abs(in_the_fog_of(foggy, scene) - foggy)
    assert away[44, 64] > 0.09
    away[40:48, 60:68] = 0
    assert away.max() < 0.01


def test_the_held_field_moves_with_the_picture():
    """A field with an edge, held over a pan: the edge stays on its object."""

    class Edge(Fixed):
        def estimate(self, pixels: np.ndarray, *, grey: bool = False) -> np.ndarray:
            maps = super().estimate(pixels)
            maps[:, 1] = np.where(pixels.mean(2) > 0.5, -0.2, 0.2)
            return maps

    noise = np.random.default_rng(0)
    scene = np.kron(noise.integers(60, 100, (12, 30)), np.ones((8, 8)))
    scene[:, 100:] += 100
    frames = [
        np.repeat(scene[:, 3 * step : 3 * step + 120, None], 3, 2).astype(np.uint8)
        for step in range(6)
    ]
    restorer = Edge()
    restored = list(restore_frames(frames, restorer, hold=100, smoothing=0.9))
    assert len(restorer.seen) < 6, "else nothing was held"
    for step, (hazy, clear) in enumerate(zip(frames, restored, strict=True)):
        change = clear.astype(int) - hazy
        edge = 100 - 3 * step
        assert (change[:, : edge - 3] > 45).all(), step
        assert (change[:, edge + 3 : 110] < -45).all(), step


def test_what_changes_is_taken_up_at_once():
    """A bright object appears in a still scene: there the new field counts, elsewhere the old."""
    scene = np.full((64, 64, 3), 0.4, np.float32)
    after = scene.copy()
    after[24:40, 24:40] = 0.9

    def estimate(pixels: np.ndarray) -> np.ndarray:
        return np.full((3, 2, *pixels.shape[:2]), 0.3 * (pixels is after), np.float32)

    moment = None
    for frame in (*[scene] * 20, after):
        moment = next_moment(moment, frame, estimate, Steadiness(0.9, 1))
    assert np.allclose(moment.maps[0, 0, 24:40, 24:40], 0.3)
    assert np.allclose(moment.maps[0, 0, :16, :16], 0.03, atol=1e-4)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(64, 48), (1, 1), (3, 500), (37, 23)])
def test_frames_keep_type_and_size(kind: type, size: tuple[int, int]):
    top = 1.0 if kind == np.float32 else np.iinfo(kind).max
    frames = [(hazy_scene(*size, step) / 255 * top).astype(kind) for step in range(4)]
    before = [frame.copy() for frame in frames]
    restored = list(restore_frames(frames, Fixed(0.5), hold=2))
    for hazy, kept, clear in zip(frames, before, restored, strict=True):
        assert (clear.dtype, clear.shape) == (kind, hazy.shape)
        assert np.array_equal(hazy, kept), "frames that are given stay as they are"
        assert np.abs(clear.astype(float) - 0.5 * hazy).max() <= max(1, top / 255)


def test_frames_come_one_by_one():
    given = []

    def camera() -> Iterator[np.ndarray]:
        for step in range(100):
            given.append(step)
            yield hazy_scene(64, 48, step)

    restored = restore_frames(camera(), Fixed())
    next(restored)
    next(restored)
    assert given == [0, 1]


def test_a_change_of_size_starts_again():
    frames = [hazy_scene(64, 48), hazy_scene(48, 64), hazy_scene(64, 48)]
    restored = list(restore_frames(frames, Fixed()))
    assert [frame.shape for frame in restored] == [frame.shape for frame in frames]


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (np.zeros((4, 4), np.uint8), r"frame 1 is uint8 \(4, 4\); expected \(H,W,3\)"),
        (np.zeros((4, 4, 3), np.int64), "frame 1 is int64"),
        (np.zeros((0, 4, 3), np.uint8), "frame 1 is uint8"),
        ("picture.png", "frame 1 is str"),
    ],
)
def test_what_is_no_frame_is_reported(frame: object, said: str):
    with pytest.raises(UnhazeError, match=said):
        list(restore_frames([frame], Fixed()))


def test_settings_are_checked_before_the_first_frame():
    with pytest.raises(UnhazeError, match="strength is 2"):
        restore_frames([], Fixed(), strength=2)
    with pytest.raises(UnhazeError, match="smoothing is 'much'"):
        restore_frames([], Fixed(), smoothing="much")


def test_frames_are_read_upright_from_a_file(tmp_path: Path):
    source = make_clip(tmp_path / "in.mp4", rotation=90, count=3)
    frames = list(read_frames(source))
    assert [frame.shape for frame in frames] == [(64, 48, 3)] * 3
    difference = np.stack(frames).astype(int) - np.rot90(rgb_of(source), axes=(1, 2))
    assert np.abs(difference).mean() < 2
    deep = make_clip(tmp_path / "deep.mkv", codec="ffv1", layout="yuv420p10le", count=2)
    assert [frame.dtype for frame in read_frames(deep)] == [np.uint16] * 2


def test_frames_are_read_from_an_open_file_and_newest_first(tmp_path: Path):
    source = make_clip(tmp_path / "in.mkv", count=5)
    with source.open("rb") as file:
        assert len(list(read_frames(file))) == 5
    assert 1 <= len(list(read_frames(source, newest=True))) <= 5


def test_frames_are_read_from_a_pipe(tmp_path: Path):
    source = make_clip(tmp_path / "in.mkv", count=5)
    program = (
        "from unhaze.restore.video import read_frames\n"
        "print([frame.shape for frame in read_frames('pipe:0')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=source.read_bytes(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.decode().strip() == str([(48, 64, 3)] * 5)


def test_what_cannot_be_opened_is_reported(tmp_path: Path):
    with pytest.raises(UnhazeError, match="cannot read .*absent.mp4' as a video: No such file"):
        read_frames(tmp_path / "absent.mp4")
    with pytest.raises(UnhazeError, match="cannot read 'rtsp://"):
        read_frames("rtsp://127.0.0.1:9/none", options={"timeout": "200000"})


def test_a_video_holds_its_field_as_frames_do(tmp_path: Path):
    """Files and frames go the same way: the same frames, the same field."""
    hazy = list(noisy(hazy_scene(64, 48), 12))
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", layout="bgr0", frames=hazy)
    report = restore_video(source, tmp_path / "out.mkv", restorer=Nervous())
    expected = np.stack(list(restore_frames(hazy, Nervous())))
    assert np.array_equal(rgb_of(tmp_path / "out.mkv"), expected)
    assert (report.estimates, report.scenes) == (3, 1)
