"""The network sees a video of high dynamic range or a wide gamut as a screen of sRGB shows it."""

from pathlib import Path

import numpy as np
import pytest

from tests.video_clips import Fixed, make_clip
from unhaze.photo.profile import hlg_curve, pq_curve
from unhaze.restore import restorer as restorers
from unhaze.restore.restorer import Restorer
from unhaze.restore.video import restore_video

av = pytest.importorskip("av")

BT2020, PQ, HLG = 9, 16, 18


class Seeing(Fixed):
    """Remembers by which profile it was asked to see."""

    def __init__(self) -> None:
        super().__init__()
        self.profiles: list[bytes | None] = []

    def estimate(self, pixels, *, grey=False, profile=None):
        self.profiles.append(profile)
        return super().estimate(pixels, grey=grey)


def clip_of(path: Path, transfer: int, primaries: int, level: int) -> Path:
    frames = [np.full((48, 64, 3), level << 6, np.uint16)] * 3
    tags = {"colorspace": BT2020, "color_range": 1}
    tags |= {"color_primaries": primaries, "color_trc": transfer}
    return make_clip(path, codec="ffv1", layout="yuv420p10le", frames=frames, settings=tags)


@pytest.mark.parametrize(
    ("transfer", "primaries", "managed"),
    [(PQ, BT2020, True), (HLG, BT2020, True), (PQ, 2, True), (1, 1, False), (2, 2, False)]
    + [(14, BT2020, True), (1, 12, True)],
)
def test_who_is_seen_by_a_profile(transfer, primaries, managed, tmp_path: Path):
    source, restorer = clip_of(tmp_path / "in.mkv", transfer, primaries, 500), Seeing()
    restore_video(source, tmp_path / "out.mkv", restorer=restorer)
    assert [each is not None for each in restorer.profiles] == [managed]


@pytest.mark.parametrize(("transfer", "curve"), [(PQ, pq_curve), (HLG, hlg_curve)])
def test_the_network_sees_light_as_srgb_encodes_it(
    transfer: int, curve, half: Path, tmp_path: Path, monkeypatch
):
    seen = []
    whole = restorers.restore_whole

    def watched(model, hazy, **settings):
        seen.append(hazy.copy())
        return whole(model, hazy, **settings)

    monkeypatch.setattr(restorers, "restore_whole", watched)
    signal = 0.45
    source = clip_of(tmp_path / "in.mkv", transfer, BT2020, round(signal * 1023))
    target = tmp_path / "out.mkv"
    report = restore_video(source, target, restorer=Restorer(half, analysis=64), codec="ffv1")
    light = float(curve(np.array(signal)))
    expected = 1.055 * light ** (1 / 2.4) - 0.055
    assert abs(float(seen[0].mean()) - expected) < 0.02
    assert abs(expected - signal) > 0.05, "the raw signal would be told apart"
    # The model halves what it sees; half the value in sRGB is less light, told in PQ or HLG.
    with av.open(str(target)) as container:
        frame = next(container.decode(video=0))
        assert (frame.color_trc, frame.color_primaries) == (transfer, BT2020)
        restored = frame.to_ndarray(format="gray16le").mean() / 65535
    dimmed = float(curve(np.array(restored * 1023 / 1023)))
    halved = ((expected / 2 + 0.055) / 1.055) ** 2.4
    assert abs(dimmed - halved) < 0.25 * halved
    assert report.frames == 3
