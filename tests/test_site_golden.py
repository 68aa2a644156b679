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
                if not isinstance(value, dict):
                    assert old[name] == value
                    continue
                before, after = unpacked(old[name]), unpacked(value)
                assert before.dtype == after.dtype
                tolerance = 1 if before.dtype.kind == "u" else 1e-4
                where = f"{kind} {name}; run tools/make_site_golden.py, then `npm test` in site/"
                assert np.allclose(before.astype(float), after, rtol=0, atol=tolerance), where
