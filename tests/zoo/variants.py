"""The published variants, as the tests that go over all of them take them."""

from collections.abc import Iterable

from tests.quick import slow_but
from unhaze.zoo import list_networks

NETWORKS = list_networks()


def slow_if_large(names: Iterable[str]) -> list:
    """`names` for `parametrize`; those of more than three million parameters are slow."""
    names = list(names)
    return slow_but([name for name in names if NETWORKS[name].parameters <= 3e6], names)
