"""The golden fields of the page are those that the mathematics here gives now."""

import json

import numpy as np

from tools.make_site_golden import TARGET, golden, unpacked


def test_the_golden_fields_are_up_to_date():
    kept, now = json.loads(TARGET.read_text(encoding="utf-8")), golden()
    assert kept.keys() == now.keys()
    for kind, cases in now.items():
        assert len(kept[kind]) == len(cases)
        for old, new in zip(kept[kind], cases):
            assert old.keys() == new.keys()
            for name, value in new.items():
                where = f"{kind} {name}; run tools/make_site_golden.py, then `npm test` in site/"
                pairs = (
                    zip(old[name], value, strict=True)
                    if isinstance(value, list)
                    else [(old[name], value)]
                )
                assert all(alike(*pair) for pair in pairs), where


def alike(kept: object, now: object) -> bool:
    """Whether a golden value is what it was, samples to a step of rounding."""
    if not (isinstance(now, dict) and isinstance(kept, dict) and "data" in now):
        return kept == now
    before, after = unpacked(kept), unpacked(now)
    tolerance = 1 if before.dtype.kind == "u" else 1e-4
    close = before.shape == after.shape and np.allclose(
        before.astype(float), after, rtol=0, atol=tolerance
    )
    return before.dtype == after.dtype and close
