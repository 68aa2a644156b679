"""Which of a test's many parameters plain `pytest` tries; the others are slow."""

from collections.abc import Collection

import pytest


def slow_but(quick: Collection, values: Collection) -> list:
    """`values` for `parametrize`, each marked as slow unless it is one of `quick`."""
    assert all(each in values for each in quick)
    return [
        each
        if each in quick
        else pytest.param(*(each if isinstance(each, tuple) else [each]), marks=pytest.mark.slow)
        for each in values
    ]
