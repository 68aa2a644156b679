"""The numbers of tensors by which networks are told apart before they are built."""

import json
import os

import pytest

from unhaze.published.signatures import COUNTS, list_variants


@pytest.mark.slow
def test_the_numbers_are_those_of_the_networks():
    """Elsewhere than in CI, where they are not, the right ones are written."""
    counts = {each.key: len(each.expected()) for each in list_variants()}
    now = json.dumps(counts, indent=2) + "\n"
    if (stored := COUNTS.read_text(encoding="utf-8")) != now and "CI" not in os.environ:
        COUNTS.write_text(now, encoding="utf-8")
    assert stored == now, f"commit {COUNTS} as it is now"
