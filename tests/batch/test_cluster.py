"""`unhaze batch --cluster local`: Ray on this computer, with a worker killed midway."""

from pathlib import Path

import pytest

from tests.batch.runs import begin, done_twice, kill_worker, lines_of, states_of, write_photos
from tests.halving import picture
from unhaze import photo

pytest.importorskip("ray", reason='needs Ray: pip install "unhaze[cluster]"')

COUNT = 500


def test_a_killed_actor_loses_nothing_and_nothing_is_done_twice(tmp_path: Path, half: Path):
    source, target = write_photos(tmp_path / "hazy", COUNT, (48, 64)), tmp_path / "clear"
    manifest = target / "unhaze-manifest.jsonl"
    words = [source, target, "--model", half, "--cluster", "local", "--workers", 2]
    with begin(*words, "--analysis", 64) as process:
        told, before = kill_worker(manifest, 60, process), states_of(target)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert b"500 done, 0 skipped, 0 failed of 500" in errors
    lines = lines_of(manifest)
    assert len(told) < COUNT - 60
    assert len(lines) == COUNT
    assert not done_twice(lines)
    assert {line["state"] for line in lines} == {"done"}
    after = states_of(target)
    assert len(after) == COUNT
    assert {path: after[path] for path in before} == before  # written once, even if not told of
    for path in sorted(target.rglob("*.png"))[::50]:
        restored = photo.read_rgb(path).astype(float)
        assert abs(restored - picture(48, 64) / 2).mean() < 6
    assert len({line["worker"] for line in lines}) >= 2
